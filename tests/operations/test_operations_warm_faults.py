import asyncio
import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachectl.errors import LostError, UnreachableError
from cachectl.models import Progress
from cachectl.operations.stop import Stop
from cachectl.operations.warm.plan import Only, Warm
from cachectl.operations.warm.run import warm
from cachectl.reports.warm import WarmReport
from cachectl.store.pace import GENTLE
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations import callables
from tests.operations.operating import (
    adds_up,
    busy,
    entries,
    keys_of,
    lines,
    origin,
    requests,
    run,
    soon,
    store_of,
    user_with,
    warm_with,
    warmed,
)
from tests.plans import CUT, random_cuts, since
from tests.proxies import Proxy
from tests.servers import ServerProcess


@pytest.mark.parametrize("seed", range(10))
def test_a_stop_at_any_moment_is_reported_within_a_second_and_adds_up(
    server: ServerProcess, tmp_path: Path, seed: int
):
    """However far the work is, every entry has exactly one fate, and what is written is there."""
    dice = random.Random(seed)
    source = entries(tmp_path / "e.jsonl", 100_000)
    plan = Warm(sources=(str(source),), only=dice.choice((None, Only("missing"))))

    async def stopped(store: Store) -> tuple[WarmReport, float]:
        stop = Stop()
        work = asyncio.create_task(warm_with(store, plan, stop))
        await asyncio.sleep(dice.random() * 0.15)
        start = time.monotonic()
        stop.set(dice.choice(("interrupted", "deadline")))
        return await work, time.monotonic() - start

    report, took = run(server, stopped)
    assert took < 1
    assert report.written == server.raw("DBSIZE")
    assert report.unknown == 0
    assert report.exit_code == 1
    assert report.stopped in {"interrupted", "deadline"}


def test_a_stop_while_the_server_is_silent_leaves_the_batch_unknown(
    server: ServerProcess, tmp_path: Path
):
    """What was sent and never answered is unknown, neither written nor unsent: 3."""
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 5000)),))

    async def stopped(store: Store) -> tuple[WarmReport, float]:
        stop = Stop()
        told: list[Progress] = []

        def observe(progress: Progress) -> None:
            told.append(progress)
            if len(told) == 3:
                server.sigstop()

        work = asyncio.create_task(warm(store, plan, stop, observe, io.BytesIO()))
        await soon(lambda: len(told) >= 3)
        await asyncio.sleep(0.1)  # it sends the next ones, and nobody answers
        start = time.monotonic()
        stop.set("interrupted")
        return await work, time.monotonic() - start

    try:
        report, took = run(server, stopped)
    finally:
        server.sigcont()
    assert took < 1
    assert adds_up(report)
    assert report.written > 0
    assert 0 < report.unknown <= GENTLE.burst
    assert report.written <= server.raw("DBSIZE") <= report.written + report.unknown
    assert report.unsent > 0
    assert (report.stopped, report.exit_code) == ("interrupted", 3)


def test_a_stop_before_the_first_line_came_is_reported(server: ServerProcess):
    """A stdin that says nothing holds up neither the entries, nor the requests, nor the sample."""
    for plan in (
        Warm(sources=("-",)),
        Warm(sources=("-",), namespace="q", origin=origin("plain")),
        Warm(sample=("-",), verify_only=True, required=0.5),
    ):

        async def stopped(store: Store, plan: Warm = plan) -> WarmReport:
            reading, writing = os.pipe()
            stop = Stop()
            with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb"):
                work = asyncio.create_task(warm(store, plan, stop, lambda _: None, stdin))
                await asyncio.sleep(0.05)
                start = time.monotonic()
                stop.set("interrupted")
                report = await work
                assert time.monotonic() - start < 1
            return report

        report = run(server, stopped)
        assert (report.entries, report.stopped, report.exit_code) == (0, "interrupted", 1)


def test_a_server_that_sleeps_and_wakes_within_the_patience_loses_nothing(
    server: ServerProcess, tmp_path: Path
):
    """SIGSTOP for a moment: the work goes on, all is written once."""
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 20_000)),))

    async def slept(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: server.raw("DBSIZE") > 100)
        server.sigstop()
        await asyncio.sleep(0.3)
        server.sigcont()
        return await work

    report = run(server, slept)
    assert (report.written, report.exit_code) == (20_000, 0)
    assert server.raw("DBSIZE") == 20_000


def test_a_server_that_stays_silent_ends_the_work_with_a_report(
    server: ServerProcess, tmp_path: Path
):
    """SIGSTOP for good: 3 within the patience, with what was acknowledged, and the rest unknown."""
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 20_000)),), sample=None)

    async def silent(store: Store) -> tuple[WarmReport, float]:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: server.raw("DBSIZE") > 1000)
        server.sigstop()
        start = time.monotonic()
        return await work, time.monotonic() - start

    try:
        report, took = run(server, silent, timeout=0.5)
    finally:
        server.sigcont()
    assert took < 2
    assert (report.stopped, report.exit_code) == ("connection", 3)
    assert 1000 <= report.written < 20_000
    assert 0 < report.unknown <= 500


