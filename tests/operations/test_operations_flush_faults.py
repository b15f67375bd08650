import asyncio
import contextlib
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from itertools import count

import pytest

from cachectl.errors import CachectlError, LostError, SilenceError, UnreachableError
from cachectl.models import Progress  # noqa: TC001
from cachectl.operations.flush.preview import preview
from cachectl.operations.flush.run import flush
from cachectl.operations.stop import Stop
from cachectl.operations.targets import Target
from cachectl.reports.flush import FlushReport
from cachectl.store.pace import GENTLE
from cachectl.store.scan import Page, Walk
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations.operating import (
    busy,
    flush_with,
    flushed,
    keys_of,
    run,
    silent,
    soon,
    user_with,
)
from tests.plans import CUT, Chunk, Plan, Step, at, lost_reply, random_cuts
from tests.proxies import Proxy
from tests.servers import ServerProcess


def old_keys(server: ServerProcess) -> set[bytes]:
    return {key for key in keys_of(server) if key.startswith((b"a:", b"b:"))}


@pytest.mark.parametrize("seed", range(20))
def test_a_server_killed_and_restored_in_the_middle_is_never_passed_off_as_flushed(
    fresh_server: FreshServer, seed: int
):
    """Old keys come back from a dump at random moments: 0 only with none of them left."""
    dice = random.Random(seed)
    server = fresh_server()
    server.fill("a:", 6000)
    server.fill("b:", 3000)
    server.fill("else:", 3000)
    server.raw("SAVE")

    async def work(store: Store) -> FlushReport:
        flushing = asyncio.create_task(
            flush_with(store, b"a", b"b", until_empty=dice.random() < 0.3)
        )
        for _ in range(dice.randint(1, 3)):
            await asyncio.sleep(dice.random() * 0.05)
            if not flushing.done():
                server.kill9()
                await asyncio.to_thread(server.start)
        return await flushing

    try:
        report = run(server, work)
    except UnreachableError:
        return
    if report.exit_code == 0:
        # a flush that never greeted the new server was done before the old one was killed
        assert old_keys(server) == set() or "cmdstat_hello" not in server.info("commandstats")
        assert report.proven
        assert report.remaining == 0
    else:
        assert report.exit_code == 3
    assert len(keys_of(server)) >= 3000


async def _killed_when(
    server: ServerProcess, moment: threading.Event, flushing: "asyncio.Task[FlushReport]"
) -> FlushReport:
    await soon(lambda: moment.is_set() or flushing.done())
    if not flushing.done():
        server.kill9()
        await asyncio.to_thread(server.start)
    return await flushing


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_server_restored_after_the_clean_pass_is_flushed_again(
    fresh_server: FreshServer, look: int
):
    """Killed in the look afterwards, or between passes: what came back goes, too, or it is 3."""
    server = fresh_server()
    server.fill("a:", 400)
    server.raw("SAVE")
    moment = threading.Event()

    async def work(store: Store) -> FlushReport:
        return await _killed_when(server, moment, asyncio.create_task(flush_with(store, b"a")))

    with Proxy(server, at(b"SCAN", moment.set, 0.3, turn=look)) as proxy:
        report = run(proxy, work)
    assert moment.is_set()
    assert (report.exit_code, report.remaining) == (0, 0)
    assert old_keys(server) == set()
    assert report.passes >= 2


def before_walk(
    monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], Awaitable[None]]
) -> None:
    """Do something right before the store walks the keyspace for the `number`-th time."""
    begin, walks = Store._walk, count(1)

    async def walk(store: Store, what: Walk) -> AsyncGenerator[Page, None]:
        if next(walks) == number:
            await do()
        async with contextlib.aclosing(begin(store, what)) as found:
            async for page in found:
                yield page

    monkeypatch.setattr(Store, "_walk", walk)


def test_a_server_restored_between_the_pass_and_the_look_is_noticed(
    fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch
):
    """The pass was clean, the look finds old keys on another server: the flush begins anew."""
    server = fresh_server()
    server.fill("a:", 100)
    server.raw("SAVE")

    async def restart() -> None:
        await asyncio.to_thread(server.restart, kill=True)

    before_walk(monkeypatch, 2, restart)
    report = flushed(server, b"a")
    assert old_keys(server) == set()
    assert (report.exit_code, report.passes, report.deleted) == (0, 2, 200)


