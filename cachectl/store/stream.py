"""Many commands in flight on one connection, and what became of each: the hot path.

Only idempotent commands go through it (whole-value SET, UNLINK, RESTORE REPLACE, reads; SET NX is
looked up afterwards): on a cut connection it reconnects and sends again what was not answered.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from cachectl.errors import CachectlError
from cachectl.store.errors import TogetherError, is_rejected
from cachectl.store.pace import Pace
from cachectl.store.tries import Tries
from cachectl.store.wire import Command, Wire, pack

WINDOW = 1024 * 1024
"""Bytes in flight at most, or one command: a hundred values of 10 MB must not be 1 GB."""

VALUE = WINDOW / 10
"""Bytes that a value is taken for which is read unseen: ten go first, more once they were smaller."""

PART = 128 * 1024
"""Bytes packed and written together, one command more."""


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

    __slots__ = ("doubt", "error", "replies", "resent")

    def __init__(self, count: int) -> None:
        """Start with nothing sent."""
        self.replies: list[Any] = [UNSENT] * count
        self.resent: set[int] = set()
        self.error: CachectlError | None = None
        self.doubt: CachectlError | None = None

    def take(self, part: "Outcomes", places: Sequence[int]) -> None:
        """Enter the outcomes of a part, whose commands stand at `places` here."""
        for place, reply in zip(places, part.replies, strict=True):
            self.replies[place] = reply
        self.resent |= {places[place] for place in part.resent}
        self.error = self.error or part.error
        self.doubt = self.doubt or part.doubt


class Group(NamedTuple):
    """Commands in a row, as one that does the same: packed, and the number of commands."""

    packed: bytes
    commands: int


class Packed(NamedTuple):
    """Commands as they are sent: their bytes, their number, and the sizes of the groups, if any."""

    data: bytes
    commands: int
    groups: Sequence[int] = ()


class Work:
    """Commands that are sent in order, how many are sent, and the replies that came so far.

    A command is packed when it is sent, not before: a batch may be larger than memory bears twice.
    With `groups`, which hold all of the commands, these are sent instead, the first time; each command
    has the reply of its group.
    With `last_wins`, the keys, the last write of each key must stand whatever is sent again; None for
    a command that writes none.
    `reply_size` is how many bytes a reply is taken for until the first ones have come.
    `where` is the server that they were sent to, `elsewhere` names for the places of those that were
    sent again the one that has answered.
    """

    __slots__ = (
        "commands",
        "elsewhere",
        "groups",
        "last_wins",
        "outcomes",
        "replies",
        "reply_size",
        "sent",
        "where",
    )

    def __init__(
        self,
        commands: Sequence[Command],
        last_wins: Sequence[bytes | None] | None = None,
        reply_size: float = 1.0,
    ) -> None:
        """Start with nothing sent."""
        self.commands = commands
        self.last_wins = last_wins or [None] * len(commands)
        self.reply_size = reply_size
        self.groups = deque[Group]()
        self.sent = 0
        self.replies: list[Any] = []
        self.outcomes = Outcomes(len(commands))
        self.where = ""
        self.elsewhere: dict[int, str] = {}

    def pack(self, most: int) -> Packed:
        """Return what to send next: at most so many commands, or a group."""
        if self.groups:
            return self._pack_groups(most)
        packed: list[Any] = []
        coming: Sequence[Any] = self.commands[self.sent : self.sent + most]
        if set(map(type, coming)) == {bytes}:  # packed already, so they are small
            return Packed(b"".join(coming), len(coming))
        size = 0
        for command in coming:
            words = pack(command)
            packed.append(words)
            size += len(words)
            if size >= PART:
                break
        return Packed(packed[0] if len(packed) == 1 else b"".join(packed), len(packed))

    def _pack_groups(self, most: int) -> Packed:
        packed: list[bytes] = []
        sizes: list[int] = []
        while self.groups and (not sizes or sum(sizes) + self.groups[0].commands <= most):
            group = self.groups.popleft()
            packed.append(group.packed)
            sizes.append(group.commands)
        return Packed(b"".join(packed), sum(sizes), sizes)

    @property
    def answered(self) -> bool:
        """Whether every reply came."""
        return len(self.replies) == len(self.commands)

    def enter(self) -> Outcomes:
        """Enter the replies into the outcomes, and what was sent without one; return these."""
        missing = [UNKNOWN] * (self.sent - len(self.replies))
        self.outcomes.replies[: self.sent] = self.replies + missing
        return self.outcomes


class Flight:
    """Works on their way over one wire, in order. `answered` collects those whose replies all came."""

    def __init__(self, wire: Wire, tries: Tries, pace: Pace) -> None:
        """Take a wire on which nothing is on its way."""
        self._wire = wire
        self._tries = tries
        self._pace = pace
        self._works: deque[Work] = deque()
        self._parts: deque[tuple[int, int]] = deque()  # commands that are not answered, their bytes
        self._groups: deque[int] = deque()  # the sizes of those in flight, where it is groups
        self._grouped = False
        self._count = 0
        self._bytes = 0
        self._silence = tries.answer
        self._reply_size = 1.0
        self.answered: list[Work] = []
        self.rejection: CachectlError | None = None

    async def send(self, work: Work) -> None:
        """Send the commands of a work, and take replies where there is no room for more.

        Raises `SilenceError` or `LostError`, and ends early when the server says "not now". The first
        group is answered before others follow: the server may not know such a command, or deny it.
        """
        if bool(work.groups) is not bool(self._groups):
            await self.land()  # so that each reply is a group's, or none is
        self._works.append(work)
        work.where = self._wire.where
        self._reply_size = max(self._reply_size, work.reply_size)
        while work.sent < len(work.commands):
            first = bool(work.groups) and not self._grouped
            packed, count, groups = work.pack(1 if first else min(self._pace.burst, self._bearable))
            waited = await self._pace.turn(count)
            while self._parts and not self._has_room(len(packed), count):
                await self._receive()
            if self.rejection is not None:
                return
            if waited and self.idle:
                self.progress()  # that was our pause, not the server's silence
            work.sent += count
            self._parts.append((count, len(packed)))
            self._groups += groups
            self._count += count
            self._bytes += len(packed)
            await self._wire.send(packed, len(groups) or count, silence=self._silence)
            if first:
                await self.land()
                self._grouped = self.rejection is None

    @property
    def trying(self) -> bool:
        """Whether the first group has no answer yet."""
        return bool(self._groups) and not self._grouped

    def progress(self) -> None:
        """Begin the wait for the next answer anew."""
        self._tries.progress()
        self._silence = self._tries.answer

    async def land(self) -> None:
        """Take the replies of all that was sent; raises as `send` does."""
        while self._count:
            await self._receive()

    @property
    def idle(self) -> bool:
        """Whether no reply is to come."""
        return not self._count

    @property
    def _bearable(self) -> int:
        """How many replies like the last ones fit the window."""
        return max(1, int(WINDOW / self._reply_size))

    def _has_room(self, size: int, count: int) -> bool:
        fits = self._bytes + size <= WINDOW and self._count + count <= self._bearable
        return fits and self._count <= self._pace.ahead

    async def _receive(self) -> None:
        replies, size, refused = await self._wire.receive(silence=self._silence)
        self._reply_size = max(size / len(replies), self._reply_size / 2, 1.0)
        if self._groups:
            replies = self._each(replies)
        if refused:
            rejected = (reply for reply in replies if is_rejected(reply))
            self.rejection = self.rejection or next(rejected, None)
        if self.rejection is None:
            self.progress()
        self._free(len(replies))
        start = 0
        while start < len(replies):
            work = self._works[0]
            end = start + work.sent - len(work.replies)
            work.replies += replies[start:end]
            start = end
            if work.answered:
                self.answered.append(self._works.popleft())

    def _each(self, replies: Iterable[Any]) -> list[Any]:
        """Return the replies to the commands of which groups were answered."""
        each: list[Any] = []
        for reply in replies:
            own = reply if is_rejected(reply) else b"OK"
            if isinstance(reply, CachectlError) and own is not reply:
                self.rejection = self.rejection or TogetherError(reply.message)
                own = UNSENT  # it is not known what would have become of it alone
            each += [own] * self._groups.popleft()
        return each

    def _free(self, count: int) -> None:
        """Note that the first `count` commands in flight are answered."""
        self._count -= count
        while count:
            commands, size = self._parts.popleft()
            if commands > count:
                self._parts.appendleft((commands - count, size))
                return
            count -= commands
            self._bytes -= size
