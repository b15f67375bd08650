"""A real cluster for the tests: three primaries and three replicas, and what may happen to them."""

import secrets
from typing import Any, NamedTuple, Self

from redis.crc import key_slot

from tests.members import BUS_OFFSET, Group, Member, wait_for_replicas, wait_until
from tests.servers import DEFAULT_VERSION, ReplyError, pack

SLOTS = (range(5461), range(5461, 10923), range(10923, 16384))
NODE_TIMEOUT_MS = 1000
RESET_TIMEOUT = 2.0
ELECTION_TIMEOUT = 6.0
WITHOUT_SHARD_IDS = HASTY_ELECTIONS = ("redis-6.2", "redis-7.0")
CONFIG = (
    *("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"),
    *("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"),
    *("--cluster-allow-replica-migration", "no"),
)


class Row(NamedTuple):
    """What one node says of another, or of itself: a line of CLUSTER NODES."""

    id: str
    flags: frozenset[str]
    primary: str
    connected: bool
    slots: tuple[str, ...]


class Node(Member):
    """A node of a cluster; its id stays the same however often it is started."""

    def __init__(self, shard: int, version: str, primary: Self | None = None) -> None:
        """Name its shard, and for a replica its first primary."""
        super().__init__(*CONFIG, version=version)
        self.shard = shard
        self.id = secrets.token_hex(20)
        self.first_primary = primary

    def line(self, reader: Self) -> str:
        """Return what stands of this node in the reader's nodes.conf before the first start."""
        place = f"{self.address}@{self.port + BUS_OFFSET}"
        if self.version not in WITHOUT_SHARD_IDS:
            place += f",,tls-port=0,shard-id={(self.first_primary or self).id}"
        flags = ("myself," if self is reader else "") + (
            "slave" if self.first_primary else "master"
        )
        primary = self.first_primary.id if self.first_primary else "-"
        slots = SLOTS[self.shard]
        held = "" if self.first_primary else f" {slots[0]}-{slots[-1]}"
        return f"{self.id} {place} {flags} {primary} 0 0 {self.shard + 1} connected{held}\n"

    def rows(self) -> list[Row]:
        """Return its view of the cluster, by id."""
        rows = []
        for line in self.raw("CLUSTER", "NODES").decode().splitlines():
            name, _, flags, primary, _, _, _, link, *slots = line.split()
            marks = frozenset(flags.split(","))
            rows.append(Row(name, marks, primary, link == "connected", tuple(slots)))
        return sorted(rows, key=lambda row: row.id)

    def slots(self) -> frozenset[int]:
        """Return the slots that it says are its own."""
        (own,) = (row for row in self.view() if row.id == self.id)
        ranges = (text.split("-") for text in own.slots)
        return frozenset(slot for ends in ranges for slot in range(int(ends[0]), int(ends[-1]) + 1))

    def moving(self) -> list[int]:
        """Return the slots that it has opened, to take or to give."""
        texts = [text for row in self.rows() for text in row.slots if text.startswith("[")]
        return [int(text[1:].split("-")[0]) for text in texts]

    def sees(self, awake: set[str]) -> bool:
        """Whether it is in touch with all that are awake, and knows all others for failed ones."""
        rows = self.rows()
        return len(rows) == 2 * len(SLOTS) and all(
            row.connected and not row.flags & {"fail", "fail?", "handshake"}
            if row.id in awake
            else "fail" in row.flags and not row.slots
            for row in rows
        )

    def view(self) -> list[Row]:
        """Return its view of the cluster without what only it can say of itself."""
        return [
            row._replace(
                flags=row.flags - {"myself"},
                connected=True,
                slots=tuple(text for text in row.slots if not text.startswith("[")),
            )
            for row in self.rows()
        ]


