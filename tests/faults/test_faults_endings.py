"""Ctrl-C, SIGTERM, a reader that goes away, a full disk: an end in time, and what was done is told."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    PASSWORD,
    ROOT,
    Ended,
    Operator,
    Running,
    adds_up,
    executed,
    fill,
    found,
    keys_of,
    listed,
    until,
    value,
)
from tests.proxies import Proxy
from tests.servers import ServerProcess

SOON = 2.0
"""A second, and the process's own end on a busy machine."""
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
MANY = 20_000
SLOW_LINE = 40_000
"""Bytes a second of a line on which work is in the middle for long enough."""


def stopped(run: Running, number: int) -> Ended:
    """Send the one signal, and return how it ended, in time."""
    assert not run.over, run.err
    begun = time.monotonic()
    run.process.send_signal(number)
    ended = run.ended()
    assert time.monotonic() - begun < SOON
    return ended


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_in_a_warm(operator_at: OperatorAt, server: ServerProcess, number: int, code: int):
    """What is in flight is finished or reported unknown: no entry is counted wrongly."""
    with Proxy(server, rate=SLOW_LINE) as proxy:
        operator = operator_at(proxy)
        run = operator.started("warm", operator.entries(MANY))
        until(lambda: server.raw("DBSIZE") > 100)
        ended = stopped(run, number)
    report = ended.report
    assert (ended.code, report["exit_code"], report["stopped"]) == (code, code, "interrupted")
    assert adds_up(report)
    there = server.raw("DBSIZE")
    assert report["written"] <= there <= report["written"] + report["unknown"]
    assert 0 < there < MANY
    assert server.raw("GET", "n:7") == value(7)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_in_a_flush(
    operator_at: OperatorAt, server: ServerProcess, number: int, code: int
):
    """What is gone is counted, the rest stands, and nothing is proven."""
    fill(server, "n:", MANY)
    with Proxy(server, rate=SLOW_LINE) as proxy:
        run = operator_at(proxy).started("flush", "n", "--yes")
        until(lambda: server.raw("DBSIZE") < MANY)
        ended = stopped(run, number)
    report = ended.report
    assert (ended.code, report["exit_code"], report["stopped"]) == (code, code, "interrupted")
    gone = MANY - server.raw("DBSIZE")
    assert 0 < gone < MANY
    assert report["deleted"] == gone if report["deleted_exact"] else report["deleted"] <= gone
    assert "remaining" not in report
    assert report["unknown_fields"]["remaining"]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_in_a_delete(
    operator_at: OperatorAt, server: ServerProcess, number: int, code: int
):
    """Each key is deleted, missing, unknown, or was not asked for."""
    fill(server, "n:", MANY)
    operator = operator_at(server)
    operator.file("keys.txt", b"".join(b"n:%d\n" % i for i in range(MANY)))
    with Proxy(server, rate=SLOW_LINE) as proxy:
        slow = operator_at(proxy)
        slow.file("keys.txt", (operator.directory / "keys.txt").read_bytes())
        run = slow.started("delete", "--keys-from", "keys.txt")
        until(lambda: server.raw("DBSIZE") < MANY - 500)
        ended = stopped(run, number)
    report = ended.report
    assert (ended.code, report["stopped"]) == (code, "interrupted")
    gone = MANY - server.raw("DBSIZE")
    assert report["deleted"] <= gone <= report["deleted"] + report.get("unknown", 0)
    assert report["deleted"] + report.get("unknown", 0) + report["unsent"] == MANY


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("words", [("scan", "n"), ("export", "n"), ("stats", "n")])
def test_a_signal_in_a_walk(
    operator_at: OperatorAt,
    server: ServerProcess,
    words: tuple[str, ...],
    number: int,
    code: int,
):
    """What was printed is whole lines of keys that are there."""
    fill(server, "n:", MANY)
    with Proxy(server, rate=SLOW_LINE) as proxy:
        run = operator_at(proxy).started(*words)
        until(lambda: run.out if words[0] != "stats" else executed(server)["scan"] > 2)
        ended = stopped(run, number)
    assert ended.code == code
    if words[0] == "stats":
        assert not ended.out or ended.report["stopped"] == "interrupted"
        return
    names = set(listed(ended.lines))
    assert 0 < len(names) < MANY
    assert names <= keys_of(server)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_in_an_export_to_a_file(
    operator_at: OperatorAt, server: ServerProcess, number: int, code: int
):
    """No half a file stands under the name that was asked for."""
    fill(server, "n:", MANY)
    with Proxy(server, rate=SLOW_LINE) as proxy:
        operator = operator_at(proxy)
        operator.file("out.jsonl", b"the backup of before\n")
        run = operator.started("export", "n", "--to", "out.jsonl")
        until(lambda: executed(server)["get"] > 100)
        ended = stopped(run, number)
    assert (ended.code, ended.report["stopped"]) == (code, "interrupted")
    assert (operator.directory / "out.jsonl").read_bytes() == b"the backup of before\n"
    left = {path.name for path in operator.directory.iterdir()}
    assert left == {"out.jsonl", "cachectl.yaml"}


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize(
    "words", [("get", "n:1"), ("set", "n:1", "5"), ("inspect", "n:1"), ("health",)]
)
def test_a_signal_while_a_server_is_silent(
    operator_at: OperatorAt, server: ServerProcess, words: tuple[str, ...], number: int, code: int
):
    """The first signal is enough, whatever is waited for."""
    with Proxy(server, latency=60.0) as proxy:
        run = operator_at(proxy).started(*words, "--timeout", "30s")
        until(lambda: proxy.connections > 0)
        ended = stopped(run, number)
    assert (ended.code, ended.out) == (code, b"")
    assert ended.err == b"interrupted\n"


