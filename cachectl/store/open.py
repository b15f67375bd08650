"""A server of the settings -> a Store, with the embedded server started where that is wanted."""

import os
from collections.abc import Callable

from cachectl.config.settings import Server
from cachectl.config.url import Address
from cachectl.errors import ConfigError
from cachectl.store.connect import Connector, Finder
from cachectl.store.pace import Pace
from cachectl.store.pool import Pool
from cachectl.store.store import Store
from cachectl.store.topology import Standalone, Topology
from cachectl.store.tries import Patience

START_TIMEOUT = 10.0
"""Seconds that the embedded server may take to start and load its data."""

CONNECTIONS = 10
"""Connections of a command to a node: a walk holds one, and asks for others on its way."""

Announce = Callable[[str], None]


class _EmbeddedServer:
    """Finds the embedded server's socket; starts it where that is wanted."""

    follows = False
    known = last = None

    def __init__(self, path: str, announce: Announce | None, *, start: bool) -> None:
        from cachectl.store.embedded import Embedded

        self._embedded = Embedded(path, os.environ)
        self._announce = announce
        self._start = start

    def doubt(self) -> None:
        """Its place never changes."""

    async def taking_over(self, _silence: float) -> None:
        """Return None: it has no replicas."""

    async def settle(self, _silence: float) -> None:
        """Do nothing: it is never replaced."""

    async def find(self, _silence: float) -> Address:
        """Return its socket: running, or just started."""
        embedded = self._embedded
        found = await embedded.connect_or_start(start=self._start, timeout=START_TIMEOUT)
        if found.started and self._announce is not None:
            stop = f"{embedded.command} stop"
            self._announce(f"started an embedded server at {found.socket}; stop it with: {stop}")
        return Address("unix", path=found.socket)


def open_store(
    server: Server,
    patience: Patience,
    *,
    start_embedded: bool,
    announce: Announce | None = None,
    pace: Pace | None = None,
    connections: int = CONNECTIONS,
) -> Store:
    """Return a store on `server`; nothing is opened before its first command.

    `start_embedded` lets an embedded server be started, which is told to `announce` once. At most so
    many `connections` are open to each node. Raises `ConfigError` where a password is still to be
    typed.
    """
    if server.asks:
        msg = f"{server.setting}: password_prompt: only the command line can ask for a password"
        raise ConfigError(msg, "give password_file or password_command in its place")
    finder: Finder | None = None
    if server.address.kind == "embedded":
        finder = _EmbeddedServer(server.address.path, announce, start=start_embedded)
    return Store(_topology(server, finder, connections), server, patience, pace)


def _topology(server: Server, finder: Finder | None, size: int) -> Topology:
    if server.address.kind == "cluster":
        from cachectl.store.cluster import Cluster

        return Cluster(server, server.address.nodes, size)
    if server.address.kind == "sentinel":
        from cachectl.store.sentinel import Sentinels

        finder = Sentinels(server)
    return Standalone(Pool(Connector(server, finder), size))
