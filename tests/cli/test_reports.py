"""Report files of a warm: whole texts, hostile names, what cannot be written."""

import json
import os
import resource
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families

from cachectl.cli.render import json as as_json
from cachectl.cli.render import text as as_text
from cachectl.cli.render.reports import formats, junit, markdown, prom
from cachectl.cli.render.reports.told import Told
from cachectl.errors import DependencyError, OutputError, UnreachableError, UsageError
from cachectl.models import Problem
from cachectl.reports.warm import HitRate, LiveHitRate, WarmReport
from cachectl.values import safe

NOBODY = 65534
WHOLE = Path(__file__).parent / "reports"
SERVER = "redis://cache.example.com:6379/0"
RATE = HitRate(0.1234, 0.4996, 12000, 900, "separate", required=0.5, met=False)
UNGATED = replace(RATE, required=None, met=None)
UNASKED = replace(RATE, before=None, after=None, requests=0, keys=0)
UNSAMPLED = replace(UNASKED, sample=None)
LOW = LiveHitRate(30, 70, 60.0)
GOOD = WarmReport(
    job="charts",
    entries=1000,
    written=940,
    skipped=60,
    failed=0,
    unknown=0,
    unsent=0,
    size=1234567,
    seconds=65.25,
    computed=940,
    hit_rate=replace(RATE, after=0.75, met=True),
    stopped=None,
    errors=(),
)
BAD = replace(
    GOOD,
    written=930,
    failed=7,
    unknown=2,
    unsent=1,
    hit_rate=replace(RATE, live=LOW),
    errors=(Problem("the origin raised KeyError", "births.jsonl", 3, b"natal:1"),),
    held_back_seconds=2.5,
)
LOST = UnreachableError(f"{SERVER}: connection refused", "is it running?")


def told(outcome: Any = GOOD, job: str | None = "charts", code: int | None = None) -> Told:
    code = outcome.exit_code if code is None else code
    return Told(job, SERVER, "production", outcome, code, ended=1_750_000_000.0)


def test_markdown_is_read_in_ten_seconds():
    """The verdict, the hit rate, the counts, the first errors; of several jobs one after the other."""
    told_of = [told(), told(BAD, "birthdays"), told(LOST, None)]
    assert markdown.report(told_of) == (WHOLE / "warm.md").read_text()


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (replace(GOOD, stopped="deadline"), "## `charts`: stopped"),
        (replace(GOOD, stopped="deadline"), "Stopped before its end: **deadline**."),
        (replace(GOOD, part="3/8"), "## `charts 3/8`: passed"),
        (replace(GOOD, dry_run=True), "A dry run: nothing was written."),
        (
            replace(GOOD, error=LOST),
            "Error: `redis://cache.example.com:6379/0: connection refused`",
        ),
        (
            replace(GOOD, hit_rate=replace(RATE, live=LiveHitRate(0, 0, 60.0))),
            "Live, as the server counts: nobody asked (0 lookups in 1m).",
        ),
    ],
)
def test_what_a_reviewer_must_not_miss(outcome, line):
    assert line in markdown.report([told(outcome)]).splitlines()


def test_a_rate_that_was_not_measured_is_unknown():
    """Not 0 %, in none of the formats."""
    blind = replace(GOOD, hit_rate=replace(RATE, before=None, after=None), stopped="connection")
    assert "Hit rate unknown → **unknown**" in markdown.report([told(blind)])
    assert "cachectl_warm_hit_rate{" not in prom.report([told(blind)])
    [_, gate] = ET.fromstring(junit.report([told(blind)])).iter("testcase")
    assert gate[0].get("message") == "unknown after, unknown before, 0.5 required"


