"""Whether the servers that were scanned are still the ones on which the scan began.

Any cursor is accepted by any server: a restart, a failover or a slot that moves leaves keys out without
a word. So each one is asked who it is, and what it serves, before and after.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from cachectl.errors import LostError, NotReadyError
from cachectl.store.info import identity, parse_info
from cachectl.store.members import SLOTS, Member, members
from cachectl.store.tries import Tries
from cachectl.store.wire import Greeting, Wire

T = TypeVar("T")


class MovedError(LostError):
    """Slots moved between the nodes of a cluster while they were scanned."""


class Standing(NamedTuple):
    """A server's run, data set and role as far as it tells: a user may lack INFO, not HELLO.

    `own` is what a node of a cluster says that it serves, `others` what it says of the others; None and
    nothing where it is no cluster, or denied.
    `migrations` counts the MIGRATE that a node of a cluster has executed, as INFO says it.
    """

    where: str
    identity: str | None
    role: str | None
    own: Member | None
    migrations: str | None
    others: tuple[Member, ...] = ()

    @property
    def served(self) -> object:
        """What changes when slots or keys leave it or come, also if they came back meanwhile."""
        return self.own and (self.own.slots, self.own.epoch), self.migrations


async def standings(wires: Sequence[Wire], tries: Tries) -> list[Standing]:
    """Ask each server who it is.

    Raises `NotReadyError` when some slots are served by none of them, or, as one of them sees it, by
    another node: one that was replaced while it was cut off from the others says that they are its own.
    """
    asking = (_standing(wire, tries) for wire in wires)  # together: each answer may be far away
    found = unbroken(await asyncio.gather(*asking, return_exceptions=True))
    own = [one.own for one in found if one.own is not None]
    served = sum(member.served for member in own)
    if own and len(own) == len(found) and served != SLOTS:
        msg = f"{abs(SLOTS - served)} slots of the cluster are served by no primary, or by two"
        raise NotReadyError(msg)
    ours = {member.id for member in own}
    for one in found:
        for other in one.others:
            if other.served and other.id not in ours:
                said = f"{other.address} serves slots, says {one.where}"
                msg = f"the nodes of the cluster disagree: {said}"
                raise NotReadyError(msg)
    return found


def unbroken(outcomes: Sequence[T | BaseException]) -> list[T]:
    """Return the outcomes of what was done side by side, all of it; raise the first error."""
    for one in outcomes:
        if isinstance(one, BaseException):
            raise one
    return [one for one in outcomes if not isinstance(one, BaseException)]


async def _standing(wire: Wire, tries: Tries) -> Standing:
    info = await wire.call(b"INFO", b"everything", silence=tries.answer)
    told = parse_info(info) if isinstance(info, bytes) else {}
    greeting = Greeting.told(await wire.call(b"HELLO", b"2", silence=tries.answer))
    if greeting.mode != "cluster":
        return Standing(wire.where, identity(told), greeting.role, None, None)
    reply = await wire.call(b"CLUSTER", b"NODES", silence=tries.answer)
    nodes = members(reply) if isinstance(reply, bytes) else []
    own = next((node for node in nodes if node.myself), None)  # it alone knows what is moving
    others = tuple(node for node in nodes if not node.myself)
    migrations = told.get("cmdstat_migrate")
    return Standing(wire.where, identity(told), greeting.role, own, migrations, others)


def check(before: Sequence[Standing], after: Sequence[Standing]) -> None:
    """Raise unless the servers are the same, and serve the same, without anything on its way."""
    for one, later in zip(before, after, strict=True):
        if one[:3] != later[:3]:
            msg = f"{one.where} changed its role or was replaced while it was scanned"
            raise LostError(msg)
        if one.served != later.served or (one.own is not None and one.own.moving):
            msg = f"slots of {one.where} were moving while it was scanned"
            raise MovedError(msg, "run it again when the cluster is not being resharded")


def check_layout(before: object, after: object) -> None:
    """Raise unless each slot is at the same node: all that can be told without CLUSTER NODES."""
    if before != after:
        msg = "slots moved between the nodes of the cluster while it was scanned"
        raise MovedError(msg, "run it again when the cluster is not being resharded")
