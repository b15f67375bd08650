import asyncio
import io
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cachectl.client import CacheClient
from cachectl.errors import DeniedError, InputError, LostError, UsageError
from cachectl.keys import make_key
from cachectl.models import Progress
from cachectl.operations.stop import Stop
from cachectl.operations.warm.plan import Only, Warm
from cachectl.operations.warm.run import warm
from cachectl.reports.warm import WarmReport
from cachectl.store.store import Store
from tests.operations import callables
from tests.operations.operating import (
    keys_of,
    lines,
    origin,
    ratio,
    requests,
    run,
    soon,
    store_of,
    user_with,
    warm_with,
    warmed,
)
from tests.plans import CUT, at, since
from tests.proxies import Proxy
from tests.servers import ServerProcess


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    callables.forget()


def asked() -> list[Any]:
    return [params["n"] for params in callables.calls]


@pytest.mark.parametrize("name", ["plain", "coroutine"])
def test_values_are_those_that_applications_read(
    any_server: ServerProcess, tmp_path: Path, name: str
):
    """The key is `make_key`'s, the value is compact JSON that CacheClient gives back as it was."""
    params: list[dict[str, Any]] = [{"n": 1, "city": "Zürich"}, {"n": 1.0}, {}]
    report = warmed(
        any_server, requests(tmp_path / "r.jsonl", params), namespace="q", origin=origin(name)
    )
    assert (report.entries, report.computed, report.written, report.exit_code) == (3, 3, 3, 0)
    for each in params:
        value = {"é": each, "list": [1.5, None]}
        key = make_key("q", **each)
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        assert any_server.raw("GET", key).decode() in {
            text,
            json.dumps(value, separators=(",", ":")),
        }

        async def read(key: str = key) -> Any:
            async with CacheClient(any_server.url) as cache:
                return await cache.get(key)

        assert asyncio.run(read()) == value


@pytest.mark.parametrize("name", ["slow", "coroutine"])
@pytest.mark.parametrize("concurrency", [1, 7])
def test_never_more_calls_run_at_once_than_wanted(
    server: ServerProcess, tmp_path: Path, name: str, concurrency: int
):
    """The bound is reached and kept, for threads and for coroutines."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(60)])
    report = warmed(server, source, namespace="q", origin=origin(name, concurrency=concurrency))
    assert report.written == 60
    assert callables.most == concurrency


def test_the_most_asked_is_computed_first(server: ServerProcess, tmp_path: Path):
    """Duplicates add up over sources, equals stay in their order, a limit takes the first."""
    one = lines(
        tmp_path / "1.jsonl",
        {"params": {"n": 1}},
        {"params": {"n": 2}, "count": 3},
        {"params": {"n": 3}, "count": 2},
        {"params": {"n": 4}},
    )
    two = lines(tmp_path / "2.jsonl", {"params": {"n": 4}, "count": 2}, {"params": {"n": 5}})
    plan: dict[str, Any] = {"namespace": "q", "origin": origin("plain", concurrency=1)}
    report = warmed(server, one, two, **plan, limit=3)
    assert asked() == [2, 4, 3]
    assert (report.entries, report.written) == (3, 3)
    report = warmed(server, one, two, **plan)
    assert asked()[3:] == [1, 5]
    assert (report.entries, report.written, report.skipped) == (5, 2, 3)


def test_a_key_alone_takes_the_params_of_the_same_key_elsewhere(
    server: ServerProcess, tmp_path: Path
):
    """A log of keys and a list of params rank together, whichever comes first; `{}` are params."""
    for first, second in ((0, 1), (1, 0)):
        server.raw("FLUSHALL")
        callables.forget()
        rows = [{"key": make_key("q"), "count": 2}, {"params": {}}]
        source = lines(tmp_path / "r.jsonl", rows[first], rows[second])
        report = warmed(server, source, namespace="q", origin=origin("plain"))
        assert (report.entries, report.written, report.failed) == (1, 1, 0)


def test_a_request_without_params_fails_in_a_dry_run_too(server: ServerProcess, tmp_path: Path):
    """A callable is called with params; what has only a key is told with its line."""
    source = lines(tmp_path / "r.jsonl", {"params": {"n": 1}}, {"key": "k"}, b"bad")
    plan: dict[str, Any] = {"namespace": "q", "origin": origin("plain")}
    for report, written in (
        (warmed(server, source, **plan, dry_run=True), 0),
        (warmed(server, source, **plan), 1),
    ):
        assert (report.entries, report.failed, report.computed) == (3, 2, written)
        assert (report.written, report.unsent, report.exit_code) == (written, 1 - written, 1)
        assert [(p.line, p.key) for p in report.errors] == [(3, None), (2, b"k")]


def test_what_is_there_is_not_computed_again(server: ServerProcess, tmp_path: Path):
    """By default only missing keys are computed: a rerun goes on where the last one was."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(10)])
    for n in (2, 3):
        server.raw("SET", make_key("q", n=n), "old")
    report = warmed(server, source, namespace="q", origin=origin("plain"))
    assert (report.skipped, report.computed, report.written) == (2, 8, 8)
    assert sorted(asked()) == [0, 1, 4, 5, 6, 7, 8, 9]
    assert server.raw("GET", make_key("q", n=2)) == b"old"


