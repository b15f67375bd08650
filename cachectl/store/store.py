"""The strict door to a cache: bytes in and out, one topology behind it, only our errors.

Nobody above this room sees a node, a slot, a driver's type or the server's -1 and -2.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import compress
from typing import Any, Final, Literal

from cachectl.errors import (
    CachectlError,
    LostError,
    ServerError,
    UnreachableError,
)
from cachectl.errors import WrongTypeError as WrongType
from cachectl.models import Entries, Entry
from cachectl.store.errors import any_refused
from cachectl.store.facts import VERBS, Fact, FactPage, told
from cachectl.store.lanes import Sent
from cachectl.store.reader import Reader
from cachectl.store.removal import DEL, UNLINK, is_withheld
from cachectl.store.scan import Page, Walk
from cachectl.store.settle import Found, Since, settle
from cachectl.store.stream import VALUE, Outcomes, Unanswered
from cachectl.store.told import Told
from cachectl.store.writer import Writer, Writing
from cachectl.store.writing import asked, milliseconds, seconds_left

__all__ = ["KEEP", "Keep", "Store"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cachectl.reports.entries import KeyInfo


GROUP = 50
"""Keys that one UNLINK of a walk removes: the server takes a third of the time less than for each."""


class Keep:
    """The type of `KEEP`."""


KEEP: Final = Keep()
"""A TTL that stays as the key has it."""


class Store(Told):
    """A cache, strictly: every method raises our errors and never invents an answer.

    Opens its first connection when it is first used. Raises `UnreachableError` and its kinds when the
    server cannot be reached or was lost (`maybe_applied` tells of a write that was never answered), and
    `ServerError` and its kinds when it refused.
    """

    _removal = UNLINK

    @property
    def removes_with_del(self) -> bool:
        """Whether keys were removed with DEL, as UNLINK was denied or unknown: it blocks the server."""
        return self._removal == DEL

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None when it is not there."""
        value: bytes | None
        try:
            value = await self._call(key, b"GET", key)
        except WrongType as error:
            try:
                kind = await self._call(key, b"TYPE", key)
            except ServerError:
                raise error from None
            if kind == b"none":  # gone meanwhile
                return None
            msg = f"the key holds a {kind.decode()}, not a string"
            raise WrongType(msg, error.hint) from None
        return value

    async def ttl(self, key: bytes) -> float | None | Literal[False]:
        """Return the seconds that `key` has left, None (never expires) or False (not there)."""
        return seconds_left(await self._call(key, b"PTTL", key))

    async def expire(self, key: bytes, ttl: float) -> bool:
        """Let `key` expire in `ttl` seconds; return False when it is not there."""
        reply: int = await self._call(key, b"PEXPIRE", key, b"%d" % milliseconds(ttl))
        return reply == 1

    async def set(
        self,
        key: bytes,
        value: bytes,
        ttl: float | Keep | None = None,
        only: Literal["missing", "existing"] | None = None,
    ) -> bool:
        """Write one value; return False when `only` kept it from being written.

        `ttl` is in seconds, None for a key that never expires. Should the answer to `only="missing"`
        get lost, it is looked up: the value and the TTL that stand there tell whose they are; where
        they do not, it raises `UnreachableError` with `maybe_applied`.
        """
        command = [b"SET", key, value]
        if isinstance(ttl, Keep):
            command.append(b"KEEPTTL")
        elif ttl is not None:
            command += [b"PX", b"%d" % milliseconds(ttl)]
        if only is not None:
            command.append(b"NX" if only == "missing" else b"XX")
        if only != "missing":
            return await self._call(key, *command) is not None
        entry = Entry(key, value, None if isinstance(ttl, Keep) else ttl)
        return await self._set_missing(entry, command)

    async def _set_missing(self, entry: Entry, command: Sequence[bytes]) -> bool:
        since, key = Since(), entry.key
        tries = await (await self._known()).node_for(key).tries(self._patience)

        async def send() -> object:
            return await self._call(key, *command, idempotent=False, tries=tries)

        async def look() -> Found:
            commands = [(b"GET", key), (b"PTTL", key)]
            return since.judge(entry, *await self._answers(commands, [key, key], tries))

        try:
            return await send() is not None
        except UnreachableError as error:
            if not error.maybe_applied:
                raise
            return await settle(look, send, error)

    async def unlink(self, keys: Sequence[bytes]) -> Outcomes:
        """Remove keys, one command a key; a reply is 1 when the key was there and 0 when not."""
        outcomes = await self.run(asked(self._removal, keys), list(keys))
        withheld = [p for p, reply in enumerate(outcomes.replies) if is_withheld(reply)]
        if withheld and not self.removes_with_del:
            left = [keys[place] for place in withheld]
            instead = await self.run(asked(DEL, left), left)
            if not any(is_withheld(reply) for reply in instead.replies):
                self._removal = DEL
                outcomes.take(instead, withheld)
        return outcomes

    async def exist(self, keys: Sequence[bytes]) -> Outcomes:
        """Look whether keys are there; a reply is 1 or 0."""
        return await self.run(asked(b"EXISTS", keys), list(keys))

    async def get_many(self, keys: Sequence[bytes]) -> Outcomes:
        """Read values; a reply is bytes, or None for a key that is not there."""
        return await self._sent(Sent(asked(b"GET", keys), VALUE), list(keys))

    async def ttls(self, keys: Sequence[bytes]) -> Outcomes:
        """Look how long keys live; a reply is seconds, None (never expires) or False (not there)."""
        outcomes = await self.run(asked(b"PTTL", keys), list(keys))
        outcomes.replies = [seconds_left(r) if isinstance(r, int) else r for r in outcomes.replies]
        return outcomes

    async def types(self, keys: Sequence[bytes]) -> Outcomes:
        """Look what keys hold; a reply is a type as text, or None for a key that is not there."""
        outcomes = await self.run(asked(b"TYPE", keys), list(keys))
        kinds = [r.decode() if isinstance(r, bytes) else r for r in outcomes.replies]
        outcomes.replies = [None if kind == "none" else kind for kind in kinds]
        return outcomes

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[Writer]:
        """Give a writer for batch after batch; what is not landed when the block ends is left behind."""
        lanes = self._lanes()
        try:
            yield Writer(lanes, self.run)
        finally:
            lanes.leave()

    async def write(self, entries: Sequence[Entry], *, only_missing: bool = False) -> Outcomes:
        """Write entries; a reply is True when written and False when `only_missing` kept it.

        One that was sent, and of which it cannot be told whether it was written, is UNKNOWN.
        """
        batch = Writing(Entries.of(entries), only_missing=only_missing)
        async with self.writer() as writer:
            await writer.send(batch)
            await writer.land()
        return batch.outcomes

    async def describe(self, key: bytes) -> "KeyInfo | None":
        """Return what `inspect` shows of a key, or None when it is not there."""
        # inspect alone needs it: the reports it brings cost `get` 8 ms
        from cachectl.store.describe import describe, located

        async def run(commands: list[tuple[bytes, ...]]) -> list[Any]:
            return await self._answers(commands, [key] * len(commands))

        async def bounded(*command: bytes, limit: int) -> Any:
            return await self._call(key, *command, limit=limit)

        topology = await self._known()
        found = await describe(key, run, bounded)
        if found is None:
            return None
        # asked last: a node that has referred to another is not the one
        return located(found, topology.slot_of(key), topology.node_for(key).connector.where)

    async def pages(
        self, match: bytes | None = None, count: int | None = None
    ) -> AsyncGenerator[Page, None]:
        """Yield pages of the keys that match a SCAN pattern, over all primaries.

        Every key that stood all the while is in it. `count` is how many keys a page has about, by
        default as the pace says. Use it within `contextlib.aclosing`. Raises `UnreachableError` when
        no cycle could be finished unbroken.
        """
        async with aclosing(self._walk(Walk(match, page=count))) as found:
            async for page in found:
                yield page

    async def unlink_pages(
        self,
        match: bytes | None,
        choose: Callable[[list[bytes]], list[bytes]],
        going: Callable[[], bool],
    ) -> AsyncGenerator[Page, None]:
        """Do as `pages`, and remove what is chosen of each: a reply is 1, 0, an error or UNKNOWN.

        `choose` is called right before its keys are sent; once `going` is false, nothing more is.
        """
        verbs = [(self._removal,)]
        walk = Walk(match, verbs, choose, going, group=GROUP)
        async with aclosing(self._walk(walk)) as found:
            async for page in found:
                if not any_refused(page.replies):
                    yield page
                    continue
                alone, lost = await self._one_by_one(page)
                verbs[0] = (self._removal,)  # what the pages to come are removed with
                yield alone
                if lost is not None:  # the walk itself goes on, and would pass as a clean one
                    raise lost

    async def _one_by_one(self, page: Page) -> tuple[Page, CachectlError | None]:
        """Remove those keys of a page one by one whose group was refused: for one of them, perhaps.

        Returns why, when not all of them were answered.
        """
        refused = [isinstance(reply, CachectlError) for reply in page.replies]
        outcomes = await self.unlink(list(compress(page.keys, refused)))
        alone = iter(outcomes.replies)
        replies = [next(alone) if no else r for r, no in zip(page.replies, refused, strict=True)]
        lost = outcomes.error or outcomes.doubt
        if lost is None and any(isinstance(reply, Unanswered) for reply in outcomes.replies):
            lost = LostError(
                "every connection broke on removing a key: whether it is gone is unknown"
            )
        return page._replace(replies=replies, exact=not outcomes.resent), lost

    async def fact_pages(
        self,
        match: bytes | None,
        choose: Callable[[list[bytes]], list[bytes]],
        facts: Sequence[Fact],
    ) -> AsyncGenerator[FactPage, None]:
        """Do as `pages`, and ask for `facts` of what is chosen of each; a column for each of them.

        In place of a fact that the server refuses to tell stands our error; a key that vanished
        meanwhile is left out.
        """
        walk = Walk(match, [VERBS[fact] for fact in facts], choose)
        async with aclosing(self._walk(walk)) as found:
            async for page in found:
                yield told(page, facts)

    async def length_pages(
        self,
        match: bytes | None,
        choose: Callable[[list[bytes]], list[bytes]],
        going: Callable[[], bool],
    ) -> AsyncGenerator[Page, None]:
        """Do as `pages`; a reply is the bytes of a string, 0 too for a key that vanished.

        In its place stands our error, `WrongTypeError` for a key of another type, or UNKNOWN.
        """
        walk = Walk(match, ((b"STRLEN",),), choose, going)
        async with aclosing(self._walk(walk)) as found:
            async for page in found:
                yield page

    async def sizes(self, keys: Sequence[bytes]) -> Outcomes:
        """Ask how much memory keys of any type take; a reply is bytes, or None for one not there."""
        return await self.run([(b"MEMORY", b"USAGE", key) for key in keys], list(keys))

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Give a reader for group after group; what is not landed when the block ends is left."""
        lanes = self._lanes(pace=self.pace.uncapped())  # the walk that found the keys is capped
        try:
            yield Reader(lanes)
        finally:
            lanes.leave()
