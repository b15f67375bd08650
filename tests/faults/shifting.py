"""What happens to several servers while commands run: a primary is replaced, slots move.

A cluster and Sentinel's servers are looked at alike: `primaries` hold the data now.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.clusters import Cluster
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import Operator, Running, until, value
from tests.members import Member, wait_until
from tests.sentinels import SentinelTrio
from tests.servers import ServerProcess, pack

Shared = Cluster | SentinelTrio
Group = Shared | ServerProcess
BUDGET = "15s"
"""The silence that commands bear here: a replica takes over within some four seconds."""
TAGS = 20
"""Every other key has one of so many hash tags: their slots hold many keys."""


def operator_of(operator_at: OperatorAt, group: Group, **settings: Any) -> Operator:
    """Return an operator whose profile names the group, and has these settings."""
    settings["cli"] = {"timeout": BUDGET}
    if isinstance(group, ServerProcess):
        return operator_at(group, **settings)
    if isinstance(group, Cluster):
        return operator_at(None, cluster=group.nodes, **settings)
    sentinel = {"service": group.service, "nodes": group.nodes}
    return operator_at(None, sentinel=sentinel, **settings)


def primaries(group: Group) -> list[Any]:
    """Return the servers that hold the data now."""
    if isinstance(group, ServerProcess):
        return [group]
    return group.primaries() if isinstance(group, Cluster) else [group.primary()]


def home_of(group: Shared, key: str) -> Member | None:
    """Return the primary that a key is on, None while there is none that works."""
    if not isinstance(group, Cluster):
        return group.primary() if group.primary().awake else None
    slot = group.slot_of(key)
    return next((node for node in group.primaries() if slot in node.slots()), None)


def name(prefix: str, number: int) -> str:
    """Return the name of a key: every other one shares its slot with others."""
    return f"{prefix}{{{number % TAGS}}}:{number}" if number % 2 else f"{prefix}{number}"


def names(prefix: str, count: int) -> set[bytes]:
    """Return the names of so many keys."""
    return {name(prefix, number).encode() for number in range(count)}


def put(group: Group, prefix: str, count: int) -> None:
    """Set so many keys to values with the canary, past cachectl; replicas have them, too."""
    keys = [name(prefix, number) for number in range(count)]
    for node in primaries(group):
        held = keys
        if isinstance(group, Cluster):
            slots = node.slots()
            held = [key for key in keys if group.slot_of(key) in slots]
        with node.connect() as connection:
            connection.send_bytes(b"".join(pack("SET", key, value()) for key in held))
            for _ in held:
                connection.read()
            connection.call("WAIT", len(connection.call("ROLE")[2]), 5000)


def keys_of(group: Group, prefix: str) -> set[bytes]:
    """Return the keys that begin so, on all primaries."""
    return {key for node in primaries(group) for key in node.raw("KEYS", f"{prefix}*")}


def values_of(group: Group, prefix: str) -> dict[bytes, bytes]:
    """Return what stands at the keys that begin so; no slot is on its way."""
    found: dict[bytes, bytes] = {}
    for node in primaries(group):
        with node.connect() as connection:
            keys = connection.call("KEYS", f"{prefix}*")
            connection.send_bytes(b"".join(pack("GET", key) for key in keys))
            found |= {key: connection.read() for key in keys}
    return found


@contextmanager
def meanwhile(happen: Callable[[], object]) -> Iterator[None]:
    """Let something happen beside the block, and wait for its end; what it raises is raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            happen()
        except BaseException as error:  # noqa: BLE001 raised below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if raised:
        raise raised[0]


class Moves:
    """Moves slots of some keys to and fro: each opened, its keys moved in parts, closed.

    `done` counts those that were closed.
    """

    def __init__(self, cluster: Cluster, keys: set[bytes], chance: random.Random) -> None:
        """Choose among the slots of the keys; nothing moves yet."""
        self._cluster = cluster
        self._slots = sorted({cluster.slot_of(key) for key in keys})
        self._chance = chance
        self.done = 0

    def go_on(self, seconds: float) -> None:
        """Move slot after slot for some time, one at least."""
        end = time.monotonic() + seconds
        self.one()
        while time.monotonic() < end:
            self.one()

    def one(self) -> None:
        """Move one slot."""
        slot = self._chance.choice(self._slots)
        source = self._cluster.owner_of(slot)
        target = self._chance.choice([n for n in self._cluster.primaries() if n is not source])
        self._cluster.begin_move(slot, target)
        while self._cluster.move_keys(slot, target, self._chance.randrange(1, 20)):
            pass
        self._cluster.end_move(slot, target)
        self.done += 1


def kill(group: Shared, key: str) -> None:
    """Kill the primary of a key, and wait until a replica has taken its place."""
    group.kill(owner(group, key))
    group.settle()


def ask(group: Shared, key: str) -> None:
    """Let the primary of a key hand over to a replica, as an administrator does.

    Sentinel's goes on unaware of that: for a moment, or until it is told.
    """
    if isinstance(group, Cluster):
        group.failover(group.replica_of(group.node_for(key)))
        return
    old = group.primary()
    wait_until("a failover", lambda: group.sentinels[0].raw("SENTINEL", "FAILOVER", group.service))
    wait_until("another primary", lambda: group.primary() is not old)


def force(group: Shared, key: str) -> None:
    """Let a replica take over from the primary of a key without asking it."""
    assert isinstance(group, Cluster)
    group.failover(group.replica_of(group.node_for(key)), force=True)


def freeze(group: Shared, key: str) -> None:
    """Stop the primary of a key, and let it go on once it was replaced: it knows nothing of that."""
    old = owner(group, key)
    old.sigstop()
    wait_until("another primary", lambda: home_of(group, key))
    old.sigcont()


def owner(group: Shared, key: str) -> Member:
    """Return the primary that a key is on."""
    found = home_of(group, key)
    assert found is not None
    return found


def once(run: Running, so_far: Callable[[], object]) -> None:
    """Wait until a run has come so far; one that is over never will."""
    until(lambda: run.over or so_far())
    assert not run.over, (run.out[-500:], run.err)


@contextmanager
def asleep(run: Running) -> Iterator[None]:
    """Let a command sleep for the length of a block."""
    run.process.send_signal(signal.SIGSTOP)
    yield
    run.process.send_signal(signal.SIGCONT)
