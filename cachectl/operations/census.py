"""Counting keys by namespace: constant memory, whatever the number of keys. Asks no server."""

from collections.abc import Callable, Sequence
from heapq import nlargest
from operator import itemgetter
from typing import Any

from cachectl.errors import CachectlError
from cachectl.keys import SEPARATOR
from cachectl.operations.histogram import Histogram
from cachectl.operations.targets import Name, Target
from cachectl.reports.stats import Figures, LargeKey, NamespaceFigures, TtlSpread

NAMESPACES = 5000
"""So many are told apart, some 10 kB each; SCAN's order is random, so big ones are among them."""
OTHER = "… (all others)".encode()
WAITING = 64
"""TTLs of a namespace that wait to be put into its histogram together."""

_COLON = SEPARATOR.encode()
Naming = Callable[[list[bytes]], list[Name]]


def naming(targets: Sequence[Target], depth: int) -> Naming:
    """Return what gives keys the names of their namespaces, `depth` name parts below their target.

    A key that lies higher is of the namespace that directly holds it; None: outside of any.
    """
    if len(targets) == 1:
        return _below(targets[0].start.count(_COLON) + depth)
    starts = [(target.start, _below(target.start.count(_COLON) + depth)) for target in targets]

    def names(keys: list[bytes]) -> list[Name]:
        below = (next(below for start, below in starts if key.startswith(start)) for key in keys)
        return [name([key])[0] for key, name in zip(keys, below, strict=True)]

    return names


def _below(parts: int) -> Naming:
    def first(keys: list[bytes]) -> list[Name]:
        heads = [key.partition(_COLON) for key in keys]
        return [head if colon else None for head, colon, _ in heads]

    def joined(keys: list[bytes]) -> list[Name]:
        split = [key.split(_COLON, parts) for key in keys]
        return [_COLON.join(words[:-1]) if len(words) > 1 else None for words in split]

    return first if parts == 1 else joined


class _Count:
    """What was counted of one namespace."""

    __slots__ = ("biggest", "keys", "largest", "persistent", "refusals", "size", "ttls", "waiting")

    def __init__(self) -> None:
        self.keys = 0
        self.size = 0
        self.persistent = 0
        self.biggest = -1
        self.largest = b""
        self.waiting: list[float] = []
        self.ttls = Histogram()
        self.refusals: dict[str, tuple[int, str]] = {}

    def refuse(self, fact: str, reason: str, keys: int = 1) -> None:
        """Note that a fact of so many keys was not told."""
        before, first = self.refusals.get(fact, (0, reason))
        self.refusals[fact] = before + keys, first

    def settle(self) -> None:
        """Put the TTLs that wait into the histogram."""
        self.ttls.add(self.waiting)
        self.waiting.clear()

    def take(self, other: "_Count") -> None:
        """Count what another, that is settled, has counted."""
        self.keys += other.keys
        self.size += other.size
        self.persistent += other.persistent
        self.ttls.merge(other.ttls)
        if other.biggest > self.biggest:
            self.biggest, self.largest = other.biggest, other.largest
        for fact, (keys, reason) in other.refusals.items():
            self.refuse(fact, reason, keys)

    def figures(self) -> Figures:
        """Return what is known; a figure of which one key's share was refused is not."""
        unknown = {
            field: reason if keys == self.keys else f"{reason} ({keys} of {self.keys} keys)"
            for fact, (keys, reason) in self.refusals.items()
            for field in _DEPENDENT[fact]
        }
        return Figures(
            self.keys,
            None if "bytes" in unknown else self.size,
            None if "persistent" in unknown else self.persistent,
            None if "ttl" in unknown else _spread(self.ttls),
            None if "largest" in unknown or not self.keys else LargeKey(self.largest, self.biggest),
            unknown,
        )


_DEPENDENT = {"bytes": ("bytes", "largest"), "ttl": ("persistent", "ttl")}
"""What cannot be known where a fact was refused."""


