"""What flows through the rooms: entries, requests, problems, progress.

TTLs and times are seconds, sizes bytes. `None` as a TTL means persistent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, Literal, NamedTuple, Self, overload

from cachectl.config.settings import UNSET, Unset

MAX_ERRORS = 20
"""How many errors a report lists; all are counted."""


class Entry(NamedTuple):
    """A key, a value and a TTL, ready to be written.

    `ttl` is UNSET when the entry brought none. `expires_at` (Unix time) takes the place of a TTL in a
    backup. With `dump`, `value` is what DUMP gave and is written by RESTORE.
    """

    key: bytes
    value: bytes
    ttl: float | None | Unset = UNSET
    expires_at: float | None = None
    dump: bool = False
    line: int = 0


class Entries(Sequence[Entry]):
    """Entries that are handled together, by columns: an object for each would halve a load's speed."""

    __slots__ = ("dumps", "expiries", "keys", "lines", "ttls", "values")

    def __init__(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        ttls: Sequence[float | None | Unset],
        expiries: Sequence[float | None],
        dumps: Sequence[bool],
        lines: Sequence[int],
    ) -> None:
        """Take columns that are equally long; `expiries` is the `expires_at` of each."""
        self.keys = keys
        self.values = values
        self.ttls = ttls
        self.expiries = expiries
        self.dumps = dumps
        self.lines = lines

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return the columns of entries."""
        return cls(*(zip(*entries, strict=True) if entries else [()] * 6))

    @property
    def columns(self) -> tuple[Sequence[Any], ...]:
        """All columns, in the order of an entry's fields."""
        return self.keys, self.values, self.ttls, self.expiries, self.dumps, self.lines

    @property
    def of_backup(self) -> bool:
        """Whether any of them comes from a backup: as a dump, or with the time at which it expires."""
        return True in self.dumps or self.expiries.count(None) < len(self.expiries)

    def where(self, wanted: Sequence[bool]) -> "Entries":
        """Return those at the places where `wanted` is true."""
        return Entries(*(list(compress(column, wanted)) for column in self.columns))

    def __eq__(self, other: object) -> bool:
        """Whether the other holds the same entries in the same order."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # its columns may be lists

    def __repr__(self) -> str:
        """Return how many they are: values are not for everyone's eyes."""
        return f"<{len(self)} entries>"

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Entry]:
        """Yield them one by one."""
        return map(Entry, *self.columns)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> "Entries": ...
    def __getitem__(self, place: int | slice) -> "Entry | Entries":
        """Return the entry at a place, or several by their columns."""
        if isinstance(place, slice):
            return Entries(*(column[place] for column in self.columns))
        return Entry(*(column[place] for column in self.columns))


class Request(NamedTuple):
    """What an application asks for, `count` times; `params` are there when the line brought them.

    `target` is the path and query that a log's line asked for, the first seen for the key; `size` the
    bytes of one answer, where a log tells them.
    """

    key: bytes
    params: dict[str, Any] | None = None
    count: int = 1  # type: ignore[assignment]  # shadows tuple.count, which nobody calls here
    line: int = 0
    target: str | None = None
    size: int | None = None


class Problem(NamedTuple):
    """One thing that went wrong with one entry, request or node: where, and what; never a value."""

    message: str
    source: str | None = None
    line: int | None = None
    key: bytes | None = None


class Batch(NamedTuple):
    """Entries (or requests) of one source that are handled together, and the lines that were bad."""

    source: str
    entries: Entries
    problems: list[Problem]


class RequestBatch(NamedTuple):
    """Requests of one source, and the lines that were bad.

    Of a log: `bad` counts all its bad lines, of which `problems` holds the first, `unrouted` those that
    no route takes, `filtered` those of another method, status or time.
    """

    source: str
    requests: list[Request]
    problems: list[Problem]
    bad: int = 0
    unrouted: int = 0
    filtered: int = 0


Stopped = Literal[
    "deadline", "interrupted", "fail_fast", "connection", "input",
    "origin", "memory", "locked", "disabled", "dependency", "output",
]  # fmt: skip
"""Why work ended before its end."""


class Progress(NamedTuple):
    """How far long work is, told to whoever looks on; `total` is None where nobody knows.

    `hit_rate` is the share of the ranked requests whose keys are in the cache by now, `held_back` the
    seconds for which the work was held back.
    """

    doing: str
    done: int
    total: int | None = None
    failed: int = 0
    hit_rate: float | None = None
    held_back: float = 0.0


Observer = Callable[[Progress], None]
