"""The nodes behind a store: what is sent to them, with which patience, and how hard it pushes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from time import perf_counter
from typing import Any, Self

from cachectl.config.settings import Server
from cachectl.errors import (
    CachectlError,
    LostError,
    NotReadyError,
    ReadOnlyServerError,
    ServerError,
    UnreachableError,
)
from cachectl.store.errors import RedirectError, any_refused, may_be_applied
from cachectl.store.hints import explained
from cachectl.store.lanes import Lanes, Sent
from cachectl.store.pace import EVERY, Brake, Pace, watch
from cachectl.store.pool import Pool
from cachectl.store.scan import Page, Walk, pages
from cachectl.store.settle import refused_again
from cachectl.store.stream import Outcomes, Unanswered
from cachectl.store.topology import Topology
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Command, Wire
from cachectl.store.writing import CHANGES

LONG = 0.5
"""Seconds after which an answer is doubted where another may have become the primary meanwhile."""

HOPS = 16
"""So often one command is referred from node to node before it is a failed attempt: slots move."""


class Nodes:
    """Sends single commands, bulk work and walks to the nodes that are meant; raises only our errors."""

    def __init__(
        self,
        topology: Topology,
        server: Server,
        patience: Patience,
        pace: Pace | None = None,
    ) -> None:
        """Take the nodes, the server as the settings have it, what is borne, how hard work pushes."""
        self.pace = pace or Pace()
        self._topology = topology
        self._patience = patience
        self._where = server.address.text
        self._user = server.credentials.username or "default"

    async def __aenter__(self) -> Self:
        """Return the store; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._topology.close()

    async def _known(self) -> Topology:
        """Return the nodes; find out what they are when that is not known yet."""
        if self._topology.known:
            return self._topology
        tries = Tries(self._patience)
        while not self._topology.known:
            try:
                learned = await self._topology.learn(tries.connect)
            except CachectlError as error:
                if not await tries.again(error, idempotent=True, known=self._topology.found):
                    raise (tries.reason or error) from None
            else:
                self._topology = learned
        return self._topology

    async def _primaries(self) -> list[Pool]:
        """Return the nodes that together hold every key once, as they are now."""
        topology = await self._known()
        return await topology.primaries(self._patience.connect)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Self]:
        """Give the store, and tell the brake of its pace, if it has one, the latency of each primary."""
        brake = self.pace.brake
        watching = [] if brake is None else [asyncio.ensure_future(self._watch(brake))]
        try:
            yield self
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _watch(self, brake: Brake) -> None:
        """Watch each primary, once there is something to watch."""
        while not self._topology.known:  # noqa: ASYNC110 whoever works finds out, not we
            await asyncio.sleep(EVERY)
        nodes: list[Pool] = []
        while not nodes:  # else work would go on without its brake
            with suppress(CachectlError):
                nodes = await self._topology.primaries(self._patience.connect)
            await asyncio.sleep(EVERY)
        await asyncio.gather(*(watch(node, brake, self._patience) for node in nodes))

    async def _answers(
        self,
        commands: Sequence[tuple[bytes, ...]],
        keys: list[bytes],
        tries: Tries | None = None,
    ) -> list[Any]:
        """Do as `run`, and raise unless the server has answered everything, if only with errors."""
        outcomes = await self.run(commands, keys, tries)
        if outcomes.error is not None:
            raise outcomes.error
        if any(isinstance(reply, Unanswered) for reply in outcomes.replies):
            msg = f"{self._where}: every connection broke before it had answered"
            raise LostError(msg)
        return outcomes.replies

    async def _call(self, key: bytes, *command: bytes, **how: Any) -> Any:
        """Send one command to the node of `key`, as `_ask` does."""
        topology = await self._known()
        return await self._ask(topology.node_for(key), *command, **how)

    async def _ask(
        self,
        node: Pool,
        *command: bytes,
        idempotent: bool = True,
        limit: int | None = None,
        tries: Tries | None = None,
    ) -> Any:
        """Send one command to a node, again where that helps; return its reply or raise its error.

        Another node that it refers to is asked instead.
        """
        tries = tries or await node.tries(self._patience)
        in_doubt, redirect, hops = False, None, 0
        while True:
            ahead = (b"ASKING",) if redirect is not None and redirect.asks else ()
            reply = await _exchange(node, [ahead, command], tries, limit)
            in_doubt = in_doubt or may_be_applied(reply)
            redirect = reply if isinstance(reply, RedirectError) else None
            if redirect is not None:
                node, hops = self._topology.follow(redirect), hops + 1
                if hops % HOPS:
                    continue
                reply = NotReadyError(f"{self._where}: {redirect.message}", redirect.hint)
            if not isinstance(reply, CachectlError):
                return reply
            if not await tries.again(reply, idempotent=idempotent, known=node.known):
                raise await self._final(tries.reason or reply, node, command[0], in_doubt=in_doubt)

    async def _final(
        self, error: CachectlError, node: Pool, verb: bytes, *, in_doubt: bool
    ) -> CachectlError:
        """Return the error to end with, explained."""
        if isinstance(error, UnreachableError):
            error.maybe_applied = in_doubt
        if isinstance(error, ReadOnlyServerError):
            error = await self._read_only(node)
        explained(error, verb, self._user)
        doubtful = in_doubt and isinstance(error, ServerError) and verb in CHANGES
        return refused_again(error) if doubtful else error

    async def _read_only(self, node: Pool) -> ReadOnlyServerError:
        """Return the error for a replica; it names the primary where the server tells."""
        hint = "write to its primary"
        try:
            role = await self._ask(node, b"ROLE")
        except CachectlError:
            role = None
        if isinstance(role, list) and role[0] == b"slave":
            hint += f": {role[1].decode('utf-8', 'replace')}:{role[2]}"
        where = node.connector.where
        return ReadOnlyServerError(f"READONLY {where} is a replica and takes no writes", hint)

    def _lanes(self, tries: Tries | None = None, pace: Pace | None = None) -> Lanes:
        how = pace or self.pace
        return Lanes(self._known, self._patience, how, self._user, tries)

    async def run(
        self, commands: Sequence[Command], keys: list[bytes], tries: Tries | None = None
    ) -> Outcomes:
        """Send idempotent commands, each to the node of its key; errors stand in the outcomes."""
        return await self._sent(Sent(commands), keys, tries)

    async def _sent(self, sent: Sent, keys: list[bytes], tries: Tries | None = None) -> Outcomes:
        lanes = self._lanes(tries)
        try:
            await lanes.send(sent, keys)
            await lanes.land()
        finally:
            lanes.leave()
        return sent.outcomes

    async def _walk(self, walk: Walk) -> AsyncGenerator[Page, None]:
        topology = await self._known()
        if topology.sharded:  # the keys of a group would be in different slots
            walk = walk._replace(group=1)
        async with aclosing(pages(topology, self._patience, self.pace, walk)) as found:
            try:
                async for page in found:
                    if any_refused(page.replies):
                        self._explain(page, walk)
                    yield page
            except CachectlError as error:
                explained(error, b"SCAN", self._user)
                raise

    def _explain(self, page: Page, walk: Walk) -> None:
        """Say in what was refused of a page which rule would allow it."""
        for place, reply in enumerate(page.replies):
            if isinstance(reply, CachectlError):
                words = b"|".join(walk.verbs[place % len(walk.verbs)])
                explained(reply, words, self._user)


async def _exchange(
    node: Pool, commands: Sequence[tuple[bytes, ...]], tries: Tries, limit: int | None
) -> Any:
    """Send commands over one wire and return the last reply, or the error that it was met with."""
    try:
        wire = await node.borrow(tries.connect)
    except UnreachableError as error:
        return error
    reply = None
    begun = perf_counter()
    try:
        for command in filter(None, commands):
            reply = await wire.call(*command, silence=tries.answer, limit=limit)
        if wire.follows and perf_counter() - begun > LONG:
            await _believe(node, wire, tries)
    except UnreachableError as error:
        error.maybe_applied = True
        return error
    finally:
        node.give_back(wire)
    return reply


async def _believe(node: Pool, wire: Wire, tries: Tries) -> None:
    """Raise `LostError` for a late answer of a primary that was replaced: its writes are discarded."""
    node.connector.doubt()
    if wire.address != await node.connector.find(tries.connect):
        wire.demoted = True
        msg = f"{wire.where} answered after another had become the primary"
        raise LostError(msg)
