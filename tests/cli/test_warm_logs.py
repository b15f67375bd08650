"""Warming from a real access log: what is promised, reached, and divided among machines."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run as spawn
from sys import executable

import pytest
from aiohttp import web

from tests.cli.conftest import Run
from tests.servers import ServerProcess
from tests.services import Service

LOG = Path(__file__).parents[2].parent / "shared" / "data" / "access.log"
needs_log = pytest.mark.skipif(not LOG.is_file(), reason="the real access log is not at hand")
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


@pytest.fixture
def halves(workdir: Path) -> Path:
    """The log's first 2,500 lines, and the rest."""
    texts = LOG.read_bytes().splitlines(keepends=True)
    (workdir / "first.log").write_bytes(b"".join(texts[:2500]))
    (workdir / "rest.log").write_bytes(b"".join(texts[2500:]))
    return workdir


@needs_log
def test_the_plan_agrees_with_an_independent_count(run: Run, workdir: Path):
    """899 keys of 4,431 requests, and the share of each step of the curve."""
    (workdir / "first.log").write_bytes(LOG.read_bytes())
    (workdir / "cachectl.yaml").write_text(SETTINGS.format(url="http://localhost:1"))
    plan = run("warm", "pages", "--plan", "-o", "json").json["plan"]
    counts = [count for _, count in asked(LOG).most_common()]
    assert (plan["requests"], plan["keys"], plan["filtered"]) == (4431, 899, 569)
    assert (sum(counts), len(counts)) == (4431, 899)
    assert [point["limit"] for point in plan["curve"]] == [10, 25, 50, 100, 200, 500, 899]
    for point in plan["curve"]:
        assert point["hit_rate"] == pytest.approx(sum(counts[: point["limit"]]) / 4431, abs=1e-6)


@needs_log
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


@needs_log
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