class Cluster(Group):
    """Six nodes on ports of 127.0.0.1, the first three of `servers` primaries at first.

    Roles and slots are asked for each time. What changes them waits until every node that is awake
    agrees; `kill` and the first half of a move do not, as there is nothing to agree upon. A primary
    that is silent for a second is replaced by its replica.
    """

    servers: list[Node]

    def __init__(self, version: str = DEFAULT_VERSION) -> None:
        """Choose ports and ids; nothing is started yet."""
        self.version = version
        primaries = [Node(shard, version) for shard in range(3)]
        self.servers = [*primaries, *(Node(one.shard, version, one) for one in primaries)]
        self._first_view: list[Row] = []

    @property
    def url(self) -> str:
        """The URL of the first node."""
        return self.servers[0].url

    @property
    def nodes(self) -> list[str]:
        """The `host:port` of each node."""
        return [server.address for server in self.servers]

    def start(self) -> None:
        """Start all nodes afresh, with roles and slots in their files, and wait for all of it.

        A node that starts as a primary is not written to for two seconds: the servers' own rule.
        """
        self._end_all()
        for server in self.servers:
            lines = [other.line(server) for other in self.servers]
            lines.append(f"vars currentEpoch {len(SLOTS)} lastVoteEpoch 0\n")
            (server.directory / "nodes.conf").write_text("".join(lines))
            server.start()
        self.settle()
        self._first_view = self.servers[0].view()

    def primaries(self) -> list[Node]:
        """Return the nodes that are awake and say that they are primaries."""
        return [server for server in self._awake() if server.replicates is None]

    def replicas(self) -> list[Node]:
        """Return the nodes that are awake and say that they are replicas."""
        return [server for server in self._awake() if server.replicates]

    def replica_of(self, primary: Node) -> Node:
        """Return the node that replicates this one."""
        return next(node for node in self.replicas() if node.replicates == primary.address)

    def slot_of(self, key: str | bytes) -> int:
        """Return the slot of a key."""
        return key_slot(key.encode() if isinstance(key, str) else key)

    def owner_of(self, slot: int) -> Node:
        """Return the primary that says that the slot is its own."""
        return next(node for node in self.primaries() if slot in node.slots())

    def node_for(self, key: str | bytes) -> Node:
        """Return the primary that owns the slot of a key."""
        return self.owner_of(self.slot_of(key))

    def raw(self, key: str | bytes, *args: object) -> Any:
        """Send one command to the primary of a key: `raw("a", "GET", "a")`."""
        return self.node_for(key).raw(*args)

    def raw_all(self, *args: object) -> list[Any]:
        """Send one command to each primary and return the replies."""
        return [server.raw(*args) for server in self.primaries()]

    def dbsize(self) -> int:
        """Return how many keys there are on all primaries."""
        return sum(self.raw_all("DBSIZE"))

    def keys(self) -> set[bytes]:
        """Return all keys of all primaries."""
        return set().union(*self.raw_all("KEYS", "*"))

    def fill(self, prefix: str, count: int, value: str = "1") -> None:
        """Set `count` keys `prefix0`, `prefix1` … to `value`, and wait until replicas have them."""
        keys = [f"{prefix}{index}" for index in range(count)]
        for node in self.primaries():
            slots = node.slots()
            commands = [pack("SET", key, value) for key in keys if self.slot_of(key) in slots]
            with node.connect() as connection:
                connection.send_bytes(b"".join(commands))
                for _ in commands:
                    connection.read()
                wait_for_replicas(connection)

    def failover(self, replica: Node | None = None, *, force: bool = False) -> Node:
        """Promote a replica (none: that of slot 0) and return it; `force`: without its primary.

        It is asked for again where an election is lost: votes for one shard have their pauses.
        """
        chosen = replica or self.replica_of(self.owner_of(0))
        words = ("FORCE",) if force else ()
        wait_until(f"the promotion of {chosen.address}", lambda: self._promote(chosen, words))
        return chosen

    def _promote(self, replica: Node, words: tuple[str, ...]) -> bool:
        if replica.replicates:
            replica.raw("CLUSTER", "FAILOVER", *words)
            wait_until("an election", lambda: replica.replicates is None, ELECTION_TIMEOUT)
        self.settle()
        return replica.replicates is None

    def begin_move(self, slot: int, target: Node) -> None:
        """Open a slot on both sides: from now on there are ASK redirections."""
        source = self.owner_of(slot)
        target.raw("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.raw("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, target: Node, limit: int = 1_000_000) -> int:
        """Move the keys of an open slot, at most `limit`, and return how many they were."""
        source = self.owner_of(slot)
        keys = source.raw("CLUSTER", "GETKEYSINSLOT", slot, limit)
        if keys:
            source.raw("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, target: Node) -> None:
        """Give a slot to its new owner, and wait until every node knows."""
        primaries = self.primaries()
        source = self.owner_of(slot)
        others = [node for node in primaries if node not in (target, source)]
        for node in (target, source, *others):
            node.raw("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        self.settle()

    def move_slot(self, slot: int, target: Node) -> None:
        """Move a slot and all that is in it."""
        self.begin_move(slot, target)
        self.move_keys(slot, target)
        self.end_move(slot, target)

    def _reset_by_commands(self) -> None:
        """Give roles and slots back, then data and settings; raise when this is not enough."""
        for server in self.servers:
            server.raw("CLIENT", "UNPAUSE")
        self.settle(RESET_TIMEOUT)
        demoted = [node for node in self.replicas() if node.first_primary is None]
        if demoted and self.version in HASTY_ELECTIONS:
            msg = f"{self.version} counts the votes of its last election again for some seconds"
            raise ReplyError(msg)
        for node in demoted:
            self.failover(node)
        for server in self.servers:
            server.reset()
        for primary in self.primaries():
            for slot in primary.moving():
                primary.raw("CLUSTER", "SETSLOT", slot, "STABLE")
            for slot in set(SLOTS[primary.shard]) - primary.slots():
                self.move_slot(slot, primary)
        wait_until("roles and slots as at first", self._as_at_first, RESET_TIMEOUT)

    def _as_at_first(self) -> bool:
        return (
            self._settled()
            and self.servers[0].view() == self._first_view
            and not any(node.moving() for node in self.servers)
        )

    def _awake(self) -> list[Node]:
        return [server for server in self.servers if server.awake]

    def _settled(self) -> bool:
        awake = self._awake()
        return (
            all(b"cluster_state:ok" in node.raw("CLUSTER", "INFO") for node in awake)
            and all(node.linked for node in awake)
            and all(node.sees({other.id for other in awake}) for node in awake)
            and all(node.view() == awake[0].view() for node in awake)
        )
