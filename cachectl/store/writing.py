"""An entry -> the command that writes it; the server's answers -> ours."""

from functools import lru_cache
from itertools import repeat
from typing import Any, Final, Literal, NamedTuple, Self

from cachectl.config.settings import Unset
from cachectl.errors import CachectlError
from cachectl.models import Entries, Entry
from cachectl.store.wire import Command

CHANGES: Final = frozenset({b"SET", b"RESTORE", b"UNLINK", b"DEL"})
"""The commands of ours that change data."""
SMALL: Final = 1024 * 1024
"""Bytes of values that are packed at once, and so are in memory twice."""
KEPT: Final = 16 * 1024


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


def write_commands(entries: Entries, lengths: Lengths, *, only_missing: bool) -> list[Command]:
    """Return the commands that write entries, each one whole.

    Those of a small batch are packed at once, by columns: all of a load goes through here.
    """
    if sum(lengths.values) > SMALL or True in entries.dumps:
        return [write_command(entry, only_missing=only_missing) for entry in entries]
    tails = map(_tail, entries.ttls, entries.expiries, repeat(only_missing))
    packed = zip(map(_length, lengths.keys), map(_length, lengths.values), strict=True)
    return [
        b"".join((head, key_length, key, b"\r\n", length, value, tail))
        for key, value, (head, tail), (key_length, length) in zip(
            entries.keys, entries.values, tails, packed, strict=True
        )
    ]


@lru_cache(maxsize=1024)  # the entries of a file share their TTL, mostly
def _tail(
    ttl: float | Unset | None,
    expires_at: float | None,
    only_missing: bool,  # noqa: FBT001 for the cache
) -> tuple[bytes, bytes]:
    """Return a SET as the protocol writes it: what comes before its key, and what after its value."""
    words = _last_words(ttl, expires_at, only_missing=only_missing)
    head = b"*%d\r\n$3\r\nSET\r\n" % (3 + len(words))
    return head, b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class _Lengths(dict[int, bytes]):
    """The lengths of words as the protocol writes them; those of usual words are kept."""

    def __missing__(self, size: int) -> bytes:
        text = b"$%d\r\n" % size
        if size < KEPT:
            self[size] = text
        return text


_length = _Lengths().__getitem__


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
