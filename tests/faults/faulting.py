"""The command line as its own process on a server with a password; its outputs are searched for secrets.

Whatever a run prints or leaves in its directory is searched for the password and the values as soon as
the run has ended (`Running.ended`), so that no test can forget it.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote, quote_plus

from tests.proxies import Proxy
from tests.servers import ServerProcess

ROOT = Path(__file__).parents[2]
LIMIT = 30.0
"""Seconds after which a run that has not ended fails its test."""
BUG = 70
USER = "operator"
PASSWORD = "c4n4ry-pa55#w@rd/é"
VALUE = "c4n4ry-välue#/1"
"""Stands in every value."""
RIGHTS = ("~*", "&*", "+@all")
LOGIN = ("--user", USER, "on", f">{PASSWORD}", *RIGHTS)
"""Settings of a server that is to know the user whenever it is started again."""
SHOWS_VALUES = {"get", "inspect", "export"}
READS: dict[str, tuple[str, ...]] = {
    "get": ("get", "n:1"),
    "inspect": ("inspect", "n:1"),
    "scan": ("scan", "n"),
    "stats": ("stats", "n"),
    "export": ("export", "n"),
    "export-to": ("export", "n", "--to", "out.jsonl"),
}
WRITES: dict[str, tuple[str, ...]] = {
    "set": ("set", "n:1", "5"),
    "delete": ("delete", "n:1"),
    "warm": ("warm", "./entries.jsonl"),
    "flush": ("flush", "n", "--yes"),
}
COMMANDS = READS | WRITES
"""What an operator may type (`Operator.entries` writes the file); `health` has codes of its own."""
On = ServerProcess | Proxy | str


def seeds() -> range:
    """Return the seeds of a test with chance: two, or as many as CACHECTL_FAULT_SEEDS says."""
    return range(int(os.environ.get("CACHECTL_FAULT_SEEDS", "2")))


def value(number: int = 0) -> bytes:
    """Return a value as JSON text; each number has its own."""
    return json.dumps({"n": number, "text": VALUE}, ensure_ascii=False).encode()


class Ended(NamedTuple):
    """How a run ended: exit code, both outputs, and how long it took."""

    code: int
    out: bytes
    err: bytes
    seconds: float

    @property
    def lines(self) -> list[Any]:
        """Each line of stdout, which is whole."""
        assert not self.out or self.out.endswith(b"\n"), self.out[-200:]
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def report(self) -> Any:
        """The one object on stdout."""
        assert self.out.count(b"\n") == 1, (self.out[:500], self.err)
        return json.loads(self.out)

    @property
    def told(self) -> list[dict[str, Any]]:
        """Each line of stderr: `{"error": …}`, `{"warning": …}`, `{"note": …}`."""
        return [json.loads(line) for line in self.err.splitlines()]

    @property
    def error(self) -> dict[str, str]:
        """The one error on stderr: `code`, `message`, `hint`."""
        (line,) = [line for line in self.told if "error" in line]
        return dict(line["error"])

    @property
    def warnings(self) -> list[str]:
        """The warnings on stderr."""
        return [line["warning"] for line in self.told if "warning" in line]

    def check(self, name: str) -> dict[str, Any]:
        """Return one check of `health`."""
        (check,) = [check for check in self.report["checks"] if check["name"] == name]
        return dict(check)


class Running:
    """A run that has begun; what it prints goes to files, or to where the test says."""

    def __init__(
        self,
        words: Sequence[str],
        directory: Path,
        known: set[Path],
        stdin: bytes | int,
        stdout: int | IO[bytes] | None,
    ) -> None:
        """Start `python -m cachectl -o json WORDS` in the directory; the command stands first."""
        self.command = words[0]
        self._directory = directory
        self._known = known
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self._begun = time.monotonic()
        with tempfile.TemporaryFile() as given:
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cachectl", "-o", "json", *words],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), "CANARY": PASSWORD},
                stdin=given if isinstance(stdin, bytes) else stdin,
                stdout=self._out if stdout is None else stdout,
                stderr=self._err,
            )

    @property
    def out(self) -> bytes:
        """What it has printed by now."""
        return os.pread(self._out.fileno(), os.fstat(self._out.fileno()).st_size, 0)

    @property
    def err(self) -> bytes:
        """What it has said by now."""
        return os.pread(self._err.fileno(), os.fstat(self._err.fileno()).st_size, 0)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def ended(self, limit: float = LIMIT) -> Ended:
        """Wait for its end, search all that it left for secrets, and return how it ended."""
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"{self.command} has not ended within {limit:g} s: {self.out!r} {self.err!r}"
            raise AssertionError(msg) from None
        seconds = time.monotonic() - self._begun
        ended = Ended(code, self.out, self.err, seconds)
        self._search(ended)
        self.kill()
        return ended

    def _search(self, ended: Ended) -> None:
        shown = self.command in SHOWS_VALUES
        assert not found(ended.err, PASSWORD, VALUE), ended.err
        assert ended.code != BUG, ended.err
        assert b"Traceback" not in ended.err, ended.err
        left = {path for path in self._directory.rglob("*") if path.is_file()} - self._known
        for output in (ended.out, *(path.read_bytes() for path in left)):
            assert not found(output, PASSWORD, *([] if shown else [VALUE])), output[:2000]
        if shown:
            self._known |= left  # an export's file, that the next command may find there

    def kill(self) -> None:
        """End it and close its files."""
        self.process.kill()
        self.process.wait()
        for file in (self._out, self._err, self.process.stdin, self.process.stdout):
            if file is not None:
                file.close()


class Operator:
    """Runs commands on one server, in a directory whose settings hold the user and the password."""

    def __init__(self, directory: Path, on: On | None, **profile: Any) -> None:
        """Write ./cachectl.yaml; what `profile` says replaces or adds to the profile's settings."""
        self.directory = directory
        self._inputs: set[Path] = set()
        self._runs: list[Running] = []
        url = {} if on is None else {"url": on if isinstance(on, str) else on.url}
        settings = {**url, "username": USER, "password": "${CANARY}", **profile}
        whole = {"default_profile": "faulty", "profiles": {"faulty": settings}}
        self.file("cachectl.yaml", json.dumps(whole).encode()).chmod(0o600)

    def file(self, name: str, data: bytes) -> Path:
        """Write a file that commands read; it may hold values."""
        path = self.directory / name
        path.write_bytes(data)
        self._inputs.add(path)
        return path

    def entries(self, count: int, prefix: str = "n:", name: str = "entries.jsonl") -> str:
        """Write a source of `count` entries, and return its name."""
        rows = (b'{"key":"%b%d","value":%b}' % (prefix.encode(), i, value(i)) for i in range(count))
        self.file(name, b"\n".join(rows) + b"\n")
        return f"./{name}"

    def started(
        self, *words: object, stdin: bytes | int = b"", stdout: int | IO[bytes] | None = None
    ) -> Running:
        """Begin a command; the caller ends it, or the end of the test does."""
        run = Running([str(word) for word in words], self.directory, self._inputs, stdin, stdout)
        self._runs.append(run)
        return run

    def ran(self, *words: object, stdin: bytes = b"", limit: float = LIMIT) -> Ended:
        """Run a command to its end."""
        return self.started(*words, stdin=stdin).ended(limit)

    def ran_within(self, seconds: float, *words: object) -> Ended:
        """Run a command that takes less than so long; a busy machine gets three chances."""
        for _ in range(3):
            ended = self.ran(*words)
            if ended.seconds < seconds:
                return ended
        msg = f"{words[0]} took {ended.seconds:.1f} s, not less than {seconds:g}"
        raise AssertionError(msg)

    def close(self) -> None:
        """End what still runs."""
        for run in self._runs:
            run.kill()


