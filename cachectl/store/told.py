"""What the nodes behind a store tell of themselves: who they are, how they are, what they count."""

from time import perf_counter
from typing import NamedTuple

from cachectl.errors import BusyError, CachectlError, DeniedError, ServerError, UnreachableError
from cachectl.store.hints import explained
from cachectl.store.info import Lookups, identity, lookups, parse_info
from cachectl.store.memory import Memory, memory
from cachectl.store.nodes import Nodes
from cachectl.store.pool import Pool
from cachectl.store.wire import Greeting


class Vitals(NamedTuple):
    """What one node tells of itself: its address, the seconds its pings took, its INFO and role.

    `ping` and `info` hold our error instead where the server refused.
    """

    node: str
    greeting: dict[str, str | None]
    ping: list[float] | CachectlError
    info: dict[str, str] | CachectlError


class Told(Nodes):
    """Asks the primaries about themselves; raises our errors where one does not tell."""

    async def ping(self) -> None:
        """Raise one of our errors unless every primary answers, and is not busy or out of service."""
        for node in await self._primaries():
            async with node.lend(self._patience.connect) as wire:
                reply = await wire.call(b"PING", silence=self._patience.answer)
            if isinstance(reply, UnreachableError | BusyError):
                raise explained(reply, b"PING", self._user)

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
        return tuple([await self._identity(node) for node in await self._primaries()])

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

    async def vitals(self, pings: int = 5) -> list[Vitals]:
        """Ask every node how it is; raises our errors for one that cannot be asked at all."""
        return [await self._vitals(node, pings) for node in await self._primaries()]

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
            return Vitals(
                node.connector.where,
                wire.greeting._asdict(),
                refused or took,
                info if isinstance(info, CachectlError) else parse_info(info),
            )
