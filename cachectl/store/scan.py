"""Cycles of SCAN that know when they are not to be trusted, and what is asked of each key on the way.

A cursor does not survive its server: after a restart or a failover SCAN accepts the old cursor and
leaves keys out without a word. So a cycle holds one connection from its first page until its last was
dealt with, and then asks whether the server is still the one it began on; any doubt begins it anew.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from itertools import chain
from typing import Any, NamedTuple

from cachectl.errors import CachectlError, UnreachableError
from cachectl.patience import backoff
from cachectl.store.abreast import abreast
from cachectl.store.errors import any_refused, is_rejected
from cachectl.store.pace import Pace
from cachectl.store.pool import Pool
from cachectl.store.standing import MovedError, check, check_layout, standings, unbroken
from cachectl.store.stream import UNKNOWN, UNSENT
from cachectl.store.topology import Topology
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Wire, pack
from cachectl.store.writing import bulk_head

CYCLES = 5
"""So many cycles may break before the scan is given up."""
PAUSE = 0.1
"""Seconds before a cycle that slots moved under is begun anew; they double each time."""


def _all(keys: list[bytes]) -> list[bytes]:
    return keys


def _always() -> bool:
    return True


class Walk(NamedTuple):
    """What a walk looks for, and what it asks of the keys it finds.

    `match` is a pattern for SCAN. `choose` picks those of a page that the `verbs` are sent for: called
    right before that, so that it may count them. Each verb takes the key as its last word. Once
    `going` is false nothing more is sent. With a `group`, the one verb takes so many keys, and answers
    how many of them it found.
    """

    match: bytes | None = None
    verbs: Sequence[tuple[bytes, ...]] = ()
    choose: Callable[[list[bytes]], list[bytes]] = _all
    going: Callable[[], bool] = _always
    page: int | None = None
    group: int = 1


class Page(NamedTuple):
    """Keys of one SCAN reply, each once, and the replies to the verbs: all of the first key, then on.

    A reply is `UNKNOWN` where the connection broke, `UNSENT` where the server said "not now": the cycle
    that follows meets these keys again. `anew`: a broken cycle begins again; this page holds no key.
    `node` is the server that it is from. Not `exact`: a verb was sent again that may have been applied.
    """

    keys: list[bytes]
    replies: list[Any]
    anew: bool = False
    node: str = ""
    exact: bool = True


async def pages(
    topology: Topology, patience: Patience, pace: Pace, walk: Walk
) -> AsyncGenerator[Page, None]:
    """Yield pages until one cycle ran unbroken; every key that stood all the while is in that cycle.

    A cycle walks the nodes that together hold every key side by side. A page is dealt with when the
    next one is asked for: the last one is followed by the proof that the nodes and their slots are
    still the same. Raises the last of our errors after `CYCLES` broken cycles, or when a server stays
    away, or says "not now" to what is asked of its keys, longer than `patience` bears.
    """
    troubles = _Troubles(patience)
    begins_anew = False
    while walk.going():
        told = False
        cycles: list[_Cycle] = []
        try:
            async with aclosing(_round(topology, troubles.tries, pace, walk, cycles)) as found:
                async for page in found:
                    if not page.anew:
                        yield page
                        told = True
                        troubles.progress(page)
                    elif begins_anew:
                        yield page
                        begins_anew = False
        except CachectlError as error:
            for page in chain.from_iterable(cycle.broken_off() for cycle in cycles):
                yield page
                told = True
            begins_anew = begins_anew or told
            rejected = any(error is cycle.rejection for cycle in cycles)
            await troubles.bear(error, told=told, rejected=rejected)
        else:
            return


async def _round(
    topology: Topology, tries: Tries, pace: Pace, walk: Walk, cycles: list["_Cycle"]
) -> AsyncGenerator[Page, None]:
    """Yield the pages of one cycle on each node, which are put into `cycles`, and prove it.

    The first page says that it begins.
    """
    async with AsyncExitStack() as lent:
        wires = await _borrow(lent, await topology.primaries(tries.connect), tries.connect)
        began_on, layout = await standings(wires, tries), topology.layout
        yield Page([], [], anew=True)
        cycles += (_Cycle(wire, tries, pace, walk) for wire in wires)
        # who may not scan one of them changes nothing on the others
        unbroken(await asyncio.gather(*(cycle.begin() for cycle in cycles), return_exceptions=True))
        async with aclosing(abreast([cycle.pages for cycle in cycles])) as found:
            async for page in found:
                yield page
        if walk.going():
            check(began_on, await standings(wires, tries))
            await topology.primaries(tries.connect)
            check_layout(layout, topology.layout)


async def _borrow(lent: AsyncExitStack, nodes: Sequence[Pool], silence: float) -> list[Wire]:
    """Return a wire of each node, which go back at the end of `lent`: side by side."""

    async def one(node: Pool) -> Wire:
        wire = await node.borrow(silence)
        lent.callback(node.give_back, wire)
        return wire

    return unbroken(await asyncio.gather(*map(one, nodes), return_exceptions=True))


class _Troubles:
    """What has broken a walk so far, and how much more is borne."""

    def __init__(self, patience: Patience) -> None:
        self.tries = Tries(patience)
        self._patience = patience
        self._rejected: Tries | None = None  # since when all verbs were answered "not now"
        self._pauses = backoff(PAUSE)
        self._broken = 0

    def progress(self, page: Page) -> None:
        """Begin the wait anew: whoever took the page took their time, not the server's."""
        if page.replies and UNSENT not in page.replies:
            self._rejected = None
        self.tries.progress()

    async def bear(self, error: CachectlError, *, told: bool, rejected: bool) -> None:
        """Pause before the next cycle, or raise; a cycle that has told nothing is not a broken one."""
        if rejected:
            bearing = self._rejected = self._rejected or Tries(self._patience)
        else:
            bearing = self.tries
            self._broken += told
        if self._broken >= CYCLES:
            raise _never_clean(error) from error
        if not await bearing.again(error, idempotent=True, known=True):
            raise (bearing.reason or error) from None
        if isinstance(error, MovedError):
            await asyncio.sleep(next(self._pauses))


