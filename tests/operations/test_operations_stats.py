"""stats on real servers: held against the server's own numbers, and through its faults."""

import asyncio
import threading
import time
from typing import Any

import pytest

from cachectl.errors import DeniedError, UnreachableError
from cachectl.models import Progress
from cachectl.operations.stats import Target, stats
from cachectl.operations.stop import Stop
from cachectl.reports.stats import Figures, StatsReport
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations.operating import On, run, silent, soon, user_with
from tests.plans import CUT, at, random_cuts, since
from tests.proxies import Proxy
from tests.servers import ServerProcess


def told(
    on: On, *names: bytes, user: str | None = None, timeout: float = 5.0, **options: Any
) -> StatsReport:
    targets = [Target(name, options.get("match")) for name in names or (None,)]
    options.pop("match", None)
    return run(
        on,
        lambda store: stats(store, targets, Stop(), silent, **options),
        user=user,
        timeout=timeout,
    )


def rows(report: StatsReport) -> dict[bytes | None, Figures]:
    return {row.namespace: row.figures for row in report.namespaces}


def memory(server: ServerProcess, pattern: str = "*") -> int:
    return sum(server.raw("MEMORY", "USAGE", key) for key in server.raw("KEYS", pattern))


def test_the_figures_are_those_of_the_server(any_server: ServerProcess):
    """DBSIZE, the sum of MEMORY USAGE, the TTLs; by namespace and in all; each type of the largest."""
    any_server.fill("a:", 700, "x" * 50)
    any_server.fill("b:c:", 300)
    any_server.raw("SET", "plain", "1")
    any_server.raw("RPUSH", "b:list", *range(5000))
    for place in range(100):
        any_server.raw("EXPIRE", f"a:{place}", 1000 * (place + 1))
    report = told(any_server)
    assert report.total.keys == any_server.raw("DBSIZE") == 1002
    assert report.total.size == memory(any_server)
    assert (report.total.persistent, report.found, report.total.unknown) == (902, 3, {})
    found = rows(report)
    assert list(found) == [b"a", b"b", None]
    assert (found[b"a"].keys, found[b"a"].size) == (700, memory(any_server, "a:*"))
    assert (found[b"b"].keys, found[b"b"].size) == (301, memory(any_server, "b:*"))
    assert (found[None].keys, found[None].ttl) == (1, None)
    ttl = found[b"a"].ttl
    assert ttl is not None
    assert ttl == report.total.ttl
    assert ttl.p50 == pytest.approx(50_000, rel=0.011)
    assert ttl.p90 == pytest.approx(90_000, rel=0.011)
    assert 990 < ttl.shortest <= 1000
    assert 99_990 < ttl.longest <= 100_000
    assert len(report.largest) == 10
    assert (report.largest[0].key, report.largest[0].type) == (b"b:list", "list")
    assert report.largest[0].size == any_server.raw("MEMORY", "USAGE", "b:list")
    assert {large.type for large in report.largest[1:]} == {"string"}
    assert (report.passes, report.stopped, report.error, report.exit_code) == (1, None, None, 0)


def test_an_empty_server_has_no_keys(any_server: ServerProcess):
    """All is known of nothing: 0 keys, 0 bytes, no TTL; 0."""
    report = told(any_server)
    assert report.total == Figures(0, 0, 0, None, None)
    assert (report.namespaces, report.largest, report.found, report.exit_code) == ((), (), 0, 0)


def test_a_namespace_is_literal_and_its_parts_are_told_apart(server: ServerProcess):
    """No sibling, no pattern; several at once, one inside another once; a glob narrows."""
    server.fill("a[1]:x:", 30)
    server.fill("a[1]:", 20)
    server.fill("a1:", 50)
    server.fill("b:", 5)
    found = rows(told(server, b"a[1]"))
    assert {name: figures.keys for name, figures in found.items()} == {b"a[1]": 20, b"a[1]:x": 30}
    report = told(server, b"a[1]", b"b", depth=0)
    assert {n: f.keys for n, f in rows(report).items()} == {b"a[1]": 50, b"b": 5}
    assert report.total.keys == 55
    assert told(server, b"none").total.keys == 0
    assert told(server, b"a[1]", match=b"*:1?").total.keys == 20
    assert told(server, match=b"a*:?").total.keys == 30
    assert rows(told(server, depth=2, sort="name")).keys() == {b"a1", b"a[1]", b"a[1]:x", b"b"}


def test_keys_that_vanish_before_they_are_looked_at_are_not_counted(server: ServerProcess):
    """Named by SCAN, gone when asked for."""
    server.fill("a:", 20)
    gone = [f"a:{i}" for i in range(15)]
    with Proxy(server, at(b"PTTL", lambda: server.raw("DEL", *gone))) as proxy:
        report = told(proxy)
    assert report.total.keys == 5
    assert report.total.size == memory(server)


def test_a_large_key_that_vanishes_at_the_end_has_no_type(server: ServerProcess):
    """It was counted; what it held is named as unknown, not made up."""
    server.raw("SET", "a:1", "x" * 5000)
    with Proxy(server, at(b"TYPE", lambda: server.raw("DEL", "a:1"))) as proxy:
        (large,) = told(proxy).largest
    assert (large.key, large.type, large.unknown) == (b"a:1", None, {"type": "the key is gone"})


