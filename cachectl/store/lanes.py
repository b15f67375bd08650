"""Bulk work over all nodes: each command goes down the lane of the node that serves its key."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain, compress
from typing import TypeVar

from cachectl.errors import CachectlError, NotReadyError
from cachectl.store.detour import Detour, astray, first_redirect, give_up, is_astray, leave_off
from cachectl.store.errors import any_refused
from cachectl.store.hints import explained
from cachectl.store.lane import Lane
from cachectl.store.pace import Pace
from cachectl.store.pool import Pool
from cachectl.store.settle import doubt_refusals
from cachectl.store.stream import Group, Outcomes, Work
from cachectl.store.topology import Topology
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Command, verb

T = TypeVar("T")


class Sent:
    """Commands for any nodes that belong together; `outcomes` are by their place here.

    `went` tells which node the commands at which places went to, a later one in place of an earlier.
    With `last_wins`, their keys, the last write of each key must stand whatever is sent again.
    """

    __slots__ = (
        "command_keys",
        "commands",
        "last_wins",
        "outcomes",
        "parts",
        "reply_size",
        "went",
    )

    def __init__(self, commands: Sequence[Command], reply_size: float = 1.0) -> None:
        """Start with nothing sent. `reply_size`: bytes that a reply is taken for beforehand."""
        self.reply_size = reply_size
        self.commands = commands
        self.command_keys: Sequence[bytes] = ()
        self.last_wins: Sequence[bytes] | None = None
        self.outcomes = Outcomes(len(commands))
        self.parts: list[tuple[Work, list[int]]] = []
        self.went: list[tuple[str, Sequence[int]]] = []

    def together(self, most: int) -> Iterable[Group]:  # noqa: ARG002 for those that can
        """Return all commands in groups of at most so many; nothing where they cannot be grouped."""
        return ()

    def goes_to(self, node: str, places: Sequence[int]) -> None:
        """Note which node the commands at some places went to, in place of any before."""
        self.went.append((node, places))

    def by_node(self, done: Iterable[bool] | None = None) -> Mapping[str, int]:
        """Return how many of the commands went to which node, or how many of those that are `done`."""
        if done is None:
            counts = Counter[str]()
            for node, places in self.went:
                counts[node] += len(places)
            if counts.total() == len(self.commands):  # none has gone twice, as nearly always
                return counts
        nodes = self.nodes()
        return Counter(nodes if done is None else compress(nodes, done))

    def nodes(self) -> list[str]:
        """Return where each of the commands went; one that was never sent went nowhere."""
        nodes = [""] * len(self.commands)
        for node, places in self.went:
            for place in places:
                nodes[place] = node
        return nodes

    def so_far(self) -> Outcomes:
        """Return the outcomes as they are by now: of work that is cut short, this is all there is."""
        for work, places in self.parts:
            self.outcomes.take(work.enter(), places)
            self._note(work, places)
        leave_off(self.outcomes)
        return self.outcomes

    def gather(self) -> None:
        """Enter the outcomes of all parts, which are settled."""
        parts, self.parts = self.parts, []
        if len(parts) == 1:
            self.outcomes = parts[0][0].outcomes
        else:
            for work, places in parts:
                self.outcomes.take(work.outcomes, places)
        for work, places in parts:
            self._note(work, places)

    def _note(self, work: Work, places: Sequence[int]) -> None:
        """Note the servers of a part: an heir may have taken the place of the first one."""
        self.goes_to(work.where, places)
        for place, server in work.elsewhere.items():
            self.goes_to(server, [places[place]])


def _at(items: Sequence[T], places: Iterable[int]) -> list[T]:
    """Return the items at some places."""
    return list(map(items.__getitem__, places))


class Lanes:
    """One lane a node, opened when it is first needed."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Topology]],
        patience: Patience,
        pace: Pace,
        user: str,
        tries: Tries | None = None,
    ) -> None:
        """Open nothing yet. `user` is named in what is denied, `tries` bound several runs together."""
        self._find = find
        self._patience = patience
        self._pace = pace
        self._user = user
        self._tries = tries
        self._lanes: dict[Pool, Lane] = {}
        self._on_their_way: list[tuple[Sent, set[Work]]] = []
        self._version = 0

    async def send(self, sent: Sent, keys: list[bytes], *, last_wins: bool = False) -> list[Sent]:
        """Send the commands for `keys`; return what is settled by now, in the order of sending.

        Where slots have moved since, what is on its way is waited for: a write that is sent again must
        not come to a node behind a later one, that went to another while the slot was there.
        """
        sent.command_keys, sent.last_wins = keys, keys if last_wins else None
        try:
            topology = await self._find()
        except CachectlError as error:
            sent.outcomes.error = error
            return [sent]
        before: list[Sent] = []
        while self._version != topology.version:
            self._version = topology.version
            before += await self.land()
        works = []
        for node, places in topology.split(keys):
            whole = len(places) == len(keys)
            commands = sent.commands if whole else _at(sent.commands[:], places)
            written = keys if whole else _at(keys, places)
            works.append((node, Work(commands, written if last_wins else None, sent.reply_size)))
            sent.parts.append((works[-1][1], places))
        self._on_their_way.append((sent, {work for _, work in works}))
        settled = []
        # the keys of a group must lie in one slot
        together = None if topology.sharded else sent.together
        for node, work in works:
            settled += await (await self._lane(node)).send(work, together)
        return before + await self._finished(self._whole(settled))

    async def land(self) -> list[Sent]:
        """Wait for all replies, and return what is settled with them."""
        return await self._finished(await self._landed())

    async def _landed(self) -> list[Sent]:
        """Wait for all lanes together: each has the whole patience for its node."""
        landing = (lane.land() for lane in self._lanes.values())
        return self._whole(list(chain.from_iterable(await asyncio.gather(*landing))))

    async def _finished(self, whole: list[Sent]) -> list[Sent]:
        """Return what is settled once it was at the node that serves it, and is explained."""
        if any(is_astray(sent) for sent in whole):
            whole += await self._landed()  # what was sent behind may have been referred as well
            await self._follow(whole)
        for sent in whole:
            self._explain(sent)
        return whole

    async def _follow(self, sents: Sequence[Sent]) -> None:
        """Send what was referred to another node there, in order, for as long as it takes."""
        topology = await self._find()
        tries = self._tries or Tries(self._patience)
        fewest = None
        while found := astray(sents):
            if fewest is not None and len(found) >= fewest:
                reason = first_redirect(found)
                error = NotReadyError(reason.message, reason.hint)
                if not await tries.again(error, idempotent=True, known=True):
                    give_up(found, tries.reason or error)
                    return
            else:
                tries.progress()
                fewest = len(found)
            detours: dict[Pool, Detour] = {}
            for stray in found:
                detours.setdefault(stray.node(topology), Detour()).add(stray)
            for node, detour in detours.items():
                lane = await self._lane(node)
                try:
                    await lane.send(detour.work())
                    await lane.land()
                finally:
                    detour.enter()

    def leave(self) -> None:
        """Give all connections back."""
        for lane in self._lanes.values():
            lane.leave()

    async def _lane(self, node: Pool) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            tries = self._tries or await node.tries(self._patience)
            lane = self._lanes[node] = Lane(node, tries, self._pace)
        return lane

    def _whole(self, settled: list[Work]) -> list[Sent]:
        """Return those whose last part is settled."""
        for work in settled:
            for _, left in self._on_their_way:
                left.discard(work)
        whole = []
        while self._on_their_way and not self._on_their_way[0][1]:
            sent, _ = self._on_their_way.pop(0)
            sent.gather()
            whole.append(sent)
        return whole

    def _explain(self, sent: Sent) -> None:
        """Say in what was refused which rule would allow it."""
        outcomes = sent.outcomes
        if any_refused(outcomes.replies):
            for place, reply in enumerate(outcomes.replies):
                if isinstance(reply, CachectlError):
                    explained(reply, verb(sent.commands[place]), self._user)
        if outcomes.error is not None:
            explained(outcomes.error, b"", self._user)
        doubt_refusals(sent.commands, outcomes)
