"""--max-memory: a warm stops before the server is full, at any speed, and says how far it came."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from cachectl.errors import DeniedError, UsageError
from cachectl.models import Entries, Entry, Observer, Progress, Request
from cachectl.operations.stop import Stop
from cachectl.operations.warm import memory
from cachectl.operations.warm.memory import MemoryGuard
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.run import warm
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.write import into
from cachectl.reports.warm import WarmReport
from cachectl.store.pace import FULL, GENTLE, Pace
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations.operating import (
    dump_of,
    entries,
    keys_of,
    lines,
    origin,
    requests,
    run,
    silent,
    user_with,
    warm_with,
    warmed,
)
from tests.servers import ServerProcess, binaries

MB = 1_000_000


def used(server: ServerProcess) -> int:
    return int(server.info()["used_memory"])


def small(path: Path, count: int, **more: Any) -> Path:
    row = json.dumps({"key": "page:%d", "value": "x" * 20, **more})
    path.write_text("".join(row.replace("%d", str(n)) + "\n" for n in range(count)))
    return path


def full_speed(server: ServerProcess, plan: Warm) -> WarmReport:
    async def main(store: Store) -> WarmReport:
        store.pace = Pace(FULL)
        return await warm_with(store, plan)

    return run(server, main)


@pytest.fixture(params=list(binaries()))
def limited(fresh_server: FreshServer, request: pytest.FixtureRequest) -> ServerProcess:
    """Give a server of each version with a maxmemory of 24 MB that evicts nothing."""
    return fresh_server("--maxmemory", "24mb", version=request.param)


@pytest.mark.parametrize("most", [0.9, 0.5, 12 * MB])
@pytest.mark.parametrize("more", [{}, {"ttl": 3600}])
def test_many_small_entries_at_full_speed_stop_below_the_limit(
    limited: ServerProcess, tmp_path: Path, most: float, more: dict[str, Any]
):
    """Not one look too late, whatever the server's tables take when they double."""
    source = small(tmp_path / "e.jsonl", 300_000, **more)
    report = full_speed(limited, Warm(sources=(str(source),), max_memory=most))
    limit = most * 24 * 1024 * 1024 if isinstance(most, float) else most
    assert used(limited) < limit
    assert int(limited.info()["used_memory_peak"]) < limit
    assert (report.stopped, report.exit_code, report.failed) == ("memory", 1, 0)
    assert report.written == limited.raw("DBSIZE") > 30_000
    assert report.errors[0].message.startswith("stopped before used_memory of ")


def test_most_of_the_room_is_used(limited: ServerProcess, tmp_path: Path):
    """Where no table is about to double, the last looks come close to the limit."""
    limited.fill("before:", 66_000, "x" * 20)  # right behind a doubling on most versions
    most = used(limited) + 2 * MB
    source = small(tmp_path / "e.jsonl", 45_000)
    report = full_speed(limited, Warm(sources=(str(source),), max_memory=most))
    assert report.stopped == "memory"
    assert most - 600_000 < used(limited) < most


def test_big_values_stop_below_the_limit(limited: ServerProcess, tmp_path: Path):
    """A value is in memory twice while it is read: the last one that fits is the last one sent."""
    source = lines(
        tmp_path / "e.jsonl", *({"key": f"b{n}", "value": "x" * 3 * MB} for n in range(9))
    )
    report = full_speed(limited, Warm(sources=(str(source),), max_memory=0.9))
    limit = 0.9 * 24 * 1024 * 1024
    assert int(limited.info()["used_memory_peak"]) < limit
    assert (report.stopped, report.failed, report.unknown) == ("memory", 0, 0)
    assert 2 <= report.written < 8
    assert report.errors[0].message.endswith("as the value is large")


def test_a_limit_that_is_not_reached_changes_nothing(server: ServerProcess, tmp_path: Path):
    """All is written, all is looked at, and the warm is done."""
    report = warmed(server, entries(tmp_path / "e.jsonl", 5000), max_memory=500 * MB)
    assert (report.written, report.stopped, report.exit_code) == (5000, None, 0)


def test_without_the_option_nothing_is_asked(server: ServerProcess, tmp_path: Path):
    """INFO counts how often it was asked: only by the look at who the server is."""
    source = entries(tmp_path / "e.jsonl", 5000)
    server.raw("CONFIG", "RESETSTAT")
    warmed(server, source)
    plain = calls(server)
    server.raw("CONFIG", "RESETSTAT")
    warmed(server, source, max_memory=500 * MB)
    assert calls(server) > plain


