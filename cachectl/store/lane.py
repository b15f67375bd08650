"""The way of bulk work to one node, and what happens when its connection breaks.

What was not answered is sent again on another connection, in order, for as long as patience lasts.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cachectl.errors import CachectlError, LostError, UnreachableError
from cachectl.store.errors import TogetherError, is_rejected
from cachectl.store.pace import Pace
from cachectl.store.pool import Pool
from cachectl.store.stream import UNKNOWN, UNSENT, Flight, Group, Unanswered, Work
from cachectl.store.tries import Tries

if TYPE_CHECKING:
    from cachectl.store.wire import Wire

BREAKS = 10
"""So many connections may break on one command alone before it is left UNKNOWN."""

BARREN = 3
"""So many commands in a row may be left UNKNOWN before it is the server that is given up."""


class Lane:
    """The way of bulk work to one node: batch after batch over one connection, which is kept busy.

    Raises nothing of the server's. A server that is away is waited for as long as `tries` bear its
    silence; each answer begins the wait anew. Then `error` says why, and what follows stays UNSENT.
    """

    def __init__(self, pool: Pool, tries: Tries, pace: Pace) -> None:
        """Open nothing yet."""
        self._pool = pool
        self._tries = tries
        self._pace = pace
        self._wire: Wire | None = None
        self._flight: Flight | None = None
        self._open: deque[Work] = deque()
        self._rested = False
        self._one_by_one = False
        self.error: CachectlError | None = None

    async def send(
        self, work: Work, together: Callable[[int], Iterable[Group]] | None = None
    ) -> list[Work]:
        """Send a work behind the others; return those that are settled by now, in order.

        `together` gives its commands in groups of at most so many, or none. Once a group was refused
        (its command is not known, or denied; one of its keys is, or memory is short), all go alone.
        """
        if together is not None and self._pace.group > 1 and not self._one_by_one:
            work.groups.extend(together(self._pace.group))
        self._open.append(work)
        work.outcomes.error = self.error
        if self.error is None:
            self._begin_anew()
            try:
                flight = await self._in_flight()
                await flight.send(work)
                if flight.rejection is not None:
                    await flight.land()
            except CachectlError as error:
                await self._recover(error)
        return await self._settled()

    async def land(self) -> list[Work]:
        """Wait for the replies of all that was sent, and return the works with these."""
        if self._flight is not None:
            try:
                await self._flight.land()
            except CachectlError as error:
                await self._recover(error)
        settled = await self._settled()
        self.leave()
        return settled

    def leave(self) -> None:
        """Give the connection back; one with replies to come is dropped."""
        if self._wire is not None:
            self._pool.give_back(self._wire)
        self._wire = self._flight = None
        self._rested = True

    def _begin_anew(self) -> None:
        """Forget a silence in which nothing was waited for: whoever brings the works took that time."""
        if self._flight is not None:
            self._flight.progress()
        elif self._rested:
            self._tries.progress()
        self._rested = False

    async def _in_flight(self) -> Flight:
        if self._flight is None:
            self._wire = await self._pool.borrow(self._tries.connect)
            self._flight = Flight(self._wire, self._tries, self._pace)
        return self._flight

    async def _settled(self) -> list[Work]:
        if self._flight is not None and self._flight.rejection is not None:
            await self._recover(self._flight.rejection)
        if self._flight is None:  # all were settled by sending them again, or by giving up
            settled = list(self._open)
        else:
            settled, self._flight.answered = self._flight.answered, []
            for work in settled:
                work.enter()
        for _ in settled:
            self._open.popleft()
        return settled

    async def _recover(self, error: CachectlError) -> None:
        """Settle all works that are not, on other connections: what is left of them, in order."""
        alone = isinstance(error, TogetherError)
        # what does not know a command may hang up on it, or say nothing
        unheard = self._flight is not None and self._flight.trying
        self._one_by_one = self._one_by_one or alone or unheard
        self.leave()
        works = list(self._open)
        if isinstance(error, UnreachableError):
            error.maybe_applied = any(work.sent > len(work.replies) for work in works)
        joined = _Joined(works)
        try:
            reason = None if alone else error  # there is nothing to wait for
            await _resend(self._pool, self._tries, self._pace, joined, reason)
        finally:
            joined.part()
        self.error = joined.error


class _Joined:
    """The works that were on their way when a connection broke, as one; places count through all."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self.commands = [command for work in works for command in work.commands]
        self.replies = [reply for work in works for reply in work.enter().replies]
        self.resent: set[int] = set()
        self.error: CachectlError | None = None
        self._answered: dict[int, str] = {}
        self._keys = [key for work in works for key in work.last_wins]

    def take(self, places: Sequence[int], work: Work) -> None:
        """Enter what sending the commands at `places` brought, finished or not."""
        self._answered |= dict.fromkeys(places[: len(work.replies)], work.where)
        overtaking = {self._keys[place] for place in places[: work.sent]} - {None}
        for place in places[work.sent :] if overtaking else ():
            if self._keys[place] in overtaking and not _is_open(self.replies[place]):
                self.replies[place] = UNKNOWN  # it stood, until the one before it was sent again
        for place in places[: work.sent]:
            before = self.replies[place]
            if before is not UNSENT and not is_rejected(before):
                self.resent.add(place)
        for place, reply in zip(places, work.replies, strict=False):
            self.replies[place] = reply
        for place in places[len(work.replies) : work.sent]:
            self.replies[place] = UNKNOWN

    def open(self, places: Sequence[int]) -> list[int]:
        """Return those of `places` whose command has no final reply yet, or must follow one of these."""
        replies = self.replies
        left = [place for place in places if _is_open(replies[place])]
        # a write that was not applied goes out again, and so must what has overwritten its key since
        opened, behind = set(left), set[bytes | None]()
        for place in places if left else ():
            key = self._keys[place]
            if key is None:
                continue
            if is_rejected(replies[place]) or replies[place] is UNSENT:
                behind.add(key)
            elif key in behind:
                opened.add(place)
        return sorted(opened)

    def part(self) -> None:
        """Give each work what became of its commands."""
        start = 0
        for work in self._works:
            end = start + len(work.commands)
            work.outcomes.replies = self.replies[start:end]
            work.outcomes.resent = {p - start for p in self.resent if start <= p < end}
            work.outcomes.error = self.error
            answered = self._answered.items()
            work.elsewhere = {p - start: at for p, at in answered if start <= p < end}
            work.sent, work.replies = 0, []  # what there is to tell stands in the outcomes now
            start = end


