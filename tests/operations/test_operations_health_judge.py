from typing import Any

import pytest

from cachectl.config.settings import DEFAULT_HEALTH, Threshold
from cachectl.errors import BusyError, CachectlError, DeniedError, NotReadyError
from cachectl.operations.health import judge, worst_of
from cachectl.reports.health import Check, HealthReport
from cachectl.store.told import Vitals

GREETING: dict[str, str | None] = {"server": "valkey", "version": "9.1.2", "mode": "standalone"}
INFO = {
    "loading": "0",
    "used_memory": "50",
    "maxmemory": "100",
    "maxmemory_policy": "noeviction",
    "evicted_keys": "10",
    "keyspace_hits": "1000",
    "keyspace_misses": "1000",
    "rdb_last_bgsave_status": "ok",
    "rdb_last_save_time": "1000",
    "rdb_changes_since_last_save": "5",
    "server_time_usec": "1500000000",
    "role": "master",
    "connected_clients": "10",
    "maxclients": "100",
}
DENIED = DeniedError("NOPERM")


def vitals(
    info: Any = None,
    ping: Any = (0.001,),
    greeting: dict[str, str | None] | None = None,
    **changed: str | None,
) -> Vitals:
    if info is None:
        info = {name: value for name, value in (INFO | changed).items() if value is not None}
    ping = ping if isinstance(ping, CachectlError) else list(ping)
    return Vitals(
        "somewhere", {**GREETING, "role": "master"} if greeting is None else greeting, ping, info
    )


def checks(
    first: Vitals, second: Vitals | None = None, seconds: float = 2.0, **thresholds: Threshold
) -> dict[str, Check]:
    judged = judge(first, second or first, seconds, DEFAULT_HEALTH | thresholds)
    assert [check.name for check in judged] == [
        "reachable", "latency", "role", "loading", "memory", "evictions", "hit_rate",
        "persistence", "replication", "clients",
    ]  # fmt: skip
    return {check.name: check for check in judged}


def status(name: str, first: Vitals, second: Vitals | None = None, **thresholds: Threshold) -> str:
    return checks(first, second, 2.0, **thresholds)[name].status


def test_a_good_server_is_ok_in_every_check_that_can_be_made():
    """Only the hit rate is skipped, for want of lookups."""
    found = checks(vitals())
    assert {c.status for c in found.values() if c.name != "hit_rate"} == {"ok"}
    assert found["hit_rate"].status == "skipped"
    assert HealthReport(tuple(found.values())).exit_code == 0
    assert found["reachable"].message == "valkey 9.1.2 answers at somewhere"


