import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cachectl.errors import DeniedError, ReadOnlyServerError, RefusedError
from cachectl.models import Progress
from cachectl.operations.flush import run as flush_module
from cachectl.operations.flush.preview import preview
from cachectl.operations.stop import Stop
from cachectl.operations.targets import Target
from cachectl.reports.counts import NamespaceCount
from cachectl.reports.flush import FlushReport
from cachectl.store.scan import Page, Walk
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations.operating import (
    flush_with,
    flushed,
    keys_of,
    run,
    silent,
    soon,
    user_with,
)
from tests.servers import ServerProcess, binaries

NEAR = st.lists(st.sampled_from([b"\\", b"*", b"?", b"[", b"]", b"^", b"-", b"a", b":", b"\xff"]))
NAMES = st.one_of(st.binary(min_size=1, max_size=6), NEAR.map(b"".join)).filter(bool)


@pytest.mark.parametrize("version", list(binaries()))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=NAMES, other=NAMES, tails=st.lists(st.binary(max_size=4), max_size=4))
@example(name=b"user[1]", other=b"user1", tails=[b"k"])
@example(name=b"a*b", other=b"axb", tails=[b"k"])
@example(name=b"x?", other=b"xy", tails=[b""])
@example(name=b"back\\", other=b"back", tails=[b"\\"])
@example(name=b"a\\*", other=b"a*", tails=[b"k"])
@example(name=b"\xff\xfe", other=b"\xff", tails=[b"\x00"])
@example(name=b"new\nline", other=b"new", tails=[b"\n"])
def test_a_namespace_of_any_bytes_is_a_literal_prefix(
    server_of: Any, version: str, name: bytes, other: bytes, tails: list[bytes]
):
    """Exactly the keys with that prefix go, whatever pattern the name would be."""
    server = server_of(version)
    keys = {
        key
        for tail in [b"k", b"", *tails]
        for key in (name + b":" + tail, name + tail, other + b":" + tail, b"x" + name + b":" + tail)
    } - {b""}
    with server.connect() as connection:
        for key in keys:
            connection.call("SET", key, "1")
    mine = {key for key in keys if key.startswith(name + b":")}
    report = flushed(server, name)
    assert keys_of(server) == keys - mine
    assert (report.matched, report.deleted, report.exit_code) == (len(mine), len(mine), 0)


def test_nested_namespaces_go_with_their_parent_and_siblings_stay(any_server: ServerProcess):
    """`a` holds `a:b`, not `ab`; a namespace alone leaves its parent's other keys."""
    for prefix in ("a:", "a:b:", "a:b:c:", "ab:", "b:a:"):
        any_server.fill(prefix, 300)
    any_server.raw("SET", "a", "1")
    report = flushed(any_server, b"a:b")
    assert (report.deleted, report.deleted_exact, report.remaining) == (600, True, 0)
    assert len(keys_of(any_server)) == 901
    report = flushed(any_server, b"a")
    assert report.deleted == 300
    assert {key.partition(b":")[0] for key in keys_of(any_server)} == {b"a", b"ab", b"b"}


def test_several_namespaces_are_one_walk_with_a_count_each(server: ServerProcess):
    """Each target is named in the report, other keys stay."""
    for prefix, number in (("a:", 700), ("b:", 20), ("c:", 5)):
        server.fill(prefix, number)
    report = flushed(server, b"a", b"b", b"none")
    assert [(c.namespace, c.keys) for c in report.namespaces] == [(b"a", 700), (b"b", 20)]
    assert (report.matched, report.deleted, report.passes, report.exit_code) == (720, 720, 1, 0)
    assert len(keys_of(server)) == 5


def test_the_whole_keyspace_goes_when_no_namespace_is_named(server: ServerProcess):
    """Target None: every key of this database, and of this one alone."""
    server.fill("a:", 500)
    server.raw("RPUSH", "a list", "1")
    with server.connect() as other:
        other.call("SELECT", 1)
        other.call("SET", "elsewhere", "1")
        report = flushed(server, None)
        assert (report.deleted, report.namespaces[0].namespace) == (501, None)
        assert keys_of(server) == set()
        assert other.call("EXISTS", "elsewhere") == 1