def _spread(ttls: Histogram) -> TtlSpread | None:
    p50, p90 = ttls.quantile(0.5), ttls.quantile(0.9)
    if p50 is None or p90 is None:
        return None
    return TtlSpread(p50, p90, ttls.shortest, ttls.longest)


class Census:
    """Counts of namespaces, and the `top` largest keys of all."""

    def __init__(self, names: Naming, top: int) -> None:
        """Start with nothing counted."""
        self._names = names
        self._top = top
        self._counts: dict[Name, _Count] = {}
        self._largest: dict[bytes, int] = {}
        self._floor = -1 if top else float("inf")
        self.keys = 0

    def add(self, keys: list[bytes], ttls: list[Any], sizes: list[Any]) -> None:
        """Count keys with their TTLs (None: persistent) and bytes; our error where one was refused."""
        self.keys += len(keys)
        names = self._names(keys)
        counts = self._counts
        ttls, sizes = self._told("ttl", names, ttls, 0.0), self._told("bytes", names, sizes, -1)
        for name, key, ttl, size in zip(names, keys, ttls, sizes, strict=True):
            count = counts.get(name) or self._count(name)
            count.keys += 1
            count.size += size
            if size > count.biggest:
                count.biggest = size
                count.largest = key
            if ttl is None:
                count.persistent += 1
            else:
                waiting = count.waiting
                waiting.append(ttl)
                if len(waiting) == WAITING:
                    count.settle()
        self._keep_largest(keys, sizes)

    def _count(self, name: Name) -> _Count:
        """Return the count of a namespace: its own, or that of all that came too late."""
        if name not in self._counts and len(self._counts) >= NAMESPACES:
            name = OTHER
        return self._counts.setdefault(name, _Count())

    def _told(self, fact: str, names: list[Name], column: list[Any], instead: Any) -> list[Any]:
        """Return a column with `instead` of errors; figures that these would be part of are not told."""
        if not any(issubclass(kind, CachectlError) for kind in set(map(type, column))):
            return column
        for name, told in zip(names, column, strict=True):
            if isinstance(told, CachectlError):
                self._count(name).refuse(fact, told.message)
        return [instead if isinstance(told, CachectlError) else told for told in column]

    def _keep_largest(self, keys: list[bytes], sizes: list[int]) -> None:
        floor = self._floor
        found = {key: size for size, key in zip(sizes, keys, strict=True) if size > floor}
        if not found:
            return
        # by key: SCAN may give one twice
        kept = nlargest(self._top, (self._largest | found).items(), key=itemgetter(1))
        self._largest = dict(kept)
        if len(kept) == self._top:
            self._floor = kept[-1][1]

    def total(self) -> Figures:
        """Return the figures of all keys."""
        total = _Count()
        for count in self._counts.values():
            count.settle()
            total.take(count)
        return total.figures()

    def largest(self) -> tuple[LargeKey, ...]:
        """Return the largest keys, in order; none where the memory of a key was refused."""
        if any("bytes" in count.refusals for count in self._counts.values()):
            return ()
        order = sorted(self._largest.items(), key=lambda item: (-item[1], item[0]))
        return tuple(LargeKey(key, size) for key, size in order)

    @property
    def folded(self) -> bool:
        """Whether there were more namespaces than are told apart."""
        return OTHER in self._counts

    def __len__(self) -> int:
        """How many namespaces are told apart; keys outside of any count as one."""
        return len(self._counts) - self.folded

    def namespaces(self, sort: str) -> list[NamespaceFigures]:
        """Return the figures of the `top` namespaces by `bytes`, `keys` or `name`."""
        order = sorted(self._counts.items(), key=_ORDERS[sort])[: self._top]
        for _, count in order:
            count.settle()
        return [NamespaceFigures(name, count.figures()) for name, count in order]


_ORDERS: dict[str, Callable[[tuple[Name, _Count]], Any]] = {
    "bytes": lambda item: (-max(item[1].size, 0), -item[1].keys, item[0] or b""),
    "keys": lambda item: (-item[1].keys, item[0] or b""),
    "name": lambda item: (item[0] is not None, item[0] or b""),
}
