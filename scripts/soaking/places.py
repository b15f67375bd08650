"""The servers that are soaked, each topology with the faults it knows. No cachectl here.

All of them keep what they acknowledge: `appendfsync always`, so that only a failover loses anything.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from time import sleep
from types import TracebackType
from typing import Final, Self

from tests.clusters import Cluster, Node
from tests.members import Group, Member, wait_until
from tests.sentinels import SentinelTrio
from tests.servers import DEFAULT_VERSION

DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "always")
FREEZE: Final = (0.2, 3.0)
PAUSE: Final = (0.1, 1.5)
DOWN: Final = (0.0, 0.6)
MOVED_SLOTS: Final = 12
Fault = Callable[[Random], None]


class Place(ABC):
    """Servers with a URL; use it as a context manager. `weighted` are the faults, likely ones twice."""

    url: str
    service: Sequence[Member]

    def __enter__(self) -> Self:
        """Start them."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End them."""
        for member in self.everyone:
            member.close()

    @property
    def everyone(self) -> Sequence[Member]:
        """All processes."""
        return self.service

    @abstractmethod
    def start(self) -> None:
        """Start all, and wait for all."""

    @abstractmethod
    def primaries(self) -> list[Member]:
        """Return who takes writes now."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until all are in their places."""

    @property
    def faults(self) -> dict[str, Fault]:
        """The faults by name, those that any server knows."""
        return {
            "stopped": self._stop,
            "killed and started": self._restart,
            "connections killed": self._cut,
            "paused": self._pause,
        }

    def _stop(self, random: Random) -> None:
        member = random.choice(random.choice((self.everyone, self.primaries())))
        member.sigstop()
        sleep(random.uniform(*FREEZE))
        member.sigcont()

    def _restart(self, random: Random) -> None:
        member = random.choice(self.primaries())
        member.kill9()
        sleep(random.uniform(*DOWN))
        member.start()

    def _cut(self, random: Random) -> None:
        for member in self.primaries():
            for _ in range(random.randint(1, 5)):
                member.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                sleep(random.uniform(0, 0.1))

    def _pause(self, random: Random) -> None:
        seconds = random.uniform(*PAUSE)
        mode = random.choice(("ALL", "WRITE"))
        random.choice(self.primaries()).raw("CLIENT", "PAUSE", int(seconds * 1000), mode)
        sleep(seconds)


class Alone(Place):
    """One server."""

    def __init__(self) -> None:
        """Choose its port, below those that the kernel gives to clients: it finds it free again."""
        self.service = [Member(*DURABLE, version=DEFAULT_VERSION)]
        self.url = f"redis://{self.service[0].address}/0"

    def start(self) -> None:
        """Start it."""
        self.service[0].start()

    def primaries(self) -> list[Member]:
        """Return it."""
        return list(self.service)

    def settle(self) -> None:
        """Wait for its answer."""
        wait_until("an answer", lambda: self.service[0].raw("PING"))


class Grouped(Place):
    """Servers that replace each other."""

    group: Group

    def start(self) -> None:
        """Start all."""
        for member in self.group.servers:
            member.config = (*member.config, *DURABLE)
        self.group.start()

    def settle(self) -> None:
        """Wait until all agree."""
        self.group.settle()

    @property
    def everyone(self) -> Sequence[Member]:
        """All processes."""
        return self.group.everyone

    @property
    def faults(self) -> dict[str, Fault]:
        """The faults by name, also of those who have replicas."""
        return super().faults | {
            "primary killed and replaced": self._replace,
            "replica killed and started": self._restart_replica,
            "failover": self._failover,
        }

    def _replace(self, random: Random) -> None:
        killed = random.choice(self.primaries())
        self.group.kill(killed)
        self.group.settle()
        self.group.revive(killed)

    def _restart_replica(self, random: Random) -> None:
        primaries = self.primaries()
        member = random.choice([one for one in self.group.servers if one not in primaries])
        self.group.kill(member)
        sleep(random.uniform(*DOWN))
        self.group.revive(member)

    @abstractmethod
    def _failover(self, random: Random) -> None:
        """Let a replica take the place of its primary."""


class Sentinels(Grouped):
    """A primary and two replicas, watched by three Sentinels."""

    def __init__(self) -> None:
        """Choose the ports."""
        self.group: SentinelTrio = SentinelTrio()
        self.service = self.group.servers
        self.url = f"redis+sentinel://{','.join(self.group.nodes)}/{self.group.service}/0"

    def primaries(self) -> list[Member]:
        """Return the primary, as the Sentinels tell it."""
        return [self.group.primary()]

    def _failover(self, _random: Random) -> None:
        self.group.failover()


class Sharded(Grouped):
    """A cluster of three primaries and their replicas."""

    group: Cluster

    def __init__(self) -> None:
        """Choose the ports."""
        self.group = Cluster()
        self.service = self.group.servers
        self.url = f"redis+cluster://{','.join(self.group.nodes)}"

    def primaries(self) -> list[Member]:
        """Return those who say that they are primaries."""
        return list(self.group.primaries())

    @property
    def faults(self) -> dict[str, Fault]:
        """The faults by name, also of a cluster."""
        return super().faults | {"slots moved": self._move}

    def _failover(self, random: Random) -> None:
        replica = random.choice(self.group.replicas())
        self.group.failover(replica, force=random.random() < 1 / 2)

    def _move(self, random: Random) -> None:
        source, target = random.sample(self.group.primaries(), 2)
        for slot in random.sample(sorted(source.slots()), MOVED_SLOTS):
            self._move_slowly(slot, target, random)

    def _move_slowly(self, slot: int, target: Node, random: Random) -> None:
        """Move a slot key by key, with work going on between."""
        self.group.begin_move(slot, target)
        while self.group.move_keys(slot, target, limit=1):
            sleep(random.uniform(0, 0.02))
        self.group.end_move(slot, target)


TOPOLOGIES: Final[dict[str, type[Place]]] = {
    "standalone": Alone,
    "sentinel": Sentinels,
    "cluster": Sharded,
}
