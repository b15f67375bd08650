"""The event loop of a command ends its timers on time."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.servers import ServerProcess

ORIGIN = """
import asyncio
from statistics import median
from time import perf_counter

async def nap(n):
    begun = perf_counter()
    await asyncio.sleep(0.0001)
    return perf_counter() - begun

async def on_time(n):
    end = perf_counter() + 10
    while perf_counter() < end:
        if median([await nap(n) for n in range(20)]) < 0.001:
            return True
    return False
"""


@pytest.mark.skipif(sys.platform != "linux", reason="epoll alone rounds up to a millisecond")
def test_a_command_runs_on_it(on: Run, server: ServerProcess, workdir: Path):
    """The waits of an origin's coroutine end on time."""
    (workdir / "punctual.py").write_text(ORIGIN)
    (workdir / "r.jsonl").write_text('{"params": {"n": 1}}\n')
    assert on("warm", "r.jsonl", "--origin", "punctual:on_time", "-n", "t").code == 0
    [key] = server.raw("KEYS", "*")
    assert server.raw("GET", key) == b"true"