def test_of_several_namespaces_none_comes_back_while_another_is_flushed(
    fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch
):
    """They are one walk: a server restored at any point brings none of them back unnoticed."""
    server = fresh_server()
    server.fill("a:", 100)
    server.fill("b:", 100)
    server.raw("SAVE")

    async def restart() -> None:
        await asyncio.to_thread(server.restart, kill=True)

    for walk in (1, 2):
        with monkeypatch.context() as patch:
            before_walk(patch, walk, restart)
            assert flushed(server, b"a", b"b").exit_code == 0
        assert old_keys(server) == set()


def test_a_server_gone_in_the_look_proves_nothing(
    fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch
):
    """What it brings back when it is started again nobody knows: 3, and no number is left over."""
    server = fresh_server()
    server.fill("a:", 100)

    async def kill() -> None:
        server.kill9()

    before_walk(monkeypatch, 2, kill)
    report = flushed(server, b"a", timeout=0.3)
    assert (report.exit_code, report.stopped, report.deleted) == (3, "connection", 100)
    assert (report.remaining, report.written_meanwhile) == (None, None)


def test_a_stop_in_the_look_is_reported(server: ServerProcess, monkeypatch: pytest.MonkeyPatch):
    """All was removed and the proof not finished: 1, and what is left is unknown."""
    server.fill("a:", 10)

    async def work(store: Store) -> FlushReport:
        stop = Stop()

        async def ask() -> None:
            stop.set("deadline")

        before_walk(monkeypatch, 2, ask)
        return await flush_with(store, b"a", stop=stop)

    report = run(server, work)
    assert (report.exit_code, report.stopped, report.deleted) == (1, "deadline", 10)
    assert (report.remaining, report.proven) == (None, False)


def identities(monkeypatch: pytest.MonkeyPatch, *answers: str | Exception) -> None:
    """Let the server say that it is these, one after the other, and the last one from then on."""
    left = list(answers)

    async def identity(_store: Store) -> tuple[str | None, ...]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return (answer,)

    monkeypatch.setattr(Store, "identity", identity)


