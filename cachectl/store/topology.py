"""Which node serves a key, and which primaries make up the keyspace."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cachectl.errors import UsageError
from cachectl.store.errors import RedirectError
from cachectl.store.pool import Pool

if TYPE_CHECKING:
    from cachectl.store.cluster import Cluster

Split = Sequence[tuple[Pool, list[int]]]
"""Nodes, each with the places of its keys in a list of keys."""


class Topology(Protocol):
    """The nodes of a keyspace. What is asked of the network has `silence` seconds, or raises our errors.

    `known` tells that `learn` has been through: before, nothing else is called. `found` tells that there
    are nodes, if none that answers: they are worth waiting for. `sharded`: keys of one node may be in
    different slots, so that no command may name two.
    """

    @property
    def known(self) -> bool:
        """Tell whether `learn` has been through."""

    @property
    def found(self) -> bool:
        """Tell whether there are nodes, as somebody has told."""

    @property
    def sharded(self) -> bool:
        """Tell whether there are slots."""

    async def learn(self, silence: float) -> "Topology":
        """Find out what the nodes are; return the topology that they turn out to be."""

    def slot_of(self, key: bytes) -> int | None:
        """Return the slot of a key, None where there are none."""

    def node_for(self, key: bytes) -> Pool:
        """Return the node that serves a key."""

    def split(self, keys: list[bytes]) -> Split:
        """Return the nodes that serve `keys`."""

    def follow(self, redirect: RedirectError) -> Pool:
        """Return the node that a node refers to, and remember it if that is for good."""

    async def primaries(self, silence: float) -> list[Pool]:
        """Return the nodes that together hold every key once, as they are now."""

    @property
    def version(self) -> int:
        """A number that counts on whenever a slot was found to be at another node than before."""

    @property
    def losses(self) -> int:
        """How many connections the nodes have closed by now, or kept silent on."""

    @property
    def layout(self) -> object:
        """What equals another layout if each slot is served by the same node, as told last."""

    async def taking_over(self, silence: float) -> str | None:
        """Return in a sentence who is to replace a primary that does not answer, if anybody is."""

    async def settle(self, silence: float) -> None:
        """Raise `NotReadyError` while a primary is being replaced that still answers."""

    async def close(self) -> None:
        """Close all connections."""


class Standalone:
    """One node for everything: by TCP, TLS or Unix socket, the embedded one, or Sentinel's primary."""

    sharded = False
    version = 0

    def __init__(self, pool: Pool) -> None:
        """Take the pool of the one node."""
        self.pool = pool
        self.known = False
        self._cluster: Cluster | None = None

    @property
    def found(self) -> bool:
        """Whether it was reached once, or a Sentinel has told of it."""
        return self.pool.known

    async def learn(self, silence: float) -> Topology:
        """Greet the server: a node of a cluster says so, and is not all of it."""
        async with self.pool.lend(silence) as wire:
            mode = wire.greeting.mode
        address = self.pool.connector.server.address
        if mode == "sentinel":
            msg = f"{address.text} is a Sentinel, which holds no keys"
            raise UsageError(msg, "name what it watches: redis+sentinel://HOST:PORT/SERVICE")
        if mode == "cluster" and address.kind != "tcp":
            msg = f"{address.text} is a node of a cluster, whose other nodes have no such socket"
            raise UsageError(msg, "name it by host and port: redis://HOST:PORT")
        if mode == "cluster":
            from cachectl.store.cluster import Cluster  # its module is for those who have one

            self._cluster = self._cluster or Cluster.of(self.pool)
            await self.pool.close()
            return await self._cluster.learn(silence)
        self.known = True
        return self

    def slot_of(self, _key: bytes) -> None:
        """Return None: a server alone has no slots."""

    def node_for(self, _key: bytes) -> Pool:
        """Return the one node."""
        return self.pool

    def split(self, keys: list[bytes]) -> Split:
        """Return the one node, which serves all of them."""
        return [(self.pool, list(range(len(keys))))]

    def follow(self, _redirect: RedirectError) -> Pool:
        """Return the one node: a server that is no cluster refers to nobody."""
        return self.pool

    async def primaries(self, _silence: float) -> list[Pool]:
        """Return the one node, which is looked for anew: one that was replaced may still answer."""
        self.pool.connector.doubt()
        return [self.pool]

    @property
    def losses(self) -> int:
        """How many connections were lost."""
        return self.pool.losses

    @property
    def layout(self) -> None:
        """Return None: there are no slots."""

    async def taking_over(self, silence: float) -> str | None:
        """Return what Sentinel is about to do."""
        return await self.pool.connector.taking_over(silence)

    async def settle(self, silence: float) -> None:
        """Ask Sentinel whether a failover is under way."""
        await self.pool.connector.settle(silence)

    async def close(self) -> None:
        """Close all connections."""
        await self.pool.close()
        if self._cluster is not None:  # which could not be learned yet
            await self._cluster.close()