OURS = {
    *("heading", "paragraph", "inline", "text", "code_inline", "softbreak", "strong"),
    *("bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td"),
}
HOSTILE = [
    "</testcase></code><script>alert(1)</script>",
    "| # [x](javascript:alert(1)) | `` ` ``` @everyone ![](https://e.example/x)",
    "line\r\n\n# heading\n\n| a |\n|---|\n]]> &amp; -->",
    "\x00\x07\x1b[31m\x1b]8;;https://e.example\x07\ufffe\u202e",
    "`",
    "```\n",
    " ",
    "",
    '"} 1\n# HELP x \\',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_outside_is_markup(text):
    """All that a reader of Markdown sees of a key is one code span; XML holds it as text."""
    problem = Problem(text, text, 1, text.encode())
    hostile = replace(GOOD, failed=1, errors=(problem,))
    page = markdown.report([told(hostile, job=text)])
    assert all(line.isprintable() for line in page.splitlines())
    plain = replace(hostile, errors=BAD.errors)
    words, codes = read(page)
    expected, _ = read(markdown.report([told(plain)]))
    assert words.split() == expected.split()
    if text.strip():
        shown = safe(text).strip()
        listed = [shown, f"{shown}:1", shown, shown]
        assert [code.strip() for code in codes[:4]] == listed
    tree = ET.fromstring(junit.report([told(hostile, job=text)]))
    assert [case.get("name") for case in tree.iter("testcase")] == ["entries", "hit rate"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_an_error_is_markup(text):
    """The words of a server stand in errors."""
    refused = told(UnreachableError(text, f"see {text}"))
    words, _ = read(markdown.report([refused]))
    assert " ".join(words.split()) == ": failed Error: ( ) Server of the profile , exit code 3."
    tree = ET.fromstring(junit.report([refused]))
    assert [fate.tag for case in tree.iter("testcase") for fate in case] == ["error"]


def read(page: str) -> tuple[str, list[str]]:
    """Return the text of a page outside of its code spans, and what stands in these.

    A parser of CommonMark with tables and HTML reads it; rich brings it along. Only what the report
    itself writes may be markup.
    """
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    inline = [child for token in tokens for child in token.children or ()]
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens + inline}
    assert kinds <= OURS, kinds
    text = " ".join(token.content for token in inline if token.type == "text")
    return text, [token.content for token in inline if token.type == "code_inline"]


def test_keys_that_are_no_text_are_told():
    """Bytes that are not UTF-8 are escaped, or base64 in JSON; long keys are cut short."""
    binary, long = Problem("no", "f", 1, b"\xff\x00a"), Problem("no", "f", 2, b"k" * 5000)
    report = replace(GOOD, failed=2, errors=(binary, long))
    page = markdown.report([told(report)])
    assert r"- `f:1` `\xff\x00a` `no`" in page
    assert f"- `f:2` `{'k' * 200}…` `no`" in page
    failure = ET.fromstring(junit.report([told(report)])).find(".//failure")
    assert failure is not None
    assert (failure.text or "").splitlines()[0] == r"  f:1 \xff\x00a: no"
    assert len(failure.text or "") < 1000
    parsed = json.loads(formats.FORMATS[".json"]([told(report)]))
    assert parsed["errors"][0]["key_base64"] == "/wBh"


def test_junit_is_a_suite_of_tests():
    """Entries, gate and live hit rate; the sums are those that readers of the format show."""
    assert junit.report([told(BAD)]) == (WHOLE / "warm.xml").read_text()


def fates(outcome: Any) -> dict[str | None, tuple[str, str | None] | None]:
    """Return the tests of a warm, with what became of them and why."""
    cases = ET.fromstring(junit.report([told(outcome)])).iter("testcase")
    found: dict[str | None, tuple[str, str | None] | None] = {}
    for case in cases:
        told_of = [(fate.tag, fate.get("message")) for fate in case if fate.tag != "system-out"]
        found[case.get("name")] = told_of[0] if told_of else None
    return found


COUNTS = "1000 entries, 940 written, 60 skipped, 0 failed, 0 unknown, 0 unsent"


@pytest.mark.parametrize(
    ("outcome", "name", "fate"),
    [
        (GOOD, "entries", None),
        (GOOD, "hit rate", None),
        (replace(GOOD, failed=3, allowed_failures=3), "entries", None),
        (replace(GOOD, stopped="deadline"), "entries", ("failure", f"stopped: deadline; {COUNTS}")),
        (
            replace(GOOD, error=LOST),
            "entries",
            ("failure", f"{SERVER}: connection refused (is it running?); {COUNTS}"),
        ),
        (replace(GOOD, stopped="disabled"), "entries", ("skipped", "the cache is disabled")),
        (replace(GOOD, hit_rate=None), "hit rate", ("skipped", "no hit rate is required")),
        (
            replace(GOOD, hit_rate=UNGATED),
            "hit rate",
            ("skipped", "no hit rate is required"),
        ),
        (
            replace(GOOD, dry_run=True, hit_rate=replace(RATE, met=None)),
            "hit rate",
            ("skipped", "a dry run writes nothing"),
        ),
        (
            replace(GOOD, hit_rate=replace(UNGATED, live=LiveHitRate(0, 0, 60.0))),
            "live hit rate",
            ("skipped", "nobody asked the server"),
        ),
        (replace(GOOD, hit_rate=replace(UNGATED, live=LOW)), "live hit rate", None),
        (replace(GOOD, hit_rate=replace(RATE, after=0.75, live=LOW)), "hit rate", None),
        (
            replace(GOOD, hit_rate=replace(RATE, after=0.75, live=LOW)),
            "live hit rate",
            ("failure", "0.3: 30 hits, 70 misses, 0.5 required"),
        ),
        (
            replace(GOOD, hit_rate=replace(RATE, live=LiveHitRate(0, 0, 60.0))),
            "live hit rate",
            ("failure", "unknown: 0 hits, 0 misses, 0.5 required"),
        ),
        (
            replace(GOOD, hit_rate=replace(RATE, after=0.75), stopped="deadline"),
            "live hit rate",
            ("failure", "not measured, 0.5 required"),
        ),
        (
            replace(GOOD, hit_rate=replace(UNSAMPLED, live=LOW, met=False)),
            "hit rate",
            ("skipped", "there is no sample"),
        ),
        (
            replace(GOOD, hit_rate=UNSAMPLED, stopped="interrupted"),
            "live hit rate",
            ("failure", "not measured, 0.5 required"),
        ),
        (
            replace(GOOD, hit_rate=replace(UNASKED, live=LiveHitRate(7, 3, 60.0), met=False)),
            "hit rate",
            ("failure", "unknown after, unknown before, 0.5 required"),
        ),
        (LOST, "entries", ("error", f"{SERVER}: connection refused (is it running?)")),
    ],
)
def test_each_ending_has_its_fate(outcome, name, fate):
    """Failures are the warm's answers, errors what kept it from running, skipped what was not asked."""
    assert fates(outcome)[name] == fate


def test_a_rollback_fails_no_test():
    """The cache is switched off: there is no gate to be held, though one is required."""
    off = replace(GOOD, stopped="disabled", hit_rate=replace(RATE, before=None, after=None))
    assert fates(off) == {"entries": ("skipped", "the cache is disabled")}


def test_metrics_are_read_by_prometheus():
    """Its own parser finds each number under its labels, `job` not among them; none has a time."""
    text = prom.report([told(BAD), told(LOST, "birthdays")])
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    values: dict[tuple[Any, ...], float] = {
        (s.name.removeprefix("cachectl_warm_"), *sorted(s.labels.items())): s.value for s in samples
    }
    charts = ("profile", "production"), ("warm_job", "charts")
    birthdays = ("profile", "production"), ("warm_job", "birthdays")
    states = {"written": 930, "skipped": 60, "failed": 7, "unknown": 2, "unsent": 1}
    for state, count in states.items():
        assert values.pop(("entries", charts[0], ("state", state), charts[1])) == count
    assert values == {
        ("hit_rate", ("moment", "before"), *charts): 0.1234,
        ("hit_rate", ("moment", "after"), *charts): 0.4996,
        ("hit_rate_required", *charts): 0.5,
        ("hit_rate_met", *charts): 0,
        ("live_hit_rate", *charts): 0.3,
        ("duration_seconds", *charts): 65.25,
        ("success", *charts): 0,
        ("last_run_timestamp_seconds", *charts): 1.75e9,
        ("success", *birthdays): 0,
        ("last_run_timestamp_seconds", *birthdays): 1.75e9,
    }
    assert {s.timestamp for s in samples} == {None}


@pytest.mark.parametrize("job", HOSTILE)
def test_a_hostile_job_is_one_label(job):
    [sample] = [
        s
        for family in text_string_to_metric_families(prom.report([told(LOST, job)]))
        for s in family.samples
        if s.name == "cachectl_warm_success"
    ]
    assert sample.labels == {"warm_job": job, "profile": "production"}


def test_json_is_what_is_printed_as_json():
    """One job is one object, several are a list of them; an error stands in its place."""
    report = formats.FORMATS[".json"]
    head = {"command": "warm", "profile": "production", "server": SERVER}
    printed = as_json.warm(BAD, head, 3)
    assert json.loads(report([told(BAD)])) == printed
    assert json.loads(report([told(BAD), told(LOST, "birthdays")])) == [
        printed,
        {**head, "job": "birthdays", "exit_code": 3, "error": LOST.as_dict()},
    ]


ALL = ("r.md", "r.xml", "r.prom", "r.json")


def write(*paths: str, env: dict[str, str] | None = None) -> list[str]:
    """Write reports and return the warnings."""
    warnings: list[str] = []
    formats.write_reports(paths, [told()], env or {}, warnings.append)
    return warnings


def test_each_ending_is_a_format(workdir):
    """Others may read them (node_exporter is another user), and nothing else is left behind."""
    formats.check(ALL)
    assert write(*ALL) == []
    for name in ALL:
        path = workdir / name
        assert path.read_text() == formats.FORMATS[path.suffix]([told()])
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(os.listdir(workdir)) == sorted(ALL)


def test_an_ending_in_capitals_is_the_same(workdir):
    formats.check(["R.MD"])
    write("R.MD")
    assert (workdir / "R.MD").read_text().startswith("## `charts`")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("r.txt", "--report r.txt: its ending tells the format"),
        ("r", "--report r: its ending tells the format"),
        ("no/r.md", "--report no/r.md: there is no folder "),
        ("folder.md", "--report folder.md: is a folder"),
    ],
)
def test_what_cannot_be_is_said_before(workdir, path, message):
    """With exit code 2, and nothing was done."""
    (workdir / "folder.md").mkdir()
    with pytest.raises(UsageError) as refused:
        formats.check(["good.md", path])
    assert refused.value.message.startswith(message)
    assert refused.value.exit_code == 2
    assert os.listdir(workdir) == ["folder.md"]


