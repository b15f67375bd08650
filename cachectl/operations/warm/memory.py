"""`--max-memory`: entries pass while the server has room, and a warm stops before it has none."""

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from time import monotonic

from cachectl.errors import UsageError
from cachectl.models import Entries
from cachectl.operations.warm.tally import Tally
from cachectl.store.memory import Leap, Memory
from cachectl.store.store import Store
from cachectl.units import format_size

EVERY = 0.5
"""Seconds from one look at the server's memory to the next, at most, while entries come."""
ENTRY = 128
"""Bytes that an entry is taken for beside its key and value; its share of the tables is a leap's."""
ROUNDED = 1.25
"""So many times its length a key or a value is taken for: allocators round up to a quarter."""
PACKED, LARGE, MOST = 100, 4, 1024 * 1024
"""A dump is packed, and compressed: taken for a hundred times its length (LZF does no better), a large
one for four times its length and a megabyte."""
TWICE = 2
"""A value is in memory twice while it is read. What was estimated wrongly is found out in time, too:
only half the room is used before the next look."""
BUFFERS = 256 * 1024
"""Bytes that the connections' buffers may take meanwhile."""


async def guarded(store: Store, most: float | None, tally: Tally) -> "MemoryGuard | None":
    """Return what keeps used_memory under `most`, or None: bytes, or (a float) a share of maxmemory.

    Asks INFO, once here and then on the way of the entries. Raises `UsageError` for a share of a
    maxmemory that is not set, `DeniedError` where INFO is denied. Above `most` already, the tally is
    halted.
    """
    if most is None:
        return None
    memories = await store.memory()
    if isinstance(most, float) and not all(memory.limit for memory in memories):
        msg = f"the server has no maxmemory to take {_percent(most)} of"
        raise UsageError(msg, "name a size: --max-memory 2GB, or set maxmemory on the server")
    guard = MemoryGuard(store, most, tally)
    guard.take_in(memories)
    return guard


class MemoryGuard:
    """Counts what is sent, and looks at the memory when the count says it might get short."""

    def __init__(self, store: Store, most: float, tally: Tally) -> None:
        """Start with no room: `take_in` tells of it."""
        self._store = store
        self._most = most
        self._tally = tally
        self._memories: Sequence[Memory] = ()
        self._first: dict[tuple[str, str | None], int] = {}
        self._due = 0.0
        self._count = self._cost = 0.0

    async def admit(self, entries: Entries, land: Callable[[], Awaitable[None]]) -> int:
        """Return how many of the entries, from the first on, may be sent now; with 0 it is all over.

        Before a look at the memory, `land` waits for what was sent.
        """
        cost = _cost(entries)
        if monotonic() >= self._due or self._short(len(entries), cost):
            await land()
            if not self._tally.stop.is_set():
                self.take_in(await self._store.memory())
        if self._tally.stop.is_set():
            return 0
        count = len(entries)
        while count and self._short(count, cost):
            count //= 2
            cost = _cost(entries[:count])
        if not count:
            self._halt(_cost(entries[:1]))
        self._count += count
        self._cost += cost
        return count

    def take_in(self, memories: Sequence[Memory]) -> None:
        """Begin to count anew; halt the tally where keys are evicted, or the room is used up."""
        self._memories = memories
        self._due = monotonic() + EVERY
        self._count = self._cost = 0.0
        for memory in memories:
            first = self._first.setdefault((memory.where, memory.run), memory.evicted)
            if memory.evicted > first:
                evicted = memory.evicted - first
                msg = f"stopped: the server has evicted {evicted} keys since the warm began"
                self._tally.halt("memory", f"{msg}, {_used(memory)}")
            elif memory.used >= self._limit(memory):
                msg = f"stopped: {_used(memory)} is past {self._text(memory)}"
                self._tally.halt("memory", msg)

    def _short(self, count: float, cost: float) -> bool:
        """Whether so many entries more might not fit into any one primary."""
        return any(
            self._needed(memory, count, cost) > self._room(memory) for memory in self._memories
        )

    def _needed(self, memory: Memory, count: float, cost: float) -> float:
        """Return the bytes that all may take that was sent since the look, and so many entries more."""
        return TWICE * (self._cost + cost) + _leaps(memory.leaps, self._count + count)

    def _room(self, memory: Memory) -> float:
        return self._limit(memory) - memory.used - BUFFERS

    def _limit(self, memory: Memory) -> float:
        if not isinstance(self._most, float):
            return self._most
        return self._most * memory.limit if memory.limit else inf  # it was lifted meanwhile

    def _halt(self, cost: float) -> None:
        """Halt the tally before an entry that might take too much; say so where that is no trifle."""
        memory = min(self._memories, key=lambda m: self._room(m) - self._needed(m, 1, cost))
        msg = f"stopped before {_used(memory)} passed {self._text(memory)}"
        needed = self._needed(memory, 1, cost)
        if needed > BUFFERS:
            tables = _leaps(memory.leaps, 1) > BUFFERS
            what = "the server's tables double" if tables else "the value is large"
            msg += f": the next entry may take {format_size(needed)}, as {what}"
        self._tally.halt("memory", msg)

    def _text(self, memory: Memory) -> str:
        """Return the limit as it was asked for."""
        if isinstance(self._most, float):
            return f"{_percent(self._most)} of maxmemory ({format_size(memory.limit)})"
        return format_size(self._most)


def _cost(entries: Entries) -> float:
    """Return the bytes that the entries are taken for."""
    sizes = map(len, entries.values)
    if True in entries.dumps:
        values = sum(min(PACKED * size, LARGE * size + MOST) for size in sizes)
    else:
        values = sum(sizes)
    return len(entries) * ENTRY + (sum(map(len, entries.keys)) + values) * ROUNDED


def _leaps(leaps: Sequence[Leap], count: float) -> int:
    """Return the bytes that tables take at once when so many keys are added."""
    return sum(leap.size for leap in leaps if count >= leap.left)


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def _used(memory: Memory) -> str:
    return f"used_memory of {memory.where} ({format_size(memory.used)})"