def test_a_pattern_is_a_pattern_within_the_literal_namespace(server: ServerProcess):
    """`match` is a glob over whole keys; of what it matches only the namespace's keys go."""
    for key in ("a:1x", "a:2y", "b:1x", "a*:1x"):
        server.raw("SET", key, "1")
    assert flushed(server, Target(b"a", b"*1x")).deleted == 1
    assert keys_of(server) == {b"a:2y", b"b:1x", b"a*:1x"}
    assert flushed(server, Target(b"a*", b"*1x")).deleted == 1
    report = flushed(server, Target(None, b"b:?x"))
    assert report.deleted == 1
    assert report.namespaces[0].namespace == b"b:?x"
    assert keys_of(server) == {b"a:2y"}
    server.raw("SET", "c:1", "1")
    assert flushed(server, Target(b"a", b"*"), Target(b"c", b"*1")).deleted == 2


def previewed(server: ServerProcess, *targets: Target, **options: Any) -> FlushReport:
    return run(server, lambda store: preview(store, targets, Stop(), silent, **options))


def test_a_preview_counts_by_direct_sub_namespace(any_server: ServerProcess):
    """Keys directly in the target count under its own name; nothing is removed."""
    for prefix, number in (("a:b:", 700), ("a:b:c:", 10), ("a:d:", 5), ("a:", 3), ("ab:", 9)):
        any_server.fill(prefix, number)
    any_server.raw("SET", b"a:\xff\x1b:k", "1")
    report = previewed(any_server, Target(b"a"))
    counts = {c.namespace: c.keys for c in report.namespaces}
    assert counts.pop(b"a:b") == 710
    assert counts.pop(b"a:d") == 5
    assert counts.pop(b"a") == 3
    assert counts == {b"a:\xff\x1b": 1}
    assert (report.matched, report.deleted, report.dry_run, report.exit_code) == (719, 0, True, 0)
    assert len(keys_of(any_server)) == 728
    everything = previewed(any_server, Target(None))
    assert {c.namespace: c.keys for c in everything.namespaces} == {b"a": 719, b"ab": 9}
    two = previewed(any_server, Target(b"a:d"), Target(b"ab"))
    assert {c.namespace: c.keys for c in two.namespaces} == {b"a:d": 5, b"ab": 9}


def test_a_preview_of_very_many_sub_namespaces_is_bounded(server: ServerProcess):
    """A thousand are told apart, the others count together; the sum is whole."""
    script = "for i = 1, 1500 do redis.call('set', 'a:' .. i .. ':k', 1) end"
    server.raw("EVAL", script, 0)
    report = previewed(server, Target(b"a"))
    assert report.matched == 1500
    assert len(report.namespaces) == 1001
    assert report.namespaces[0] == NamespaceCount("…".encode(), 500)


def test_a_preview_that_must_match_says_no_when_nothing_does(server: ServerProcess):
    """`must_match` turns nothing into 1, for the preview and the removal."""
    assert previewed(server, Target(b"a")).exit_code == 0
    assert previewed(server, Target(b"a"), must_match=True).exit_code == 1
    assert flushed(server, b"a").exit_code == 0
    assert flushed(server, b"a", must_match=True).exit_code == 1
    server.raw("SET", "a:1", "1")
    assert flushed(server, b"a", must_match=True).exit_code == 0


@contextlib.asynccontextmanager
async def writer(server: ServerProcess, prefix: str = "a:new") -> Any:
    """Write keys all the while, in a thread; give the number of those written."""
    done, wrote = asyncio.Event(), [0]

    def write() -> None:
        with server.connect() as connection:
            for i in count():
                if done.is_set():
                    return
                connection.call("SET", f"{prefix}{i}", "1")
                wrote[0] += 1

    work = asyncio.create_task(asyncio.to_thread(write))
    await soon(lambda: wrote[0] > 10)
    try:
        yield done
    finally:
        done.set()
        await work


