"""The nodes behind a store: what is sent to them, with which patience, and how hard it pushes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

from cachectl.errors import (
    CachectlError,
    LostError,
    ReadOnlyServerError,
    ServerError,
    UnreachableError,
)
from cachectl.store.connect import Connector
from cachectl.store.errors import any_refused
from cachectl.store.hints import explained
from cachectl.store.lanes import Lanes, Sent
from cachectl.store.pace import Pace, watch
from cachectl.store.pool import Pool
from cachectl.store.scan import Page, Walk, pages
from cachectl.store.settle import refused_again
from cachectl.store.stream import Outcomes, Unanswered
from cachectl.store.topology import Standalone
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Command
from cachectl.store.writing import CHANGES


class Nodes:
    """Sends single commands, bulk work and walks to the nodes that are meant; raises only our errors."""

    def __init__(
        self,
        connector: Connector,
        patience: Patience,
        pool_size: int = 10,
        pace: Pace | None = None,
    ) -> None:
        """Take what makes connections, what is borne, how many connections, how hard work pushes."""
        self.pace = pace or Pace()
        self._topology = Standalone(Pool(connector, pool_size))
        self._patience = patience
        self._connector = connector

    async def __aenter__(self) -> Self:
        """Return the store; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._topology.close()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Self]:
        """Give the store, and tell the brake of its pace, if it has one, the latency of each primary."""
        brake = self.pace.brake
        nodes = () if brake is None else self._topology.primaries()
        watching = [
            asyncio.ensure_future(watch(node, brake, self._patience)) for node in nodes if brake
        ]
        try:
            yield self
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

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
            msg = f"{self._connector.where}: every connection broke before it had answered"
            raise LostError(msg)
        return outcomes.replies

    async def _call(self, key: bytes, *command: bytes, **how: Any) -> Any:
        """Send one command to the node of `key`, as `_ask` does."""
        return await self._ask(self._topology.node_for(key), *command, **how)

    async def _ask(
        self,
        node: Pool,
        *command: bytes,
        idempotent: bool = True,
        limit: int | None = None,
        tries: Tries | None = None,
    ) -> Any:
        """Send one command to a node, again where that helps; return its reply or raise its error."""
        tries = tries or await node.tries(self._patience)
        in_doubt = False
        while True:
            try:
                wire = await node.borrow(tries.connect)
                try:
                    reply = await wire.call(*command, silence=tries.answer, limit=limit)
                except UnreachableError as error:
                    error.maybe_applied = in_doubt = True
                    raise
                finally:
                    node.give_back(wire)
            except UnreachableError as error:
                reply = error
            if not isinstance(reply, CachectlError):
                return reply
            if not await tries.again(reply, idempotent=idempotent, known=node.connected):
                reply = tries.reason or reply
                break
        if isinstance(reply, UnreachableError):
            reply.maybe_applied = in_doubt
        if isinstance(reply, ReadOnlyServerError):
            reply = await self._read_only(node)
        explained(reply, command[0], self._connector.user)
        if in_doubt and isinstance(reply, ServerError) and command[0] in CHANGES:
            raise refused_again(reply)
        raise reply

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
        return Lanes(self._topology, self._patience, how, self._connector.user, tries)

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
        for node in self._topology.primaries():
            async with aclosing(pages(node, self._patience, self.pace, walk)) as found:
                try:
                    async for page in found:
                        if any_refused(page.replies):
                            self._explain(page, walk)
                        yield page
                except CachectlError as error:
                    explained(error, b"SCAN", self._connector.user)
                    raise

    def _explain(self, page: Page, walk: Walk) -> None:
        """Say in what was refused of a page which rule would allow it."""
        for place, reply in enumerate(page.replies):
            if isinstance(reply, CachectlError):
                words = b"|".join(walk.verbs[place % len(walk.verbs)])
                explained(reply, words, self._connector.user)