class _Asked(NamedTuple):
    """What is on its way: the verbs for the keys of a page, or with None the next SCAN."""

    keys: list[bytes] | None
    wanted: int
    replies: list[Any]


class _Cycle:
    """One walk over the keyspace: the next SCAN is on its way with what is asked of this page."""

    def __init__(self, wire: Wire, tries: Tries, pace: Pace, walk: Walk) -> None:
        self._wire = wire
        self._node = wire.where
        self._tries = tries
        self._pace = pace
        self._walk = walk
        self._asked: deque[_Asked] = deque()
        self._ready: deque[Page] = deque()
        self._first: tuple[bytes, list[bytes]] | None = None
        self.rejection: CachectlError | None = None

    async def begin(self) -> None:
        """Find the first page; raises what SCAN raises."""
        await self._send(None, self._scan(b"0"), 1)
        self._first = await self._receive()

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Yield the pages to the end of the cycle, or of the going."""
        found, self._first = self._first, None
        while found is not None or self._asked:
            found = found or await self._receive()
            while self._pace.limited and self._ready:  # told before a pause in which work may end
                yield self._ready.popleft()
            if found is not None and self._walk.going():
                await self._ask(*found)
            found = None
            while self._ready:  # while these are looked at, the server is at the next
                yield self._ready.popleft()
            if self.rejection is not None:  # "not now": only another cycle meets these keys again
                raise self.rejection

    def broken_off(self) -> list[Page]:
        """Return what is known of the pages that were on their way."""
        for keys, wanted, replies in self._asked:
            if keys is not None:
                self._ready.append(self._page(keys, replies + [UNKNOWN] * (wanted - len(replies))))
        self._asked.clear()
        return list(self._ready)

    async def _ask(self, cursor: bytes, found: list[bytes]) -> None:
        """Ask about a page that was found, and for the next one.

        Where the server is not to rest, it looks for the next page while this one is dealt with here.
        """
        scan = None if cursor == b"0" else self._scan(cursor)
        at_once = self._pace.ahead > 0 and not self._pace.limited
        if scan is not None and at_once:
            await self._send(None, scan, 1)
        keys = self._walk.choose(found)
        if not await self._turn(keys):
            self._ready.append(self._unsent(keys))
            return
        if keys and self._walk.verbs:
            await self._send(keys, *self._verbs(keys))
        else:
            self._ready.append(Page(keys, [], node=self._node))
        if scan is not None and not at_once:
            await self._send(None, scan, 1)

    async def _turn(self, keys: list[bytes]) -> bool:
        """Wait until so many keys may be dealt with; return False when the going has ended."""
        try:
            waited = await self._pace.turn(len(keys))
        except asyncio.CancelledError:  # another node's cycle broke: these are chosen, and not sent
            self._ready.append(self._unsent(keys))
            raise
        if waited:
            self._tries.progress()  # that was our pause, not the server's silence
        return not waited or self._walk.going()

    def _unsent(self, keys: list[bytes]) -> Page:
        return Page(keys, [UNSENT] * (len(keys) * len(self._walk.verbs)), node=self._node)

    def _verbs(self, keys: list[bytes]) -> tuple[bytes, int]:
        """Return what is asked of keys, and how many commands that is.

        They are packed by columns: in a tenth of the time that `pack` takes for each.
        """
        group, count = self._walk.group, len(keys)
        verbs = [(len(verb), b"".join(map(_word, verb))) for verb in self._walk.verbs]
        lengths = list(map(bulk_head, map(len, keys)))
        if group == 1:
            width = 3 * len(verbs)
            pieces = [b""] * (width * count)
            for place, (size, packed) in enumerate(verbs):
                pieces[3 * place :: width] = [b"\r\n*%d%b" % (size + 1, packed)] * count
                pieces[3 * place + 1 :: width] = lengths
                pieces[3 * place + 2 :: width] = keys
            return b"".join(pieces)[2:] + b"\r\n", len(verbs) * count
        ((size, packed),) = verbs
        words = [b""] * (2 * count)
        words[::2], words[1::2] = lengths, keys
        parts = [words[start : start + 2 * group] for start in range(0, len(words), 2 * group)]
        commands = [
            b"*%d%b%b\r\n" % (size + len(part) // 2, packed, b"".join(part)) for part in parts
        ]
        return b"".join(commands), len(commands)

    def _page(self, keys: list[bytes], replies: list[Any]) -> Page:
        if any_refused(replies):
            rejected = (reply for reply in replies if is_rejected(reply))
            self.rejection = self.rejection or next(rejected, None)
            replies = [UNSENT if is_rejected(reply) else reply for reply in replies]
        group = self._walk.group
        if group > 1:
            sizes = [min(group, len(keys) - start) for start in range(0, len(keys), group)]
            each = zip(replies, sizes, strict=True)
            replies = [one for reply, size in each for one in _spread(reply, size)]
        return Page(keys, replies, node=self._node)

    async def _send(self, keys: list[bytes] | None, packed: bytes, count: int) -> None:
        self._asked.append(_Asked(keys, count, []))
        await self._wire.send(packed, count, silence=self._tries.answer)

    async def _receive(self) -> tuple[bytes, list[bytes]] | None:
        """Take the replies that have come; return the cursor and the keys of SCAN's among them.

        Raises what SCAN raised.
        """
        replies = (await self._wire.receive(silence=self._tries.answer)).replies
        if not is_rejected(replies[-1]):
            self._tries.progress()
        found = None
        start = 0
        while start < len(replies):
            keys, wanted, taken = self._asked[0]
            end = start + wanted - len(taken)
            taken += replies[start:end]
            start = end
            if len(taken) < wanted:
                break
            self._asked.popleft()
            if keys is not None:
                self._ready.append(self._page(keys, taken))
            elif isinstance(taken[0], CachectlError):
                raise taken[0]
            else:
                cursor, names = taken[0]
                found = cursor, list(dict.fromkeys(names))
        return found

    def _scan(self, cursor: bytes) -> bytes:
        count = b"%d" % (self._walk.page or self._pace.page)
        match = self._walk.match
        return pack(
            (b"SCAN", cursor, b"COUNT", count, *(() if match is None else (b"MATCH", match)))
        )


def _word(word: bytes) -> bytes:
    return bulk_head(len(word)) + word


def _spread(reply: Any, size: int) -> list[Any]:
    """Return a reply to a command for so many keys as one for each: which ones it found is not told."""
    return [1] * reply + [0] * (size - reply) if isinstance(reply, int) else [reply] * size


def _never_clean(error: CachectlError) -> UnreachableError:
    return UnreachableError(
        f"{CYCLES} scans were broken off, the last one because: {error.message}",
        "nothing is proven about the keys: run it again when the server is stable",
    )
