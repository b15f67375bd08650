"""Which entries are written, with which TTL, and how they are sent on."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from cachectl.config.settings import UNSET
from cachectl.config.ttl import planned_ttl
from cachectl.errors import CachectlError
from cachectl.keys import to_text
from cachectl.models import Entries, Entry
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.verify import answered, look
from cachectl.store.store import Store
from cachectl.store.writer import Writer, Writing


def decided(plan: Warm, entries: Entries) -> Entries:
    """Return the entries with the TTLs they get: their own > flag or job > namespace > cache."""
    if UNSET not in set(entries.ttls):
        return entries
    ttls = [
        _planned_ttl(plan, key) if ttl is UNSET else ttl
        for key, ttl in zip(entries.keys, entries.ttls, strict=True)
    ]
    return Entries(
        entries.keys, entries.values, ttls, entries.expiries, entries.dumps, entries.lines
    )


def _planned_ttl(plan: Warm, key: bytes) -> float | None:
    namespaces = plan.namespaces or {}
    return planned_ttl(to_text(key), namespaces, plan.fallback_ttl, plan.ttl, plan.ttl_jitter)


async def missing(store: Store, keys: Sequence[bytes]) -> list[bool]:
    """Return which of the keys are not there."""
    return [not found for found in await look(store, keys)]


async def expiring(store: Store, keys: Sequence[bytes], within: float) -> list[bool]:
    """Return which of the keys are missing or expire within so many seconds."""
    outcomes = answered(await store.ttls(keys))
    return [left is False or (left is not None and left <= within) for left in outcomes.replies]


class Into:
    """The way of entries into the cache: sent on, and entered into the tally once they are answered.

    What is cancelled meanwhile stays in flight.
    """

    def __init__(self, writer: Writer, tally: Tally) -> None:
        """Write by `writer`; `tally` is told what is sent, and what became of it."""
        self._writer = writer
        self._tally = tally

    async def send(
        self, entries: Entries, source_of: Callable[[Entry], str], *, only_missing: bool
    ) -> None:
        """Send entries whose TTLs are decided on; they are answered while the next ones are read.

        Those that the tally's guard does not admit are not sent.
        """
        guard = self._tally.guard
        while len(entries):
            count = len(entries) if guard is None else await guard.admit(entries, self.land)
            if not count:
                return
            admitted = entries if count == len(entries) else entries[:count]
            writing = Writing(admitted, only_missing=only_missing)
            self._tally.begin(writing, source_of)
            for settled in await self._writer.send(writing):
                self._tally.settle(settled)
            entries = entries[count:]

    async def land(self) -> None:
        """Wait until all that was sent is answered."""
        for settled in await self._writer.land():
            self._tally.settle(settled)


@asynccontextmanager
async def into(store: Store, tally: Tally) -> AsyncIterator[Into]:
    """Give the way into the cache; what was sent is answered when the block ends, unless cancelled."""
    tally.pace = store.pace
    async with store.writer() as writer:
        way = Into(writer, tally)
        try:
            yield way
        except CachectlError:
            await way.land()
            raise
        await way.land()
