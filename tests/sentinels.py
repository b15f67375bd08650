"""A primary, two replicas and three sentinels that watch them, and what may happen to them."""

import secrets
from typing import Self

from tests.members import Group, Member, wait_until
from tests.servers import DEFAULT_VERSION, REPLY_TIMEOUT, RawConnection, ReplyError

SERVICE = "main"
QUORUM = 2
SETTINGS = {"down-after-milliseconds": 1000, "failover-timeout": 2000, "parallel-syncs": 2}
# How often a sentinel looks, in milliseconds: sentinels take minutes where these take seconds.
PERIODS = {
    "info-period": 200,
    "ping-period": 300,  # a replica is chosen only if its last word is no older than five of these
    "ask-period": 100,
    "publish-period": 500,  # four of these, and what a sentinel knows nothing of is undone
    "election-timeout": 1000,
    "tilt-trigger": 20000,  # a sentinel that was held up for two seconds sits still for thirty
}
WITHOUT_PERIODS = ("redis-6.2",)
RESET_TIMEOUT = 2.0
FAILOVER_TIMEOUT = 6.0


class Sentinel(Member):
    """One sentinel; `raw` logs in where a password is asked for."""

    def __init__(self, version: str, password: str | None) -> None:
        """Choose its id; `watch` tells it what to watch."""
        super().__init__(version=version)
        self.config = ()
        self.password = password
        self.id = secrets.token_hex(20)
        self.file = self.directory / "sentinel.conf"
        self._users: list[bytes] = []

    @property
    def command(self) -> list[str]:
        """The program as a sentinel, with the file that it keeps its knowledge in."""
        return [str(self.binary), str(self.file), "--sentinel"]

    def connect(self, timeout: float = REPLY_TIMEOUT) -> RawConnection:
        """Return a connection over the Unix socket, logged in; the caller closes it."""
        connection = super().connect(timeout)
        if self.password:
            try:
                connection.call("AUTH", self.password)
            except BaseException:
                connection.close()
                raise
        return connection

    def watch(self, primary: Member, replicas: list[Member], others: list[Self]) -> None:
        """Write down what it would find out by itself in some seconds, and start it."""
        watched = f"{SERVICE} 127.0.0.1"
        lines = [f"sentinel myid {self.id}"]
        lines += [f"sentinel monitor {watched} {primary.port} {QUORUM}"]
        lines += [f"sentinel {name} {SERVICE} {value}" for name, value in SETTINGS.items()]
        lines += [f"sentinel known-replica {watched} {one.port}" for one in replicas]
        lines += [f"sentinel known-sentinel {watched} {one.port} {one.id}" for one in others]
        if self.password:
            lines += [f"requirepass {self.password}", f"sentinel sentinel-pass {self.password}"]
        self.file.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        """Start it, quick as a test wants it."""
        super().start()
        if self.version not in WITHOUT_PERIODS:
            for name, value in PERIODS.items():
                self.raw("SENTINEL", "DEBUG", name, value)

    def told(self) -> dict[str, str]:
        """Return what it says of the primary."""
        return paired(self.raw("SENTINEL", "MASTER", SERVICE))

    def told_of_replicas(self) -> list[dict[str, str]]:
        """Return what it says of each replica."""
        return [paired(one) for one in self.raw("SENTINEL", "REPLICAS", SERVICE)]

    def changed(self) -> bool:
        """Whether it asks for something else than it was started with."""
        told = self.told()
        first = {name: str(value) for name, value in (SETTINGS | {"quorum": QUORUM}).items()}
        self._users = self._users or self.raw("ACL", "LIST")
        return self.raw("ACL", "LIST") != self._users or not first.items() <= told.items()


class SentinelTrio(Group):
    """Six processes; the first of `servers` is the primary at first, `sentinels` watch them.

    `password` is what the sentinels ask for, of clients and of each other. A primary that is
    silent for a second is replaced.
    """

    service = SERVICE

    def __init__(self, version: str = DEFAULT_VERSION, password: str | None = None) -> None:
        """Choose ports and ids; nothing is started yet."""
        self.version = version
        self.servers = [Member(version=version) for _ in range(3)]
        self.sentinels = [Sentinel(version, password) for _ in range(3)]

    @property
    def everyone(self) -> list[Member]:
        """All processes."""
        return [*self.servers, *self.sentinels]

    @property
    def nodes(self) -> list[str]:
        """The `host:port` of each sentinel."""
        return [sentinel.address for sentinel in self.sentinels]

    def start(self) -> None:
        """Start all afresh, each with what it would find out by itself, and wait for all of it."""
        self._end_all()
        primary, *replicas = self.servers
        for server in self.servers:
            server.start()
        for replica in replicas:
            replica.raw("REPLICAOF", "127.0.0.1", primary.port)
        for sentinel in self.sentinels:
            others = [other for other in self.sentinels if other is not sentinel]
            sentinel.watch(primary, replicas, others)
        self.settle()

    def primary(self) -> Member:
        """Return the primary, as a sentinel that is awake tells it."""
        sentinel = next(one for one in self.sentinels if one.awake)
        _, port = sentinel.raw("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def replicas(self) -> list[Member]:
        """Return the servers that are awake and say that they are replicas."""
        return [server for server in self.servers if server.awake and server.replicates]

    def failover(self) -> Member:
        """Let the sentinels promote a replica, wait until its primary follows it, return it.

        For some seconds the old primary still takes writes, which are lost.
        """
        old = self.primary()
        wait_until("a failover", lambda: self._promote_another(old))
        self.settle()
        return self.primary()

    def _promote_another(self, old: Member) -> bool:
        """Ask for a failover, which may be refused or given up, and wait for what comes of it."""
        if self.primary() is old:
            self.sentinels[0].raw("SENTINEL", "FAILOVER", SERVICE)
            wait_until("another primary", lambda: self.primary() is not old, FAILOVER_TIMEOUT)
        return True

    def kill_primary(self) -> Member:
        """Kill the primary, wait until a replica has taken its place, return what was killed."""
        old = self.primary()
        self.kill(old)
        self.settle()
        return old

    def _reset_by_commands(self) -> None:
        for server in self.servers:
            server.raw("CLIENT", "UNPAUSE")
        self.settle(RESET_TIMEOUT)
        if self.primary() is not self.servers[0] or any(one.changed() for one in self.sentinels):
            msg = "only a new start makes the first server the primary again"
            raise ReplyError(msg)
        for server in self.servers:
            server.reset()
        self.settle(RESET_TIMEOUT)

    def _settled(self) -> bool:
        primary = self.primary()
        others = [server for server in self.servers if server.awake and server is not primary]
        return (
            primary.awake
            and primary.replicates is None
            and all(one.replicates == primary.address and one.linked for one in others)
            and all(
                agrees(sentinel, primary, {one.address for one in others})
                for sentinel in self.sentinels
                if sentinel.awake
            )
        )


def agrees(sentinel: Sentinel, primary: Member, replicas: set[str]) -> bool:
    """Whether a sentinel is in touch with this primary and these replicas, and sees no fault."""
    told = sentinel.told()
    sound = {one["name"] for one in sentinel.told_of_replicas() if one["flags"] == "slave"}
    return (told["port"], told["flags"]) == (str(primary.port), "master") and sound == replicas


def paired(flat: list[bytes]) -> dict[str, str]:
    """Return names and values that come one after the other as a dictionary."""
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))