def test_what_expires_soon_or_all_is_computed_when_asked(server: ServerProcess, tmp_path: Path):
    """`expiring` computes what is missing or short-lived, `all` everything, and both overwrite."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(3)])
    server.raw("SET", make_key("q", n=0), "old", "EX", 5)
    server.raw("SET", make_key("q", n=1), "old")
    plan: dict[str, Any] = {"namespace": "q", "origin": origin("plain"), "fallback_ttl": 900.0}
    report = warmed(server, source, **plan, only=Only("expiring", 60))
    assert sorted(asked()) == [0, 2]
    assert (report.written, report.skipped) == (2, 1)
    assert server.raw("TTL", make_key("q", n=0)) > 800
    report = warmed(server, source, **plan, only=Only("all"))
    assert report.written == 3
    assert server.raw("GET", make_key("q", n=1)) != b"old"


def test_a_value_that_an_application_wrote_meanwhile_stays(server: ServerProcess, tmp_path: Path):
    """Only missing means at the moment of writing: what came in between is skipped."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(2)])
    plan = Warm(
        sources=(str(source),), namespace="q", origin=origin("slow", concurrency=1), only=None
    )

    async def meanwhile(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: callables.calls)
        server.raw("SET", make_key("q", n=0), "newer")
        server.raw("SET", make_key("q", n=1), "newer")
        return await work

    report = run(server, meanwhile)
    assert report.computed == 2
    assert report.written + report.skipped == 2
    assert report.skipped >= 1


def test_origins_that_raise_hang_or_return_no_json_are_counted(
    server: ServerProcess, tmp_path: Path
):
    """Each is one failed entry with source and line; the others are written."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(1, 31)])
    plan = origin("mixed", concurrency=10, timeout=0.05, breaker=1.0)
    report = warmed(server, source, namespace="q", origin=plan)
    bad = [n for n in range(1, 31) if n % 3 == 0 or n % 5 == 0 or n % 7 == 0]
    assert (report.failed, report.written) == (len(bad), 30 - len(bad))
    assert (report.computed, report.exit_code) == (30 - len(bad), 1)
    told = {p.line or 0: p.message for p in report.errors}
    assert sorted(told) == bad
    assert told[3].startswith("the origin raised ValueError at ")
    assert "longer than" in told[5]
    assert "not JSON" in told[7]
    assert {p.source for p in report.errors} == {str(source)}


def test_fail_fast_leaves_calls_behind_and_writes_what_was_computed(
    server: ServerProcess, tmp_path: Path
):
    """The first failure ends the work at once, though other calls hang."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in (1, 2, 5, 10, 3, 4, 8)])
    plan = origin("mixed", concurrency=5)
    start = time.monotonic()
    report = warmed(server, source, namespace="q", origin=plan, fail_fast=True)
    assert time.monotonic() - start < 1
    assert (report.stopped, report.exit_code, report.failed) == ("fail_fast", 1, 1)
    assert 2 <= report.written == report.computed <= 4


