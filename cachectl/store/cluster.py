"""A cluster: which primary serves which slot, found out from its nodes and followed as they change.

Source: the specification of Redis Cluster; Valkey's is the same.
"""

import asyncio
from binascii import crc_hqx
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple, Self

from redis.crc import key_slot

from cachectl.config.settings import Server
from cachectl.config.url import Address
from cachectl.errors import CachectlError, ConfigError, LostError, ServerError, UnreachableError
from cachectl.store.access import Access
from cachectl.store.connect import Connector
from cachectl.store.errors import RedirectError
from cachectl.store.hints import explained
from cachectl.store.members import SLOTS
from cachectl.store.pool import Pool
from cachectl.store.race import first_answer
from cachectl.store.topology import Split

CRCS: Final = 65536
Node = tuple[str, int]
"""Host and port."""


class Served(NamedTuple):
    """Slots from `start` to `end`, both included, and the nodes that have them: the primary first."""

    start: int
    end: int
    nodes: tuple[Node, ...]


class Shard:
    """A primary and its replicas: whichever of them is the primary after a failover.

    Finds it for the connections of a pool.
    """

    follows = True

    def __init__(self, cluster: "Cluster", primary: Node) -> None:
        """Take the node that is the primary now."""
        self._cluster = cluster
        self._doubted = False
        self.primary = primary
        self.nodes = {primary}

    @property
    def known(self) -> Address | None:
        """Where the primary is; None when in doubt."""
        return None if self._doubted else self._cluster.address(self.primary)

    @property
    def last(self) -> Address:
        """Where the primary was last: one of many, whose names must not be mixed up."""
        return self._cluster.address(self.primary)

    def doubt(self) -> None:
        """Ask the cluster before the next connection."""
        self._doubted = True

    def lead(self, primary: Node, nodes: Iterable[Node] = ()) -> None:
        """Take in who the primary is, and, where it is told, who is in the shard."""
        self.primary = primary
        self.nodes = {primary, *nodes} if nodes else self.nodes | {primary}
        self._doubted = False

    async def taking_over(self, _silence: float) -> None:
        """Return None: the nodes tell it themselves, each of the others."""

    async def settle(self, _silence: float) -> None:
        """Do nothing: a node that is replaced is told so by the others, and refers to its heir."""

    async def find(self, silence: float) -> Address:
        """Return where the primary is now."""
        if self._doubted:
            await self._cluster.refresh(silence)
            self._doubted = False
        return self._cluster.address(self.primary)


