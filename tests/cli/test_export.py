"""export: to a pipe, into a file that is whole or not there, and what it says."""

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.terminal import Terminal
from tests.servers import ServerProcess

ROOT = Path(__file__).parents[2]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(workdir: Path, server: ServerProcess) -> Iterator[Start]:
    """Start `cachectl` on the shared server as a process of its own with pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "cachectl", "-u", server.url, *(str(word) for word in words)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            bufsize=0,  # `communicate` knows nothing of what a buffer has read
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
        time.sleep(0.005)


def test_entries_stand_on_stdout_and_the_rest_on_stderr(on: Run, server: ServerProcess):
    """A value is not touched; a life is an absolute time, null for never."""
    server.raw("SET", "n:a", '{"x":  1.50}')
    server.raw("SET", b"n:\xff", b"\xff", "EX", 100)
    result = on("export", "n")
    assert result.code == 0
    lines = {line.get("key"): line for line in result.lines}
    assert b'{"key":"n:a","value":{"x":  1.50},"ttl":null}\n' in result.out
    assert lines[None].pop("expires_at") == pytest.approx(time.time() + 100, abs=2)
    assert lines[None] == {"key_base64": "bjr/", "value_base64": "/w=="}
    assert result.err.startswith(f"exported 2 entries from {server.url} in ")
    assert len(result.err.splitlines()) == 1
    assert on("export", "n", "-o", "json").out.splitlines().sort() == result.out.splitlines().sort()
    assert on("-q", "export", "n").err == ""


def test_export_into_warm_is_a_copy(on: Run, run: Run, server: ServerProcess, fresh_server):
    other = fresh_server()
    server.raw("SET", "n:a", "1", "EX", 1000)
    server.raw("RPUSH", "n:list", "a")
    out = on("export", "n").out
    assert run("-u", other.url, "warm", "-", stdin=out).code == 0
    assert other.raw("GET", "n:a") == b"1"
    assert other.raw("LRANGE", "n:list", 0, -1) == [b"a"]
    assert 0 <= server.raw("PTTL", "n:a") - other.raw("PTTL", "n:a") < 1000


def test_a_backup_does_not_overwrite_what_is_newer(on: Run, server: ServerProcess, workdir: Path):
    """What has an end is written only where it is missing."""
    server.raw("SET", "n:a", "1", "EX", 1000)
    assert on("export", "n", "--to", "b.jsonl").code == 0
    server.raw("SET", "n:a", "2")
    assert on("warm", "b.jsonl", "-o", "json").json["skipped"] == 1
    assert server.raw("GET", "n:a") == b"2"


def test_names_are_taken_as_flush_takes_them(on: Run, server: ServerProcess):
    server.raw("MSET", "a:1", "1", "a:2", "1", "a::", "1", "b:1", "1", "c", "1")

    def keys(*words: str) -> list[str]:
        result = on("export", *words)
        assert result.code == 0, result.err
        return sorted(line["key"] for line in result.lines)

    assert keys("a", "b") == ["a:1", "a:2", "a::", "b:1"]
    assert keys("a", "--match", "*:1") == ["a:1"]
    assert keys("--match", "c*") == ["c"]
    assert keys("a:", "--literal") == ["a::"]
    assert len(keys("--all")) == 5
    for words, says in (
        ([], "nothing to export is named"),
        (["a:"], "did you mean a?"),
        (["a", "--all"], "exclude each other"),
        (["a", "--match", ""], "empty pattern"),
    ):
        result = on("export", *words)
        assert (result.code, result.out) == (2, b"")
        assert says in result.err


def test_a_file_is_private_and_its_report_stands_on_stdout(
    on: Run, server: ServerProcess, workdir: Path
):
    server.raw("SET", "n:a", "1")
    result = on("export", "n", "--to", "b.jsonl", "-o", "json")
    assert result.code == 0
    fields = result.json
    assert fields.pop("seconds") > 0
    assert fields.pop("rate") > 0
    assert fields == {
        "command": "export", "profile": None, "server": server.url, "exit_code": 0,
        "file": "b.jsonl", "entries": 1, "failed": 0, "reasons": {}, "bytes": 35, "restarts": 0,
        "held_back_seconds": 0.0,
        "stopped": None, "errors": [], "error": None,
        "nodes": [{"node": server.url, "keys": 1}],
    }  # fmt: skip
    assert Path("b.jsonl").read_bytes() == b'{"key":"n:a","value":1,"ttl":null}\n'
    assert stat.S_IMODE(Path("b.jsonl").stat().st_mode) == 0o600
    assert os.listdir() == ["b.jsonl"]
    text = on("export", "n", "--to", "b.jsonl").text
    assert text.startswith(f"exported 1 entries from {server.url} to b.jsonl in ")


def test_a_name_that_ends_in_gz_is_gzip(on: Run, server: ServerProcess, workdir: Path):
    server.fill("n:", 3000)
    assert on("export", "n", "--to", "b.jsonl.gz").code == 0
    lines = gzip.decompress(Path("b.jsonl.gz").read_bytes()).splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == 3000
    server.raw("FLUSHALL")
    assert on("warm", "b.jsonl.gz").code == 0
    assert server.raw("DBSIZE") == 3000


def test_a_file_that_is_there_is_replaced_as_a_whole(on: Run, server: ServerProcess, workdir: Path):
    """Through a link, which stays one."""
    server.raw("SET", "n:a", "1")
    Path("real").write_text("old")
    Path("link").symlink_to("real")
    assert on("export", "n", "--to", "link").code == 0
    assert Path("link").is_symlink()
    assert Path("real").read_bytes().startswith(b'{"key":"n:a"')


def test_where_no_file_can_be_nothing_is_attempted(on: Run, workdir: Path):
    for path, says in (("no/b.jsonl", "no such file"), (".", "is a directory")):
        result = on("export", "n", "--to", path)
        assert (result.code, result.out) == (2, b"")
        assert says in result.err
        assert result.err.startswith(f"error: {path}: ")


def test_what_could_not_be_carried_is_said_and_the_rest_kept(
    run: Run, server: ServerProcess, workdir: Path
):
    """1; the file holds all that could be carried."""
    server.fill("n:open:", 3)
    server.fill("n:secret:", 2)
    server.raw(
        "ACL", "SETUSER", "u", "reset", "on", "nopass", "+scan", "+strlen", "+get", "+pttl", "~n:open:*"
    )  # fmt: skip
    url = server.url.replace("://", "://u:x@")
    result = run("-u", url, "export", "n")
    assert (result.code, len(result.lines)) == (1, 3)
    assert "2 keys could not be exported" in result.err
    assert "n:secret:0: NOPERM" in result.err
    fields = run("-u", url, "export", "n", "--to", "b.jsonl", "-o", "json").json
    assert (fields["exit_code"], fields["entries"], fields["failed"]) == (1, 3, 2)
    assert fields["reasons"] == {"denied": 2}
    assert {error["key"] for error in fields["errors"]} == {"n:secret:0", "n:secret:1"}
    assert len(Path("b.jsonl").read_bytes().splitlines()) == 3


def test_a_server_that_is_lost_leaves_no_file(on: Run, run: Run, workdir: Path):
    """Nor one that is not there."""
    result = run("-u", "redis://127.0.0.1:1/0", "export", "n", "--to", "b.jsonl")
    assert (result.code, result.out) == (3, b"")
    assert os.listdir() == []


def test_a_closed_pipe_ends_export_quietly(start: Start, server: ServerProcess):
    server.fill("n:", 50_000)
    process = start("export", "n")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b'{"key":"n:')
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, b"")


def test_a_full_disk_is_told(start: Start, server: ServerProcess):
    """1 with the reason."""
    server.fill("n:", 5000)
    with Path("/dev/full").open("wb") as full:
        process = start("export", "n", stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"no space left" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["-o", "json"]])
def test_a_full_disk_leaves_no_file(
    on: Run, server: ServerProcess, workdir: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    """Its report says why."""
    server.fill("n:", 5000)

    def full(file: int, data: memoryview) -> int:
        with Path("/dev/full").open("wb", buffering=0) as device:
            return device.write(data)

    monkeypatch.setattr("cachectl.cli.render.files.os.write", full)
    result = on("export", "n", "--to", "b.jsonl", *words)
    assert result.code == 1
    assert "b.jsonl: no space left on device" in result.text + result.err
    assert os.listdir() == []


def test_what_is_no_regular_file_is_written_to_and_never_replaced(
    start: Start, server: ServerProcess, workdir: Path
):
    """A named pipe here, as a device is one; nothing lies beside it."""
    server.fill("n:", 500)
    os.mkfifo("pipe")
    process = start("export", "n", "--to", "pipe")
    assert len(Path("pipe").read_bytes().splitlines()) == 500
    assert process.wait(20) == 0
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    assert os.listdir() == ["pipe"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_lines_and_no_file(
    start: Start, server: ServerProcess, workdir: Path, number: int, code: int
):
    """To a pipe whose reader takes its time, and into a file."""
    server.fill("n:", 200_000, '"' + "x" * 200 + '"')
    process = start("export", "n")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(number)
    begun = time.monotonic()
    rest, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - begun < 1.5
    lines = (first + rest).splitlines(keepends=True)
    assert 1 < len(lines) < 200_000
    assert all(json.loads(line)["key"].startswith("n:") for line in lines)
    assert lines[-1].endswith(b"\n")
    assert f"exported {len(lines)} entries".encode() in err
    assert b"Traceback" not in err
    process = start("export", "n", "--to", "b.jsonl", "-o", "json")
    wait_until(lambda: any(path.stat().st_size for path in workdir.glob("b.jsonl.*.partial")))
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    fields = json.loads(out)
    assert (fields["stopped"], fields["file"], fields["exit_code"]) == ("interrupted", None, code)
    assert os.listdir() == []


def test_a_killed_export_leaves_no_file_of_that_name(
    start: Start, server: ServerProcess, workdir: Path
):
    """What it leaves says that it is part of one; the file that was there before stays."""
    server.fill("n:", 200_000, '"' + "x" * 200 + '"')
    Path("b.jsonl").write_text("before")
    process = start("export", "n", "--to", "b.jsonl")
    wait_until(lambda: any(path.stat().st_size for path in workdir.glob("b.jsonl.*.partial")))
    process.kill()
    process.communicate(timeout=20)
    assert Path("b.jsonl").read_text() == "before"
    (partial,) = workdir.glob("b.jsonl.*.partial")
    assert stat.S_IMODE(partial.stat().st_mode) == 0o600


def test_a_signal_while_nobody_reads_the_pipe(start: Start, server: ServerProcess):
    """The pipe is full, and the end comes all the same."""
    server.fill("n:", 50_000, '"' + "x" * 200 + '"')
    process = start("export", "n")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)  # there is nothing to poll: it waits for a reader
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert time.monotonic() - begun < 1.5


def test_the_deadline_stops_an_export_into_a_pipe_that_nobody_reads(
    start: Start, server: ServerProcess
):
    server.fill("n:", 50_000, '"' + "x" * 200 + '"')
    process = start("--deadline", "500ms", "export", "n")
    assert process.wait(20) == 1
    _, err = process.communicate()
    assert b"stopped deadline" in err


def test_on_a_terminal_nothing_steers_it(server: ServerProcess, workdir: Path):
    """Values are from outside: what reorders a line is shown escaped."""
    server.raw("SET", "n:a", '"\u202e\u009b31m"')
    terminal = Terminal(["-u", server.url, "export", "n"], workdir)
    terminal.expect("exported 1 entries")
    assert terminal.end() == 0
    assert "\\u202e\\x9b31m" in terminal.shown
    assert "\u202e" not in terminal.shown


def test_a_restart_is_told_on_stderr(
    on: Run, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """Keys may come twice: once a warning, and in the line at the end."""
    from cachectl.operations import export as room

    server.fill("n:", 10)
    finish = room._Export._finish
    done: list[int] = []

    async def late(self: Any, reader: Any) -> None:
        await finish(self, reader)
        if not done:
            done.append(1)
            server.restart(kill=True)
            server.fill("n:", 10)

    monkeypatch.setattr(room._Export, "_finish", late)
    result = on("export", "n")
    assert (result.code, len(result.lines)) == (0, 20)
    assert (
        result.err.count("warning: the server was lost, or slots moved, the export begins again")
        == 1
    )
    assert "begun anew 1 times" in result.err