def test_a_server_killed_for_good_ends_the_work_with_a_report(
    fresh_server: FreshServer, tmp_path: Path
):
    """kill -9: stopped `connection`, 3, and every entry read has its fate."""
    server = fresh_server()
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 50_000)),))

    async def killed(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: server.raw("DBSIZE") > 1000)
        server.kill9()
        return await work

    report = run(server, killed, timeout=0.5)
    assert (report.stopped, report.exit_code) == ("connection", 3)
    assert report.written >= 1000
    assert report.error is not None


@pytest.mark.parametrize("seed", range(3))
def test_a_server_killed_and_started_again_gets_the_rest_and_verify_tells_what_is_gone(
    fresh_server: FreshServer, tmp_path: Path, seed: int
):
    """It came back empty: the rest is written, and the hit rate after shows the loss."""
    server = fresh_server()
    count = 30_000
    sample = lines(tmp_path / "s.jsonl", *({"key": f"n:{i}"} for i in range(0, count, 10)))
    source = entries(tmp_path / "e.jsonl", count)
    plan = Warm(sources=(str(source),), sample=(str(sample),), required=1.0)

    async def restarted(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: server.raw("DBSIZE") > 500 + seed * 3000)
        await asyncio.to_thread(server.restart, kill=True)
        return await work

    report = run(server, restarted)
    assert report.hit_rate is not None
    there = keys_of(server)
    hits = sum(b"n:%d" % i in there for i in range(0, count, 10))
    assert report.hit_rate.after == hits / (count / 10) < 1
    assert report.hit_rate.met is False
    if report.unknown == 0:
        assert report.written == count
        assert (report.exit_code, report.stopped) == (3, None)


def warmed_while(
    server: ServerProcess, plan: Warm, turn: Callable[[], object], user: str | None = None
) -> WarmReport:
    """Warm, and do something to the server between two batches."""
    turned = False

    def observe(progress: Progress) -> None:
        nonlocal turned
        if progress.done >= 2000 and not turned:
            turned = True
            turn()

    return run(server, lambda store: warm(store, plan, Stop(), observe, io.BytesIO()), user=user)


def took_over(server: ServerProcess, other: ServerProcess) -> None:
    """Let a server take over another's data and become a primary again."""
    server.raw("REPLICAOF", "127.0.0.1", other.port)
    end = time.monotonic() + 10
    while server.info("replication").get("master_link_status") != "up":
        assert time.monotonic() < end
        time.sleep(0.02)
    server.raw("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("how", ["killed", "taken over"])
def test_a_server_that_is_not_the_same_at_the_end_ends_with_an_error(tmp_path: Path, how: str):
    """Killed and back empty, or with other data: what was written before is gone, 3."""
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 20_000)),))
    with ServerProcess() as server, ServerProcess(tcp=True) as other:
        other.raw("CONFIG", "SET", "repl-diskless-sync-delay", "0")

        def turn() -> None:
            if how == "killed":
                server.restart(kill=True)
            else:
                took_over(server, other)

        report = warmed_while(server, plan, turn)
        assert server.raw("DBSIZE") < report.written == 20_000
    assert (report.exit_code, report.stopped) == (3, None)
    assert isinstance(report.error, LostError)
    assert "restarted or replaced" in report.error.message


def test_a_server_that_may_have_been_restarted_and_does_not_tell_ends_with_an_error(
    fresh_server: FreshServer, tmp_path: Path
):
    """INFO is denied: a connection that was lost is all that can be known, and no proof of loss."""
    server = fresh_server("--user", "u", "on", ">secret", "~*", "+set", "+exists")
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 20_000)),))

    def restart() -> None:
        server.restart(kill=True)

    report = warmed_while(server, plan, restart, user="u")
    assert server.raw("DBSIZE") < report.written == 20_000
    assert (report.exit_code, report.stopped) == (3, None)
    assert isinstance(report.error, LostError)
    assert "does not tell whether it was restarted" in report.error.message
    assert "+info" in str(report.error.hint)


def test_a_hit_rate_on_the_new_server_that_is_high_enough_is_proof(tmp_path: Path):
    """What is needed is there, though what was written before is not: a problem is told, and 0."""
    source = entries(tmp_path / "e.jsonl", 20_000)
    sample = lines(tmp_path / "s.jsonl", {"key": "n:19999"})
    plan = Warm(sources=(str(source),), sample=(str(sample),), required=1.0)
    with ServerProcess() as server:
        report = warmed_while(server, plan, lambda: server.restart(kill=True))
        assert server.raw("DBSIZE") < report.written == 20_000
    assert (report.exit_code, report.error) == (0, None)
    assert any("restarted or replaced" in problem.message for problem in report.errors)