def shell(
    operator: Operator, words: str, prepare: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `cachectl WORDS` as a shell does, a pipeline included; what it says is free of secrets."""
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            words.replace("cachectl", f"{sys.executable} -m cachectl"),
        ],
        cwd=operator.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CANARY": PASSWORD},
        capture_output=True,
        timeout=30,
        check=False,
        preexec_fn=prepare,
    )
    assert not found(done.stderr, PASSWORD)
    assert b"Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "words", ["scan n", "scan n --long", "export n", "scan n -0", "-o json scan n"]
)
def test_a_pipe_that_closes_ends_quietly(
    operator_at: OperatorAt, server: ServerProcess, words: str
):
    """0 also for a shell that looks at every part of the pipeline."""
    fill(server, "n:", MANY)
    done = shell(operator_at(server), f"cachectl -q {words} | head -c 100")
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, b"", 100)


def test_a_pipe_that_closes_in_a_large_value(operator_at: OperatorAt, server: ServerProcess):
    server.raw("SET", "n:1", b'"' + b"x" * 5_000_000 + b'"')
    for words in ("get n:1", "-o json get n:1"):
        done = shell(operator_at(server), f"cachectl {words} | head -c 100")
        assert (done.returncode, done.stderr, len(done.stdout)) == (0, b"", 100)


@pytest.mark.parametrize(
    "words", ["warm ./entries.jsonl", "flush n --yes", "stats n", "health", "delete n:1"]
)
def test_a_report_that_nobody_reads(operator_at: OperatorAt, server: ServerProcess, words: str):
    """The work is done to its end, and the code still tells how it went."""
    fill(server, "n:", 3)
    operator = operator_at(server)
    operator.entries(500)
    assert shell(operator, f"cachectl -o json {words} | true").returncode == 0
    after = {"warm": 500, "flush": 0, "delete": 2}
    assert server.raw("DBSIZE") == after.get(words.split(maxsplit=1)[0], 3)


FILE_LIMIT = 20_000


def small_disk() -> None:
    """Let files grow so far only: a disk without room, as a process meets it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["scan n", "export n", "get big", "-o json get big"])
def test_a_full_disk_under_stdout(
    operator_at: OperatorAt,
    server: ServerProcess,
    words: str,
    unbuffered: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """1 and the reason, in one line; a disk takes a part first, which Python does not always tell."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    fill(server, "n:", MANY)
    server.raw("SET", "big", b"9" * 3 * FILE_LIMIT)
    operator = operator_at(server)
    done = shell(operator, f"cachectl {words} > out.txt", small_disk)
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if b"error" in line]
    assert len(told) == 1
    assert b"file too large" in told[0].lower()
    assert (operator.directory / "out.txt").stat().st_size <= FILE_LIMIT


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_a_full_disk_under_an_export(operator_at: OperatorAt, server: ServerProcess, name: str):
    """The backup of before stays, no half a file is left, and the report says why."""
    server.raw(
        "EVAL", "for i = 1, ARGV[1] do redis.call('set', 'n:' .. i, math.random()) end", 0, MANY
    )
    operator = operator_at(server)
    operator.file(name, b"the backup of before\n")
    done = shell(operator, f"cachectl -o json export n --to {name}", small_disk)
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, report["exit_code"], report["stopped"]) == (1, 1, "output")
    assert "file too large" in report["error"]["message"]
    assert (operator.directory / name).read_bytes() == b"the backup of before\n"
    assert {path.name for path in operator.directory.iterdir()} == {name, "cachectl.yaml"}


def test_a_real_disk_that_is_full(operator_at: OperatorAt, server: ServerProcess, tmp_path: Path):
    """The same on a file system of a few pages, where one may be mounted."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs the rights of an administrator")
    try:
        fill(server, "n:", MANY)
        done = shell(operator_at(server), f"cachectl -o json export n --to {small}/out.jsonl")
        report = json.loads(done.stdout)
        assert (done.returncode, report["stopped"]) == (1, "output")
        assert "no space left" in report["error"]["message"]
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
