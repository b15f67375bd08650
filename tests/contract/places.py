"""The five places that the contract holds at, and a way to each that knows nothing of cachectl."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from tests.clusters import Cluster
from tests.sentinels import SentinelTrio
from tests.servers import ServerProcess
from tests.tls import TlsServer

INSPECTS = (
    *("+type", "+pttl", "+object|encoding", "+object|idletime", "+object|freq", "+memory|usage"),
    *("+strlen", "+getrange", "+llen", "+lrange", "+scard", "+sscan"),
    *("+hlen", "+hscan", "+zcard", "+zrange", "+xlen", "+xrange"),
)
WARMS = ("+set", "+exists", "+restore", "+pttl", "+get", "+pexpire", "+info")
RIGHTS: dict[str, Sequence[str]] = {
    "get": ("+get", "+pttl", "+type"),
    "set": ("+set",),
    "delete": ("+unlink",),
    "inspect": INSPECTS,
    "scan": ("+info", "+scan", "+type", "+pttl", "+memory|usage"),
    "stats": ("+info", "+scan", "+type", "+pttl", "+memory|usage"),
    "export": ("+info", "+scan", "+strlen", "+get", "+pttl", "+dump", "+memory|usage"),
    "warm": WARMS,
    "flush": ("+scan", "+unlink", "+info"),
    "health": ("+ping", "+info"),
    "client": ("+get", "+set", "+unlink", "+ping"),
}
"""What a command sends in these tests: a user who may do just this sees everything work."""


def about(seconds: float) -> Any:
    """Return what is equal to so many seconds on a slow machine."""
    return pytest.approx(seconds, abs=10)


class Place:
    """Where a cache may live: how a profile leads there, and its data past cachectl.

    `server` is how cachectl names the whole of it.
    """

    def __init__(
        self,
        name: str,
        profile: dict[str, Any],
        server: str,
        primaries: Callable[[], Sequence[ServerProcess]],
    ) -> None:
        """Take the profile's settings and a look at who the primaries are."""
        self.name = name
        self.profile = profile
        self.server = server
        self.primaries = primaries

    def settings(self, directory: Path, **more: object) -> Path:
        """Write `cachectl.yaml` with the profile `here`, and what else is to be in it."""
        path = directory / "cachectl.yaml"
        path.write_text(
            json.dumps({"default_profile": "here", "profiles": {"here": self.profile}, **more})
        )
        path.chmod(0o600)
        return path

    def head(self, command: str) -> dict[str, str]:
        """Return what every report of a command begins with."""
        return {"command": command, "profile": "here", "server": self.server}

    def let(self, command: str) -> None:
        """Allow the profile's user what a command needs, and nothing else."""

    def denied(self) -> list[bytes]:
        """Return what the servers have denied: a command that was tried all the same is in it."""
        logs = [line for primary in self.primaries() for line in primary.raw("ACL", "LOG")]
        return [log[log.index(b"object") + 1] for log in logs]

    def slot(self, _key: bytes | str, /) -> int | None:
        """Return the slot of a key; None where there are none."""
        return None

    def holder(self, _key: bytes | str, /) -> ServerProcess:
        """Return the server that has a key."""
        return self.primaries()[0]

    def node(self, key: bytes | str) -> str:
        """Return how cachectl names the server that has a key."""
        return self.holder(key).url

    def raw(self, key: bytes | str, *args: object) -> Any:
        """Send a command to the server that has a key."""
        return self.holder(key).raw(*args)

    def put(self, key: bytes | str, value: bytes | str, ttl: float | None = None) -> None:
        """Write a value; `ttl` is in seconds."""
        lives = () if ttl is None else ("PX", int(ttl * 1000))
        self.raw(key, "SET", key, value, *lives)

    def value(self, key: bytes | str) -> bytes | None:
        """Return the bytes of a value."""
        found: bytes | None = self.raw(key, "GET", key)
        return found

    def ttl(self, key: bytes | str) -> float | None:
        """Return the seconds that a key has left, None for one that never expires."""
        left: int = self.raw(key, "PTTL", key)
        assert left != -2, f"{key!r} is not there"
        return None if left == -1 else left / 1000

    def keys(self) -> set[bytes]:
        """Return all keys."""
        return set().union(*(primary.raw("KEYS", "*") for primary in self.primaries()))


class Sharded(Place):
    """A cluster: the slot of a key tells its server."""

    def __init__(self, cluster: Cluster) -> None:
        """Take a cluster as it is after its start."""
        where = f"redis+cluster://{','.join(cluster.nodes)}/0"
        super().__init__("cluster", {"cluster": cluster.nodes}, where, cluster.primaries)
        self._cluster = cluster

    def holder(self, key: bytes | str, /) -> ServerProcess:
        """Return the primary that has the slot of a key."""
        return self._cluster.node_for(key)

    def slot(self, key: bytes | str, /) -> int:
        """Return the slot of a key."""
        slot: int = key_slot(key if isinstance(key, bytes) else key.encode())
        return slot


class Guarded(Place):
    """A server with TLS, an authority of its own, and a user who may do little."""

    def __init__(self, server: TlsServer) -> None:
        """Take a server as it is after its start."""
        self._server = server
        profile = {
            "url": server.url,
            "username": server.user,
            "password": server.password,
            "tls": {"ca_file": str(server.ca_file)},
        }
        super().__init__("tls", profile, server.url, lambda: [server])

    def let(self, command: str) -> None:
        """Allow the profile's user what a command needs, and nothing else."""
        user, password = self._server.user, self._server.password
        rights = RIGHTS.get(command, ())
        self._server.raw("ACL", "SETUSER", user, "reset", "on", f">{password}", "~*", *rights)


def standalone(server: ServerProcess) -> Place:
    """Return one server, reached by its URL."""
    return Place(server.version, {"url": server.url}, server.url, lambda: [server])


def watched(trio: SentinelTrio) -> Place:
    """Return a primary that is asked for at its sentinels."""
    where = f"redis+sentinel://{','.join(trio.nodes)}/{trio.service}/0"
    settings = {"sentinel": {"service": trio.service, "nodes": trio.nodes}}
    return Place("sentinel", settings, where, lambda: [trio.primary()])