def test_who_the_server_is_costs_two_questions_and_may_be_denied(
    server: ServerProcess, tmp_path: Path
):
    """INFO before the first write and after the last; without the right to it nothing is known."""
    source = entries(tmp_path / "e.jsonl", 3000)
    server.raw("CONFIG", "RESETSTAT")
    assert warmed(server, source).exit_code == 0
    assert server.info()["cmdstat_info"].startswith("calls=2,")
    assert warmed(server, source, user=user_with(server, "+set", "~*")).exit_code == 0
    assert warmed(server, source, dry_run=True).exit_code == 0
    assert server.info()["cmdstat_info"].startswith("calls=3,")  # the look above


def test_a_server_lost_before_it_was_asked_who_it_is_ends_with_a_report(
    server: ServerProcess, tmp_path: Path
):
    """All is written, and nobody answers any more: 3, and the counts are kept."""
    with Proxy(server, since(b"INFO", CUT, turn=2)) as proxy:
        report = warmed(proxy, entries(tmp_path / "e.jsonl", 3000), timeout=0.5)
    assert (report.exit_code, report.written, report.stopped) == (3, 3000, "connection")


@pytest.mark.parametrize("seed", range(12))
def test_cut_at_random_bytes_no_entry_is_lost_or_counted_twice(
    server: ServerProcess, tmp_path: Path, seed: int
):
    """Whatever breaks, what is reported as written is there with its value, and the sum holds."""
    dice = random.Random(seed)
    only = dice.choice((None, Only("missing")))
    source = entries(tmp_path / "e.jsonl", 3000)
    with Proxy(server, random_cuts(seed, share=0.1)) as proxy:
        try:
            report = warmed(proxy, source, only=only, timeout=2.0)
        except UnreachableError:  # cut in the greeting, before anything was sent
            assert keys_of(server) == set()
            return
    there = keys_of(server)
    assert report.written <= len(there) <= report.written + report.unknown + report.skipped
    assert report.skipped == 0
    if report.exit_code == 0:
        assert report.written == len(there) == 3000
    assert all(server.raw("GET", key) == key[2:] for key in list(there)[:50])


@pytest.mark.parametrize("seed", range(6))
def test_computed_values_survive_cuts_as_well(server: ServerProcess, tmp_path: Path, seed: int):
    """Requests times origin over a breaking line: the same account, the same truth."""
    callables.forget()
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(600)])
    plan: dict[str, Any] = {"namespace": "q", "origin": origin("coroutine", concurrency=50)}
    with Proxy(server, random_cuts(seed, share=0.1)) as proxy:
        try:
            report = warmed(proxy, source, **plan, timeout=2.0)
        except UnreachableError:
            assert keys_of(server) == set()
            return
    there = len(keys_of(server))
    assert report.written <= there <= report.written + report.unknown + report.skipped
    assert report.computed <= 600
    if report.exit_code == 0:
        assert report.written == 600


def test_a_server_lost_while_values_are_computed_ends_the_work(
    fresh_server: FreshServer, tmp_path: Path
):
    """No more is computed for a server that is gone; what was computed and not written is unsent."""
    callables.forget()
    server = fresh_server()
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(5000)])
    plan = Warm(sources=(str(source),), namespace="q", origin=origin("slow", concurrency=4))

    async def lost(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: server.raw("DBSIZE") > 10)
        server.kill9()
        return await work

    report = run(server, lost, timeout=0.3)
    assert (report.stopped, report.exit_code) == ("connection", 3)
    assert 10 < report.written <= report.computed < 5000
    assert report.unsent + report.unknown + report.written == 5000


@pytest.mark.parametrize("rounds", [1, 40])
def test_a_second_cancel_ends_a_load_and_leaves_nothing_behind(
    server: ServerProcess, tmp_path: Path, rounds: int
):
    """Cancelled between or in its round trips, the work is gone at once and no task is left."""
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 20_000)),))

    async def main() -> None:
        async with store_of(server) as store:
            work = asyncio.create_task(warm_with(store, plan))
            for _ in range(rounds):
                await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(work, 1)
        await soon(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


def test_nobody_listening_raises_before_anything(tmp_path: Path):
    """No report of a warm that never began: 3, raised."""
    source = entries(tmp_path / "e.jsonl", 3)
    with pytest.raises(UnreachableError) as caught:
        warmed("redis://127.0.0.1:1/0", source)
    assert caught.value.exit_code == 3


def test_a_busy_server_is_waited_for_and_then_named(server: ServerProcess, tmp_path: Path):
    """BUSY for longer than is borne, in the middle of a load: 4, in the server's words."""
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 50_000)),))

    async def refused(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: server.raw("DBSIZE") > 100)
        with busy(server):
            return await work

    report = run(server, refused, timeout=1.0)
    assert (report.stopped, report.exit_code) == ("connection", 4)
    assert report.error is not None
    assert report.error.message.startswith("BUSY")
    assert report.written > 0


def test_a_server_whose_info_has_another_name_is_warmed(fresh_server: FreshServer, tmp_path: Path):
    """Who it is cannot be known then: no reason not to write."""
    server = fresh_server("--rename-command", "INFO", "TOLD")
    assert warmed(server, entries(tmp_path / "e.jsonl", 10)).exit_code == 0
