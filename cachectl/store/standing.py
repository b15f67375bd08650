"""Whether the servers that were scanned are still the ones on which the scan began.

Any cursor is accepted by any server: a restart, a failover or a slot that moves leaves keys out without
a word. So each one is asked who it is, and what it serves, before and after.
"""

from collections.abc import Sequence
from typing import NamedTuple

from cachectl.errors import LostError, NotReadyError
from cachectl.store.info import identity, parse_info
from cachectl.store.tries import Tries
from cachectl.store.wire import Greeting, Wire

SLOTS = 16384
_FIRST_SLOT = 8
"""The fields of a line of CLUSTER NODES that stand before the slots."""


class MovedError(LostError):
    """Slots moved between the nodes of a cluster while they were scanned."""


class Standing(NamedTuple):
    """A server's run, data set and role as far as it tells: a user may lack INFO, not HELLO.

    `slots` is what a node of a cluster serves, in the words of CLUSTER NODES: `0-5460
    [93->-NODE]` while one is moving; None where it is no cluster, or denied.
    """

    where: str
    identity: str | None
    role: str | None
    slots: tuple[str, ...] | None

    @property
    def moving(self) -> bool:
        """Whether slots are on their way from or to it."""
        return any(word.startswith("[") for word in self.slots or ())

    @property
    def served(self) -> int:
        """How many slots it serves."""
        spans = (word.partition("-") for word in self.slots or () if not word.startswith("["))
        return sum(int(end or start) - int(start) + 1 for start, _, end in spans)


async def standings(wires: Sequence[Wire], tries: Tries) -> list[Standing]:
    """Ask each server who it is; raise `NotReadyError` when some slots are served by none of them."""
    found = [await _standing(wire, tries) for wire in wires]
    if any(one.slots is not None for one in found):
        served = sum(one.served for one in found)
        if all(one.slots is not None for one in found) and served != SLOTS:
            msg = f"{abs(SLOTS - served)} slots of the cluster are served by no primary, or by two"
            raise NotReadyError(msg)
    return found


async def _standing(wire: Wire, tries: Tries) -> Standing:
    info = await wire.call(b"INFO", b"everything", silence=tries.answer)
    told = parse_info(info) if isinstance(info, bytes) else {}
    greeting = Greeting.told(await wire.call(b"HELLO", b"2", silence=tries.answer))
    slots = await _slots(wire, tries) if greeting.mode == "cluster" else None
    return Standing(wire.where, identity(told), greeting.role, slots)


async def _slots(wire: Wire, tries: Tries) -> tuple[str, ...] | None:
    """Return what a node says that it serves itself: it alone knows what is moving."""
    nodes = await wire.call(b"CLUSTER", b"NODES", silence=tries.answer)
    for line in nodes.decode().splitlines() if isinstance(nodes, bytes) else ():
        words = line.split()
        if "myself" in words[2]:
            return tuple(words[_FIRST_SLOT:])
    return None


def check(before: Sequence[Standing], after: Sequence[Standing]) -> None:
    """Raise unless the servers are the same, and serve the same, without anything on its way."""
    for one, later in zip(before, after, strict=True):
        if one._replace(slots=None) != later._replace(slots=None):
            msg = f"{one.where} changed its role or was replaced while it was scanned"
            raise LostError(msg)
        if one.slots != later.slots or one.moving:
            msg = f"slots of {one.where} were moving while it was scanned"
            raise MovedError(msg, "run it again when the cluster is not being resharded")
