"""A server of the settings -> a Store, with the embedded server started where that is wanted."""

import os
from collections.abc import Callable

from cachectl.config.settings import Server
from cachectl.store.connect import Connector, Find
from cachectl.store.pace import Pace
from cachectl.store.store import Store
from cachectl.store.tries import Patience

START_TIMEOUT = 10.0
"""Seconds that the embedded server may take to start and load its data."""


def open_store(
    server: Server,
    patience: Patience,
    *,
    start_embedded: bool,
    announce: Callable[[str], None] | None = None,
    pace: Pace | None = None,
) -> Store:
    """Return a store on `server`; nothing is opened before its first command.

    `start_embedded` lets an embedded server be started, which is told to `announce` once.
    """
    find: Find | None = None
    if server.address.kind == "embedded":
        from cachectl.store.embedded import Embedded

        embedded = Embedded(server.address.path, os.environ)

        async def find_embedded() -> str:
            found = await embedded.connect_or_start(start=start_embedded, timeout=START_TIMEOUT)
            if found.started and announce is not None:
                stop = f"{embedded.command} stop"
                announce(f"started an embedded server at {found.socket}; stop it with: {stop}")
            return found.socket

        find = find_embedded
    return Store(Connector(server, find), patience, server.client.pool_size, pace)