def calls(server: ServerProcess) -> int:
    return int(server.info("commandstats")["cmdstat_info"].split(",")[0].removeprefix("calls="))


def test_above_the_limit_already_nothing_is_written(any_server: ServerProcess, tmp_path: Path):
    """It ends as it would have later, and says so."""
    report = warmed(any_server, entries(tmp_path / "e.jsonl", 10), max_memory=1000)
    assert (report.stopped, report.written, report.exit_code) == ("memory", 0, 1)
    assert "is past 1.0 kB" in report.errors[0].message
    assert not keys_of(any_server)


def test_a_share_of_no_maxmemory_is_refused(server: ServerProcess, tmp_path: Path):
    """There is nothing to take a share of; a size is what helps."""
    with pytest.raises(UsageError, match="no maxmemory to take 80 % of") as caught:
        warmed(server, entries(tmp_path / "e.jsonl", 10), max_memory=0.8)
    assert "2GB" in (caught.value.hint or "")
    assert not keys_of(server)


def test_info_denied_names_the_rule_before_anything(any_server: ServerProcess, tmp_path: Path):
    """Without INFO nobody can tell: 4, and nothing is written."""
    user = user_with(any_server, "~*", "+@all", "-info")
    with pytest.raises(DeniedError) as caught:
        warmed(any_server, entries(tmp_path / "e.jsonl", 10), max_memory=MB, user=user)
    assert "limited +info" in (caught.value.hint or "")
    assert caught.value.exit_code == 4
    assert not keys_of(any_server)


@pytest.mark.parametrize("version", ["valkey-9.1", "redis-6.2"])
def test_evictions_stop_it(
    fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
):
    """Another client's writes let the server evict: what is written now costs what is there."""
    server = fresh_server(
        "--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru", version=version
    )
    monkeypatch.setattr(memory, "EVERY", 0.0)
    server.fill("before:", 4000, "x" * 200)
    assert server.info()["evicted_keys"] == "0"
    filled: list[int] = []

    def observe(told: Progress) -> None:
        if told.done and not filled:
            server.fill("other:", 20_000, "x" * 200)
            filled.append(told.done)

    source = small(tmp_path / "e.jsonl", 50_000)
    report = observed(server, Warm(sources=(str(source),), max_memory=99 * MB), observe)
    assert (report.stopped, report.exit_code) == ("memory", 1)
    assert filled
    assert report.written < 20_000
    assert "evicted" in report.errors[0].message
    counted = int(report.errors[0].message.split("evicted ")[1].split(" ")[0])
    assert 0 < counted <= int(server.info()["evicted_keys"])


def observed(server: ServerProcess, plan: Warm, observe: Observer) -> WarmReport:
    async def main(store: Store) -> WarmReport:
        return await warm(store, plan, Stop(), observe, io.BytesIO())

    return run(server, main)


