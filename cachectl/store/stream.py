"""Many commands in flight on one connection, and what became of each.

Only idempotent commands go through it (whole-value SET, UNLINK, RESTORE REPLACE, reads; SET NX is
looked up afterwards): on a cut connection it reconnects and sends again what was not answered.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from cachectl.errors import CachectlError, LostError, UnreachableError
from cachectl.store.errors import is_rejected
from cachectl.store.pool import Pool
from cachectl.store.tries import Tries
from cachectl.store.wire import Exchange

BREAKS = 10
"""So many connections may break on one command alone before it is left UNKNOWN."""

BARREN = 3
"""So many commands in a row may be left UNKNOWN before it is the server that is given up."""


class Unanswered(Enum):
    """The outcome of a command that has no reply."""

    UNKNOWN = "sent, and never answered"
    UNSENT = "never sent"


UNKNOWN: Final = Unanswered.UNKNOWN
UNSENT: Final = Unanswered.UNSENT


class Outcomes:
    """What became of the commands of a stream, by their place in it.

    `replies` holds a reply, one of our errors for a command that the server refused, or `UNKNOWN` or
    `UNSENT`. `error` says why the stream ended early, if it did. `resent` holds the places whose
    command was sent again although its first sending may have been, or was, applied: what their
    replies count is a lower bound. `doubt` holds the server's words where one of these was refused,
    and is `UNKNOWN` for that.
    """

    __slots__ = ("_last_wins", "doubt", "error", "replies", "resent")

    def __init__(self, count: int, last_wins: Sequence[bytes] | None = None) -> None:
        """Start with nothing sent. `last_wins`: the keys, where the last write of each must stand."""
        self.replies: list[Any] = [UNSENT] * count
        self.resent: set[int] = set()
        self.error: CachectlError | None = None
        self.doubt: CachectlError | None = None
        self._last_wins = last_wins

    def take(self, places: Sequence[int], exchange: Exchange) -> None:
        """Enter what an exchange of the commands at `places` brought, finished or not."""
        for place in places[: exchange.sent]:
            before = self.replies[place]
            if before is not UNSENT and not is_rejected(before):
                self.resent.add(place)
        for place, reply in zip(places, exchange.replies, strict=False):
            self.replies[place] = reply
        for place in places[len(exchange.replies) : exchange.sent]:
            self.replies[place] = UNKNOWN

    def open(self, places: Sequence[int]) -> list[int]:
        """Return those of `places` whose command has no final reply yet, or must follow one of these."""
        replies = self.replies
        left = [p for p in places if isinstance(replies[p], Unanswered) or is_rejected(replies[p])]
        keys = self._last_wins
        if keys is None or not left:
            return left
        # a write that was rejected goes out again, and so must what has overwritten its key since
        opened, behind = set(left), set[bytes]()
        for place in places:
            if is_rejected(replies[place]):
                behind.add(keys[place])
            elif keys[place] in behind:
                opened.add(place)
        return sorted(opened)


async def stream(
    pool: Pool,
    tries: Tries,
    commands: Sequence[tuple[bytes, ...]],
    outcomes: Outcomes,
    places: list[int],
) -> None:
    """Send the commands at `places` to one node and enter what became of each into `outcomes`.

    Raises nothing of the server's. A server that is away is waited for as long as `tries` bear its
    silence; each answer begins the wait anew. A command on which connection after connection breaks
    (a value over the server's `proto-max-bulk-len` does that) stays `UNKNOWN`, its neighbours do not.
    """
    breaks = barren = 0
    while places:
        part = places[:1] if breaks else places
        error = await _send(pool, tries, commands, outcomes, part)
        left = outcomes.open(part)
        if len(left) < len(part):
            tries.progress()
            breaks = barren = 0
        elif isinstance(error, LostError) and error.maybe_applied:
            tries.progress()  # it greeted: it is there, and breaks on this
            breaks += 1
            if breaks == BREAKS:
                left, breaks, barren = [], 0, barren + 1
        places = left + places[len(part) :]
        reason = error or next((r for p in places if is_rejected(r := outcomes.replies[p])), None)
        if not places or reason is None:
            continue
        if barren == BARREN or not await tries.again(reason, idempotent=True, known=pool.connected):
            outcomes.error = tries.reason or reason
            return


async def _send(
    pool: Pool,
    tries: Tries,
    commands: Sequence[tuple[bytes, ...]],
    outcomes: Outcomes,
    places: Sequence[int],
) -> CachectlError | None:
    """Send the commands at `places` once; return what broke it off, if anything did."""
    exchange = Exchange([commands[place] for place in places])
    try:
        async with pool.lend(tries.connect) as wire:
            await wire.exchange(exchange, silence=tries.answer)
    except UnreachableError as error:
        error.maybe_applied = exchange.sent > len(exchange.replies)
        return error
    except CachectlError as error:
        return error
    finally:
        outcomes.take(places, exchange)
    return None