@pytest.mark.parametrize("name", ["hangs", "hangs_in_thread"])
@pytest.mark.parametrize("reason", ["interrupted", "deadline"])
def test_a_stop_with_a_hundred_calls_under_way_is_reported_within_a_second(
    server: ServerProcess, tmp_path: Path, name: str, reason: Any
):
    """Calls are left behind, their requests are unsent, nothing is unknown."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(300)])
    plan = Warm(
        sources=(str(source),), namespace="q", origin=origin(name, concurrency=100), sample="same"
    )

    async def stopped(store: Store) -> tuple[WarmReport, float]:
        stop = Stop()
        work = asyncio.create_task(warm_with(store, plan, stop))
        await soon(lambda: len(callables.calls) == 100)
        start = time.monotonic()
        stop.set(reason)
        return await work, time.monotonic() - start

    report, took = run(server, stopped)
    callables.never.set()
    callables.never.clear()
    assert took < 1
    assert (report.stopped, report.exit_code) == (reason, 1)
    assert (report.entries, report.unsent, report.written, report.unknown) == (300, 300, 0, 0)
    assert ratio(report) == (0.0, None if reason == "interrupted" else 0.0)


def test_what_was_computed_before_a_stop_is_written(server: ServerProcess, tmp_path: Path):
    """Twenty values came, the other calls hang: twenty are written, and no more are counted."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(100)])
    plan = Warm(
        sources=(str(source),), namespace="q", origin=origin("first_twenty", concurrency=50)
    )

    async def stopped(store: Store) -> WarmReport:
        stop = Stop()
        work = asyncio.create_task(warm_with(store, plan, stop))
        await soon(lambda: len(callables.calls) >= 70)
        stop.set("deadline")
        return await work

    report = run(server, stopped)
    assert report.computed == report.written == len(keys_of(server)) == 20
    assert report.unsent == 80


def test_calls_that_end_soon_after_a_stop_are_written_and_longer_ones_left_behind(
    server: ServerProcess, tmp_path: Path
):
    """Half of the grace is for calls, the rest for writing: nothing is in flight at the end."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(100)])
    plan = Warm(
        sources=(str(source),), namespace="q", origin=origin("quick_or_long", concurrency=20)
    )

    async def stopped(store: Store) -> WarmReport:
        stop = Stop()
        work = asyncio.create_task(warm_with(store, plan, stop))
        await soon(lambda: len(callables.calls) == 20)
        stop.set("deadline")
        return await work

    report = run(server, stopped)
    assert (report.computed, report.written, report.unsent) == (10, 10, 90)


def test_a_second_cancel_ends_it_without_leaving_tasks_behind(
    server: ServerProcess, tmp_path: Path
):
    """Cancelled, the report is lost and every task is gone at once."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(50)])
    plan = Warm(sources=(str(source),), namespace="q", origin=origin("hangs"))

    async def main() -> None:
        async with store_of(server) as store:
            work = asyncio.create_task(warm_with(store, plan))
            await soon(lambda: len(callables.calls) == 20)
            work.cancel()
            start = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert time.monotonic() - start < 0.5
        await soon(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())
    assert callables.running == 20  # they were never let out: cancelled where they waited


def test_threads_of_an_origin_end_with_the_warm(server: ServerProcess, tmp_path: Path):
    """Nothing of the origin's goes on once its values are there."""
    before = {thread.ident for thread in threading.enumerate()}
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(30)])
    warmed(server, source, namespace="q", origin=origin("slow"))

    def left() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread.ident not in before and thread.name.startswith("cachectl-origin")
        ]

    end = time.monotonic() + 5
    while left() and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert not left()


def weighted(server: ServerProcess, sample: list[dict[str, Any]]) -> float:
    """The hit rate by hand."""
    counts: Counter[str] = Counter()
    for row in sample:
        counts[row.get("key") or make_key("q", **row["params"])] += row.get("count", 1)
    hits = sum(count for key, count in counts.items() if server.raw("EXISTS", key))
    return hits / counts.total()


