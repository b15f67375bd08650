"""Whole processes and what they cost; and fresh servers for them, since a used one is slower.

FLUSHALL on Valkey was seen to slow later runs from 2.4 to 4.5 s: every run has a server of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.servers import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "scripts" / "benchmarks" / "programs"
FULL = ("--pace", "full")
FOREIGN = ("CACHECTL_", "XDG_", "REDIS", "ENABLE_CACHE", "PYTHONDONTWRITEBYTECODE", "COV")


class Done(NamedTuple):
    """What one process took: seconds on the wall and on the CPU, bytes at its peak; its stdout."""

    seconds: float
    cpu_seconds: float
    peak: int
    out: str


class Place:
    """A temporary directory for data, and an empty home in it where the processes run."""

    def __init__(self) -> None:
        """Make the directory; PYTHONPATH lets this checkout be measured, whatever is installed."""
        self._directory = tempfile.TemporaryDirectory(prefix="cachectl-bench-")
        self.path = Path(self._directory.name)
        self.home = self.path / "home"
        self.home.mkdir()
        self.environment = {
            name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)
        } | {"HOME": str(self.home), "PYTHONPATH": str(ROOT)}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the directory."""
        self._directory.cleanup()

    def start(
        self,
        words: Sequence[str],
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
        stderr: IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process."""
        return subprocess.Popen(
            words, env=self.environment, cwd=self.home, stdin=stdin, stdout=stdout, stderr=stderr
        )

    def run(self, words: Sequence[str], stdin: Path | None = None, *, mute: bool = False) -> Done:
        """Run a process to its end; raise `RuntimeError` when it fails. `mute`: stdout is not kept."""
        with (
            Path(stdin or os.devnull).open("rb") as source,
            Path(os.devnull).open("w+b") if mute else tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            begun = perf_counter()
            process = self.start(words, source, out, err)
            return ended(process, begun, out, err)


def ended(process: subprocess.Popen[bytes], begun: float, out: IO[bytes], err: IO[bytes]) -> Done:
    """Wait for a process and return its own cost, which `wait4` knows and `getrusage` does not."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    seconds = perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        msg = f"{process.args!r} ended with {process.returncode}: {text(err)[-2000:]}"
        raise RuntimeError(msg)
    return Done(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text(out))


def text(file: IO[bytes]) -> str:
    """Return what a process wrote into a file."""
    file.seek(0)
    return file.read().decode(errors="replace")


def command() -> list[str]:
    """Return how cachectl is called: the console script beside the interpreter, if there is one."""
    script = Path(sys.executable).with_name("cachectl")
    return [str(script)] if script.exists() else [sys.executable, "-m", "cachectl"]


def cachectl(server: ServerProcess, *words: object) -> list[str]:
    """Return the words of a cachectl command for this server."""
    return [*command(), "-u", server.url, *map(str, words)]


def redis_cli(server: ServerProcess, *words: str) -> list[str]:
    """Return the words of a redis-cli command for this server, over TCP as cachectl is."""
    program = shutil.which("redis-cli")
    if program is None:
        msg = "redis-cli, the peer, is not installed"
        raise RuntimeError(msg)
    return [program, "-h", "127.0.0.1", "-p", str(server.port), *words]


def program(name: str, *words: object) -> list[str]:
    """Return the words that run one of the programs beside this module."""
    return [sys.executable, str(PROGRAMS / f"{name}.py"), *map(str, words)]


@contextmanager
def filled(place: Place, protocol: Path, keys: int) -> Iterator[ServerProcess]:
    """Give a fresh server that holds what a file of ready-made protocol writes: so many keys."""
    with ServerProcess(tcp=True) as server:
        place.run(redis_cli(server, "--pipe"), stdin=protocol)
        expect("keys after the load", server.raw("DBSIZE"), keys)
        yield server


def expect(what: str, found: object, wanted: object) -> None:
    """Raise `RuntimeError` where the work was not done: its time would mean nothing."""
    if found != wanted:
        msg = f"{what}: {found!r} instead of {wanted!r}, nothing is measured"
        raise RuntimeError(msg)
