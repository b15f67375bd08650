"""Whether a cache is fit to serve: one look at each node (two, for rates), judged by thresholds."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter

from cachectl.config.settings import Threshold
from cachectl.errors import CachectlError, DeniedError, SilenceError, UnreachableError, UsageError
from cachectl.operations.health_cluster import heir_of, judge_cluster
from cachectl.reports.health import Check, HealthReport, NodeHealth, Verdict
from cachectl.store.store import Store
from cachectl.store.told import Vitals
from cachectl.values import safe

MIN_LOOKUPS = 1000
"""A hit rate over fewer lookups says nothing."""
WAIT_PAUSE = 0.5
MOMENT = 0.25
"""Seconds for what is not silence: one node of a cluster may use up the timeout, others answer yet."""
Info = Mapping[str, str]
Thresholds = Mapping[str, Threshold]


async def health(
    store: Store, thresholds: Thresholds, *, interval: float, timeout: float
) -> HealthReport:
    """Ask the server how it is, twice `interval` seconds apart, and judge.

    An unreachable server is a result, not an exception; it is one within `timeout` + `interval` seconds
    and a moment.
    Raises `UsageError` and `ConfigError` for settings that no server can be asked with.
    """
    end = asyncio.get_running_loop().time() + timeout + interval + MOMENT
    try:
        async with asyncio.timeout_at(end):
            first = await store.vitals()
            start = perf_counter()
            await asyncio.sleep(interval)
            away = [one.node for one in first if isinstance(one.info, UnreachableError)]
            second = await store.vitals(pings=1, but=away)
    except UsageError:
        raise
    except TimeoutError:
        silence = SilenceError(f"the server stopped answering within {timeout + interval:g}s")
        return HealthReport((_unreachable(silence),))
    except CachectlError as error:
        return HealthReport((_unreachable(error, await _heir(store, end)),))
    return _judged(first, second, perf_counter() - start, thresholds)


async def _heir(store: Store, end: float) -> str | None:
    """Return who is about to take over, as far as that is told in time: the Sentinels may be silent."""
    try:
        async with asyncio.timeout_at(end):
            return await store.taking_over()
    except TimeoutError:
        return None


def _judged(
    first: Sequence[Vitals], second: Sequence[Vitals], seconds: float, thresholds: Thresholds
) -> HealthReport:
    """Return each check as it stands on the node where it is worst, and the nodes of a cluster."""
    later = {one.node: one for one in second}  # after a failover it is another
    judged = [judge(one, later.get(one.node, one), seconds, thresholds) for one in first]
    if not any(one.greeting.get("mode") == "cluster" for one in first):
        return worst_of(judged)
    for one, checks in zip(first, judged, strict=True):
        heir = heir_of(one, first)
        if heir is not None:
            message = f"{checks[0].message}: its replica {heir.address} is to take over"
            checks[0] = replace(checks[0], status="warning", message=message)
    worst = worst_of(judged)
    rows = zip(first, judged, strict=True)
    return HealthReport(
        (*worst.checks, judge_cluster(first)),
        tuple(NodeHealth(one.node, tuple(checks)) for one, checks in rows),
    )


async def wait_until_ready(
    store: Store, thresholds: Thresholds, *, interval: float, timeout: float, wait: float
) -> HealthReport:
    """Ask again and again until nothing is critical, for at most `wait` seconds; return the last."""
    end = perf_counter() + wait
    while True:
        left = max(end - perf_counter(), WAIT_PAUSE)
        pause = min(interval, left / 2)
        report = await health(store, thresholds, interval=pause, timeout=min(timeout, left - pause))
        if report.status != "critical" or perf_counter() + WAIT_PAUSE >= end:
            return report
        await asyncio.sleep(WAIT_PAUSE)


def worst_of(nodes: Sequence[Sequence[Check]]) -> HealthReport:
    """Return each check as it stands on the node where it is worst, of those where it was made."""
    order: tuple[Verdict, ...] = ("critical", "warning", "unknown", "ok", "skipped")
    found = []
    for checks in zip(*nodes, strict=True):
        worst = min(checks, key=lambda check: order.index(check.status))
        denied = [check.message for check in checks].count("denied")
        if 0 < denied < len(checks):
            message = f"{worst.message}, denied on {denied} of {len(checks)} nodes"
            worst = replace(worst, message=message)
        found.append(worst)
    return HealthReport(tuple(found))


def _unreachable(error: CachectlError, taking_over: str | None = None) -> Check:
    if taking_over is not None:
        return Check("reachable", "warning", f"{error.message}: {taking_over}")
    hint = f" ({error.hint})" if error.hint else ""
    return Check("reachable", "critical", f"{error.message}{hint}")


def judge(first: Vitals, second: Vitals, seconds: float, thresholds: Thresholds) -> list[Check]:
    """Return the checks of one node from two looks at it, `seconds` apart."""
    checks = [_reachable(first), _latency(first, thresholds)]
    info = first.info
    role = first.greeting.get("role")
    if isinstance(info, CachectlError):
        checks.append(_role(role))
        refused = "denied" if isinstance(info, DeniedError) else info.message
        names = ("loading", "memory", "evictions", "hit_rate", "persistence", "replication")
        status: Verdict = "skipped" if isinstance(info, DeniedError) else "unknown"
        checks += [Check(name, status, refused) for name in (*names, "clients")]
        return checks
    later = info if isinstance(second.info, CachectlError) else second.info
    return [
        *checks,
        _role(role or info.get("role")),
        _loading(info),
        _memory(info, thresholds["memory"]),
        _evictions(info, later, seconds, thresholds["evictions"]),
        _hit_rate(info, later, thresholds["hit_rate"]),
        _persistence(info, thresholds["persistence"], later),
        _replication(info, thresholds["replication"]),
        _clients(info, thresholds["clients"]),
    ]


def _graded(
    name: str,
    value: float,
    unit: str,
    threshold: Threshold,
    message: str,
    *,
    low_is_bad: bool = False,
) -> Check:
    """Return a check whose number is held against its thresholds."""

    def beyond(limit: float | None) -> bool:
        return limit is not None and (value < limit if low_is_bad else value >= limit)

    status: Verdict = "ok"
    if beyond(threshold.critical):
        status = "critical"
    elif beyond(threshold.warning):
        status = "warning"
    return Check(name, status, message, value, unit, threshold.warning, threshold.critical)


def _number(info: Info, name: str) -> int | None:
    try:
        return int(info[name])
    except (KeyError, ValueError):
        return None


def _not_told(name: str, field: str) -> Check:
    return Check(name, "unknown", f"the server does not tell {field}")


def _reachable(vitals: Vitals) -> Check:
    refused = vitals.ping if isinstance(vitals.ping, CachectlError) else None
    if refused is not None and not isinstance(refused, DeniedError):
        return Check("reachable", "critical", refused.message)
    told = (
        refused is None or vitals.greeting.get("role") or not isinstance(vitals.info, DeniedError)
    )
    if not told:
        return Check("reachable", "skipped", "denied")
    software = f"{vitals.greeting.get('server') or 'server'} {vitals.greeting.get('version') or ''}"
    message = f"{software.strip()} answers at {vitals.node}"
    info = {} if isinstance(vitals.info, CachectlError) else vitals.info
    if info.get("paused_actions", "none") != "none":  # Valkey 8 and newer tell it
        left = (_number(info, "paused_timeout_milliseconds") or 0) / 1000
        reason = safe(info.get("paused_reason", "unknown"))
        return Check(
            "reachable", "warning", f"{message}, but holds writes for {left:g} s: {reason}"
        )
    return Check("reachable", "ok", message)


def _latency(vitals: Vitals, thresholds: Thresholds) -> Check:
    if isinstance(vitals.ping, DeniedError):
        return Check("latency", "skipped", "denied")
    if isinstance(vitals.ping, CachectlError):
        return Check("latency", "unknown", vitals.ping.message)
    median = sorted(vitals.ping)[len(vitals.ping) // 2]
    message = f"median of {len(vitals.ping)} pings: {median * 1000:.1f} ms"
    return _graded("latency", median, "s", thresholds["latency"], message)


def _role(role: str | None) -> Check:
    if role is None:
        return _not_told("role", "its role")
    if role in {"master", "primary"}:
        return Check("role", "ok", "primary")
    return Check("role", "warning", "a replica: it takes no writes")


def _loading(info: Info) -> Check:
    if info.get("loading") == "1":
        share = info.get("loading_loaded_perc")
        return Check("loading", "critical", "loading its data" + (f": {share} %" if share else ""))
    return Check("loading", "ok", "not loading")


def _memory(info: Info, threshold: Threshold) -> Check:
    """Judge used_memory by maxmemory. A cache that can evict is meant to be full: never a fault."""
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    if used is None or limit is None:
        return _not_told("memory", "used_memory or maxmemory")
    if limit == 0:
        return Check("memory", "ok", f"{used} bytes used, no maxmemory", used, "B")
    share = used / limit
    policy = info.get("maxmemory_policy", "noeviction")
    message = f"{share:.1%} of maxmemory used, {policy}"
    if policy.startswith("volatile-") and not _with_ttl(info):
        message += ", and no key has a TTL: none can be evicted"
    elif policy != "noeviction":
        threshold = Threshold()
    return _graded("memory", share, "share", threshold, message)


def _with_ttl(info: Info) -> int:
    """Return how many keys have a TTL; a line of INFO is `db0:keys=2,expires=1,avg_ttl=0`."""
    return sum(
        int(field.removeprefix("expires="))
        for name, value in info.items()
        if name.startswith("db") and value.startswith("keys=")
        for field in value.split(",")
        if field.startswith("expires=")
    )


def _evictions(info: Info, later: Info, seconds: float, threshold: Threshold) -> Check:
    before, after = _number(info, "evicted_keys"), _number(later, "evicted_keys")
    if before is None or after is None:
        return _not_told("evictions", "evicted_keys")
    rate = max(after - before, 0) / seconds
    return _graded("evictions", rate, "keys/s", threshold, f"{rate:.1f} keys/s evicted")


def _hit_rate(info: Info, later: Info, threshold: Threshold) -> Check:
    counts = [_number(i, n) for i in (info, later) for n in ("keyspace_hits", "keyspace_misses")]
    if None in counts:
        return _not_told("hit_rate", "keyspace_hits and keyspace_misses")
    hits_before, misses_before, hits_after, misses_after = (c or 0 for c in counts)
    hits, misses = hits_after - hits_before, misses_after - misses_before
    lookups = hits + misses
    if lookups < MIN_LOOKUPS:
        few = f"only {max(lookups, 0)} lookups meanwhile, {MIN_LOOKUPS} are needed"
        return Check("hit_rate", "skipped", f"{few} (a longer --interval sees more)")
    rate = hits / lookups
    message = f"{rate:.1%} of {lookups} lookups"
    return _graded("hit_rate", rate, "share", threshold, message, low_is_bad=True)


def _persistence(info: Info, threshold: Threshold, later: Info) -> Check:
    """Judge the last save, and the age of what was not saved since.

    A server that is not to save at all does not tell so: it is for the settings to bound that age. What
    goes into an append-only file is saved without any.
    """
    failed = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        return Check("persistence", "critical", f"{', '.join(failed)}: the last save failed")
    saved, now = _number(info, "rdb_last_save_time"), _number(later, "server_time_usec")
    changes = _number(info, "rdb_changes_since_last_save")
    if saved is None or changes is None:
        return _not_told("persistence", "rdb_last_save_time")
    message = f"the last save was good, {changes} changes since"
    if now is None or not changes or info.get("aof_enabled") == "1":
        return Check("persistence", "ok", message)
    age = max(now / 1e6 - saved, 0.0)
    return _graded("persistence", age, "s", threshold, message)


def _replication(info: Info, threshold: Threshold) -> Check:
    if info.get("role") == "slave":
        if info.get("master_link_status") != "up":
            return Check("replication", "critical", "the link to the primary is down")
        lag = _number(info, "master_last_io_seconds_ago")
        if lag is None:
            return _not_told("replication", "master_last_io_seconds_ago")
        return _graded("replication", lag, "s", threshold, f"heard the primary {lag} s ago")
    # told only where min-replicas-to-write is set; how many it wants is not told, but it is not none
    if info.get("min_slaves_good_slaves") == "0":
        refused = "no good replica, and min-replicas-to-write is set: writes are refused"
        return Check("replication", "critical", refused)
    lags = [
        int(field.removeprefix("lag="))
        for name, value in info.items()
        if name.startswith("slave") and "state=" in value
        for field in value.split(",")
        if field.startswith("lag=")
    ]
    if not lags:
        return Check("replication", "ok", "no replicas")
    message = f"{len(lags)} replicas, the slowest {max(lags)} s behind"
    return _graded("replication", max(lags), "s", threshold, message)


def _clients(info: Info, threshold: Threshold) -> Check:
    connected, limit = _number(info, "connected_clients"), _number(info, "maxclients")
    if connected is None or not limit:
        return _not_told("clients", "connected_clients or maxclients")
    share = connected / limit
    message = f"{connected} of {limit} connections used"
    return _graded("clients", share, "share", threshold, message)
