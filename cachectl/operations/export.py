"""Carrying entries out: each key of some namespaces with its value and its life, as JSON Lines.

The walk over the keyspace tells sizes beforehand, so that what is on its way is bounded in bytes; the
values of one group are turned into lines while the server is at the next.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from operator import methodcaller
from time import perf_counter
from typing import Any, Protocol

from cachectl.errors import (
    CachectlError,
    OutputError,
    UnreachableError,
    WrongTypeError,
)
from cachectl.models import MAX_ERRORS, Observer, Problem, Progress, Stopped
from cachectl.operations.stop import Stop, until
from cachectl.operations.targets import Target, pattern
from cachectl.reports.counts import NodeCount
from cachectl.reports.export import ExportReport
from cachectl.sources.lines_out import LONG, entry_lines, long_line
from cachectl.store.reader import Reader, Reading
from cachectl.store.scan import Page
from cachectl.store.store import Store
from cachectl.store.stream import VALUE, Unanswered

__all__ = ["Sink", "Target", "export"]

GROUP = 256 * 1024
"""Bytes of values that are asked for together, or one value: some of these groups are on their way."""
HUGE = 16 * 1024 * 1024
"""Of a value of more bytes, nothing else is held while it comes."""
PROOFS = 5
"""So many walks may end on another server than they began on before the export is given up."""
NEVER = "never answered: every connection broke on it"
TOO_LONG = "its line would be longer than warm reads"
NO_NAME = "the empty key: warm writes none"


class Sink(Protocol):
    """What takes the lines. It counts what is written whole, and raises what writing raises."""

    entries: int
    size: int

    async def write(self, lines: bytes) -> None:
        """Take whole lines, as soon as those before are written."""

    async def write_long(self, parts: Iterator[bytes]) -> None:
        """Take one line in parts."""

    async def settle(self) -> None:
        """Wait until all that was taken is written."""

    async def leave(self) -> None:
        """Wait a moment for that: work was cut short. Raises nothing."""


@dataclass(slots=True)
class _Account:
    """What could not be carried, and how often it began anew; it outlives work that is cancelled."""

    anew: Callable[[], None]
    failed: int = 0
    restarts: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    by_node: Counter[str] = field(default_factory=Counter)
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None

    def fail(self, key: bytes, message: str, code: str) -> None:
        """Note a key that is there and cannot be carried."""
        self.failed += 1
        self.reasons[code] += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Problem(message, key=key))

    def begin_anew(self) -> None:
        """Note that all keys come again: also those that failed."""
        self.restarts += 1
        self.failed = 0
        self.reasons.clear()
        self.errors.clear()
        self.anew()


def _nothing() -> None:
    pass


async def export(
    store: Store,
    targets: Sequence[Target],
    stop: Stop,
    observe: Observer,
    sink: Sink,
    *,
    anew: Callable[[], None] = _nothing,
) -> ExportReport:
    """Write every key in `targets`, each at least once, as lines that `warm` reads.

    `anew` is called whenever the walk begins again, as keys may come twice from then on. Before the
    first entry it raises (`ServerError`, `UnreachableError`), afterwards it reports. What `sink` raises
    that is not ours is raised on.
    """
    start = perf_counter()
    account = _Account(anew)
    try:
        await until(stop, _Export(store, targets, stop, observe, sink, account).run())
    except CachectlError as failure:
        account.error = failure
    await sink.leave()
    error = account.error
    if error is not None and not (sink.entries or account.failed or stop.is_set()):
        raise error
    return ExportReport(
        entries=sink.entries,
        failed=account.failed,
        size=sink.size,
        restarts=account.restarts,
        seconds=perf_counter() - start,
        held_back_seconds=store.pace.held_back,
        reasons=dict(account.reasons),
        stopped=stop.reason or _ended_by(error),
        errors=tuple(account.errors),
        error=error,
        nodes=tuple(NodeCount(*item) for item in sorted(account.by_node.items())),
    )


def _ended_by(error: CachectlError | None) -> Stopped | None:
    if isinstance(error, OutputError):
        return "output"
    return "connection" if isinstance(error, UnreachableError) else None


class _Export:
    """One export at work."""

    def __init__(
        self,
        store: Store,
        targets: Sequence[Target],
        stop: Stop,
        observe: Observer,
        sink: Sink,
        account: _Account,
    ) -> None:
        self._store = store
        self._pattern = pattern(targets)
        self._lies_in = methodcaller("startswith", tuple(target.start for target in targets))
        self._stop = stop
        self._observe = observe
        self._sink = sink
        self._account = account
        self._others: list[bytes] = []  # keys of other types than string, to be asked for by DUMP
        self._torn: list[bytes] = []  # keys of strings that are to be asked for again

    async def run(self) -> None:
        """Walk until the server behind the last value is the one that the walk began on.

        Without that, values that a restarted server has lost would be missing without a word.
        """
        for _ in range(PROOFS):
            server = await self._walk()
            if self._stop.is_set() or await self._store.standing() == server:
                return
            self._account.begin_anew()
        msg = f"{PROOFS} walks were followed by another server than they began on"
        raise UnreachableError(msg, "keys may be missing: run it again when the server is stable")

    async def _walk(self) -> tuple[object, ...]:
        """Carry what one walk finds; return the standing of the server it (last) began on."""
        store, stop = self._store, self._stop
        server = await store.standing()
        self._others, self._torn = [], []
        walk = store.length_pages(self._pattern, self._choose, lambda: not stop.is_set())
        async with aclosing(walk) as pages, store.reader() as reader:
            async for page in pages:
                if page.anew:
                    await self._take(await reader.land())  # what it refuses is met again
                    self._others, self._torn = [], []
                    self._account.begin_anew()
                    server = await store.standing()
                await self._ask(reader, page)
                if stop.is_set():
                    break
                self._observe(Progress("exporting", self._sink.entries, None, self._account.failed))
            else:
                await self._finish(reader)
        await self._sink.settle()
        return server

    def _choose(self, keys: list[bytes]) -> list[bytes]:
        """Return the keys that literally lie in a target."""
        return list(filter(self._lies_in, keys))

    async def _ask(self, reader: Reader, page: Page) -> None:
        """Ask for the values of a page's keys, and take those that have come meanwhile."""
        for keys, size in _groups(*self._strings(page)):
            await self._send(reader, Reading(keys, size), size)
        await self._ask_again(reader)

    async def _send(self, reader: Reader, reading: Reading, size: float) -> None:
        """Ask for a group, and take those that have come meanwhile; a huge value comes alone."""
        if size > HUGE:
            await self._take(await reader.land())
        await self._take(await reader.send(reading))
        if size > HUGE:
            await self._take(await reader.land())

    def _strings(self, page: Page) -> tuple[list[bytes], list[float]]:
        """Return the keys that hold a string, as far as is known, and what sizes they are taken for."""
        keys, lengths = page.keys, page.replies
        if b"" in keys:
            place = keys.index(b"")
            self._account.fail(b"", NO_NAME, "empty_key")
            keys, lengths = list(keys), list(lengths)
            del keys[place], lengths[place]
        if set(map(type, lengths)) <= {int}:
            return keys, lengths
        strings, sizes = [], list[float]()
        for key, length in zip(keys, lengths, strict=True):
            if isinstance(length, WrongTypeError):
                self._others.append(key)
            elif not isinstance(length, Unanswered):  # else the walk begins anew
                strings.append(key)
                sizes.append(length if isinstance(length, int) else VALUE)
        return strings, sizes

    async def _ask_again(self, reader: Reader) -> None:
        """Ask for the values that are no strings, or were torn; more of them may show meanwhile."""
        while (self._others or self._torn) and not self._stop.is_set():
            torn, self._torn = self._torn, []
            for keys, size in _groups(torn, [VALUE] * len(torn)):
                await self._send(reader, Reading(keys, size), size)
            others, self._others = self._others, []
            if not others:
                continue
            told = (await self._store.sizes(others)).replies
            sizes = [size if isinstance(size, int) else VALUE for size in told]
            for keys, size in _groups(others, sizes):
                await self._send(reader, Reading(keys, size, dump=True), size)

    async def _finish(self, reader: Reader) -> None:
        """Take the values that are still on their way."""
        await self._take(await reader.land())
        while self._others or self._torn:
            await self._ask_again(reader)
            await self._take(await reader.land())

    async def _take(self, settled: list[Reading]) -> None:
        """Write the lines of groups that are settled; none of them is held any longer."""
        settled.reverse()
        while settled and not self._stop.is_set():
            reading = settled.pop()
            error = reading.outcomes.error
            await self._write(reading)
            if error is not None:
                raise error

    async def _write(self, reading: Reading) -> None:
        values, ends = reading.found()
        keys: Sequence[bytes] = reading.keys
        whole = set(map(type, values)) == {bytes} and set(map(type, ends)) <= {float, type(None)}
        if not whole or reading.outcomes.resent:
            keys, values, ends = self._carried(reading, values, ends)
        if len(keys) == 1 and len(values[0]) > LONG:
            parts = long_line(keys[0], values[0], ends[0], dump=reading.dump)
            if parts is None:
                self._account.fail(keys[0], TOO_LONG, "too_long")
            else:
                self._account.by_node.update(reading.sources(keys))
                await self._sink.write_long(parts)
                await self._sink.settle()  # before the next value comes, this one is let go
        elif keys:
            self._account.by_node.update(reading.sources(keys))
            await self._sink.write(entry_lines(keys, values, ends, dump=reading.dump))

    def _carried(
        self, reading: Reading, values: list[Any], ends: list[Any]
    ) -> tuple[list[bytes], list[bytes], list[float | None]]:
        """Return what there is to write, and note what there is not."""
        rows = []
        for place, (key, value, end) in enumerate(zip(reading.keys, values, ends, strict=True)):
            refused = next((it for it in (value, end) if isinstance(it, CachectlError)), None)
            if isinstance(value, WrongTypeError):
                self._others.append(key)
            elif refused is not None:
                self._account.fail(key, refused.sentence, refused.code)
            elif isinstance(value, Unanswered) or isinstance(end, Unanswered):
                if reading.outcomes.error is None:  # else that error ends it all
                    self._account.fail(key, NEVER, "connection_lost")
            elif reading.torn(place):
                (self._others if reading.dump else self._torn).append(key)
            elif value is not None and end is not False:  # else it has gone meanwhile
                rows.append((key, value, end))
        return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _groups(
    keys: Sequence[bytes], sizes: Sequence[float]
) -> Iterator[tuple[Sequence[bytes], float]]:
    """Yield keys in groups, each with the bytes of its values: at most GROUP, or one value."""
    total = sum(sizes)
    if total <= GROUP:
        if keys:
            yield keys, total
        return
    start, held = 0, 0.0
    for place, size in enumerate(sizes):
        if held + size > GROUP and place > start:
            yield keys[start:place], held
            start, held = place, 0.0
        held += size
    yield keys[start:], held
