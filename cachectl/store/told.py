"""What the nodes behind a store tell of themselves: who they are, how they are, what they count."""

import asyncio
from collections.abc import Collection
from time import perf_counter
from typing import NamedTuple

from cachectl.errors import (
    BusyError,
    CachectlError,
    DeniedError,
    NotReadyError,
    ServerError,
    UnreachableError,
)
from cachectl.store.hints import explained
from cachectl.store.info import Lookups, identity, lookups, parse_info
from cachectl.store.members import Member, members
from cachectl.store.memory import Memory, memory
from cachectl.store.nodes import Nodes
from cachectl.store.pool import Pool
from cachectl.store.tries import Tries
from cachectl.store.wire import Greeting, Wire


class Vitals(NamedTuple):
    """What one node tells of itself: its address, the seconds its pings took, its INFO and role.

    `ping` and `info` hold our error instead where the server refused, or a node of a cluster did not
    answer. `members` are the nodes of the cluster as it sees them; None where it is no cluster, or
    does not tell. `place` is its host and port.
    """

    node: str
    greeting: dict[str, str | None]
    ping: list[float] | CachectlError
    info: dict[str, str] | CachectlError
    members: tuple[Member, ...] | None = None
    place: tuple[str, int] = ("", 0)


class Told(Nodes):
    """Asks the primaries about themselves; raises our errors where one does not tell."""

    async def ping(self) -> None:
        """Raise one of our errors unless a primary answers, and is not busy or out of service.

        One of a cluster is enough: the keys of the others are still of use.
        """
        pings = [self._ping(node) for node in await self._primaries()]
        errors = [error for error in await asyncio.gather(*pings) if error is not None]
        if len(errors) == len(pings):
            raise errors[0]

    async def _ping(self, node: Pool) -> CachectlError | None:
        try:
            async with node.lend(self._patience.connect) as wire:
                reply = await wire.call(b"PING", silence=self._patience.answer)
        except CachectlError as error:
            return error
        refused = isinstance(reply, UnreachableError | BusyError)
        return explained(reply, b"PING", self._user) if refused else None

    async def writable(self) -> None:
        """Raise `ReadOnlyServerError` when a primary is none: a replica that takes no writes."""
        for node in await self._primaries():
            try:
                told = Greeting.told(await self._ask(node, b"HELLO", b"2"))
            except ServerError:
                continue
            if told.role in {"replica", "slave"}:
                raise await self._read_only(node)

    async def identity(self) -> tuple[str | None, ...]:
        """Return what tells these servers and their data from others; None where it is denied.

        Each primary's run, and its replication id: one that took over another's data keeps its run.
        So does one whose databases were swapped: there the count of SWAPDB follows.
        """
        await self._settle()
        told = [await self._identity(node) for node in await self._primaries()]
        return tuple(sorted(told, key=str))  # a slot that moves changes the order of the nodes

    async def standing(self) -> tuple[object, ...]:
        """Return what equals a later one only if no server was restarted or replaced in between.

        Where one does not tell who it is, each connection that is lost makes a difference.
        """
        told = await self.identity()
        return (*told, self._topology.losses) if None in told else told

    async def _settle(self) -> None:
        """Wait until no failover is under way: what is asked of the old primary is worth nothing."""
        topology = await self._known()
        tries = Tries(self._patience)
        while True:
            try:
                return await topology.settle(tries.connect)
            except NotReadyError as error:
                if not await tries.again(error, idempotent=True, known=True):
                    raise (tries.reason or error) from None

    async def _identity(self, node: Pool) -> str | None:
        try:
            info = parse_info(await self._ask(node, b"INFO", b"everything"))
        except DeniedError:
            return None
        return identity(info)

    async def lookups(self) -> list[Lookups]:
        """Return what each primary has counted of hits and misses; EXISTS and GET count."""
        told = [await self._ask(n, b"INFO", b"everything") for n in await self._primaries()]
        return [lookups(parse_info(info)) for info in told]

    async def memory(self) -> list[Memory]:
        """Ask each primary how much memory it uses and may use."""
        found = []
        for node in await self._primaries():
            info = parse_info(await self._ask(node, b"INFO"))
            connector = node.connector
            found.append(memory(connector.where, info, connector.server.address.db))
        return found

    async def vitals(self, pings: int = 5, but: Collection[str] = ()) -> list[Vitals]:
        """Ask every primary how it is, `but` those; raises our errors for a server that is away.

        One of a cluster is told as one that has not answered.
        """
        nodes = [node for node in await self._primaries() if node.connector.where not in but]
        if not self._topology.sharded:
            return [await self._vitals(node, pings) for node in nodes]
        return list(await asyncio.gather(*(self._vitals_of_many(node, pings) for node in nodes)))

    async def _vitals_of_many(self, node: Pool, pings: int) -> Vitals:
        try:
            return await self._vitals(node, pings)
        except UnreachableError as error:
            address = node.connector.address
            return Vitals(address.text, {}, error, error, place=(address.host, address.port))

    async def _vitals(self, node: Pool, pings: int) -> Vitals:
        tries = await node.tries(self._patience)
        async with node.lend(tries.connect) as wire:
            took: list[float] = []
            refused: CachectlError | None = None
            for _ in range(pings):
                start = perf_counter()
                reply = await wire.call(b"PING", silence=tries.answer)
                took.append(perf_counter() - start)
                refused = reply if isinstance(reply, CachectlError) else None
            info = await wire.call(b"INFO", b"everything", silence=tries.answer)
            seen = await self._members(wire, tries)
            return Vitals(
                node.connector.where,
                wire.greeting._asdict(),
                refused or took,
                info if isinstance(info, CachectlError) else parse_info(info),
                seen,
            )

    async def _members(self, wire: Wire, tries: Tries) -> tuple[Member, ...] | None:
        if wire.greeting.mode != "cluster":
            return None
        reply = await wire.call(b"CLUSTER", b"NODES", silence=tries.answer)
        return tuple(members(reply)) if isinstance(reply, bytes) else None

    async def taking_over(self) -> str | None:
        """Return in a sentence who is about to become the primary; None where nobody says so."""
        return await self._topology.taking_over(self._patience.connect)
