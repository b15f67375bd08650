"""Warms that are killed at any moment: the same command goes on where the last one was cut off."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from cachectl.keys import make_key
from tests.servers import ServerProcess

COUNT = 300
KILLS = 20
ORIGIN = """
import os, time

def square(n):
    log = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, b"%d\\n" % n)
    os.close(log)
    time.sleep(0.02)
    return {"n": n, "square": n * n}
"""


def test_killed_twenty_times_it_ends_as_if_undisturbed(server: ServerProcess, workdir: Path):
    """kill -9 at random moments: the same contents, and what is in the cache is not computed again."""
    (workdir / "origin.py").write_text(ORIGIN)
    asked = [json.dumps({"params": {"n": n}, "count": COUNT - n}) for n in range(COUNT)]
    (workdir / "r.jsonl").write_text("\n".join(asked))
    keys = {make_key("sq", n=n).encode(): n for n in range(COUNT)}
    dice = random.Random(20)
    cut_off = 0
    for run in range(KILLS + 1):
        there = {keys[key] for key in server.raw("KEYS", "*")}
        (workdir / "calls").write_bytes(b"")
        # at a random call, not at a time: a machine may be slow to start
        code = _warm(server, workdir, None if run == KILLS else dice.randrange(30))
        calls = [int(line) for line in (workdir / "calls").read_bytes().splitlines()]
        assert not there & set(calls)
        assert len(calls) == len(set(calls))
        cut_off += code == -signal.SIGKILL
    assert code == 0
    assert cut_off >= KILLS // 2
    stored = [json.loads(value) for value in server.raw("MGET", *keys)]
    assert stored == [{"n": n, "square": n * n} for n in range(COUNT)]
    assert all(0 < server.raw("TTL", key) <= 86400 for key in keys)


def _warm(server: ServerProcess, folder: Path, at_call: int | None) -> int:
    """Warm; kill the command once the origin was called so often, unless it has ended by then."""
    words = ["-m", "cachectl", "-q", "-u", server.url, "warm", "r.jsonl", "-n", "sq"]
    words += ["--origin", "origin:square", "--origin-concurrency", "4"]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL) as warming:
        calls = folder / "calls"
        while at_call is not None and warming.poll() is None:
            if calls.read_bytes().count(b"\n") > at_call:
                os.kill(warming.pid, signal.SIGKILL)
                break
        return warming.wait(30)