def _is_open(reply: object) -> bool:
    """Whether a command with this reply is to be sent (again)."""
    return isinstance(reply, Unanswered) or is_rejected(reply)


async def _resend(
    pool: Pool, tries: Tries, pace: Pace, joined: _Joined, reason: CachectlError | None
) -> None:
    """Send what has no final reply, again and again, for as long as `tries` bear it.

    `reason` is why there is something left. A command on which connection after connection breaks (a
    value over the server's `proto-max-bulk-len` does that) stays UNKNOWN, its neighbours do not.
    """
    breaks = barren = 0
    places = joined.open(range(len(joined.commands)))
    while places:
        if reason is not None:
            known = pool.known
            if barren == BARREN or not await tries.again(reason, idempotent=True, known=known):
                joined.error = tries.reason or reason
                return
        part = places[:1] if breaks else places
        error = await _send(pool, tries, pace, joined, part)
        left = joined.open(part)
        if len(left) < len(part):
            tries.progress()
            breaks = barren = 0
        elif isinstance(error, LostError) and error.maybe_applied:
            tries.progress()  # it greeted: it is there, and breaks on this
            breaks += 1
            if breaks == BREAKS:
                left, breaks, barren = [], 0, barren + 1
        places = left + places[len(part) :]
        reason = error or next((r for p in places if is_rejected(r := joined.replies[p])), None)


async def _send(
    pool: Pool, tries: Tries, pace: Pace, joined: _Joined, places: Sequence[int]
) -> CachectlError | None:
    """Send the commands at `places` once; return what broke it off, if anything did."""
    work = Work([joined.commands[place] for place in places])
    try:
        async with pool.lend(tries.connect) as wire:
            flight = Flight(wire, tries, pace)
            await flight.send(work)
            await flight.land()
    except UnreachableError as error:
        error.maybe_applied = work.sent > len(work.replies)
        return error
    except CachectlError as error:
        return error
    finally:
        joined.take(places, work)
    return None
