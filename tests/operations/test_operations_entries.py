import asyncio
import threading
import time
from contextlib import aclosing
from typing import Any, Literal

import pytest

from cachectl.errors import DeniedError, LostError, UnreachableError
from cachectl.operations.entries import Listed, delete, scan
from cachectl.operations.stop import Stop
from cachectl.reports.entries import DeleteReport
from cachectl.store.pace import GENTLE
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations.operating import keys_of, run, soon, user_with
from tests.plans import CUT, at, lost_reply, random_cuts, since
from tests.proxies import Proxy
from tests.servers import ServerProcess


def deleted(on: Any, *keys: bytes, timeout: float = 5.0, user: str | None = None) -> DeleteReport:
    return run(on, lambda store: delete(store, keys, Stop()), timeout=timeout, user=user)


def listed(
    on: Any, namespace: bytes | None = None, *, user: str | None = None, **options: Any
) -> list[Listed]:
    async def read(store: Store) -> list[Listed]:
        async with aclosing(scan(store, namespace, **options)) as pages:
            return [page async for page in pages]

    return run(on, read, user=user)


def names(pages: list[Listed]) -> list[bytes]:
    return [key for page in pages for key in page.keys]


def test_delete_counts_what_was_there_and_what_was_not(any_server: ServerProcess):
    """Each key once, however often it is named; more than one round trip's worth."""
    any_server.fill("a:", 1200)
    keys = [b"a:%d" % i for i in range(1300)]
    report = deleted(any_server, *keys, *keys[:5])
    assert (report.deleted, report.missing, report.unknown, report.failed) == (1200, 100, 0, 0)
    assert report.exit_code == 0
    report = deleted(any_server, *keys[:2])
    assert (report.deleted, report.missing, report.exit_code) == (0, 2, 1)


def test_keys_that_an_acl_forbids_are_told_and_the_others_go(any_server: ServerProcess):
    """Some refused: 1; all refused: 4. Twenty are listed, all are counted."""
    any_server.fill("a:", 5)
    any_server.fill("b:", 30)
    user = user_with(any_server, "+unlink", "~a:*")
    keys = [b"a:%d" % i for i in range(5)] + [b"b:%d" % i for i in range(30)]
    report = deleted(any_server, *keys, user=user)
    assert (report.deleted, report.failed, report.exit_code) == (5, 30, 1)
    assert len(report.errors) == 20
    report = deleted(any_server, *keys[5:], user=user)
    assert (report.deleted, report.failed, report.exit_code) == (0, 30, 4)


@pytest.mark.parametrize("seed", range(12))
def test_cut_at_random_bytes_the_counts_are_never_too_high(server: ServerProcess, seed: int):
    """What a lost answer leaves open is unknown; deleted and missing are certain."""
    server.fill("a:", 900)
    keys = [b"a:%d" % i for i in range(1000)]
    with Proxy(server, random_cuts(seed, share=0.1)) as proxy:
        try:
            report = deleted(proxy, *keys, timeout=2.0)
        except UnreachableError:
            return
    assert report.deleted + report.missing + report.unknown == 1000
    assert report.deleted <= 900 - server.raw("DBSIZE") <= report.deleted + report.unknown
    assert report.missing <= 100
    if report.error is None:
        assert server.raw("DBSIZE") == 0


def test_a_lost_answer_leaves_it_unknown_whether_a_key_was_there(server: ServerProcess):
    """UNLINK was applied, its answer cut off: gone for certain, counted as unknown; 3."""
    server.raw("SET", "a", "1")
    with Proxy(server, lost_reply(b"UNLINK")) as proxy:
        report = deleted(proxy, b"a")
    assert keys_of(server) == set()
    assert (report.deleted, report.missing, report.unknown, report.exit_code) == (0, 0, 1, 3)