class Cluster:
    """The primaries of a cluster, a pool for each."""

    sharded = True

    def __init__(
        self, server: Server, seeds: Sequence[Node], size: int, access: Access | None = None
    ) -> None:
        """Take nodes of it: any one that answers will do. Each primary gets a pool of `size`."""
        self._server = server
        self._size = size
        self._access = access or Access(server)
        self._seeds = tuple(seeds)
        self._shards: dict[Shard, Pool] = {}
        self._pools: list[Pool] = []  # by CRC16, of which a slot is the lower bits
        self._served: list[Pool] = []
        self._told: list[Served] = []
        self.version = 0
        self._refreshing: asyncio.Task[None] | None = None
        self._told_by: Node | None = None

    @classmethod
    def of(cls, pool: Pool) -> Self:
        """Return the cluster that the node of a pool belongs to."""
        connector = pool.connector
        address = connector.server.address
        return cls(connector.server, [(address.host, address.port)], pool.size, connector.access)

    @property
    def known(self) -> bool:
        """Whether the slots have been told."""
        return bool(self._pools)

    @property
    def found(self) -> bool:
        """Whether any node has answered."""
        return self.known

    async def learn(self, silence: float) -> Self:
        """Ask for the slots."""
        await self.refresh(silence)
        return self

    def slot_of(self, key: bytes) -> int:
        """Return the slot of a key: of its hash tag, where it has one."""
        slot: int = key_slot(key)
        return slot

    def node_for(self, key: bytes) -> Pool:
        """Return the primary that serves the slot of a key."""
        return self._pools[key_slot(key)]

    def split(self, keys: list[bytes]) -> Split:
        """Return the primaries that serve `keys`."""
        # a load asks this for each entry: the common key has no hash tag to look for
        tagged = b"{" in b"".join(keys)
        slots = map(key_slot, keys) if tagged else map(crc_hqx, keys, repeat(0))
        places = defaultdict[Pool, list[int]](list)
        for place, pool in enumerate(map(self._pools.__getitem__, slots)):
            places[pool].append(place)
        return list(places.items())

    def follow(self, redirect: RedirectError) -> Pool:
        """Return the node that a node refers to; MOVED is for good, ASK for once."""
        pool = self._pool_of((redirect.host, redirect.port))
        if not redirect.asks:
            self.version += self._pools[redirect.slot] is not pool
            for crc in range(redirect.slot, CRCS, SLOTS):
                self._pools[crc] = pool
            if pool not in self._served:
                self._served.append(pool)
        return pool

    async def primaries(self, silence: float) -> list[Pool]:
        """Return the primaries that serve slots, as they are now."""
        await self.refresh(silence)
        return list(self._served)

    @property
    def losses(self) -> int:
        """How many connections to its primaries were lost."""
        return sum(pool.losses for pool in self._shards.values())

    @property
    def layout(self) -> object:
        """The slots as they were told last; replicas come and go without moving any."""
        return [(one.start, one.end, one.nodes[0]) for one in self._told]

    async def taking_over(self, _silence: float) -> None:
        """Return None: the nodes tell it themselves, each of the others."""

    async def settle(self, _silence: float) -> None:
        """Do nothing: a node that is replaced is told so by the others, and refers to its heir."""

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for pool in list(self._shards.values()):
            await pool.close()

    def address(self, node: Node) -> Address:
        """Return the address of a node: TLS and database are those of the settings."""
        ours = self._server.address
        return Address("tcp", *node, db=ours.db, tls=ours.tls)

    async def refresh(self, silence: float) -> None:
        """Ask for the slots anew; who asks meanwhile waits for the same answer."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(self._refresh(silence))
            self._refreshing.add_done_callback(_seen)
        refreshing = self._refreshing
        try:
            await asyncio.shield(refreshing)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not refreshing.cancelled() or (task is not None and task.cancelling()):
                raise
            msg = "the connections were closed while the cluster was asked for its slots"
            raise LostError(msg) from None  # `close` has cancelled that, nobody this task

    async def _refresh(self, silence: float) -> None:
        """Ask the primaries in turn: one that is cut off from the others is not believed twice."""
        nodes = [shard.primary for shard in self._shards]
        replicas = [node for shard in self._shards for node in shard.nodes if node not in nodes]
        if self._told_by in nodes:
            after = nodes.index(self._told_by) + 1
            nodes = nodes[after:] + nodes[:after]
        known = dict.fromkeys((*nodes, *replicas, *self._seeds))
        asking = [self._asking(node, silence) for node in known]
        self._told_by, served = await first_answer(asking, "nodes of the cluster")
        self._enter(served)

    def _asking(
        self, node: Node, silence: float
    ) -> Callable[[], Awaitable[tuple[Node, list[Served]]]]:
        async def ask() -> tuple[Node, list[Served]]:
            server = self._server._replace(address=self.address(node))
            wire = await Connector(server, access=self._access).connect(silence)
            try:
                reply = await wire.call(b"CLUSTER", b"SLOTS", silence=silence)
            finally:
                wire.drop()
            if isinstance(reply, ServerError) and "cluster support disabled" in reply.message:
                msg = f"{wire.where} is no node of a cluster"
                raise ConfigError(msg, "name it by its url: redis://HOST:PORT/0")
            if isinstance(reply, CachectlError):
                raise explained(reply, b"CLUSTER|SLOTS", self._access.user)
            served = told(reply, node[0])
            if not served:
                msg = f"{wire.where} knows of no node that serves slots: is the cluster made?"
                raise UnreachableError(msg)
            return node, served

        return ask

    def _enter(self, served: Sequence[Served]) -> None:
        """Take in the slots as they were told."""
        self._told = sorted(served)
        for one in served:
            self._lead(one, {row.nodes[0] for row in served})
        pools = [self._pool_of(one.nodes[0]) for one in served]
        # a slot that nobody serves is asked for at any node, which says so
        slots = [pools[0]] * SLOTS
        for one, pool in zip(served, pools, strict=True):
            slots[one.start : one.end + 1] = [pool] * (one.end + 1 - one.start)
        self.version += self._pools[:SLOTS] != slots
        self._pools = slots * (CRCS // SLOTS)
        self._served = list(dict.fromkeys(pools))

    def _lead(self, one: Served, primaries: set[Node]) -> None:
        """Enter the primary of a shard: after a failover another one, which may be new to us.

        A shard whose primary serves nothing any more goes where a replica of it, or its slots, went.
        Where that has a pool already, this stays the only one: by two, writes would overtake each other.
        """
        primary, *_ = one.nodes
        before = set(self._pools[one.start : one.end + 1])
        same = [
            shard
            for shard, pool in self._shards.items()
            if shard.primary == primary
            or (shard.primary not in primaries and (primary in shard.nodes or pool in before))
        ]
        same.sort(key=lambda shard: shard.primary != primary)
        for shard in same or [self._new_shard(primary)]:
            shard.lead(primary, one.nodes)
        for shard in same[1:]:
            self._shards.pop(shard).abandon()

    def _pool_of(self, node: Node) -> Pool:
        """Return the pool of the primary at a node; of a replica that has become one, its shard's."""
        for shard, pool in self._shards.items():
            if shard.primary == node:
                return pool
        for shard, pool in self._shards.items():
            if node in shard.nodes:
                shard.lead(node)
                return pool
        return self._shards[self._new_shard(node)]

    def _new_shard(self, primary: Node) -> Shard:
        shard = Shard(self, primary)
        connector = Connector(self._server, shard, self._access)
        self._shards[shard] = Pool(connector, self._size)
        return shard


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # raised to whoever still waits


def told(reply: Any, said_by: str) -> list[Served]:
    """Return what CLUSTER SLOTS says; an empty host is that of the node which was asked."""
    return [
        Served(start, end, tuple(_node(one, said_by) for one in nodes))
        for start, end, *nodes in reply
    ]


def _node(told: Sequence[Any], said_by: str) -> Node:
    host, port = told[:2]
    name = host.decode() if host else said_by
    return (said_by if name == "?" else name, port)
