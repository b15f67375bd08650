"""Warming from an access log: what is promised, reached, and divided among machines.

On a log that is made here, and on a real one where it is at hand.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from random import Random
from subprocess import run as spawn
from sys import executable

import pytest
from aiohttp import web

from tests.cli.conftest import Run
from tests.servers import ServerProcess
from tests.services import Service

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "access.log"
needs_real = pytest.mark.skipif(not REAL.is_file(), reason="the real access log is not at hand")
LINES, TARGETS = 5000, 900
SETTINGS = """
warm:
  pages:
    requests: {{log: first.log, route: {{key: "page:{{target}}"}}}}
    origin: {{http: "{url}", concurrency: 20}}
    verify: {{requests: {{log: rest.log, route: {{key: "page:{{target}}"}}}}}}
"""


async def _page(request: web.Request) -> web.Response:
    return web.json_response({"page": request.raw_path})


def asked(path: Path) -> Counter[str]:
    """The independent program: successful GETs by target, split at spaces."""
    words = (line.split(" ") for line in path.read_text("latin-1").splitlines())
    return Counter(w[6] for w in words if w[5] == '"GET' and w[8] == "200")


def made() -> bytes:
    """A log in combined format: targets by Zipf's law, some with a query, some asked for in vain."""
    chance = Random(1)
    targets = [f"/{n}/page{n}" + (f"?q={n}%20x" if n % 7 == 0 else "") for n in range(TARGETS)]
    weights = list(accumulate(1 / (n + 1) for n in range(TARGETS)))
    chance.shuffle(targets)
    rows = []
    for second in range(LINES):
        (target,) = chance.choices(targets, cum_weights=weights)
        (method,) = chance.choices(["GET", "POST", "HEAD"], [90, 6, 4])
        (status,) = chance.choices([200, 304, 404, 500], [88, 6, 5, 1])
        time = f"17/May/2025:{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02} +0000"
        row = f'192.0.2.{second % 250} - - [{time}] "{method} {target} HTTP/1.1" {status}'
        rows.append(f'{row} {chance.randrange(9999)} "-" "a browser/1.0 (an {status} system)"\n')
    return "".join(rows).encode()


@pytest.fixture(params=["made", pytest.param("real", marks=needs_real)])
def log(request: pytest.FixtureRequest) -> bytes:
    """Both logs, one after the other."""
    return made() if request.param == "made" else REAL.read_bytes()


@pytest.fixture
def halves(workdir: Path, log: bytes) -> Path:
    """The log's first 2,500 lines, and the rest."""
    texts = log.splitlines(keepends=True)
    (workdir / "first.log").write_bytes(b"".join(texts[:2500]))
    (workdir / "rest.log").write_bytes(b"".join(texts[2500:]))
    return workdir


def test_the_plan_agrees_with_an_independent_count(run: Run, workdir: Path, log: bytes):
    """So many keys of so many requests, and the share of each step of the curve."""
    (workdir / "first.log").write_bytes(log)
    (workdir / "cachectl.yaml").write_text(SETTINGS.format(url="http://localhost:1"))
    plan = run("warm", "pages", "--plan", "-o", "json").json["plan"]
    counts = [count for _, count in asked(workdir / "first.log").most_common()]
    requests, keys = sum(counts), len(counts)
    assert (plan["requests"], plan["keys"], plan["filtered"]) == (requests, keys, LINES - requests)
    assert [point["limit"] for point in plan["curve"]] == [10, 25, 50, 100, 200, 500, keys]
    for point in plan["curve"]:
        share = sum(counts[: point["limit"]]) / requests
        assert point["hit_rate"] == pytest.approx(share, abs=1e-6)


@needs_real
def test_the_real_log_holds_what_is_known_of_it(run: Run, workdir: Path):
    """899 paths in 4,431 successful GETs, as its owner counted."""
    (workdir / "first.log").write_bytes(REAL.read_bytes())
    (workdir / "cachectl.yaml").write_text(SETTINGS.format(url="http://localhost:1"))
    plan = run("warm", "pages", "--plan", "-o", "json").json["plan"]
    assert (plan["requests"], plan["keys"], plan["filtered"]) == (4431, 899, 569)


def test_a_plan_is_a_table_with_a_curve(run: Run, workdir: Path):
    """For people: what the most asked promise, bars as long as that, what is chosen, who is asked."""
    (workdir / "first.log").write_bytes(made())
    (workdir / "cachectl.yaml").write_text(SETTINGS.format(url="http://localhost:1"))
    lines = run("warm", "pages", "--plan", "--limit", "42").text.splitlines()
    counts = asked(workdir / "first.log").most_common()
    requests = sum(count for _, count in counts)
    assert lines[0] == f"{requests} requests of the job pages ask for {len(counts)} keys"
    assert lines[1] == f"  left out: {LINES - requests} of another method, status or time"
    rows = [line.split() for line in lines]
    assert rows[2] == ["most", "asked", "hit", "rate", "memory"]
    for row in rows[3:10]:
        share = sum(count for _, count in counts[: int(row[0])]) / requests
        assert float(row[1]) == pytest.approx(100 * share, abs=0.051)
        assert row[-1] == "#" * round(30 * share)
    assert rows[10][0] == "42"
    assert lines[10].endswith("chosen by limit, coverage and budget")
    assert lines[12].split() == [str(counts[0][1]), f"page:{counts[0][0]}"]


@pytest.mark.parametrize("limit", [10, 25, 100, None])
def test_the_hit_rate_is_that_of_an_independent_program(
    on: Run, server: ServerProcess, halves: Path, limit: int | None
):
    """Half of the log is warmed from the service itself; the other half finds so much of it."""
    first, rest = asked(halves / "first.log"), asked(halves / "rest.log")
    words = [] if limit is None else ["--limit", limit]
    with Service(_page) as service:
        (halves / "cachectl.yaml").write_text(SETTINGS.format(url=service.url))
        report = on("warm", "pages", "-o", "json", *words).json
    stored = {key.decode().removeprefix("page:") for key in server.raw("KEYS", "page:*")}
    by_rank = sorted(first.items(), key=lambda item: -item[1])  # equals in the log's order
    assert stored == {target for target, _ in by_rank[:limit]}
    hits = sum(count for target, count in rest.items() if target in stored)
    assert report["written"] == len(stored)
    assert report["hit_rate"]["after"] == pytest.approx(hits / rest.total())
    assert (report["hit_rate"]["before"], report["hit_rate"]["requests"]) == (0.0, rest.total())


def test_eight_parts_fill_what_one_fills_and_compute_nothing_twice(
    server: ServerProcess, halves: Path
):
    """Eight processes at once: each target is asked for by one of them, once."""
    with Service(_page) as service:
        (halves / "cachectl.yaml").write_text(SETTINGS.format(url=service.url))

        def part(number: int) -> int:
            words = ["-m", "cachectl", "-u", server.url, "warm", "pages", "--limit", "300"]
            words += ["--part", f"{number}/8", "-q"]
            return spawn([executable, *words], check=False, capture_output=True).returncode

        with ThreadPoolExecutor(8) as parts:
            assert list(parts.map(part, range(1, 9))) == [0] * 8
        wanted = asked(halves / "first.log")
        by_rank = sorted(wanted.items(), key=lambda item: -item[1])[:300]
        assert service.asked == Counter(dict.fromkeys((target for target, _ in by_rank), 1))
    assert {key.decode() for key in server.raw("KEYS", "page:*")} == {
        f"page:{target}" for target, _ in by_rank
    }
