"""A write whose answer was lost: what it has done is looked up, or told to be unknown.

The value that stands there proves nothing by itself: a lock `SET lock 1 NX` is the same whoever took it.
Its TTL does, when ours is counted from the sending.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from time import monotonic
from typing import Any

from cachectl.errors import CachectlError, LostError, ServerError, UnreachableError, WrongTypeError
from cachectl.models import Entry
from cachectl.store.stream import UNKNOWN, Outcomes
from cachectl.store.wire import Command, verb
from cachectl.store.writing import CHANGES, lifetime, milliseconds

SLACK = 1000
"""Milliseconds by which the server's clock and ours may go apart while an answer is waited for."""


class Found(Enum):
    """What stands at a key after a SET NX whose answer was lost."""

    OURS = "written by it"
    ANOTHERS = "kept it from being written"
    NOTHING = "nothing"
    UNTOLD = "it may be ours or another's"


class Since:
    """The seconds since a write was first sent."""

    def __init__(self) -> None:
        """Begin now."""
        self._start = monotonic()

    def judge(self, write: Entry, value: Any, pttl: Any) -> Found:
        """Return whose value stands there, from what GET and PTTL answered, errors included."""
        if value is None:
            return Found.NOTHING
        if isinstance(value, WrongTypeError):
            return Found.ANOTHERS
        if write.dump or not isinstance(value, bytes):
            return Found.UNTOLD
        return self._judge_ttl(write, pttl) if value == write.value else Found.ANOTHERS

    def _judge_ttl(self, write: Entry, pttl: Any) -> Found:
        """Return whose an equal value is: another's has our TTL only if written in the same moment."""
        if not isinstance(pttl, int) or pttl < -1:
            return Found.UNTOLD
        lasting = None if write.expires_at is not None else lifetime(write.ttl)
        persistent = lasting is None and write.expires_at is None
        if (pttl == -1) is not persistent:
            return Found.ANOTHERS
        if lasting is None:  # no sign of when it was written
            return Found.UNTOLD
        ttl = milliseconds(lasting)
        elapsed = (monotonic() - self._start) * 1000
        return Found.OURS if ttl - elapsed - SLACK <= pttl <= ttl else Found.ANOTHERS


async def settle(
    look: Callable[[], Awaitable[Found]],
    send: Callable[[], Awaitable[object]],
    lost: UnreachableError,
) -> bool:
    """Find out what a SET NX whose answer was lost has done, and do it if it has not.

    The lost command may still be on its way, and then be applied before the second one. Raises `lost`
    where it cannot be known.
    """
    try:
        found = await look()
        if found is Found.NOTHING:
            if await send() is not None:
                return True
            found = await look()
    except ServerError as refusal:
        raise refused_again(refusal) from None
    except UnreachableError:
        raise lost from None
    if found in {Found.NOTHING, Found.UNTOLD}:
        raise lost
    return found is Found.OURS


def settle_batch(
    writes: Sequence[Entry], outcomes: Outcomes, founds: Sequence[tuple[int, Found]]
) -> None:
    """Enter what was found at the places of SET NX that were sent twice, in the order of the places.

    Of several with the same key, one is written at most.
    """
    taken = {write.key for write, r in zip(writes, outcomes.replies, strict=True) if r is True}
    for place, found in founds:
        if found is Found.ANOTHERS or writes[place].key in taken:
            outcomes.replies[place] = False
            continue
        taken.add(writes[place].key)
        outcomes.replies[place] = True if found is Found.OURS else UNKNOWN


def doubt_refusals(commands: Sequence[Command], outcomes: Outcomes) -> None:
    """Make a change UNKNOWN that was refused when it was sent again: the first may be applied."""
    for place in sorted(outcomes.resent):
        reply = outcomes.replies[place]
        if isinstance(reply, CachectlError) and verb(commands[place]) in CHANGES:
            outcomes.replies[place] = UNKNOWN
            outcomes.doubt = outcomes.doubt or refused_again(reply)


def refused_again(refusal: CachectlError) -> LostError:
    """Return the error for a change that was sent, not answered, and refused when sent again."""
    msg = "the connection broke before a change was answered; sent again, it was refused"
    error = LostError(f"{msg}: {refusal.message}", refusal.hint)
    error.maybe_applied = True
    return error