def test_a_server_that_falls_silent_raises_that_the_removal_is_unknown(server: ServerProcess):
    """Nothing was answered: 3, and it may have been applied."""
    server.raw("SET", "a", "1")
    gate = threading.Event()
    with (
        Proxy(server, at(b"UNLINK", gate)) as proxy,
        pytest.raises(UnreachableError) as caught,
    ):
        deleted(proxy, b"a", timeout=0.3)
    gate.set()
    assert caught.value.maybe_applied


def test_a_server_lost_later_ends_with_what_is_known(server: ServerProcess):
    """The first batch is answered, the second is not: counted apart from what was never sent, 3."""
    server.fill("a:", 1000)
    with Proxy(server, since(b"a:500\r\n", CUT)) as proxy:
        report = deleted(proxy, *(b"a:%d" % i for i in range(1000)), timeout=0.3)
    assert (report.deleted, report.unknown, report.exit_code) == (500, GENTLE.burst, 3)
    assert report.unsent == 500 - GENTLE.burst


def test_a_removal_on_which_every_connection_breaks_is_an_error(server: ServerProcess):
    """A key whose UNLINK is never answered is not passed over: 3, though others are gone."""
    server.fill("a:", 10)
    keys = [b"a:%d" % i for i in range(10)]
    with Proxy(server, at(b"poison", CUT)) as proxy:
        with pytest.raises(LostError):
            deleted(proxy, b"poison", timeout=60.0)
        report = deleted(proxy, *keys, b"poison", timeout=60.0)
    assert (report.deleted, report.unknown, report.exit_code) == (10, 1, 3)


@pytest.mark.parametrize("reason", ["deadline", "interrupted"])
def test_a_stop_while_the_server_is_silent_ends_with_what_is_known(
    server: ServerProcess, reason: Literal["deadline", "interrupted"]
):
    """The first batch is gone, the second in flight, the third was not asked for; within a second."""
    server.fill("a:", 1500)
    gate = threading.Event()
    silent = threading.Event()

    async def stopped(store: Store) -> DeleteReport:
        stop = Stop()
        work = asyncio.create_task(delete(store, [b"a:%d" % i for i in range(1500)], stop))
        await soon(silent.is_set)
        stop.set(reason)
        return await work

    with Proxy(server, at(b"a:500\r\n", silent.set, gate)) as proxy:
        start = time.monotonic()
        report = run(proxy, stopped)
        took = time.monotonic() - start
        gate.set()
    assert took < 1
    assert (report.deleted, report.unknown, report.unsent) == (500, 500, 500)
    assert (report.stopped, report.error, report.exit_code) == (reason, None, 1)


def test_a_stop_between_two_batches_leaves_the_rest_unsent(server: ServerProcess):
    """What was sent is answered for; nothing is unknown."""
    server.fill("a:", 1500)
    stop = Stop()
    stop.set("deadline")
    keys = [b"a:%d" % i for i in range(1500)]
    report = run(server, lambda store: delete(store, keys, stop))
    assert (report.deleted, report.unknown, report.unsent) == (500, 0, 1000)
    assert (report.stopped, report.exit_code) == ("deadline", 1)
    assert server.raw("DBSIZE") == 1000


def test_a_listing_names_every_key_of_a_namespace(any_server: ServerProcess):
    """Literally: no sibling, no pattern; None is the whole keyspace; `match` is a glob."""
    any_server.fill("a[1]:", 700)
    any_server.fill("a1:", 50)
    pages = listed(any_server, b"a[1]")
    assert sorted(names(pages)) == sorted(b"a[1]:%d" % i for i in range(700))
    assert len(pages) > 1
    assert all(page.facts is None for page in pages)
    assert len(set(names(listed(any_server)))) == 750
    assert len(names(listed(any_server, match=b"a1:?"))) == 10
    assert len(names(listed(any_server, b"a[1]", match=b"*:1?"))) == 10
    assert listed(any_server, b"none") == []


