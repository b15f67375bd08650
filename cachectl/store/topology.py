"""Which node serves a key, and which primaries make up the keyspace."""

from cachectl.store.pool import Pool


class Standalone:
    """One node for everything: a server by TCP, TLS or Unix socket, and the embedded one."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool of the one node."""
        self._pool = pool

    def node_for(self, _key: bytes) -> Pool:
        """Return the node that serves a key."""
        return self._pool

    def split(self, keys: list[bytes]) -> list[tuple[Pool, list[int]]]:
        """Return the nodes that serve `keys`, each with the places of its keys in the list."""
        return [(self._pool, list(range(len(keys))))]

    def primaries(self) -> list[Pool]:
        """Return the nodes that together hold every key once."""
        return [self._pool]

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()