@contextmanager
def closed_folder() -> Iterator[Path]:
    """Give a folder that this process cannot write to, even if it belongs to root."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.setresuid(NOBODY, NOBODY, 0)
        yield folder
    finally:
        if root:
            os.setresuid(0, 0, 0)
        folder.rmdir()


def test_a_folder_that_is_not_writable_is_said_before():
    with closed_folder() as folder, pytest.raises(UsageError) as refused:
        formats.check([f"{folder}/r.md"])
    assert refused.value.message == f"--report {folder}/r.md: the folder {folder} is not writable"


def test_without_prometheus_client_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    formats.check(["r.md"])
    with pytest.raises(DependencyError) as refused:
        formats.check(["r.prom"])
    assert refused.value.hint == "pip install 'cachectl[metrics]'"


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file grow over so many bytes; what is written over that edge is written in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_is_an_error_of_output(workdir, room):
    """In one line, exit code 1; what stood there before stands there still."""
    (workdir / "r.md").write_text("the last one")
    with pytest.raises(OutputError) as failed, full_disk(room):
        write("r.md")
    assert failed.value.message == "r.md: file too large"
    assert os.listdir(workdir) == ["r.md"]
    assert (workdir / "r.md").read_text() == "the last one"


def test_a_report_that_fails_does_not_keep_the_others(workdir):
    """The folder of the first has vanished since it was checked: no error of usage any more."""
    (workdir / "gone").mkdir()
    formats.check(["gone/r.md", "r.xml"])
    (workdir / "gone").rmdir()
    with pytest.raises(OutputError, match=r"gone/r\.md: no such file or directory"):
        write("gone/r.md", "r.xml")
    assert (workdir / "r.xml").exists()


def test_markdown_is_githubs_summary_too(workdir):
    """It is appended once for a `.md`, after what earlier steps wrote; other formats are not."""
    summary = workdir / "summary"
    summary.write_text("# Deploy\n")
    env = {"GITHUB_STEP_SUMMARY": str(summary)}
    assert write("r.xml", env=env) == []
    assert summary.read_text() == "# Deploy\n"
    assert write("r.md", env=env) == []
    assert summary.read_text() == "# Deploy\n\n" + (workdir / "r.md").read_text()


def test_a_summary_that_cannot_be_appended_is_a_warning(workdir):
    """The report itself is there."""
    env = {"GITHUB_STEP_SUMMARY": str(workdir / "no" / "summary")}
    [warning] = write("r.md", env=env)
    assert warning.startswith(
        f"GITHUB_STEP_SUMMARY: {workdir}/no/summary: no such file or directory"
    )
    assert (workdir / "r.md").exists()


def test_text_tells_a_watch_that_began_anew_and_who_held_it_back():
    """Only what was counted since then is told; the server was spared, and the origin asked to be."""
    live = LiveHitRate(30, 70, 60.0, anew=2)
    held = replace(BAD, hit_rate=replace(UNSAMPLED, live=live), origin_held_back_seconds=3.0)
    lines = list(as_text.warm(held, SERVER))
    anew = "begun anew: the server was restarted or its counters were reset"
    assert f"  live     30.0 % (100 lookups in 1m, {anew})" in lines
    assert "  held back 2.5s by --max-latency" in lines
    assert "  held back 3s by the origin (Retry-After)" in lines
    assert not any(line.startswith("  hit rate") for line in lines)
    page = markdown.report([told(held)])
    assert "The origin asked to be left alone for 3s (Retry-After)." in page
    assert "sample" not in page


def test_a_hit_rate_that_misses_by_a_hair_does_not_look_met():
    """It is rounded down; what is required stays as it is."""
    page = markdown.report([told(replace(GOOD, hit_rate=replace(RATE, after=0.499999)))])
    assert "**49.99%**" in page
    assert "Required 50.00%: **not met**." in page
    page = markdown.report([told(replace(GOOD, hit_rate=replace(RATE, after=0.29)))])
    assert "**29.00%**" in page


def test_two_pages_are_one_summary(workdir):
    """Both files hold the same: the run's page shows it once."""
    summary = workdir / "summary"
    env = {"GITHUB_STEP_SUMMARY": str(summary)}
    formats.write_reports(["a.md", "b.md"], [told()], env, pytest.fail)
    assert summary.read_text().count("## ") == 1