def test_evictions_of_before_are_not_ours(
    fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A server that has evicted once is not full for ever."""
    server = fresh_server("--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru")
    monkeypatch.setattr(memory, "EVERY", 0.0)
    server.fill("before:", 20_000, "x" * 200)
    server.raw("FLUSHALL")
    report = warmed(server, entries(tmp_path / "e.jsonl", 1000), max_memory=0.9)
    assert (report.written, report.stopped) == (1000, None)


def test_what_another_client_writes_counts(
    fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The memory is looked at anew as time passes, not only after so many bytes of ours."""
    server = fresh_server("--maxmemory", "24mb")
    monkeypatch.setattr(memory, "EVERY", 0.0)

    def observe(told: Progress) -> None:
        if told.done and not server.raw("EXISTS", "other:0"):
            server.fill("other:", 200, "x" * 100_000)

    source = small(tmp_path / "e.jsonl", 50_000)
    report = observed(server, Warm(sources=(str(source),), max_memory=0.8), observe)
    assert report.stopped == "memory"
    assert report.written < 20_000
    assert "is past 80 % of maxmemory (25.2 MB)" in report.errors[0].message


def test_computed_values_are_guarded_as_well(limited: ServerProcess, tmp_path: Path):
    """What is computed goes the same way."""
    source = requests(tmp_path / "r.jsonl", ({"n": n, "size": MB} for n in range(60)))
    report = warmed(
        limited, source, origin=origin("big", concurrency=4), namespace="n", max_memory=0.9
    )
    assert report.stopped == "memory"
    assert used(limited) < 0.9 * 24 * 1024 * 1024
    assert 5 < report.written < 24


def test_dumps_are_taken_for_more_than_their_bytes(limited: ServerProcess, tmp_path: Path):
    """A dump is packed: restored, it takes a multiple."""
    limited.raw("SET", "d", b"x" * 100_000)
    dump = base64.b64encode(dump_of(limited, "d")).decode()
    limited.raw("DEL", "d")
    rows = ({"key": f"d{n}", "dump": dump} for n in range(3000))
    report = full_speed(
        limited, Warm(sources=(str(lines(tmp_path / "e.jsonl", *rows)),), max_memory=0.9)
    )
    assert (report.stopped, report.failed) == ("memory", 0)
    assert 50 < report.written < 250
    assert int(limited.info()["used_memory_peak"]) < 0.9 * 24 * 1024 * 1024


def test_the_first_entries_of_a_batch_that_fit_are_sent(server: ServerProcess):
    """A batch that is larger than the room is not refused as a whole."""

    async def main(store: Store) -> tuple[int, int]:
        (now,) = await store.memory()
        tally = Tally(Stop(), silent, fail_fast=False)
        guard = MemoryGuard(store, now.used + 2 * MB, tally)
        guard.take_in([now])

        async def land() -> None:
            pass

        batch = Entries.of([Entry(b"%d" % n, b"x" * 100_000, None) for n in range(100)])
        return await guard.admit(batch, land), await guard.admit(batch, land)

    first, second = run(server, main)
    assert 1 <= first <= 10
    assert 1 <= second <= 10  # nothing was sent, so the look found the same room


def test_the_hit_rate_so_far_is_told(server: ServerProcess, tmp_path: Path):
    """It rises as keys that are asked for arrive, and begins with those that are there."""
    rows = [{"params": {"n": n}, "count": 10 - n} for n in range(4)]
    source = lines(tmp_path / "r.jsonl", *rows)
    warmed(server, lines(tmp_path / "one.jsonl", rows[0]), origin=origin("plain"), namespace="n")
    told: list[Progress] = []
    plan = Warm(sources=(str(source),), origin=origin("plain", concurrency=1), namespace="n")
    report = observed(server, plan, told.append)
    rates = [one.hit_rate for one in told]
    assert rates[0] == 10 / 34
    assert rates == sorted(rates, key=lambda rate: rate or 0.0)
    assert rates[-1] == 1.0
    assert (report.written, report.skipped) == (3, 1)


def test_a_key_that_another_wrote_meanwhile_is_there_as_well(server: ServerProcess):
    """Each key counts once, whoever wrote it; one that was refused does not."""
    keys = [b"a", b"b", b"c", b"d"]
    server.raw("SET", "b", "another's")
    tally = Tally(Stop(), silent, fail_fast=False)
    tally.follow([Request(key, count=n) for n, key in enumerate(keys, 1)], [False] * 4, 20)

    async def main(store: Store) -> None:
        batch = Entries.of([Entry(key, b"1", None, dump=key == b"c") for key in [*keys[:3], b"a"]])
        async with into(store, tally) as cache:
            await cache.send(batch, lambda _entry: "here", only_missing=True)

    run(server, main)
    assert (tally.written, tally.skipped, tally.failed) == (1, 2, 1)
    assert tally.hit_rate == (1 + 2) / 20


def test_entries_have_no_hit_rate(server: ServerProcess, tmp_path: Path):
    """Nobody said how often they are asked for."""
    told: list[Progress] = []
    observed(server, Warm(sources=(str(entries(tmp_path / "e.jsonl", 10)),)), told.append)
    assert told
    assert all(one.hit_rate is None for one in told)


def test_what_the_brake_took_is_told(server: ServerProcess, tmp_path: Path):
    """The seconds for which the work was held back, up to the present."""
    told: list[Progress] = []

    async def main(store: Store) -> WarmReport:
        store.pace = Pace(GENTLE, max_latency=1.0)
        assert store.pace.brake is not None
        store.pace.brake.share = 0.5
        plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", 2000)),))
        return await warm(store, plan, Stop(), told.append, io.BytesIO())

    report = run(server, main)
    assert 0 < told[-1].held_back <= report.held_back_seconds
