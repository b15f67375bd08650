"""What a walk is told of each key: how each fact is asked for, and what the answers mean."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from cachectl.errors import CachectlError
from cachectl.store.scan import Page
from cachectl.store.stream import Unanswered

Fact = Literal["type", "ttl", "bytes"]
"""Type as text; TTL in seconds, None for a key that never expires; memory as the server estimates it."""

VERBS: Final[dict[Fact, tuple[bytes, ...]]] = {
    "type": (b"TYPE",),
    "ttl": (b"PTTL",),
    "bytes": (b"MEMORY", b"USAGE"),
}
_GONE: Final[dict[Fact, Any]] = {"type": b"none", "ttl": -2, "bytes": None}
"""What the server says of a key that is not there."""


class FactPage(NamedTuple):
    """Keys of a page that are there, and a column for each fact that was asked: a value, or our error.

    Keys that vanished meanwhile are left out, and those whose answers were lost: the cycle that follows
    meets these again. `anew`: a broken cycle begins again; this page holds no key. `node` is the
    server that it is from.
    """

    keys: list[bytes]
    columns: list[list[Any]]
    anew: bool = False
    node: str = ""


def told(page: Page, facts: Sequence[Fact]) -> FactPage:
    """Return a page with the replies to the verbs of `facts` as columns."""
    keys, step = page.keys, len(facts)
    columns = [page.replies[place::step] for place in range(step)]
    left_out: set[int] = set()
    for fact, column in zip(facts, columns, strict=True):
        gone = _GONE[fact]
        if gone in column or any(issubclass(kind, Unanswered) for kind in set(map(type, column))):
            left_out.update(
                place
                for place, reply in enumerate(column)
                if reply == gone or isinstance(reply, Unanswered)
            )
    if left_out:
        rest = [place for place in range(len(keys)) if place not in left_out]
        keys = [keys[place] for place in rest]
        columns = [[column[place] for place in rest] for column in columns]
    columns = [_column(fact, column) for fact, column in zip(facts, columns, strict=True)]
    return FactPage(keys, columns, page.anew, page.node)


def _column(fact: Fact, replies: list[Any]) -> list[Any]:
    if fact == "bytes":
        return replies
    if fact == "type":
        return [r if isinstance(r, CachectlError) else r.decode() for r in replies]
    if all(kind is int for kind in set(map(type, replies))):
        return [None if r == -1 else r / 1000 for r in replies]
    return [_seconds(r) if isinstance(r, int) else r for r in replies]


def _seconds(pttl: int) -> float | None:
    return None if pttl == -1 else pttl / 1000
