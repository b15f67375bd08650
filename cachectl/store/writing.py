"""An entry -> the command that writes it; the server's answers -> ours."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import groupby, repeat
from typing import Any, Final, Literal, NamedTuple, Self, overload

from cachectl.config.settings import Unset
from cachectl.errors import CachectlError
from cachectl.models import Entries, Entry
from cachectl.store.stream import Group
from cachectl.store.wire import Command

CHANGES: Final = frozenset({b"SET", b"RESTORE", b"UNLINK", b"DEL"})
"""The commands of ours that change data."""
SMALL: Final = 1024 * 1024
"""Bytes of values that are packed at once, and so are in memory twice."""
KEPT: Final = 16 * 1024
GROUP_BYTES: Final = 32 * 1024
"""Bytes of keys and values that one command writes, about: the server is not busy with it for long."""


def milliseconds(seconds: float) -> int:
    """Return a TTL or a time as the server takes it: at least 1, where 0 is refused."""
    return max(1, round(seconds * 1000))


def seconds_left(pttl: int) -> float | None | Literal[False]:
    """Return seconds for the server's milliseconds, None for its -1 (persistent), False for its -2."""
    if pttl == -2:  # noqa: PLR2004 the server's word
        return False
    return pttl / 1000 if pttl >= 0 else None


def lifetime(ttl: float | Unset | None) -> float | None:
    """Return the TTL of an entry that is to be written; raise `ValueError` for one not decided on."""
    if isinstance(ttl, Unset):
        msg = "an entry is written with a TTL, or None"
        raise ValueError(msg)  # noqa: TRY004 its type is right
    return ttl


class Lengths(NamedTuple):
    """The bytes of each key and of each value of some entries."""

    keys: list[int]
    values: list[int]

    @classmethod
    def of(cls, entries: Entries) -> Self:
        """Measure the entries."""
        return cls(list(map(len, entries.keys)), list(map(len, entries.values)))


class Writes(Sequence[Command]):
    """The commands that write entries, each one whole; made when they are wanted: groups may do."""

    def __init__(self, entries: Entries, lengths: Lengths, *, only_missing: bool) -> None:
        """Make nothing yet."""
        self._entries = entries
        self._lengths = lengths
        self._only_missing = only_missing

    @cached_property
    def _made(self) -> list[Command]:
        return _commands(self._entries, self._lengths, only_missing=self._only_missing)

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Command]:
        """Yield them one by one."""
        return iter(self._made)

    @overload
    def __getitem__(self, place: int) -> Command: ...
    @overload
    def __getitem__(self, place: slice) -> list[Command]: ...
    def __getitem__(self, place: int | slice) -> Command | list[Command]:
        """Return the one at a place, or several."""
        return self._made[place]


