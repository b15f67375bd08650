"""What is told while work goes on: true numbers, in a log, in a bar, and in a narrow one."""

import io
import json
import re
import sys
from pathlib import Path

import pytest

from cachectl.cli import progress
from cachectl.cli.progress import Meter, line
from cachectl.models import Progress
from tests.cli.conftest import Run
from tests.cli.terminal import Terminal
from tests.servers import ServerProcess

ALL = Progress("warming", 1200, 5000, 3, 0.61, 2.13)
FULL = (
    "warming: 1200 of 5000 (24%), 312/s, 12s left, hit rate 61.0 % so far, 3 failed, held back 2.1s"
)


def test_a_line_says_all_there_is():
    """Done, share, rate, time left, hit rate, failures, and for how long it was held back."""
    assert line(ALL, 312.2) == FULL
    assert line(Progress("counting", 7), None) == "counting: 7"
    assert line(Progress("warming", 7, failed=1), 12.0) == "warming: 7, 12/s, 1 failed"


def test_numbers_are_not_rounded_into_untruths():
    """100 % is when all is done, a slow rate is none of zero, a standstill has no end."""
    assert "(99%)" in line(Progress("warming", 4999, 5000), None)
    assert "(100%)" in line(Progress("warming", 5000, 5000), None)
    assert line(Progress("warming", 1, 5), 0.25) == "warming: 1 of 5 (20%), 0.2/s, 16s left"
    assert line(Progress("warming", 1, 5), 0.0) == "warming: 1 of 5 (20%), 0/s"
    assert "hit rate 0.0 % so far" in line(Progress("warming", 0, 5, 0, 0.0), None)
    assert "left" not in line(Progress("warming", 5, 5), 3.0)


def test_the_least_worthy_goes_first_when_it_is_narrow():
    """Each width holds what fits of it; what is done is never left out."""
    assert line(ALL, 312.2, len(FULL)) == FULL
    order = ["held back", "/s", "hit rate", "left", "failed"]
    for width in range(len(FULL), 20, -1):
        text = line(ALL, 312.2, width)
        assert text.startswith("warming: 1200 of 5000 (24%)")
        assert len(text) <= width or text == "warming: 1200 of 5000 (24%)"
        there = [word in text for word in order]
        assert there == sorted(there)
    assert line(ALL, 312.2, 20) == "warming: 1200 of 5000 (24%)"


def test_the_rate_is_that_of_the_last_seconds():
    """What was skipped at once before the first news, and a fast beginning, say nothing of now."""
    meter = Meter()
    assert meter.rate is None
    meter.note(100.0, 4000)
    assert meter.rate is None
    for second in range(1, 11):
        meter.note(100.0 + second, 4000 + 1000 * second)
    assert meter.rate == 1000
    for second in range(11, 60):
        meter.note(100.0 + second, 14000 + second)
    assert meter.rate == pytest.approx(1)


def test_the_rate_of_a_few_tenths_of_a_second_is_told():
    """Between two samples the newest news count; over a moment there is no rate."""
    meter = Meter()
    meter.note(-0.05, 0)
    meter.note(0.0, 100)
    assert meter.rate is None
    meter = Meter()
    for tenth in range(4):
        meter.note(tenth / 10, tenth * 5)
    assert meter.rate == pytest.approx(50)


def entries(workdir: Path, count: int) -> None:
    rows = [json.dumps({"key": f"k{n}", "value": n}) for n in range(count)]
    (workdir / "e.jsonl").write_text("\n".join([*rows, "{}"]))


def test_a_log_gets_a_line_of_progress(on: Run, workdir: Path, monkeypatch: pytest.MonkeyPatch):
    """A line each time the pause is over; the last one holds all; none with --quiet."""
    monkeypatch.setattr(progress, "LOG_PAUSE", 0.0)
    entries(workdir, 600)
    lines = on("warm", "e.jsonl").err.splitlines()
    assert all(re.fullmatch(r"warming: \d+(, \d+/s)?(, 1 failed)?", line) for line in lines)
    assert re.fullmatch(r"warming: 601(, \d+/s)?, 1 failed", lines[-1])
    assert on("-q", "warm", "e.jsonl").err == ""


@pytest.mark.parametrize("columns", [60, 30])
def test_a_bar_fits_the_terminal(server: ServerProcess, workdir: Path, columns: int):
    """No line of the bar is wider than the terminal, and its last drawing holds the end."""
    entries(workdir, 3000)
    words = ["-u", server.url, "warm", "e.jsonl"]
    terminal = Terminal(words, workdir, COLUMNS=str(columns))
    assert terminal.end() == 1
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.shown)
    drawn = [text.rstrip() for text in re.split(r"[\r\n]+", shown) if "warming" in text]
    assert drawn
    assert max(map(len, drawn)) <= columns
    assert "warming: 3001" in drawn[-1]
    assert "1 failed" in drawn[-1]
    assert ("━" in shown) is (columns >= 40)


def test_a_bar_leaves_stdout_to_the_report(server: ServerProcess, workdir: Path):
    """The bar is the terminal's; what goes to a file goes there still when it was drawn."""
    entries(workdir, 10)
    with Path("out").open("wb") as out:
        words = ["-u", server.url, "-o", "json", "warm", "e.jsonl"]
        terminal = Terminal(words, workdir, None, out)
        assert terminal.end() == 1
    assert "warming" in terminal.shown
    assert json.loads(Path("out").read_bytes())["written"] == 10


@pytest.mark.parametrize("columns", [30, 39, 40, 60, 100, 200])
def test_a_bar_is_one_line(columns: int, monkeypatch: pytest.MonkeyPatch):
    """However much there is to say, it is neither cut nor wrapped."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    with progress._bar() as observe:
        observe(ALL)
    (drawn,) = shown.getvalue().split("\n")[:-1]
    width = {30: 0, 39: 0, 100: 21, 200: 21}.get(columns, 11)
    assert drawn[width:].strip() == line(ALL, None, columns - width)