def test_a_server_replaced_after_every_pass_is_given_up(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """Five passes, each followed by another server: 3, and nothing is claimed."""
    server.fill("a:", 10)
    identities(monkeypatch, *(f"run {i}" for i in range(20)))
    report = flushed(server, b"a")
    assert (report.exit_code, report.stopped, report.passes) == (3, "connection", 5)
    assert (report.remaining, report.written_meanwhile, report.proven) == (None, None, False)
    assert report.deleted == 10


def test_a_server_that_is_away_for_a_moment_is_walked_again(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """Who it is cannot be asked before or after a pass: another pass; silence is the end."""
    for answers in ((LostError("gone"), "same"), ("same", LostError("gone"), "same")):
        server.fill("a:", 10)
        with monkeypatch.context() as patch:
            identities(patch, *answers)
            report = flushed(server, b"a")
        assert (report.exit_code, report.passes, report.deleted) == (0, 2, 10)
    identities(monkeypatch, SilenceError("silent"))
    with pytest.raises(SilenceError):
        flushed(server, b"a")


@pytest.mark.parametrize("seed", range(20))
def test_cut_at_random_bytes_the_counts_are_true(server: ServerProcess, seed: int):
    """0 only with nothing left; counts are exact, or a lower bound that says so."""
    server.fill("a:", 4000)
    server.fill("else:", 500)
    with Proxy(server, random_cuts(seed, share=0.05)) as proxy:
        try:
            report = flushed(proxy, b"a", timeout=2.0)
        except UnreachableError:
            return
    gone = 4500 - server.raw("DBSIZE")
    assert report.deleted == gone if report.deleted_exact else report.deleted <= gone
    assert gone <= report.matched <= 4000 * report.passes
    if report.exit_code == 0:
        assert gone == 4000
        assert report.matched == 4000
    else:
        assert report.exit_code == 3


def test_a_reply_that_is_lost_makes_the_count_a_lower_bound(server: ServerProcess):
    """UNLINK sent again says 0 for what its first sending removed: not exact, and never too many."""
    server.fill("a:", 200)
    with Proxy(server, lost_reply(b"UNLINK")) as proxy:
        report = flushed(proxy, b"a")
    assert (report.exit_code, report.deleted_exact, report.matched) == (0, False, 200)
    assert report.deleted < 200


def test_removals_whose_answers_were_lost_are_matched_and_not_counted(server: ServerProcess):
    """They are gone, by us or by somebody else: 0, and the count is a lower bound."""
    server.fill("a:", 10)
    with Proxy(server, lost_reply(b"UNLINK")) as proxy:
        report = flushed(proxy, b"a")
    assert (report.exit_code, report.deleted, report.deleted_exact) == (0, 0, False)
    assert (report.matched, report.remaining) == (10, 0)


def test_removals_that_are_refused_after_their_answers_were_lost(server: ServerProcess):
    """What was written anew is met again and cannot be removed: failed, and never passed over."""
    server.fill("a:", 10)
    user = user_with(server, "+scan", "+unlink", "+info", "~a:*")

    def write_and_deny() -> None:
        server.fill("a:", 3)
        server.raw("ACL", "SETUSER", user, "-unlink")

    with Proxy(server, lost_reply(b"UNLINK", write_and_deny)) as proxy:
        report = flushed(proxy, b"a", user=user)
    assert (report.exit_code, report.failed, report.deleted_exact) == (1, 3, False)
    assert (report.matched, report.remaining) == (10, 3)
    assert "unlink" in report.errors[0].message


def test_keys_that_a_restart_brings_back_are_not_counted_exactly():
    """Killed in the middle, with a dump of all keys: more removals than there were keys."""
    with ServerProcess() as server:
        server.fill("a:", 6000)
        server.raw("SAVE")
        restarted = at(b"SCAN", lambda: server.restart(kill=True), CUT, turn=10)
        with Proxy(server, restarted) as proxy:
            report = flushed(proxy, b"a")
        assert server.raw("DBSIZE") == 0
    assert report.exit_code == 0
    assert report.deleted > 6000
    assert not report.deleted_exact


def cut_a_walk_after(pages: int) -> Plan:
    """Cut the walk once, before the removals that follow so many pages reach the server."""
    walk, seen = 0, 0

    def plan(chunk: Chunk) -> Iterator[Step]:
        nonlocal walk, seen
        if seen == pages and chunk.connection == walk and b"UNLINK" in chunk.data:
            seen += 1
            yield CUT
            return
        if seen < pages and chunk.direction == "up" and b"SCAN" in chunk.data:
            walk, seen = chunk.connection, seen + 1
        yield chunk.data

    return plan


def test_a_scan_cut_with_the_removals_of_its_page_begins_anew(server: ServerProcess):
    """They go out together: what became of these is not known, and the count says so."""
    server.fill("a:", 1000)

    with Proxy(server, cut_a_walk_after(pages=2)) as proxy:
        report = flushed(proxy, b"a")
    assert (report.exit_code, report.remaining) == (0, 0)
    assert (report.matched, report.passes) == (1000, 2)
    assert (report.deleted, report.deleted_exact) == (1000, False)  # they had not reached it


def test_a_removal_on_which_every_connection_breaks_is_not_proven(server: ServerProcess):
    """UNLINK never answered: whether the key is gone is unknown, 3, and not exact."""
    server.raw("SET", "a:1", "1")
    with Proxy(server, at(b"UNLINK", CUT)) as proxy:
        report = flushed(proxy, b"a", timeout=60.0)
    assert (report.exit_code, report.stopped, report.deleted_exact) == (3, "connection", False)
    assert isinstance(report.error, UnreachableError)
    assert not report.proven


def test_removals_that_were_told_not_now_are_met_again(server: ServerProcess):
    """BUSY to the removals alone, the walk goes on: another pass removes them, before it ends with 0."""
    server.fill("a:", 10)
    told: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "down" and chunk.data.startswith(b":10\r\n") and not told:
            told.append(chunk.connection)
            server.fill("a:", 10)  # as if none had been removed
            yield b"-BUSY it runs a script\r\n" + chunk.data.removeprefix(b":10\r\n")
        else:
            yield chunk.data

    with Proxy(server, plan) as proxy:
        report = flushed(proxy, b"a")
    assert told
    assert old_keys(server) == set()
    assert (report.exit_code, report.passes, report.remaining) == (0, 2, 0)
    assert (report.matched, report.deleted) == (10, 10)


def test_a_group_that_is_refused_and_then_lost_one_by_one_is_no_clean_pass(server: ServerProcess):
    """The walk goes on over its own connection: without an answer for these keys it proves nothing."""
    server.fill("a:", 10)
    server.raw("SET", "a:kept", "1")
    user = user_with(server, "+scan", "+unlink", "+info", *(f"~a:{n}" for n in range(10)))
    with Proxy(server, at(b"*2\r\n$6\r\nUNLINK", CUT)) as proxy:
        report = flushed(proxy, b"a", user=user, timeout=2.0)
    assert (report.exit_code, report.deleted_exact, report.proven) == (3, False, False)
    assert (report.remaining, report.written_meanwhile) == (None, None)


def test_keys_that_went_one_by_one_and_were_sent_again_are_not_counted_exactly(
    server: ServerProcess,
):
    """UNLINK is denied, and the line cut when DEL has removed all: most are told as not there, later."""
    server.fill("a:", 40)
    user = user_with(server, "~*", "+@all", "-unlink")
    cut: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "down" and chunk.data.startswith(b":1\r\n:1") and not cut:
            cut.append(1)
            yield chunk.data[:8]
            yield CUT
        else:
            yield chunk.data

    with Proxy(server, plan) as proxy:
        report = flushed(proxy, b"a", user=user)
    assert cut
    assert (report.exit_code, report.matched, server.raw("DBSIZE")) == (0, 40, 0)
    assert report.deleted < 40
    assert not report.deleted_exact


def test_refused_keys_are_met_again_and_counted_once_when_a_pass_begins_anew(
    server: ServerProcess,
):
    """After a broken pass `failed` and `matched` are those of distinct keys."""
    server.fill("a:free:", 3000)
    server.fill("a:kept:", 600)
    user = user_with(server, "+scan", "+unlink", "+info", "~a:free:*")

    with Proxy(server, cut_a_walk_after(pages=8)) as proxy:
        report = flushed(proxy, b"a", user=user)
    assert (report.deleted, report.failed, report.matched) == (3000, 600, 3600)
    assert (report.passes, report.remaining, report.written_meanwhile) == (2, 600, 0)
    assert len(report.errors) == 20


def test_a_key_that_went_alone_is_not_counted_again_by_the_page_scanned_meanwhile(
    server: ServerProcess,
):
    """A shrinking table names a key twice: on a refused page, and on the next, asked for before."""
    server.fill("a:free:", 50)
    server.fill("a:kept:", 50)
    user = user_with(server, "+scan", "+unlink", "+info", "~a:free:*")

    def twice(store: Store, walk: Walk) -> AsyncGenerator[Page, None]:
        async def pages() -> AsyncGenerator[Page, None]:
            if walk.verbs:
                keys = [b"a:free:1", b"a:kept:1"]
                denied = await store.unlink([b"a:kept:1"])
                yield Page(walk.choose(keys), [denied.replies[0]] * 2)
                assert walk.choose(keys) == []
            async for page in Store._walk(store, walk):
                yield page

        return pages()

    async def work(store: Store) -> FlushReport:
        store._walk = lambda walk: twice(store, walk)  # type: ignore[method-assign]
        return await flush_with(store, b"a")

    report = run(server, work, user=user)
    assert (report.matched, report.deleted, report.failed) == (100, 50, 50)


@contextlib.asynccontextmanager
async def _at(
    server: ServerProcess, size: int, work: "asyncio.Task[FlushReport]"
) -> AsyncIterator[None]:
    await soon(lambda: work.done() or server.raw("DBSIZE") <= size)
    yield


def test_a_server_that_becomes_a_replica_ends_the_flush_with_a_report(server: ServerProcess):
    """REPLICAOF in the middle: what was removed is told, 4, one refusal and not thousands."""
    server.fill("a:", 30_000)

    async def work(store: Store) -> FlushReport:
        flushing = asyncio.create_task(flush_with(store, b"a"))
        async with _at(server, 29_000, flushing):
            server.raw("REPLICAOF", "127.0.0.1", "1")
        return await flushing

    report = run(server, work)
    assert (report.exit_code, report.proven) == (4, False)
    assert report.error is not None
    assert report.error.code == "read_only_replica"
    assert 1000 <= report.deleted < 30_000
    assert report.failed <= GENTLE.page * 5 // 2  # two pages, a quarter larger than asked for
    assert report.deleted == 30_000 - server.raw("DBSIZE")


def test_a_server_that_falls_silent_ends_the_flush_within_the_patience(server: ServerProcess):
    """SIGSTOP: 3, and the page in flight makes the count a lower bound."""
    server.fill("a:", 30_000)

    async def work(store: Store) -> tuple[FlushReport, float]:
        flushing = asyncio.create_task(flush_with(store, b"a"))
        async with _at(server, 29_000, flushing):
            server.sigstop()
        start = time.monotonic()
        return await flushing, time.monotonic() - start

    try:
        report, took = run(server, work, timeout=0.5)
    finally:
        server.sigcont()
    assert took < 1.5
    assert (report.exit_code, report.stopped) == (3, "connection")
    assert 0 < report.deleted < 30_000


def test_a_stop_while_the_server_is_silent_counts_what_is_in_flight_as_unknown(
    server: ServerProcess,
):
    """Cancelled in an UNLINK: reported within a second, and the count is a lower bound."""
    server.fill("a:", 2000)
    held = threading.Event()

    def plan(chunk: Chunk) -> Iterator[Step]:
        yield chunk.data
        if b"UNLINK" in chunk.data:
            held.set()

    def hold(chunk: Chunk) -> Iterator[Step]:
        if held.is_set() and chunk.direction == "down":
            yield 30.0
        yield from plan(chunk)

    async def work(store: Store) -> tuple[FlushReport, float]:
        stop = Stop()
        flushing = asyncio.create_task(flush_with(store, b"a", stop=stop))
        await soon(held.is_set)
        start = time.monotonic()
        stop.set("interrupted")
        return await flushing, time.monotonic() - start

    with Proxy(server, hold) as proxy:
        report, took = run(proxy, work)
    assert took < 1
    assert (report.stopped, report.exit_code, report.deleted_exact) == ("interrupted", 1, False)
    assert report.matched > report.deleted == 0


def test_nobody_listening_raises(server: ServerProcess):
    """No report of a flush that never began, nor of a preview."""
    with pytest.raises(UnreachableError):
        flushed("redis://127.0.0.1:1/0", b"a")
    with pytest.raises(UnreachableError):
        run(
            "redis://127.0.0.1:1/0",
            lambda store: preview(store, [Target(b"a")], Stop(), silent),
        )


def test_a_server_gone_for_good_ends_the_flush_with_a_report(fresh_server: FreshServer):
    """kill -9: 3, with what was removed."""
    server = fresh_server()
    server.fill("a:", 30_000)
    told: list[Progress] = []

    async def work(store: Store) -> FlushReport:
        flushing = asyncio.create_task(flush(store, [Target(b"a")], Stop(), told.append))
        await soon(lambda: told and told[-1].done > 1000)
        server.kill9()
        return await flushing

    report = run(server, work, timeout=0.5)
    assert (report.exit_code, report.stopped) == (3, "connection")
    assert report.deleted > 1000


def test_a_preview_counts_a_cycle_that_began_anew_once(server: ServerProcess):
    """A cut in the middle of counting does not count keys twice."""
    server.fill("a:", 2000)
    with Proxy(server, at(b"SCAN", CUT, turn=4)) as proxy:
        report = run(proxy, lambda store: preview(store, [Target(b"a")], Stop(), silent))
    assert report.matched == 2000


def test_a_busy_server_refuses_before_anything(server: ServerProcess):
    """BUSY for longer than is borne: 4 in the server's words, nothing is removed."""
    server.fill("a:", 10)
    with busy(server), pytest.raises(CachectlError) as caught:
        flushed(server, b"a", timeout=1.0)
    assert caught.value.exit_code == 4
    assert caught.value.message.startswith("BUSY")
    assert server.raw("DBSIZE") == 10