def test_keys_written_meanwhile_are_told_and_the_old_ones_are_gone(server: ServerProcess):
    """A writer goes on: 0, all that was older is gone, what is younger is counted."""
    server.fill("a:old", 20_000)

    async def work(store: Store) -> FlushReport:
        async with writer(server):
            return await flush_with(store, b"a")

    report = run(server, work)
    assert not {key for key in keys_of(server) if key.startswith(b"a:old")}
    assert (report.exit_code, report.failed, report.deleted_exact) == (0, 0, True)
    assert report.remaining == report.written_meanwhile
    assert report.deleted >= 20_000
    assert report.matched >= report.deleted


def written_before_walks(
    monkeypatch: pytest.MonkeyPatch, server: ServerProcess, walks: int
) -> None:
    """Let somebody write a key right before each of the first so many walks over the keyspace."""
    begin, number = Store._walk, count()

    async def walk(store: Store, what: Walk) -> AsyncGenerator[Page, None]:
        if next(number) < walks:
            server.raw("SET", "a:new", "1")
        async with contextlib.aclosing(begin(store, what)) as found:
            async for page in found:
                yield page

    monkeypatch.setattr(Store, "_walk", walk)


def test_until_empty_gives_up_on_an_endless_writer(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """So many rounds and no more: 1, and what is left is told."""
    monkeypatch.setattr(flush_module, "EMPTYINGS", 4)
    written_before_walks(monkeypatch, server, 1000)
    server.fill("a:old", 500)
    report = flushed(server, b"a", until_empty=True)
    assert report.passes == 4
    assert (report.exit_code, report.proven, report.remaining) == (1, True, 1)


def test_until_empty_waits_for_a_writer_that_stops(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """Pass after pass, until one look finds nothing: 0."""
    written_before_walks(monkeypatch, server, 6)  # three passes, each with its look
    server.fill("a:old", 500)
    report = flushed(server, b"a", until_empty=True)
    assert (report.exit_code, report.remaining, report.passes) == (0, 0, 4)
    assert report.deleted == report.matched
    assert keys_of(server) == set()


def test_until_empty_is_stopped_in_its_pauses(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """A stop between two rounds is a stop: reported at once."""
    written_before_walks(monkeypatch, server, 1000)
    server.fill("a:old", 10)

    async def work(store: Store) -> tuple[FlushReport, float]:
        stop = Stop()
        flushing = asyncio.create_task(flush_with(store, b"a", stop=stop, until_empty=True))
        await asyncio.sleep(0.6)
        start = time.monotonic()
        stop.set("interrupted")
        return await flushing, time.monotonic() - start

    report, took = run(server, work)
    assert took < 1
    assert (report.stopped, report.exit_code) == ("interrupted", 1)


def test_another_server_than_was_shown_is_refused(fresh_server: FreshServer):
    """Restarted between preview and flush: 5, nothing removed; the same one is flushed."""
    server = fresh_server()
    server.fill("a:", 10)
    shown = run(server, lambda store: store.identity())
    server.raw("SAVE")
    server.restart(kill=True)
    assert server.raw("DBSIZE") == 10
    with pytest.raises(RefusedError) as caught:
        flushed(server, b"a", shown=shown)
    assert caught.value.exit_code == 5
    assert server.raw("DBSIZE") == 10
    shown = run(server, lambda store: store.identity())
    assert flushed(server, b"a", shown=shown).deleted == 10


def test_a_replica_is_refused_before_anything(server: ServerProcess):
    """READONLY: 4, raised; a preview works there."""
    server.fill("a:", 10)
    server.raw("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ReadOnlyServerError):
        flushed(server, b"a")
    assert previewed(server, Target(b"a")).matched == 10
    assert server.raw("DBSIZE") == 10


@pytest.mark.parametrize("rights", [["+scan"], ["+unlink"], []])
def test_without_the_rights_nothing_is_begun(any_server: ServerProcess, rights: list[str]):
    """SCAN or UNLINK denied: 4, raised."""
    any_server.fill("a:", 600)
    user = user_with(any_server, *rights, "~*")
    with pytest.raises(DeniedError) as caught:
        flushed(any_server, b"a", user=user)
    assert caught.value.exit_code == 4
    assert any_server.raw("DBSIZE") == 600


def test_the_least_rights_are_enough(any_server: ServerProcess):
    """With SCAN and UNLINK alone all goes; without INFO the look afterwards proves nothing: None."""
    any_server.fill("a:", 600)
    user = user_with(any_server, "+scan", "+unlink", "~*")
    report = flushed(any_server, b"a", user=user)
    assert (report.deleted, report.exit_code, report.proven) == (600, 0, True)
    assert (report.remaining, report.written_meanwhile) == (None, None)
    report = flushed(any_server, b"a", user=user)
    assert (report.matched, report.remaining) == (0, 0)
    any_server.fill("a:", 600)
    report = flushed(any_server, b"a", user=user, until_empty=True)
    assert (report.exit_code, report.remaining, report.passes) == (0, 0, 2)
    assert any_server.raw("DBSIZE") == 0


def test_keys_that_an_acl_forbids_stay_and_are_counted_once(any_server: ServerProcess):
    """Some keys may go and some not: 1, each refused key is told, and is no key written meanwhile."""
    any_server.fill("a:free:", 2000)
    any_server.fill("a:kept:", 50)
    user = user_with(any_server, "+scan", "+unlink", "+info", "~a:free:*")
    for options in ({}, {"until_empty": True}):
        report = flushed(any_server, b"a", user=user, **options)
        if not report.deleted:
            continue
        assert (report.deleted, report.failed, report.matched) == (2000, 50, 2050)
        assert (report.remaining, report.written_meanwhile) == (50, 0)
        assert len(report.errors) == 20
        assert report.exit_code == 1
        any_server.fill("a:free:", 2000)
    assert any_server.raw("DBSIZE") == 2050


def test_a_full_server_is_flushed(fresh_server: FreshServer):
    """UNLINK is allowed when maxmemory is reached."""
    server = fresh_server("--maxmemory-policy", "noeviction")
    server.fill("a:", 2000, "x" * 500)
    server.raw("CONFIG", "SET", "maxmemory", "1mb")
    assert flushed(server, b"a").deleted == 2000


@pytest.mark.parametrize("at", [0, 1, 5, 20])
def test_a_stop_in_the_middle_is_reported_within_a_second(server: ServerProcess, at: int):
    """The page in flight is finished; what was removed is told exactly: 1."""
    server.fill("a:", 20_000)

    async def work(store: Store) -> tuple[FlushReport, float]:
        stop = Stop()
        seen = 0
        asked = time.monotonic()

        def observe(_progress: Progress) -> None:
            nonlocal seen, asked
            seen += 1
            if seen == at:
                asked = time.monotonic()
                stop.set("deadline")

        if at == 0:
            stop.set("deadline")
        report = await flush_module.flush(store, [Target(b"a")], stop, observe)
        return report, time.monotonic() - asked

    report, took = run(server, work)
    assert took < 1
    assert (report.stopped, report.exit_code, report.proven) == ("deadline", 1, False)
    assert report.deleted == 20_000 - server.raw("DBSIZE")
    assert report.deleted == report.matched
    assert report.deleted_exact
    assert (report.remaining, report.written_meanwhile) == (None, None)


def test_a_preview_is_stopped_in_the_middle(server: ServerProcess):
    """What was counted until then is told: 1."""
    server.fill("a:", 20_000)

    async def work(store: Store) -> FlushReport:
        stop = Stop()
        return await preview(store, [Target(b"a")], stop, lambda _: stop.set("interrupted"))

    report = run(server, work)
    assert (report.stopped, report.exit_code) == ("interrupted", 1)
    assert 0 < report.matched < 20_000
