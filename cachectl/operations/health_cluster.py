"""Whether a cluster is whole: judged by what its nodes say of one another. Asks no server."""

from collections.abc import Sequence

from cachectl.reports.health import Check
from cachectl.store.members import SLOTS, Member
from cachectl.store.told import Vitals


def judge_cluster(nodes: Sequence[Vitals]) -> Check:
    """Return the check `cluster`: whether all slots are served, and what fails or moves."""
    seen = next((one.members for one in nodes if one.members is not None), None)
    if seen is None:
        return Check("cluster", "skipped", "denied")
    primaries = [one for one in seen if one.primary is None and one.served]
    orphaned = [one for one in primaries if one.failing and not _heirs(one, seen)]
    lost = SLOTS - sum(one.served for one in primaries if one not in orphaned)
    if lost:
        return Check("cluster", "critical", f"{lost} slots are served by nobody", lost)
    replaced = [one for one in primaries if one.failing]
    if replaced:
        where = replaced[0].address
        return Check("cluster", "warning", f"primary {where} fails: a replica is to take over")
    failing = [one for one in seen if one.failing and one.primary is not None]
    if failing:
        message = f"replica {failing[0].address} fails ({len(failing)} in all)"
        return Check("cluster", "warning", message, len(failing))
    moving = sum(one.moving for vitals in nodes for one in vitals.members or () if one.myself)
    if moving:
        message = f"slots are moving: {moving} ends of moves are open"
        return Check("cluster", "warning", message, moving)
    return Check("cluster", "ok", f"{SLOTS} slots, {len(primaries)} primaries")


def heir_of(node: Vitals, nodes: Sequence[Vitals]) -> Member | None:
    """Return a replica that is to take over from a primary which does not answer, if others see one."""
    for seen in (one.members for one in nodes if one.members is not None):
        for member in seen:
            if member.place == node.place and member.failing:
                return next(iter(_heirs(member, seen)), None)
    return None


def _heirs(primary: Member, seen: Sequence[Member]) -> list[Member]:
    replicas = [one for one in seen if one.primary == primary.id and not one.failing]
    return [one for one in replicas if "nofailover" not in one.flags]