@pytest.mark.parametrize("seed", range(5))
def test_the_hit_rate_is_weighted_by_counts(server: ServerProcess, tmp_path: Path, seed: int):
    """Before and after agree with a computation by hand over a separate sample."""
    dice = random.Random(seed)
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(40)])
    sample: list[dict[str, Any]] = [
        {"params": {"n": dice.randint(0, 80)}, "count": dice.randint(1, 50)} for _ in range(60)
    ] + [{"key": "else"}]
    for n in dice.sample(range(81), 20):
        server.raw("SET", make_key("q", n=n), "old")
    before = weighted(server, sample)
    path = lines(tmp_path / "s.jsonl", *sample)
    report = warmed(server, source, namespace="q", origin=origin("plain"), sample=(str(path),))
    assert report.hit_rate is not None
    assert ratio(report) == (before, weighted(server, sample))
    assert report.hit_rate.after != before
    assert report.hit_rate.sample == "separate"
    assert report.hit_rate.requests == sum(row.get("count", 1) for row in sample)
    assert report.hit_rate.keys == len({str(row.get("params")) for row in sample})


def test_the_same_requests_are_the_ranked_ones_before_the_limit(
    server: ServerProcess, tmp_path: Path
):
    """A limited warm is measured on all requests, and marked as `same`."""
    source = lines(tmp_path / "r.jsonl", {"params": {"n": 1}, "count": 3}, {"params": {"n": 2}})
    report = warmed(server, source, namespace="q", origin=origin("plain"), sample="same", limit=1)
    assert report.hit_rate is not None
    assert ratio(report) == (0.0, 0.75)
    assert (report.hit_rate.requests, report.hit_rate.keys) == (4, 2)
    assert report.hit_rate.sample == "same"


@pytest.mark.parametrize(
    ("required", "met", "code"), [(0.5, True, 0), (0.51, False, 1), (0.0, True, 0), (None, None, 0)]
)
def test_the_gate_opens_at_the_required_rate(
    server: ServerProcess, tmp_path: Path, required: float | None, met: bool | None, code: int
):
    """At least the required share of the sample must be there after the warm."""
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    sample = lines(tmp_path / "s.jsonl", {"params": {"n": 1}}, {"params": {"n": 2}})
    report = warmed(
        server, source, namespace="q", origin=origin("plain"),
        sample=(str(sample),), required=required,
    )  # fmt: skip
    assert report.hit_rate is not None
    assert (report.hit_rate.met, report.exit_code) == (met, code)


def test_an_empty_sample_does_not_meet_the_gate(server: ServerProcess, tmp_path: Path):
    """No lookups prove nothing: after is None, met False, 1; even when 0 % are required."""
    (tmp_path / "s.jsonl").touch()
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    plan: dict[str, Any] = {"namespace": "q", "origin": origin("plain")}
    for required in (0.0, 0.5):
        report = warmed(
            server, source, **plan, sample=(str(tmp_path / "s.jsonl"),), required=required
        )
        assert report.hit_rate is not None
        assert (ratio(report), report.hit_rate.met, report.exit_code) == ((None, None), False, 1)


def test_a_bad_line_in_a_sample_is_an_input_error(server: ServerProcess, tmp_path: Path):
    """Nothing is warmed on a proof that was not wholly read, whatever the sample is."""
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    sample = lines(tmp_path / "s.jsonl", {"params": {"n": 1}}, b"bad")
    plan: dict[str, Any] = {"namespace": "q", "origin": origin("plain")}
    with pytest.raises(InputError, match=r"s\.jsonl:2: "):
        warmed(server, source, **plan, sample=(str(sample),))
    with pytest.raises(InputError, match=r"s\.jsonl:2: "):
        warmed(server, sample, **plan, sample="same", verify_only=True)
    assert keys_of(server) == set()
    assert not callables.calls


