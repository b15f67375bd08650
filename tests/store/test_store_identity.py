"""Which server, and which data: what the proof of a flush and of a warm stands on."""

import asyncio
from collections.abc import Callable

from cachectl.store.store import Store
from tests.servers import ServerProcess
from tests.store.stores import run, until


def identity(server: ServerProcess) -> tuple[str | None, ...]:
    async def ask(store: Store) -> None:
        found.append(await store.identity())

    found: list[tuple[str | None, ...]] = []
    run(server, ask)
    return found[0]


def linked(server: ServerProcess) -> Callable[[], bool]:
    return lambda: server.info("replication").get("master_link_status") == "up"


def test_a_first_replica_does_not_make_another_server_of_it(
    fresh_server: Callable[..., ServerProcess],
) -> None:
    """The replication id changes then, the data does not: a warm beside it must not be doubted."""
    primary, replica = fresh_server(tcp=True), fresh_server(tcp=True)
    before = identity(primary)
    replica.raw("REPLICAOF", "127.0.0.1", primary.port)
    asyncio.run(until(linked(replica)))
    assert identity(primary) == before


def test_data_taken_over_make_another_server_of_it(
    fresh_server: Callable[..., ServerProcess],
) -> None:
    """The same process, the same run: only its past tells."""
    server, other = fresh_server(tcp=True), fresh_server(tcp=True)
    before = identity(server)
    server.raw("REPLICAOF", "127.0.0.1", other.port)
    asyncio.run(until(linked(server)))
    assert identity(server) != before
    server.raw("REPLICAOF", "NO", "ONE")
    assert identity(server) != before