@pytest.mark.parametrize(
    ("took", "verdict"),
    [
        ([0.0001], "ok"),
        ([0.09, 0.0999], "ok"),
        ([0.0, 0.1, 0.1], "warning"),
        ([5.0, 0.001, 0.002], "ok"),
        ([1.0], "critical"),
    ],
)
def test_latency_is_the_median_of_the_pings(took: list[float], verdict: str):
    """One slow answer among quick ones is no fault; the limit itself is beyond."""
    check = checks(vitals(ping=took))["latency"]
    assert (check.status, check.unit) == (verdict, "s")
    assert check.value == sorted(took)[len(took) // 2]
    assert (check.warning, check.critical) == (0.1, 1.0)


@pytest.mark.parametrize(
    ("used", "limit", "policy", "verdict", "value"),
    [
        ("84", "100", "noeviction", "ok", 0.84),
        ("85", "100", "noeviction", "warning", 0.85),
        ("95", "100", "noeviction", "critical", 0.95),
        ("100", "100", "allkeys-lru", "ok", 1.0),
        ("130", "100", "noeviction", "critical", 1.3),
        ("100", "0", "noeviction", "ok", 100),
        (None, "0", "noeviction", "unknown", None),
        ("much", "0", "noeviction", "unknown", None),
        ("100", None, "noeviction", "unknown", None),
        ("95", "100", None, "critical", 0.95),
    ],
)
def test_memory_is_judged_where_nothing_may_be_evicted(
    used: str | None, limit: str | None, policy: str | None, verdict: str, value: float | None
):
    """A cache that evicts is meant to be full."""
    check = checks(vitals(used_memory=used, maxmemory=limit, maxmemory_policy=policy))["memory"]
    assert (check.status, check.value) == (verdict, value)


@pytest.mark.parametrize(
    ("keyspace", "policy", "verdict"),
    [
        ({"db0": "keys=9,expires=0,avg_ttl=0"}, "volatile-lru", "critical"),
        ({}, "volatile-ttl", "critical"),
        ({"db0": "keys=9,expires=1,avg_ttl=5,subexpiry=0"}, "volatile-lru", "ok"),
        ({"db0": "keys=9,expires=0", "db3": "keys=9,expires=9"}, "volatile-lru", "ok"),
        ({"db0": "keys=9,expires=0,avg_ttl=0"}, "allkeys-lru", "ok"),
    ],
)
def test_a_policy_that_finds_no_key_with_a_ttl_evicts_nothing(
    keyspace: dict[str, Any], policy: str, verdict: str
):
    """Full of persistent keys, `volatile-*` refuses writes as `noeviction` does."""
    told = vitals(used_memory="100", maxmemory="100", maxmemory_policy=policy, **keyspace)
    assert status("memory", told) == verdict


@pytest.mark.parametrize(
    ("paused", "verdict"),
    [(None, "ok"), ("none", "ok"), ("write", "warning"), ("all", "warning")],
)
def test_a_server_that_holds_writes_is_a_warning(paused: str | None, verdict: str):
    """CLIENT PAUSE: how long it lasts, and why."""
    told = vitals(
        paused_actions=paused, paused_reason="client_pause", paused_timeout_milliseconds="59500"
    )
    check = checks(told)["reachable"]
    assert check.status == verdict
    assert ("holds writes for 59.5 s: client_pause" in check.message) == (verdict == "warning")


@pytest.mark.parametrize(
    ("after", "verdict", "rate"),
    [
        ("10", "ok", 0.0),
        ("209", "ok", 99.5),
        ("210", "warning", 100.0),
        ("2010", "critical", 1000.0),
        ("0", "ok", 0.0),
        (None, "unknown", None),
    ],
)
def test_evictions_are_a_rate_between_two_looks(
    after: str | None, verdict: str, rate: float | None
):
    """Ten before, two seconds: a second's worth; a counter that was reset is no rate."""
    check = checks(vitals(), vitals(evicted_keys=after))["evictions"]
    assert (check.status, check.value) == (verdict, rate)


@pytest.mark.parametrize(
    ("hits", "misses", "verdict", "rate"),
    [
        (1000, 0, "ok", 1.0),
        (500, 500, "ok", 0.5),
        (499, 501, "warning", 0.499),
        (0, 5000, "warning", 0.0),
        (998, 1, "skipped", None),
        (0, 0, "skipped", None),
        (-900, -900, "skipped", None),
    ],
)
def test_the_hit_rate_is_that_between_two_looks(
    hits: int, misses: int, verdict: str, rate: float | None
):
    """A thousand lookups at least; low is bad; what happened before does not count."""
    later = vitals(keyspace_hits=str(1000 + hits), keyspace_misses=str(1000 + misses))
    check = checks(vitals(), later)["hit_rate"]
    assert (check.status, check.value) == (verdict, rate)
    critical = status("hit_rate", vitals(), later, hit_rate=Threshold(0.9, 0.8))
    assert critical == ("critical" if verdict == "warning" or rate == 0.5 else verdict)


def test_a_hit_rate_that_is_not_told_is_unknown():
    """A server without these counters says nothing about them."""
    assert status("hit_rate", vitals(keyspace_hits=None)) == "unknown"


@pytest.mark.parametrize(
    ("threshold", "changed", "verdict", "value"),
    [
        (Threshold(), {}, "ok", 500.0),
        (Threshold(400, 600), {}, "warning", 500.0),
        (Threshold(400, 500), {}, "critical", 500.0),
        (Threshold(501, 600), {}, "ok", 500.0),
        (Threshold(400, 500), {"rdb_changes_since_last_save": "0"}, "ok", None),
        (Threshold(400, 500), {"server_time_usec": None}, "ok", None),
        (Threshold(400, 500), {"aof_enabled": "1"}, "ok", None),
        (Threshold(), {"rdb_last_bgsave_status": "err"}, "critical", None),
        (Threshold(), {"aof_last_write_status": "err", "aof_enabled": "1"}, "critical", None),
        (Threshold(), {"aof_last_bgrewrite_status": "err"}, "critical", None),
        (Threshold(), {"rdb_last_save_time": None}, "unknown", None),
        (Threshold(), {"rdb_changes_since_last_save": None}, "unknown", None),
    ],
)
def test_persistence_is_the_last_save_and_what_was_not_saved_since(
    threshold: Threshold, changed: dict[str, Any], verdict: str, value: float | None
):
    """A save that failed is critical; the age of unsaved changes is judged by thresholds alone."""
    check = checks(vitals(**changed), persistence=threshold)["persistence"]
    assert (check.status, check.value) == (verdict, value)


REPLICA = {"role": "slave", "master_link_status": "up", "master_last_io_seconds_ago": "3"}


@pytest.mark.parametrize(
    ("changed", "verdict", "value"),
    [
        ({}, "ok", None),
        ({"slave0": "ip=1.2.3.4,port=1,state=online,offset=1,lag=0"}, "ok", 0),
        (
            {
                "slave0": "ip=1.2.3.4,port=1,state=online,offset=1,lag=0",
                "slave1": "ip=1.2.3.5,port=1,state=online,offset=1,lag=10",
            },
            "warning",
            10,
        ),
        ({"slave0": "ip=1.2.3.4,port=1,state=online,offset=1,lag=60,type=main"}, "critical", 60),
        (REPLICA, "ok", 3),
        (REPLICA | {"master_last_io_seconds_ago": "10"}, "warning", 10),
        (REPLICA | {"master_last_io_seconds_ago": "99"}, "critical", 99),
        (REPLICA | {"master_last_io_seconds_ago": None}, "unknown", None),
        (REPLICA | {"master_link_status": "down"}, "critical", None),
        ({"min_slaves_good_slaves": "0"}, "critical", None),
        ({"min_slaves_good_slaves": "1"}, "ok", None),
        (REPLICA | {"min_slaves_good_slaves": "0"}, "ok", 3),
    ],
)
def test_replication_is_the_lag_on_either_side(
    changed: dict[str, Any], verdict: str, value: float | None
):
    """A primary tells its replicas' lag, a replica its own; a link that is down is critical."""
    check = checks(vitals(**changed))["replication"]
    assert (check.status, check.value) == (verdict, value)


@pytest.mark.parametrize(
    ("connected", "limit", "verdict"),
    [
        ("79", "100", "ok"),
        ("80", "100", "warning"),
        ("95", "100", "critical"),
        ("95", None, "unknown"),
        ("95", "0", "unknown"),
        (None, "100", "unknown"),
    ],
)
def test_clients_are_a_share_of_what_is_allowed(
    connected: str | None, limit: str | None, verdict: str
):
    """Connections that are used, of `maxclients`."""
    assert status("clients", vitals(connected_clients=connected, maxclients=limit)) == verdict


def test_loading_is_critical_and_says_how_far_it_is():
    """LOADING serves nothing yet."""
    check = checks(vitals(loading="1", loading_loaded_perc="12.50"))["loading"]
    assert (check.status, check.message) == ("critical", "loading its data: 12.50 %")
    assert checks(vitals(loading="1"))["loading"].message == "loading its data"


@pytest.mark.parametrize(
    ("greeting", "changed", "verdict"),
    [
        ({"role": "master"}, {}, "ok"),
        ({"role": "primary"}, {"role": None}, "ok"),
        ({"role": "replica"}, {}, "warning"),
        ({}, {"role": "slave", "master_link_status": "up"}, "warning"),
        ({}, {"role": "master"}, "ok"),
        ({}, {"role": None}, "unknown"),
    ],
)
def test_a_replica_is_a_warning(
    greeting: dict[str, str | None], changed: dict[str, Any], verdict: str
):
    """The greeting's word comes first, then INFO's."""
    assert status("role", vitals(greeting=greeting, **changed)) == verdict


def test_what_is_denied_is_skipped_and_outside_of_the_verdict():
    """Without INFO the rest is judged; without PING, too; without anything it is unknown."""
    found = checks(vitals(info=DENIED))
    assert {n for n, c in found.items() if c.status == "ok"} == {"reachable", "latency", "role"}
    assert {c.message for c in found.values() if c.status == "skipped"} == {"denied"}
    assert HealthReport(tuple(found.values())).status == "ok"
    found = checks(vitals(info=DENIED, ping=DENIED))
    assert {n for n, c in found.items() if c.status == "ok"} == {"reachable", "role"}
    found = checks(vitals(ping=DENIED))
    assert (found["reachable"].status, found["latency"].status) == ("ok", "skipped")
    found = checks(vitals(info=DENIED, ping=DENIED, greeting={}))
    assert {c.status for c in found.values()} == {"skipped", "unknown"}
    assert HealthReport(tuple(found.values())).exit_code == 3


def test_what_is_refused_otherwise_is_unknown_and_reachable_is_critical():
    """BUSY and LOADING answer PING with an error: that is the verdict."""
    for error in (BusyError("BUSY a script runs"), NotReadyError("LOADING")):
        found = checks(vitals(info=error, ping=error, greeting={}))
        assert found["reachable"].status == "critical"
        assert found["reachable"].message == error.message
        assert found["latency"].status == found["memory"].status == "unknown"
        assert HealthReport(tuple(found.values())).exit_code == 2


def test_a_second_look_that_is_refused_leaves_no_rates():
    """Rates are of one look alone then: none."""
    found = checks(vitals(), vitals(info=DENIED))
    assert found["evictions"].value == 0
    assert found["hit_rate"].status == "skipped"


@pytest.mark.parametrize(
    ("told", "verdict", "code"),
    [
        (["ok", "skipped", "unknown"], "ok", 0),
        (["ok", "warning"], "warning", 1),
        (["critical", "warning", "ok"], "critical", 2),
        (["unknown", "skipped"], "unknown", 3),
        ([], "unknown", 3),
    ],
)
def test_the_verdict_is_the_worst_that_is_known(told: list[Any], verdict: str, code: int):
    """Unknown only if nothing could be asked."""
    report = HealthReport(tuple(Check("x", one, "") for one in told))
    assert (report.status, report.exit_code) == (verdict, code)


def test_each_check_stands_as_on_the_node_where_it_is_worst():
    """With several nodes one sick one is enough; what is fine elsewhere does not hide it."""
    fine = [Check("role", "ok", "a"), Check("memory", "ok", "a"), Check("latency", "skipped", "a")]
    sick = [
        Check("role", "warning", "b"),
        Check("memory", "critical", "b"),
        Check("latency", "ok", "b"),
    ]
    report = worst_of([fine, sick])
    assert [(check.status, check.message) for check in report.checks] == [
        ("warning", "b"),
        ("critical", "b"),
        ("ok", "b"),
    ]
