"""The example service is warmed from its own access log, both ways, and keeps what the plan promised."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from examples.natal.service import PATH
from tests.servers import ServerProcess

from .conftest import NATAL

ROOT = NATAL.parents[1]
REQUESTS = 2000
JOB = """
warm:
  charts:
    requests:
      log: access.log
      route:
        path: {path}
        params: {{date: "{{query.date}}", lat: "{{query.lat:float}}", lon: "{{query.lon:float}}"}}
    origin: {{http: "{url}", fills: {fills}, concurrency: 10}}
    namespace: natal
    verify: {{requests: same, min_hit_rate: 80%}}
"""


@contextmanager
def service(cache: ServerProcess, log: Path) -> Iterator[str]:
    """The service in a process of its own; gives its address."""
    words = ["--url", cache.url, "--port", "0", "--access-log", str(log)]
    command = [sys.executable, "-m", "examples.natal.service", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def visit(url: str, births: list[dict[str, Any]]) -> None:
    """Ask 2,000 times, for some charts far more often than for others, and at times for nonsense."""
    dice = random.Random(1)
    weights = [1 / rank for rank in range(1, len(births) + 1)]
    asked = [line["params"] for line in dice.choices(births, weights, k=REQUESTS)]
    asked[::100] = [{"date": "tomorrow", "lat": 0, "lon": 0}] * (REQUESTS // 100)
    room = asyncio.Semaphore(20)
    async with aiohttp.ClientSession() as session:

        async def ask(params: dict[str, Any]) -> None:
            async with room, session.get(f"{url}{PATH}?{urlencode(params)}") as answer:
                await answer.read()

        await asyncio.gather(*map(ask, asked))


def command(cache: ServerProcess, folder: Path, *words: object) -> tuple[int, Any]:
    """Warm, and return the exit code and the report."""
    line = [sys.executable, "-m", "cachectl", "-u", cache.url, "warm", "charts", "-o", "json"]
    line += map(str, words)
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def cache() -> Iterator[ServerProcess]:
    """A real server: the service writes to it as well."""
    with ServerProcess() as server:
        yield server


@pytest.mark.parametrize("fills", ["cachectl", "application"])
def test_its_own_log_warms_it_to_what_was_promised(
    cache: ServerProcess, births: list[dict[str, Any]], tmp_path: Path, fills: str
) -> None:
    """As many hits as the plan says; too low a limit fails the gate with 1.

    A service that fills the cache does so itself; another one answers for a cache it does not know.
    """
    log = tmp_path / "access.log"
    with ServerProcess() as other, service(cache if fills == "application" else other, log) as url:
        asyncio.run(visit(url, births))
        (tmp_path / "cachectl.yaml").write_text(JOB.format(path=PATH, url=url, fills=fills))
        _, told = command(cache, tmp_path, "--plan")
        plan = told["plan"]
        assert (plan["requests"], plan["filtered"], plan["bad"]) == (1980, 20, 0)
        for point in (plan["curve"][0], plan["curve"][-1]):
            cache.raw("FLUSHALL")
            code, report = command(cache, tmp_path, "--limit", point["limit"])
            assert report["written"] == point["limit"], report["errors"]
            rate = report["hit_rate"]
            assert (rate["before"], rate["after"]) == (
                0.0,
                pytest.approx(point["hit_rate"], abs=1e-6),
            )
            assert (code, rate["met"]) == ((0, True) if point["hit_rate"] >= 0.8 else (1, False))
        assert report["failed"] == 0
        assert plan["curve"][0]["hit_rate"] < 0.8 < plan["curve"][-1]["hit_rate"]