def found(data: bytes, *secrets: str) -> list[str]:
    """Return the forms in which secrets stand in data: raw, escaped, URL-encoded, base64."""
    return [form for secret in secrets for form in forms(secret) if form.encode() in data]


def forms(secret: str) -> Iterator[str]:
    """Yield how a text may look in an output; base64 of it within more than itself, too."""
    yield from (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield from (json.dumps(secret)[1:-1], repr(secret.encode())[2:-1])
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"-" * shift + secret.encode()).decode().rstrip("=")
            yield text[(0, 2, 3)[shift] : -1]


def admit(server: ServerProcess, *rights: str) -> None:
    """Let the user in, with these rights alone if any are named."""
    server.raw("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", *(rights or RIGHTS))


def fill(server: ServerProcess, prefix: str, count: int) -> None:
    """Set `count` keys `prefix0`, `prefix1` … to a value with the canary, past cachectl."""
    server.fill(prefix, count, value().decode())


def keys_of(server: ServerProcess, pattern: str = "*") -> set[bytes]:
    """Return the keys that are there."""
    return set(server.raw("KEYS", pattern))


def executed(server: ServerProcess) -> Counter[str]:
    """Return how often each command was really executed: INFO commandstats, without the refused."""
    counts: Counter[str] = Counter()
    for name, fields in server.info("commandstats").items():
        told = dict(field.split("=") for field in fields.split(","))
        failed = int(told.get("failed_calls", 0))
        counts[name.removeprefix("cmdstat_")] = int(told["calls"]) - failed
    return +counts


def refusals(server: ServerProcess) -> Counter[tuple[str, str]]:
    """Return how often the ACL refused what: ("auth", "AUTH"), ("command", "scan") …, from ACL LOG."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in server.raw("ACL", "LOG"):
        told = dict(zip(row[::2], row[1::2], strict=True))
        counts[told[b"reason"].decode(), told[b"object"].decode()] += told[b"count"]
    return counts


def until(happened: Callable[[], Any], seconds: float = 10.0) -> None:
    """Poll until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.002)


def adds_up(report: dict[str, Any]) -> bool:
    """What holds of the report of a warm in every ending."""
    fates = [report[fate] for fate in ("written", "skipped", "failed", "unknown", "unsent")]
    return bool(report["entries"] == sum(fates)) and min(fates) >= 0


def listed(rows: Iterable[dict[str, Any]]) -> Counter[bytes]:
    """Return how often each key stands in what `scan` or `export` printed."""
    return Counter(row["key"].encode() for row in rows)