def test_verify_only_measures_and_touches_nothing(server: ServerProcess, tmp_path: Path):
    """One look: before is after; no origin is imported, nothing is written, replicas will do."""
    source = requests(tmp_path / "r.jsonl", [{"n": 1}, {"n": 2}])
    server.raw("SET", make_key("q", n=2), "1")
    server.raw("REPLICAOF", "127.0.0.1", "1")
    plan: dict[str, Any] = {"namespace": "q", "verify_only": True, "required": 0.5}
    report = warmed(server, sample=(str(source),), **plan)
    assert ratio(report) == (0.5, 0.5)
    assert (report.entries, report.exit_code) == (0, 0)
    report = warmed(server, source, sample="same", origin=origin("no_such"), **plan)
    assert ratio(report) == (0.5, 0.5)


def test_a_dry_run_tells_the_rate_before_and_judges_no_gate(server: ServerProcess, tmp_path: Path):
    """Nothing is computed: after is None, and a gate is neither met nor missed."""
    source = requests(tmp_path / "r.jsonl", [{"n": 1}, {"n": 2}])
    server.raw("SET", make_key("q", n=2), "1")
    report = warmed(
        server, source, namespace="q", origin=origin("plain"), sample="same",
        required=0.9, dry_run=True,
    )  # fmt: skip
    assert report.hit_rate is not None
    assert ratio(report) == (0.5, None)
    assert (report.hit_rate.met, report.exit_code) == (None, 0)
    assert (report.skipped, report.unsent) == (1, 1)
    assert not callables.calls


def test_an_origin_that_is_none_is_told_before_anything(server: ServerProcess, tmp_path: Path):
    """A wrong name is a usage error before a source is read or the server is asked."""
    with pytest.raises(UsageError, match="no_such"):
        warmed("redis://127.0.0.1:1/0", requests(tmp_path / "r", [{}]), origin=origin("no_such"))


def test_a_denied_look_ends_it_before_anything_is_computed(
    any_server: ServerProcess, tmp_path: Path
):
    """EXISTS is asked before an origin is called: a user without it is refused, in time."""
    user = user_with(any_server, "+set", "~*")
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    for sample in ("same", None):
        with pytest.raises(DeniedError):
            warmed(
                any_server, source, namespace="q", origin=origin("plain"), user=user, sample=sample
            )
    assert not callables.calls
    report = warmed(
        any_server, source, namespace="q", origin=origin("plain"), user=user, only=Only("all")
    )
    assert report.written == 1


def test_a_look_that_is_denied_afterwards_ends_with_a_report(server: ServerProcess, tmp_path: Path):
    """Rights that are taken away meanwhile: what was written is told, the rate after is unknown."""
    user = user_with(server, "+set", "+exists", "~*")
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    plan = Warm(
        sources=(str(source),), namespace="q", origin=origin("coroutine"), sample="same",
        required=0.1,
    )  # fmt: skip

    def observe(progress: Progress) -> None:
        if progress.done:
            server.raw("ACL", "SETUSER", user, "-exists")

    async def denied(store: Store) -> WarmReport:
        return await warm(store, plan, Stop(), observe, io.BytesIO())

    report = run(server, denied, user=user)
    assert (report.written, ratio(report), report.exit_code) == (1, (0.0, None), 4)
    assert report.stopped == "connection"


def test_a_server_lost_in_the_verification_ends_with_a_report(
    server: ServerProcess, tmp_path: Path
):
    """All was written; the rate after is None, and it is no zero: stopped `connection`, 3."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(5)])
    with Proxy(server, since(b"EXISTS", CUT, turn=2)) as proxy:
        report = warmed(
            proxy, source, namespace="q", origin=origin("plain"), sample="same", timeout=0.5
        )
    assert (report.written, report.unknown) == (5, 0)
    assert ratio(report) == (0.0, None)
    assert (report.stopped, report.exit_code) == ("connection", 3)
    assert report.error is not None


def test_a_look_on_which_every_connection_breaks_invents_no_miss(
    server: ServerProcess, tmp_path: Path
):
    """A look that is never answered is an error, and never a rate of 0 %."""
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    with Proxy(server, at(b"EXISTS", CUT)) as proxy, pytest.raises(LostError):
        warmed(proxy, namespace="q", sample=(str(source),), verify_only=True, timeout=60.0)
