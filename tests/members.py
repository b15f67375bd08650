"""Servers that belong together: what a cluster's nodes and a Sentinel's servers have in common."""

import os
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers import RawConnection, ReplyError, ServerProcess

SETTLE_TIMEOUT = 30.0
BUS_OFFSET = 10000
_given: set[int] = set()


class Member(ServerProcess):
    """A server whose role is decided by the group that it belongs to; it listens on a port.

    `reset` leaves the role as it is, and raises `OSError` or `ReplyError` when commands are not
    enough: then the group starts it again.
    """

    port: int

    def __init__(self, *config: str, version: str) -> None:
        """Choose a port whose neighbour 10,000 higher is free too, for a cluster's bus."""
        sync = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        super().__init__(*sync, *config, version=version)
        self.port = free_port_pair()

    @property
    def address(self) -> str:
        """The `host:port` under which the others know it."""
        return f"127.0.0.1:{self.port}"

    @property
    def replicates(self) -> str | None:
        """The `host:port` of its primary, or None for a primary; with no word on the link."""
        role = self.raw("ROLE")
        return f"{role[1].decode()}:{role[2]}" if role[0] == b"slave" else None

    @property
    def linked(self) -> bool:
        """Whether it holds what its primary holds; a primary always does."""
        return self.replicates is None or self.raw("ROLE")[3] == b"connected"

    def fill(self, prefix: str, count: int, value: str = "1") -> None:
        """Set `count` keys `prefix0`, `prefix1` … to `value`, and wait until replicas have them."""
        super().fill(prefix, count, value)
        with self.connect() as connection:
            connection.call("SET", f"{prefix}0", value)
            wait_for_replicas(connection)

    def revive(self) -> None:
        """Start it again with nothing but its place in the group, or let it go on."""
        if self.running:
            self.sigcont()
        else:
            (self.directory / "dump.rdb").unlink(missing_ok=True)
            self.start()

    def reset(self) -> None:
        """Make data, users, pauses and settings as they were after the start."""
        self._reset_by_commands()
        self._baseline = self._baseline or self._settings()

    def _leave_group(self, connection: RawConnection) -> None:
        """Stay where it is."""

    def _flush(self, connection: RawConnection) -> None:
        """Leave it to the primary."""
        if connection.call("ROLE")[0] == b"master":
            connection.call("FLUSHALL")


class Group(ABC):
    """Members that are started, watched and ended together; use it as a context manager."""

    version: str
    servers: Sequence[Member]

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    @property
    def everyone(self) -> Sequence[Member]:
        """All processes."""
        return self.servers

    @abstractmethod
    def start(self) -> None:
        """End what runs, start all afresh, and wait until it is settled."""

    @abstractmethod
    def _settled(self) -> bool:
        """Whether all is in its place, as each that is awake says."""

    @abstractmethod
    def _reset_by_commands(self) -> None:
        """Make it as it was after its start; raise `OSError` or `ReplyError` when this fails."""

    def settle(self, timeout: float = SETTLE_TIMEOUT) -> None:
        """Wait until all that are awake agree on roles, and replicas hold the data."""
        wait_until(f"settled {type(self).__name__} of {self.version}", self._settled, timeout)

    def reset(self) -> None:
        """Make it as it was after its start: by commands if these are enough, else started anew."""
        try:
            for member in self.everyone:
                member.sigcont()
            self._reset_by_commands()
        except (OSError, ReplyError):
            self.start()

    def kill(self, member: Member) -> None:
        """Kill one and return at once; `settle` waits until another has taken its place."""
        member.kill9()

    def revive(self, member: Member) -> None:
        """Start a killed one again, or let a frozen one go on, and wait for its place."""
        member.revive()
        self.settle()

    def close(self) -> None:
        """Kill all and remove their directories."""
        for member in self.everyone:
            member.close()

    def _end_all(self) -> None:
        """Kill all, before the first starts again, and forget what they held."""
        for member in self.everyone:
            member.kill9()
            (member.directory / "dump.rdb").unlink(missing_ok=True)


def wait_for_replicas(connection: RawConnection) -> None:
    """Wait until the linked replicas of a primary have what this connection wrote last."""
    replicas = len(connection.call("ROLE")[2])
    connection.call("WAIT", replicas, 5000)


def free_port_pair() -> int:
    """Return a port of 127.0.0.1 that is free, as is the one 10,000 higher, and given to nobody else.

    Both lie below the ports that the kernel gives to clients: a member that was killed finds its
    own free again. Each worker of pytest-xdist has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = random.randrange(BUS_OFFSET + 1 + worker, 2 * BUS_OFFSET, workers)
        if port in _given:
            continue
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + BUS_OFFSET))
            _given.add(port)
            return port


def wait_until(what: str, condition: Callable[[], object], timeout: float = SETTLE_TIMEOUT) -> None:
    """Poll until the condition holds; a member that does not answer does not hold it."""
    deadline = time.monotonic() + timeout
    while not holds(condition):
        if time.monotonic() > deadline:
            msg = f"waited {timeout:g} s in vain: {what}"
            raise TimeoutError(msg)
        time.sleep(0.01)


def holds(condition: Callable[[], object]) -> bool:
    """Return whether the condition holds now; not if a member is gone or refuses to answer."""
    try:
        return bool(condition())
    except (OSError, ReplyError):
        return False
