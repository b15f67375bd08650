import asyncio
import threading
import time
from typing import Any

import pytest

from cachectl.config.secrets import Credentials
from cachectl.config.settings import DEFAULT_HEALTH, Server, Threshold
from cachectl.config.url import parse_url
from cachectl.errors import UsageError
from cachectl.operations.health import health, wait_until_ready
from cachectl.reports.health import Check, HealthReport
from cachectl.store.open import open_store
from cachectl.store.store import Store
from cachectl.store.tries import Patience
from tests.conftest import FreshServer
from tests.operations.operating import busy, run, store_of, user_with
from tests.proxies import Proxy
from tests.servers import ServerProcess, free_port

THRESHOLDS = DEFAULT_HEALTH | {"persistence": Threshold()}


def look(
    on: Any, *, interval: float = 0.02, timeout: float = 1.0, user: str | None = None, **more: Any
) -> HealthReport:
    async def ask(store: Store) -> HealthReport:
        return await health(store, THRESHOLDS | more, interval=interval, timeout=timeout)

    return run(on, ask, timeout=timeout, user=user)


def by_name(report: HealthReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def test_a_good_server_is_ok(any_server: ServerProcess):
    """Every version at hand: ok, and nothing unknown."""
    any_server.raw("SET", "k", "1")
    report = look(any_server)
    assert report.exit_code == 0
    assert not [check for check in report.checks if check.status in {"unknown", "critical"}]


def test_a_cache_that_is_not_to_save_does_not_warn_of_its_age(server: ServerProcess):
    """Unsaved changes alone are no fault; a bound that the settings name is held."""
    server.raw("SET", "k", "1")
    check = by_name(look(server))["persistence"]
    assert check.status == "ok"
    assert check.value is not None
    assert by_name(look(server, persistence=Threshold(0.0)))["persistence"].status == "warning"


def test_nobody_there_is_critical_at_once():
    """No server, and a wrong password: results, not exceptions."""
    start = time.monotonic()
    report = look(f"redis://127.0.0.1:{free_port()}/0", timeout=5.0)
    assert time.monotonic() - start < 1
    (check,) = report.checks
    assert (check.name, check.status, report.exit_code) == ("reachable", "critical", 2)
    assert "refused" in check.message


def test_a_wrong_password_is_critical_and_not_shown(server: ServerProcess):
    """The step that failed is named, the password is not."""
    server.raw("ACL", "SETUSER", "limited", "on", ">other", "+@all")
    (check,) = look(server, user="limited").checks
    assert check.status == "critical"
    assert "password" in check.message
    assert "secret" not in check.message


def test_a_stopped_server_is_critical_in_time(server: ServerProcess):
    """SIGSTOP before the first look, and between the two: within timeout and interval."""
    server.sigstop()
    try:
        start = time.monotonic()
        report = look(server, timeout=0.5)
        assert time.monotonic() - start < 1.5
    finally:
        server.sigcont()
    assert report.exit_code == 2

    async def stopped_meanwhile(store: Store) -> HealthReport:
        work = asyncio.create_task(health(store, THRESHOLDS, interval=0.3, timeout=0.5))
        await asyncio.sleep(0.15)
        server.sigstop()
        return await work

    try:
        start = time.monotonic()
        report = run(server, stopped_meanwhile, timeout=0.5)
        assert time.monotonic() - start < 1.5
    finally:
        server.sigcont()
    assert report.exit_code == 2


def test_a_bound_of_its_own_holds_when_the_stores_patience_is_longer(server: ServerProcess):
    """Paused clients: critical once the time is up, whatever the store would bear."""
    server.raw("CLIENT", "PAUSE", "20000")

    async def ask(store: Store) -> HealthReport:
        return await health(store, THRESHOLDS, interval=0.1, timeout=0.3)

    start = time.monotonic()
    report = run(server, ask, timeout=10.0)
    assert time.monotonic() - start < 1.4
    (check,) = report.checks
    assert check.status == "critical"
    assert "within 400ms" in check.message or "within 0.4s" in check.message


def test_a_full_server_is_critical_only_where_nothing_is_evicted(fresh_server: FreshServer):
    """noeviction at its limit: critical; allkeys-lru at its limit: ok."""
    server = fresh_server("--maxmemory-policy", "noeviction")
    server.fill("k", 2000, "x" * 500)
    server.raw("CONFIG", "SET", "maxmemory", server.info()["used_memory"])
    server.raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
    report = look(server)
    assert by_name(report)["memory"].status == report.status == "critical"
    server.raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert by_name(look(server))["memory"].status == "ok"
    server.raw("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    assert by_name(look(server))["memory"].status == "critical"  # none of its keys has a TTL


def test_a_primary_without_the_replicas_it_needs_is_critical(any_server: ServerProcess):
    """min-replicas-to-write is set and there is none: every write is refused."""
    any_server.raw("CONFIG", "SET", "min-replicas-to-write", "1")
    report = look(any_server)
    any_server.raw("CONFIG", "SET", "min-replicas-to-write", "0")
    assert by_name(report)["replication"].status == report.status == "critical"
    assert by_name(look(any_server))["replication"].status == "ok"


def test_a_server_that_holds_writes_warns(server: ServerProcess):
    """CLIENT PAUSE WRITE: it answers, and writes wait."""
    server.raw("CLIENT", "PAUSE", "60000", "WRITE")
    report = look(server)
    server.raw("CLIENT", "UNPAUSE")
    assert by_name(report)["reachable"].status == report.status == "warning"
    assert "holds writes" in by_name(report)["reachable"].message


def test_a_replica_warns_and_one_without_its_primary_is_critical(
    server: ServerProcess, fresh_server: FreshServer
):
    """Up: a warning for its role. Link down: critical."""
    primary = fresh_server("--repl-diskless-sync-delay", "0", tcp=True)
    server.raw("REPLICAOF", "127.0.0.1", primary.port)
    end = time.monotonic() + 10
    while server.info("replication").get("master_link_status") != "up":
        assert time.monotonic() < end
        time.sleep(0.01)
    report = look(server)
    assert report.status == by_name(report)["role"].status == "warning"
    assert by_name(report)["replication"].status == "ok"
    found = by_name(look(primary))
    assert "1 replicas" in found["replication"].message
    primary.kill9()
    report = look(server)
    assert report.status == by_name(report)["replication"].status == "critical"


def test_a_loading_server_is_critical(fresh_server: FreshServer):
    """It answers INFO and refuses PING: critical, and it says how far it is."""
    server = fresh_server()
    server.fill("k", 20_000)
    server.raw("SAVE")
    slowly = ("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024")
    server.config = (*server.config, *slowly)
    server.kill9()
    starting = threading.Thread(target=server.start, daemon=True)
    starting.start()

    async def ask(store: Store) -> HealthReport:
        end = time.monotonic() + 10
        while True:
            report = await health(store, THRESHOLDS, interval=0.01, timeout=1.0)
            if len(report.checks) > 1 or time.monotonic() > end:
                return report
            await asyncio.sleep(0.01)

    report = run(server, ask, timeout=1.0)
    found = by_name(report)
    assert report.exit_code == 2
    assert found["loading"].status == found["reachable"].status == "critical"
    assert "LOADING" in found["reachable"].message
    server.raw("CONFIG", "SET", "key-load-delay", "0")
    starting.join()


def test_a_busy_server_is_critical_in_its_own_words(any_server: ServerProcess):
    """A script that does not end: BUSY."""
    with busy(any_server):
        report = look(any_server, timeout=5.0)
    assert report.exit_code == 2
    assert report.checks[0].message.startswith("BUSY")


def test_a_server_that_cannot_save_is_critical(fresh_server: FreshServer):
    """MISCONF: the failed save is named, and so is the refusal of PING."""
    server = fresh_server("--dbfilename", "no.rdb")
    (server.directory / "no.rdb").mkdir()  # renaming the dump onto it fails
    (server.directory / "no.rdb" / "full").touch()
    server.raw("SET", "k", "1")
    server.raw("CONFIG", "SET", "save", "3600 1")
    server.raw("BGSAVE")
    end = time.monotonic() + 5
    while server.info("persistence")["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < end
        time.sleep(0.01)
    report = look(server)
    found = by_name(report)
    assert report.exit_code == 2
    assert found["persistence"].status == "critical"
    assert "rdb_last_bgsave_status" in found["persistence"].message
    assert found["reachable"].message.startswith("MISCONF")


@pytest.mark.parametrize(
    ("rights", "known"),
    [
        (["+ping", "+info", "+role"], 9),
        (["+ping"], 3),
        (["+info"], 8),
        ([], 2),
    ],
)
def test_what_an_acl_denies_is_skipped(any_server: ServerProcess, rights: list[str], known: int):
    """Every right that is missing is one check less, and no fault; HELLO always tells the role."""
    report = look(any_server, user=user_with(any_server, *rights))
    assert report.exit_code == 0
    assert [check.status for check in report.checks].count("ok") == known
    skipped = {c.message for c in report.checks if c.status == "skipped" and c.name != "hit_rate"}
    assert skipped <= {"denied"}
    assert not [check for check in report.checks if check.status == "unknown"]


def test_the_hit_rate_is_of_lookups_between_the_looks(server: ServerProcess):
    """Two thousand lookups meanwhile, a quarter of them hits; earlier ones do not count."""
    server.raw("SET", "there", "1")
    script = "for i = 1, 5000 do redis.call('get', 'there') end"
    server.raw("EVAL", script, 0)
    mixed = "for i = 1, 2000 do redis.call('get', i % 4 == 0 and 'there' or 'gone') end"

    async def ask(store: Store) -> HealthReport:
        work = asyncio.create_task(health(store, THRESHOLDS, interval=0.5, timeout=5))
        await asyncio.sleep(0.2)
        server.raw("EVAL", mixed, 0)
        return await work

    check = by_name(run(server, ask))["hit_rate"]
    assert check.value is not None
    assert abs(check.value - 0.25) < 0.02
    assert check.status == "warning"
    few = by_name(look(server))["hit_rate"]
    assert (few.status, few.value) == ("skipped", None)


def test_evictions_are_counted_between_the_looks(fresh_server: FreshServer):
    """A cache that evicts thousands a second is critical; one that did so before is not."""
    server = fresh_server("--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "1")
    server.fill("k", 5000, "x" * 500)

    async def ask(store: Store) -> HealthReport:
        work = asyncio.create_task(health(store, THRESHOLDS, interval=0.5, timeout=5))
        await asyncio.sleep(0.2)
        limit = int(server.info()["used_memory"]) // 2
        server.raw("CONFIG", "SET", "maxmemory", limit)
        while int(server.info("stats")["evicted_keys"]) < 2000:
            await asyncio.to_thread(server.raw, "SET", "more", "x" * 500)
        return await work

    check = by_name(run(server, ask))["evictions"]
    assert check.status == "critical"
    assert check.value is not None
    assert check.value > 1000
    assert by_name(look(server))["evictions"].status in {"ok", "critical"}


def test_settings_that_no_server_can_be_asked_with_are_raised(tmp_path: Any):
    """A password file that is not there is a fault of the settings, not of the server."""
    server = Server(
        None, "a test", parse_url("redis://127.0.0.1:1").address,
        Credentials(password_file=str(tmp_path / "none")),
    )  # fmt: skip

    async def ask() -> None:
        async with open_store(server, Patience(1, 1, 1, 0.05, 1), start_embedded=False) as store:
            await health(store, THRESHOLDS, interval=0.1, timeout=1)

    with pytest.raises(UsageError):
        asyncio.run(ask())


def waited(on: Any, wait: float, *, timeout: float = 5.0, interval: float = 0.02) -> HealthReport:
    async def ask(store: Store) -> HealthReport:
        return await wait_until_ready(
            store, THRESHOLDS, interval=interval, timeout=timeout, wait=wait
        )

    return run(on, ask, timeout=timeout)


def test_waiting_ends_when_nothing_is_critical_any_more(fresh_server: FreshServer):
    """A server that is started meanwhile is waited for, and no longer."""
    server = fresh_server()
    server.kill9()

    async def ask() -> tuple[HealthReport, float]:
        async with store_of(server) as store:
            work = asyncio.create_task(
                wait_until_ready(store, THRESHOLDS, interval=0.02, timeout=5, wait=30)
            )
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)
            start = time.monotonic()
            return await work, time.monotonic() - start

    report, took = asyncio.run(ask())
    assert report.exit_code == 0
    assert took < 2


@pytest.mark.parametrize("wait", [0.0, 1.2])
def test_waiting_gives_up_in_time(server: ServerProcess, wait: float):
    """Nobody there, or a server that says nothing: the last verdict, when the time is up."""
    start = time.monotonic()
    assert waited(f"redis://127.0.0.1:{free_port()}/0", wait).exit_code == 2
    assert time.monotonic() - start < wait + 0.6
    server.sigstop()
    try:
        for interval in (0.02, 3.0):
            start = time.monotonic()
            assert waited(server, wait, interval=interval).exit_code == 2
            assert time.monotonic() - start < wait + 0.8
    finally:
        server.sigcont()


def test_a_warning_is_ready(server: ServerProcess):
    """A slow line warns and serves: waiting ends."""
    with Proxy(server, latency=0.06) as proxy:
        start = time.monotonic()
        report = waited(proxy, 20)
        assert time.monotonic() - start < 3
    assert report.status == "warning"
    assert by_name(report)["latency"].status == "warning"
