"""Operators: warm, flush, scan and health, by the library as the commands use it, and as commands."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from cachectl.config.load import resolve
from cachectl.config.settings import DEFAULT_HEALTH
from cachectl.errors import CachectlError
from cachectl.operations import entries as listing
from cachectl.operations.flush.run import flush
from cachectl.operations.health import health
from cachectl.operations.stop import Stop
from cachectl.operations.targets import Target
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.run import warm
from cachectl.store.open import open_store
from cachectl.store.pace import FULL, GENTLE, Pace
from cachectl.store.store import Store
from cachectl.store.tries import Patience
from scripts.benchmarks.processes import Place as Directory
from scripts.benchmarks.processes import command
from scripts.soaking import checker
from scripts.soaking.faults import Faults
from scripts.soaking.ledger import LINGER, Ledger, body
from scripts.soaking.places import Place

ENTRIES: Final = 1500
STANDING: Final = 300
RATES: Final = (None, 500, 1000, 3000)
AS_COMMAND: Final = 1 / 6
LATEST: Final = 60.0
"""Seconds in which any operation has to come to an end."""
HANGS: Final = -1
FINE: Final = (0, 1, 3, 4)
T = TypeVar("T")


class Ended(NamedTuple):
    """How an operation ended: its code, what it reported, and from when to when it was."""

    code: int
    report: dict[str, int]
    begun: float
    ended: float


class Operators:
    """All that operators do to one place, beside the users."""

    def __init__(
        self, place: Place, directory: Directory, ledger: Ledger, faults: Faults, random: Random
    ) -> None:
        """Take the servers, a directory for files, the ledger, and the faults, to look between them."""
        self._place = place
        self._directory = directory
        self._ledger = ledger
        self._faults = faults
        self._random = random
        self._server = resolve(None, profile=None, url=place.url, env={})
        self._versions = 0
        self.warmed: dict[str, tuple[int, Ended]] = {}

    async def prepare(self) -> None:
        """Write what stands from first to last."""
        await self._warm("standing", STANDING)

    async def keep_warm(self, namespace: str, over: asyncio.Event) -> None:
        """Warm a namespace again and again, and look each time what is there."""
        while not over.is_set():
            version, ended = await self._warm(namespace, ENTRIES)
            self.warmed[namespace] = (version, ended)
            found, looked = await self._versions_in(namespace)
            self.judge_warm(namespace, found.count(version), looked)
            await self._rest(ended, over)

    async def keep_empty(self, namespace: str, over: asyncio.Event) -> None:
        """Fill a namespace and flush it, again and again."""
        certain: set[int] = set()
        while not over.is_set():
            version, filled = await self._warm(namespace, ENTRIES)
            certain = certain | {version} if filled.code == 0 else certain
            await self._rest(filled, over)
            ended = await self._run(
                "flush", [namespace], lambda store: self._flush(store, namespace)
            )
            found, looked = await self._versions_in(namespace)
            if ended.code == 0:
                left = sum(version in certain for version in found)
                if left:
                    what = f"{namespace}: {left} keys after a proven flush, {ended.report}"
                    self._ledger.doubt("flushed", what, (ended.ended, looked))
                certain.clear()

    async def keep_looking(self, over: asyncio.Event) -> None:
        """List what stands, again and again: nothing of it may be missing from a listing that ended."""
        while not over.is_set():
            ended = await self._run("scan", [], self._scan)
            if ended.code == 0 and ended.report["keys"] != STANDING:
                what = f"{ended.report['keys']} of {STANDING} keys"
                self._ledger.doubt("scanned", what, (ended.begun, ended.ended), excuse="nothing")
            await self._run("health", ["--interval", "100ms"], self._health)
            await asyncio.sleep(self._random.uniform(0, 0.5))

    def judge_warm(self, namespace: str, there: int, looked: float) -> None:
        """Hold what is there of the last warm against its report."""
        _, (code, report, begun, ended) = self.warmed[namespace]
        what = f"{namespace}: {there} entries are there after {report}, exit {code}"
        if code == 0 and report["written"] != ENTRIES:
            self._ledger.broken.append(what)
        if there > report["written"] + report["unknown"]:
            self._ledger.broken.append(what)
        if there < report["written"]:
            span = (ended, looked) if code == 0 else (begun, looked)
            self._ledger.doubt("warmed", what, span)

    async def _rest(self, ended: Ended, over: asyncio.Event) -> None:
        """Let what was never answered come to rest before its keys are used again."""
        if ended.code:
            await asyncio.sleep(LINGER)
        elif not over.is_set():
            await asyncio.sleep(self._random.uniform(0, 0.3))

    async def _versions_in(self, namespace: str) -> tuple[list[int], float]:
        """Look, between two faults, what a namespace holds; also return when."""

        def look() -> list[int]:
            with self._faults.quiet():
                return checker.versions(self._place.primaries(), namespace)

        return await asyncio.to_thread(look), monotonic()

    async def _warm(self, namespace: str, count: int) -> tuple[int, Ended]:
        self._versions += 1
        version = self._versions
        file = self._directory.path / f"{namespace}.jsonl"
        _write(file, namespace, version, count)
        done = await self._run("warm", [str(file)], lambda store: self._load(store, file))
        report = done.report
        fates = ("written", "skipped", "failed", "unknown", "unsent")
        if report["entries"] != sum(report[fate] for fate in fates):
            self._ledger.broken.append(f"{namespace}: does not add up: {report}")
        return version, done

    async def _load(self, store: Store, file: Path) -> tuple[int, dict[str, int]]:
        report = await warm(store, Warm(sources=(str(file),)), Stop(), _unseen, BytesIO())
        names = ("entries", "written", "skipped", "failed", "unknown", "unsent")
        return report.exit_code, {name: getattr(report, name) for name in names}

    async def _flush(self, store: Store, namespace: str) -> tuple[int, dict[str, int]]:
        report = await flush(store, [Target(namespace.encode())], Stop(), _unseen)
        return report.exit_code, {"deleted": report.deleted, "passes": report.passes}

    async def _scan(self, store: Store) -> tuple[int, dict[str, int]]:
        found: set[bytes] = set()
        async with aclosing(listing.scan(store, b"standing")) as pages:
            async for page in pages:
                found.update(page.keys)
        return 0, {"keys": len(found)}

    async def _health(self, store: Store) -> tuple[int, dict[str, int]]:
        timeout = self._server.cli.timeout
        report = await health(store, DEFAULT_HEALTH, interval=0.1, timeout=timeout)
        return report.exit_code, {}

    async def _run(
        self,
        verb: str,
        words: list[str],
        operation: Callable[[Store], Awaitable[tuple[int, dict[str, int]]]],
    ) -> Ended:
        """Do something by the library or by the command, in time, and count how it ended."""
        begun = monotonic()
        rate = self._random.choice(RATES)
        by_command = verb != "scan" and self._random.random() < AS_COMMAND
        try:
            async with asyncio.timeout(LATEST):
                if by_command:
                    code, report = await self._call(verb, words, rate)
                else:
                    code, report = await self._do(operation, rate)
        except TimeoutError:
            code, report = HANGS, {}
        ended = monotonic()
        self._ledger.counts[f"{verb} {code}"] += 1
        fine = (0, 1, 2) if verb == "health" else FINE
        if code not in fine:
            self._ledger.broken.append(f"{verb} ended with {code}: {report}")
        elif code and verb != "health":
            what = f"{verb} ended with {code} while all was well"
            self._ledger.doubt("calm", what, (begun, ended), excuse="fault")
        return Ended(code, report or dict.fromkeys(_FATES, 0), begun, ended)

    async def _do(
        self,
        operation: Callable[[Store], Awaitable[tuple[int, dict[str, int]]]],
        rate: float | None,
    ) -> tuple[int, dict[str, int]]:
        """Do something with a store as the commands open it; nothing was done where it raises ours."""
        cli = self._server.cli
        patience = Patience(cli.timeout, cli.connect_timeout, cli.attempts, 0.05, cli.timeout)
        pace = Pace(self._random.choice((FULL, GENTLE)), rate)
        store = open_store(self._server, patience, start_embedded=False, pace=pace)
        try:
            async with store, store.watched():
                return await operation(store)
        except CachectlError as error:
            return error.exit_code, {}

    async def _call(
        self, verb: str, words: list[str], rate: float | None
    ) -> tuple[int, dict[str, int]]:
        """Do something as a command, and return its code and report."""
        paced = [] if rate is None or verb == "health" else ["--rate", f"{rate}/s"]
        sure = ["--yes"] if verb == "flush" else []
        process = await asyncio.create_subprocess_exec(
            *command(), "-u", self._place.url, "-o", "json", verb, *words, *paced, *sure,
            env=self._directory.environment,
            cwd=self._directory.home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        self._ledger.counts["commands"] += 1
        if b"Traceback" in err:
            self._ledger.broken.append(f"{verb} ended with a traceback: {err[-2000:].decode()}")
        report: dict[str, Any] = json.loads(out) if out else {}
        return process.returncode or 0, report


_FATES: Final = ("entries", "written", "skipped", "failed", "unknown", "unsent")


def _unseen(_progress: object) -> None:
    """Look away."""


def _write(file: Path, namespace: str, version: int, count: int) -> None:
    """Write the entries of one version of a namespace."""
    with file.open("w") as lines:
        for number in range(count):
            name = f"{namespace}:{number}"
            print(json.dumps({"key": name, "value": body(name, version)}), file=lines)
