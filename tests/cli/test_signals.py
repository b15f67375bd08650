"""Signals, closed pipes, full disks, and a log: cachectl as its own process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ServerProcess

ROOT = Path(__file__).parents[2]
ORIGIN = """
import asyncio, time
async def slow(n):
    await asyncio.sleep(0.05)
    return n
async def hang(n):
    open("begun", "w").close()
    await asyncio.sleep(100)
def block(n):
    open("begun", "w").close()
    time.sleep(100)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(workdir: Path) -> Iterator[Start]:
    """Start `cachectl` as a process of its own with pipes for stdin, stdout and stderr."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "cachectl", *(str(word) for word in words)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            **{**pipes, **options},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def stopped_by(process: subprocess.Popen[bytes], number: int) -> tuple[int, bytes, bytes, float]:
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err, time.monotonic() - begun


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("call", ["slow", "hang", "block"])
def test_a_signal_in_a_warm_reports_within_a_second(
    start: Start, server: ServerProcess, workdir: Path, number: int, code: int, call: str
):
    (workdir / "signal_origin.py").write_text(ORIGIN)
    (workdir / "r.jsonl").write_text("".join(f'{{"params":{{"n":{n}}}}}\n' for n in range(2000)))
    origin = f"signal_origin:{call}"
    process = start(
        "-u", server.url, "-o", "json", "warm", "r.jsonl", "--origin", origin, "-n", "t"
    )
    if call == "slow":
        wait_until(lambda: server.raw("DBSIZE"))
    else:
        wait_until((workdir / "begun").exists)
    ended, out, err, seconds = stopped_by(process, number)
    report = json.loads(out)
    assert (ended, report["exit_code"], report["stopped"]) == (code, code, "interrupted")
    assert seconds < 1.5  # a second, and the process's own end on a busy machine
    parts = ("written", "skipped", "failed", "unknown", "unsent")
    assert report["entries"] == 2000 == sum(report[part] for part in parts)
    assert report["written"] == server.raw("DBSIZE")
    assert b"Traceback" not in err


def test_an_interrupt_before_the_command_begins_is_quiet(start: Start, workdir: Path):
    """Ctrl-C while modules are still imported ends with 130, as later, and shows no traceback."""
    (workdir / "typer.py").write_text("raise KeyboardInterrupt\n")
    process = start("--version")
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_stdin_says_nothing(
    start: Start, server: ServerProcess, number: int, code: int
):
    process = start("-u", server.url, "-o", "json", "warm", "-")
    assert process.stdin is not None
    process.stdin.write(b'{"key":"a","value":1}\n')
    process.stdin.flush()
    wait_until(lambda: server.raw("DBSIZE"))
    begun = time.monotonic()
    process.send_signal(number)
    assert process.wait(20) == code
    assert time.monotonic() - begun < 1.5
    assert process.stdout is not None
    assert json.loads(process.stdout.read())["written"] == 1


def test_a_signal_in_a_get_on_a_stopped_server(start: Start, fresh_server):
    server = fresh_server()
    server.sigstop()
    process = start("-u", server.url, "get", "k")
    time.sleep(0.5)  # there is nothing to poll: the process waits for a silent server
    code, out, err, seconds = stopped_by(process, signal.SIGINT)
    server.sigcont()
    assert (code, out) == (130, b"")
    assert seconds < 1.5
    assert err == b"interrupted\n"


def test_a_password_command_that_hangs_holds_nobody(start: Start, workdir: Path):
    """Neither a signal waits for it, nor the process's end."""
    begun = workdir / "begun"
    (workdir / "cachectl.yaml").write_text(
        "default_profile: p\nprofiles:\n  p:\n    url: redis://127.0.0.1:1/0\n"
        f"    password_command: [sh, -c, 'touch {begun}; exec sleep 9']\n"
    )
    process = start("--config", "cachectl.yaml", "get", "k")
    wait_until(begun.exists)
    code, _, _, seconds = stopped_by(process, signal.SIGTERM)
    assert code == 143
    assert seconds < 1.5


def test_a_stopped_server_is_borne_for_the_timeout(start: Start, fresh_server):
    server = fresh_server()
    server.sigstop()
    begun = time.monotonic()
    process = start("-u", server.url, "--timeout", "500ms", "get", "k")
    _, err = process.communicate(timeout=20)
    server.sigcont()
    assert process.returncode == 3
    assert time.monotonic() - begun < 2.5
    assert b"500ms" in err


def test_a_closed_pipe_ends_scan_quietly(start: Start, server: ServerProcess):
    server.fill("k:", 20000)
    process = start("-u", server.url, "scan")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"k:")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("words", [["get", "k"], ["scan"], ["health", "--interval", "50ms"]])
def test_a_full_disk_is_told(start: Start, server: ServerProcess, words: list[str]):
    server.raw("SET", "k", "1")
    with Path("/dev/full").open("wb") as full:
        process = start("-u", server.url, *words, stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"no space left" in err
    assert len(err.splitlines()) == 1


def test_the_deadline_stops_a_warm_with_its_report(
    start: Start, server: ServerProcess, workdir: Path
):
    (workdir / "signal_origin.py").write_text(ORIGIN)
    (workdir / "r.jsonl").write_text("".join(f'{{"params":{{"n":{n}}}}}\n' for n in range(2000)))
    words = ["warm", "r.jsonl", "--origin", "signal_origin:slow", "-n", "t", "-o", "json"]
    process = start("-u", server.url, "--deadline", "700ms", *words)
    out, _ = process.communicate(timeout=20)
    report = json.loads(out)
    assert (process.returncode, report["stopped"]) == (1, "deadline")
    assert 0 < report["written"] < 2000


@pytest.mark.parametrize(
    ("closed", "words", "code", "says"),
    [
        ("<&-", "warm -", 2, "stdin is closed"),
        ("<&-", "set k -", 2, "stdin is closed"),
        ("<&-", "get k", 0, ""),
        (">&-", "get k", 0, ""),
        ("2>&-", "get k", 0, ""),
    ],
)
def test_descriptors_that_were_closed_before(
    server: ServerProcess, workdir: Path, closed: str, words: str, code: int, says: str
):
    server.raw("SET", "k", "1")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m cachectl -u {server.url} {words} {closed}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == code
    assert says in done.stderr.decode()


def test_nobody_who_reads_stderr_is_no_failure(server: ServerProcess, workdir: Path):
    """A warning on a pipe that has closed: the work is done, and the exit code tells so."""
    Path("none.jsonl").write_bytes(b"")
    reader, writer = os.pipe()
    os.close(reader)
    code = subprocess.run(
        [sys.executable, "-m", "cachectl", "-u", server.url, "warm", "./none.jsonl"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=writer,
        check=False,
    ).returncode
    os.close(writer)
    assert code == 0


def test_a_ci_log_is_not_held_open_by_the_embedded_server(start: Start, workdir: Path):
    """A pipe that `cachectl … | cat` waits on closes although the server lives on."""
    process = start("-u", "embedded:", "set", "k", "1")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"")
    assert b"cachectl server stop" in err
    assert start("server", "stop").wait(20) == 0