def test_a_long_listing_tells_type_ttl_and_memory(any_server: ServerProcess):
    """The facts stand beside their keys."""
    any_server.raw("SET", "a:s", "1", "EX", "100")
    any_server.raw("RPUSH", "a:l", "1")
    ((key, facts),) = [
        (k, f)
        for page in listed(any_server, b"a", long=True)
        for k, f in zip(page.keys, page.facts or [], strict=True)
        if k == b"a:s"
    ]
    assert key == b"a:s"
    assert facts[0] == "string"
    assert 90 < facts[1] <= 100
    assert facts[2] > 0
    user = user_with(any_server, "+scan", "+type", "+pttl", "~*")
    for page in listed(any_server, b"a", long=True, user=user):
        assert page.facts is not None
        assert all(isinstance(memory, DeniedError) for _, _, memory in page.facts)


def test_keys_that_vanish_before_their_facts_are_told_are_left_out(server: ServerProcess):
    """Named by SCAN, gone when asked for: not in a long listing."""
    server.fill("a:", 20)
    gone = [f"a:{i}" for i in range(15)]
    with Proxy(server, at(b"TYPE", lambda: server.raw("DEL", *gone))) as proxy:
        pages = listed(proxy, b"a", long=True)
    assert sorted(names(pages)) == [b"a:15", b"a:16", b"a:17", b"a:18", b"a:19"]
    assert sum(len(page.facts or []) for page in pages) == 5


@pytest.mark.parametrize("limit", [0, 1, 249, 251, 700, 900])
@pytest.mark.parametrize("long", [False, True])
def test_a_limit_ends_the_listing(server: ServerProcess, limit: int, long: bool):
    """So many keys and no more, with their facts."""
    server.fill("a:", 700)
    pages = listed(server, b"a", limit=limit, long=long)
    assert len(set(names(pages))) == len(names(pages)) == min(limit, 700)
    if long:
        assert sum(len(page.facts or []) for page in pages) == min(limit, 700)


@pytest.mark.parametrize("seed", range(12))
def test_cut_at_random_bytes_every_key_is_listed_at_least_once(server: ServerProcess, seed: int):
    """A broken listing begins anew and says so; it is whole, or an error."""
    server.fill("a:", 3000)
    with Proxy(server, random_cuts(seed, share=0.02)) as proxy:
        try:
            pages = listed(proxy, b"a", long=seed % 2 == 0)
        except UnreachableError:
            return
    assert set(names(pages)) == {b"a:%d" % i for i in range(3000)}
    if len(names(pages)) > 3000:
        assert any(page.anew for page in pages)


def test_a_limited_listing_that_begins_anew_has_so_many_different_keys(server: ServerProcess):
    """Keys that come twice are not counted twice towards the limit."""
    server.fill("a:", 3000)
    with Proxy(server, at(b"SCAN", CUT, turn=5)) as proxy:
        pages = listed(proxy, b"a", limit=2000)
    assert any(page.anew for page in pages)
    assert len(names(pages)) > 2000
    assert len(set(names(pages))) == 2000


def test_a_page_that_begins_anew_is_told_even_when_it_holds_nothing(server: ServerProcess):
    """Who follows the listing must know, though no key of the namespace is on that page."""
    server.fill("a:", 5)
    server.fill("else:", 2000)
    with Proxy(server, at(b"SCAN", CUT, turn=4)) as proxy:
        pages = listed(proxy, b"a")
    assert set(names(pages)) == {b"a:%d" % i for i in range(5)}
    assert [page.anew for page in pages].count(True) == 1


def test_a_restart_in_the_middle_of_a_listing_gives_no_short_list(fresh_server: FreshServer):
    """Killed and restored between two pages: everything, and it is told that it began anew."""
    server = fresh_server()
    server.fill("a:", 3000)
    server.raw("SAVE")

    async def read(store: Store) -> list[Listed]:
        pages = []
        async with aclosing(scan(store, b"a")) as found:
            async for page in found:
                pages.append(page)
                if len(pages) == 4:
                    server.restart(kill=True)
        return pages

    pages = run(server, read)
    assert set(names(pages)) == {b"a:%d" % i for i in range(3000)}
    assert any(page.anew for page in pages)