def test_what_is_denied_is_named_and_never_0(any_server: ServerProcess):
    """Without MEMORY USAGE, without PTTL, without TYPE: the rest is told, and it is 0."""
    any_server.fill("a:", 50)
    any_server.raw("EXPIRE", "a:1", 100)
    report = told(any_server, user=user_with(any_server, "+scan", "+pttl", "~*"))
    assert (report.total.keys, report.total.size, report.total.persistent) == (50, None, 49)
    assert report.total.ttl is not None
    assert "NOPERM" in report.total.unknown["bytes"]
    assert "NOPERM" in rows(report)[b"a"].unknown["largest"]
    assert [(node.keys, node.size) for node in report.nodes] == [(50, None)]
    assert (report.largest, report.exit_code) == ((), 0)
    report = told(any_server, user=user_with(any_server, "+scan", "+memory", "~*"))
    assert (report.total.keys, report.total.ttl, report.total.persistent) == (50, None, None)
    assert report.total.unknown.keys() == {"ttl", "persistent"}
    assert report.total.size == memory(any_server)
    assert "NOPERM" in report.largest[0].unknown["type"]
    assert report.exit_code == 0


def test_what_is_denied_of_some_keys_is_not_told_of_their_namespace(any_server: ServerProcess):
    """The sums would be too low; of the keys that may be read everything is known."""
    any_server.fill("a:", 50)
    any_server.fill("b:", 30)
    user = user_with(any_server, "+scan", "+pttl", "+memory", "+type", "~a:*")
    report = told(any_server, user=user)
    assert (report.total.keys, report.total.size) == (80, None)
    assert "(30 of 80 keys)" in report.total.unknown["bytes"]
    found = rows(report)
    assert (found[b"a"].size, found[b"a"].unknown) == (memory(any_server, "a:*"), {})
    assert found[b"b"].unknown.keys() == {"bytes", "largest", "persistent", "ttl"}


def test_a_user_without_scan_gets_an_error(server: ServerProcess):
    """Refused before anything was counted: 4, and which right is missing."""
    user = user_with(server, "+pttl", "+memory", "~*")
    with pytest.raises(DeniedError) as caught:
        told(server, user=user)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("seed", range(12))
def test_cut_at_random_bytes_each_key_is_counted_once(server: ServerProcess, seed: int):
    """A broken walk is begun anew; it ends with all keys, each once, or with 3."""
    server.fill("a:", 3000)
    with Proxy(server, random_cuts(seed, share=0.02)) as proxy:
        try:
            report = told(proxy)
        except UnreachableError:
            return
    assert report.total.keys <= 3000
    if report.stopped is None and report.error is None:
        assert (report.total.keys, report.total.size) == (3000, memory(server))
    else:
        assert report.exit_code == 3


def test_a_cut_in_the_middle_begins_the_count_anew(server: ServerProcess):
    """What was counted of the broken walk is not counted twice; it says that there were two."""
    server.fill("a:", 3000)
    with Proxy(server, at(b"SCAN", CUT, turn=5)) as proxy:
        report = told(proxy)
    assert (report.total.keys, report.passes, report.exit_code) == (3000, 2, 0)
    assert sum(figures.keys for figures in rows(report).values()) == 3000
    assert [(node.keys, node.size) for node in report.nodes] == [(3000, report.total.size)]


def test_a_restart_in_the_middle_begins_the_count_anew(fresh_server: FreshServer):
    """Killed and restored from its dump between two pages: each key once."""
    server = fresh_server()
    server.fill("a:", 3000)
    server.raw("SAVE")
    restarted = False

    def restart(progress: Progress) -> None:
        nonlocal restarted
        if progress.done >= 500 and not restarted:
            restarted = True
            server.restart(kill=True)

    report = run(server, lambda store: stats(store, [Target(None)], Stop(), restart))
    assert restarted
    assert (report.total.keys, report.passes, report.exit_code) == (3000, 2, 0)


def test_a_server_that_is_lost_for_good_is_3_with_what_was_counted(fresh_server: FreshServer):
    """Never a short count with 0."""
    server = fresh_server()
    server.fill("a:", 3000)

    def kill(progress: Progress) -> None:
        if progress.done >= 500:
            server.kill9()

    report = run(server, lambda store: stats(store, [Target(None)], Stop(), kill), timeout=0.5)
    assert 500 <= report.total.keys < 3000
    assert (report.stopped, report.exit_code) == ("connection", 3)
    assert isinstance(report.error, UnreachableError)


def test_a_server_that_nobody_reaches_raises(fresh_server: FreshServer):
    """Nothing was counted: an error, not 0 keys."""
    server = fresh_server()
    server.kill9()
    with pytest.raises(UnreachableError):
        told(server, timeout=0.3)


def test_a_stop_while_the_server_is_silent_reports_what_was_counted(server: ServerProcess):
    """Within a second, with the reason, and it is 1; the types are not asked for any more."""
    server.fill("a:", 3000)
    gate, silence = threading.Event(), threading.Event()

    async def stopped(store: Store) -> StatsReport:
        stop = Stop()
        work = asyncio.create_task(stats(store, [Target(None)], stop, silent))
        await soon(silence.is_set)
        stop.set("deadline")
        return await work

    with Proxy(server, since(b"SCAN", silence.set, gate, turn=6)) as proxy:
        start = time.monotonic()
        report = run(proxy, stopped)
        took = time.monotonic() - start
        gate.set()
    assert took < 1
    assert 0 < report.total.keys < 3000
    assert (report.stopped, report.error, report.exit_code) == ("deadline", None, 1)
    assert {large.unknown["type"] for large in report.largest} == {"not asked: stopped before"}


def test_a_stop_between_two_pages_ends_the_walk(server: ServerProcess):
    """No further page is counted."""
    server.fill("a:", 3000)

    async def stopped(store: Store) -> StatsReport:
        stop = Stop()
        return await stats(store, [Target(None)], stop, lambda _progress: stop.set("interrupted"))

    report = run(server, stopped)
    assert 0 < report.total.keys <= 1000
    assert (report.stopped, report.exit_code) == ("interrupted", 1)
