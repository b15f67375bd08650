"""What health says while a primary is being replaced: a warning that names who is to take over."""

from collections.abc import Callable
from time import monotonic

from cachectl.config.settings import DEFAULT_HEALTH
from cachectl.operations.health import health
from cachectl.reports.health import Check, HealthReport
from cachectl.store.store import Store
from tests.clusters import Cluster
from tests.members import Member, wait_until
from tests.operations.operating import run
from tests.sentinels import SERVICE, SentinelTrio


def reachable(url: str, until: Callable[[Check], bool], seconds: float = 10.0) -> list[Check]:
    """Ask again and again whether all can be reached, until that is as it is wanted."""

    async def ask(store: Store) -> Check:
        report = await health(store, DEFAULT_HEALTH, interval=0.01, timeout=0.1)
        return next(check for check in report.checks if check.name == "reachable")

    told: list[Check] = []
    end = monotonic() + seconds
    while not told or not until(told[-1]):
        assert monotonic() < end, told
        told.append(run(url, ask, timeout=0.1))
    return told


def is_warning(check: Check) -> bool:
    return check.status == "warning"


def is_ok(check: Check) -> bool:
    return check.status == "ok"


def test_a_primary_that_its_sentinels_take_for_down(sentinels: SentinelTrio) -> None:
    """One of its replicas is to take over; it does not, as too few Sentinels could agree on it."""
    primary = sentinels.primary()
    url = f"redis+sentinel://{','.join(sentinels.nodes)}/{SERVICE}"
    for sentinel in sentinels.sentinels:
        sentinel.raw("SENTINEL", "SET", SERVICE, "quorum", 4)
    primary.sigstop()
    try:
        told = reachable(url, is_warning)
    finally:
        primary.sigcont()
    assert (
        "the Sentinels take it for down: one of its 2 replicas is to take over" in told[-1].message
    )
    assert {check.status for check in told[:-1]} <= {"critical"}
    assert is_ok(reachable(url, is_ok)[-1])


def test_sentinels_that_are_silent_are_not_waited_for_twice(sentinels: SentinelTrio) -> None:
    """They cannot say where the primary is, nor who is to take over: critical within the time."""

    async def ask(store: Store) -> HealthReport:
        return await health(store, DEFAULT_HEALTH, interval=0.05, timeout=1.0)

    for sentinel in sentinels.sentinels:
        sentinel.sigstop()
    try:
        start = monotonic()
        report = run(f"redis+sentinel://{','.join(sentinels.nodes)}/{SERVICE}", ask, timeout=1.0)
        assert monotonic() - start < 1.8
    finally:
        for sentinel in sentinels.sentinels:
            sentinel.sigcont()
    (check,) = report.checks
    assert (check.name, check.status) == ("reachable", "critical")


def test_a_primary_of_a_cluster_that_the_others_do_not_reach(cluster: Cluster) -> None:
    """Its replica is to take over; once it has, all is well."""
    first, seed, _ = cluster.primaries()
    heir = cluster.replica_of(first)
    first.sigstop()
    try:
        told = reachable(seed.url, is_ok)
    finally:
        first.sigcont()
    warnings = [check.message for check in told if is_warning(check)]
    assert warnings
    assert all(f"its replica {heir.address} is to take over" in message for message in warnings)
    assert {check.status for check in told} <= {"critical", "warning", "ok"}
    wait_until("the old primary to follow", lambda: follows(first, heir))


def test_a_silent_primary_of_a_cluster_does_not_hide_the_others(cluster: Cluster) -> None:
    """It is not asked a second time, for which there is no time: each node has its verdict."""
    primaries = cluster.primaries()
    first, seed, _ = primaries

    async def ask(store: Store) -> HealthReport:
        return await health(store, DEFAULT_HEALTH, interval=0.01, timeout=0.5)

    first.sigstop()
    try:
        report = run(seed.url, ask, timeout=0.5)
    finally:
        first.sigcont()
    assert {node.node for node in report.nodes} == {node.url for node in primaries}
    assert report.checks[0].status in {"critical", "warning"}


def follows(one: Member, other: Member) -> bool:
    return one.replicates == other.address