def grouped(entries: Entries, lengths: Lengths, most: int) -> Iterable[Group]:
    """Return MSETEX commands for the entries, `most` with each or fewer; none where SET is as good.

    That is for few entries, for large ones, and for TTLs that differ: one command has one. The server is
    done with fifty in 0.6 of the time that it takes for as many SET. Of a key that comes twice the last
    value stands. Source: MSETEX of Valkey 9.1 and Redis 8.4.
    """
    count = len(entries)
    if count < most or True in entries.dumps:
        return
    most = min(most, GROUP_BYTES * count // max(sum(lengths.keys) + sum(lengths.values), 1))
    lives = zip(entries.ttls, entries.expiries, strict=True)
    runs = [len(list(run)) for _, run in groupby(lives)]
    if min(most, count // len(runs)) < 2:  # noqa: PLR2004 alone, on the average
        return
    words = [b""] * (4 * count)
    words[0::4] = map(bulk_head, lengths.keys)
    words[1::4] = entries.keys
    words[2::4] = map(bulk_head, lengths.values)
    words[3::4] = entries.values
    end = 0
    for run in runs:
        start, end = end, end + run
        last = _last_words(entries.ttls[start], entries.expiries[start], only_missing=False)
        for first in range(start, end, most):
            size = min(most, end - first)
            head = b"*%d%b" % (2 + 2 * size + len(last), _packed(b"MSETEX", b"%d" % size))
            body = b"".join(words[4 * first : 4 * (first + size)])
            yield Group(b"%b%b%b\r\n" % (head, body, _packed(*last)), size)


def _packed(*words: bytes) -> bytes:
    r"""Return words as the protocol writes them, but with the `\r\n` that closes what is before them."""
    return b"".join(b"\r\n$%d\r\n%b" % (len(word), word) for word in words)


def _commands(entries: Entries, lengths: Lengths, *, only_missing: bool) -> list[Command]:
    """Return the commands; those of a small batch are packed at once, by columns."""
    if not len(entries) or sum(lengths.values) > SMALL or True in entries.dumps:
        return [write_command(entry, only_missing=only_missing) for entry in entries]
    heads: Sequence[bytes]
    tails: Sequence[bytes]
    lives = set(zip(entries.ttls, entries.expiries, strict=True))
    if len(lives) == 1:  # as in most files
        head, tail = _ends(*lives.pop(), only_missing)
        heads, tails = [head] * len(entries), [tail] * len(entries)
    else:
        ends = map(_ends, entries.ttls, entries.expiries, repeat(only_missing))
        heads, tails = zip(*ends, strict=True)
    key_lengths, value_lengths = map(bulk_head, lengths.keys), map(bulk_head, lengths.values)
    columns = heads, key_lengths, entries.keys, value_lengths, entries.values, tails
    return list(map(b"".join, zip(*columns, strict=True)))


@lru_cache(maxsize=1024)  # the entries of a file share their TTL, mostly
def _ends(
    ttl: float | Unset | None,
    expires_at: float | None,
    only_missing: bool,  # noqa: FBT001 for the cache
) -> tuple[bytes, bytes]:
    """Return a SET as the protocol writes it: what comes before its key, and what after its value."""
    words = _last_words(ttl, expires_at, only_missing=only_missing)
    return b"*%d%b" % (3 + len(words), _packed(b"SET")), _packed(*words) + b"\r\n"


class _BulkHeads(dict[int, bytes]):
    r"""The lengths of words as the protocol writes them, behind `\r\n`; usual ones are kept."""

    def __missing__(self, size: int) -> bytes:
        text = b"\r\n$%d\r\n" % size
        if size < KEPT:
            self[size] = text
        return text


bulk_head = _BulkHeads().__getitem__
"""Returns what stands before a word of so many bytes: the end of what precedes it, and its length."""


def asked(verb: bytes, keys: Sequence[bytes]) -> list[Command]:
    """Return a command of one word for each key, packed: in a tenth of the time that `pack` takes."""
    count, lengths = len(keys), map(bulk_head, map(len, keys))
    columns = [b"*2%b" % _packed(verb)] * count, lengths, keys, [b"\r\n"] * count
    return list(map(b"".join, zip(*columns, strict=True)))


def write_command(entry: Entry, *, only_missing: bool) -> Command:
    """Return the one command that writes an entry whole."""
    if entry.dump:
        return _restore_command(entry, only_missing=only_missing)
    last = _last_words(entry.ttl, entry.expires_at, only_missing=only_missing)
    return (b"SET", entry.key, entry.value, *last)


def _last_words(
    ttl: float | Unset | None, expires_at: float | None, *, only_missing: bool
) -> list[bytes]:
    """Return how long a SET lasts, and whether it overwrites."""
    words = [b"NX"] if only_missing else []
    if expires_at is not None:
        return [b"PXAT", b"%d" % milliseconds(expires_at), *words]
    lasting = lifetime(ttl)
    return words if lasting is None else [b"PX", b"%d" % milliseconds(lasting), *words]


def _restore_command(entry: Entry, *, only_missing: bool) -> Command:
    left = entry.expires_at if entry.expires_at is not None else lifetime(entry.ttl)
    command = [b"RESTORE", entry.key, b"%d" % (0 if left is None else milliseconds(left))]
    command.append(entry.value)
    if entry.expires_at is not None:
        command.append(b"ABSTTL")
    if not only_missing:
        command.append(b"REPLACE")
    return tuple(command)


def written(reply: Any) -> Any:
    """Return True for a reply that says "done", False for "was there already", else the reply."""
    if reply == b"OK":
        return True
    if reply is None:
        return False
    if isinstance(reply, CachectlError) and getattr(reply, "word", None) == "BUSYKEY":
        return False
    return reply
