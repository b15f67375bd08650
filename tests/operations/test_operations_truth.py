"""Truth under cuts: what a report counts is what the server has, however the line breaks."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from cachectl.errors import CachectlError, LostError, UnreachableError
from cachectl.models import Entries, Entry
from cachectl.operations.stop import Stop
from cachectl.operations.warm.plan import Only, Warm
from cachectl.operations.warm.run import warm
from cachectl.operations.warm.tally import Tally
from cachectl.reports.warm import WarmReport
from cachectl.store.pace import FULL, GENTLE, Pace
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN, UNSENT
from cachectl.store.writer import Writing
from tests.conftest import FreshServer
from tests.operations.operating import adds_up, entries, run, soon, warm_with
from tests.plans import CUT, Chunk, Plan, Step, byte_by_byte
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, store_on

FIRST, APART = 1000, 50
"""Seconds: the TTL of the first line, and how far those of two lines are apart."""
PACES = {"gentle": GENTLE, "full": FULL}
Recorded = list[tuple[Entry, Any]]


def rough(dice: random.Random, share: float, met: list[int]) -> Plan:
    """Break, hold up or crumble a `share` of the chunks, anywhere in them; `met` counts the cuts."""

    def plan(chunk: Chunk) -> Iterator[Step]:
        seam = dice.randint(0, len(chunk.data))
        before, after = chunk.data[:seam], chunk.data[seam:]
        what = dice.random() / share
        if what < 0.6:
            yield before
            met.append(chunk.connection)
            yield CUT
        elif what < 0.8:
            yield before
            yield dice.random() / 100
            yield after
        elif what < 1:
            yield before
            yield from byte_by_byte(chunk._replace(data=after[:100]))
            yield after[100:]
        else:
            yield chunk.data

    return plan


class Line(NamedTuple):
    """A line of a source: what it writes, and until when it lasts (seconds from the beginning)."""

    key: str
    value: bytes
    ttl: int
    of_backup: bool

    def written(self, begun: float) -> bytes:
        lasting = {"expires_at": begun + self.ttl} if self.of_backup else {"ttl": self.ttl}
        return json.dumps({"key": self.key, "value": json.loads(self.value), **lasting}).encode()


def some_lines(dice: random.Random, count: int, backups: float) -> list[Line]:
    """Return lines with a value and a TTL each; a fifth write a key once more, near or far behind."""
    lines: list[Line] = []
    for number in range(count):
        name = f"n:{number}"
        if lines and dice.random() < 0.2:
            name = lines[-dice.randint(1, min(len(lines), dice.choice((10, 2000))))].key
        value = b'"%d-%s"' % (number, b"x" * dice.randint(0, 60))
        lines.append(Line(name, value, FIRST + APART * number, dice.random() < backups))
    return lines


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Collect what the tally is told of each entry, in the order of sending."""
    seen: Recorded = []
    settle = Tally.settle

    def recording(self: Tally, writing: Writing) -> None:
        seen.extend(zip(writing.entries, writing.outcomes.replies, strict=True))
        settle(self, writing)

    monkeypatch.setattr(Tally, "settle", recording)
    return seen


def stored(server: ServerProcess, names: Sequence[str]) -> dict[str, tuple[bytes | None, int]]:
    """Return the value and the TTL in seconds that stand at each key, asked for without cachectl."""
    script = "local t = {} for i, k in ipairs(KEYS) do t[i] = redis.call('ttl', k) end return t"
    found: dict[str, tuple[bytes | None, int]] = {}
    with server.connect() as raw:
        for start in range(0, len(names), 1000):
            part = names[start : start + 1000]
            values = raw.call("MGET", *part)
            ttls = raw.call("EVAL", script, len(part), *part)
            found.update(zip(part, zip(values, ttls, strict=True), strict=True))
    return found


def check_counts(report: WarmReport, recorded: Recorded) -> None:
    """Each entry is counted once, as what the tally was told."""
    assert adds_up(report)
    replies = [reply for _, reply in recorded]
    refused = sum(isinstance(reply, CachectlError) for reply in replies)
    counts = (replies.count(True), replies.count(False), refused, replies.count(UNKNOWN))
    assert (report.written, report.skipped, report.failed, report.unknown) == counts
    assert report.unsent == report.entries - sum(counts)
    lines = [entry.line for entry, _ in recorded]
    assert len(set(lines)) == len(lines)


def check_values(
    server: ServerProcess, lines: Sequence[Line], recorded: Recorded, preset: set[str]
) -> None:
    """What is counted as written stands there with its value and TTL, or a later one's."""
    at = {line.value: line for line in lines}
    told: dict[str, list[tuple[Line, Any]]] = {}
    for entry, reply in recorded:
        told.setdefault(entry.key.decode(), []).append((at[entry.value], reply))
    there = stored(server, [*told])
    for name, fates in told.items():
        value, ttl = there[name]
        sure = max((i for i, (_, reply) in enumerate(fates) if reply is True), default=-1)
        could = [line for line, reply in fates[max(sure, 0) :] if reply in {True, UNKNOWN}]
        if sure < 0:
            could += [line for line, reply in fates if reply is UNKNOWN]
        if any(reply is False for _, reply in fates):
            assert value is not None, "skipped because it was there"
        if value is None:
            assert sure < 0, (name, fates)
        elif value == b"preset":
            assert name in preset
            assert sure < 0, (name, fates)
        else:
            assert at[value] in could, (name, value, fates)
            assert at[value].ttl - APART / 2 < ttl <= at[value].ttl, (name, ttl)
    written = {name for name, fates in told.items() if any(reply is True for _, reply in fates)}
    doubtful = {name for name, fates in told.items() if any(r is UNKNOWN for _, r in fates)}
    new = server.raw("DBSIZE") - len(preset)
    assert len(written - preset) <= new <= len((written | doubtful) - preset)


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("seed", range(6))
def test_what_a_warm_counts_is_what_the_server_has(
    server: ServerProcess, tmp_path: Path, recorded: Recorded, seed: int, pace: str
) -> None:
    """At least 12 cuts a seed, anywhere: every count is true, the last line of a key stands."""
    dice, met, rounds = random.Random(seed), list[int](), Counter[bool]()
    while len(met) < 12 or not rounds[True]:
        server.raw("FLUSHALL")
        recorded.clear()
        only = dice.choice((None, None, Only("missing"), Only("all")))
        lines = some_lines(dice, dice.randint(1000, 3000), dice.choice((0, 0, 0.3)))
        preset = {line.key for line in dice.sample(lines, 50)}
        server.raw("MSET", *(word for name in preset for word in (name, "preset")))
        begun = time.time()
        source = tmp_path / "e.jsonl"
        source.write_bytes(b"\n".join(line.written(begun) for line in lines))
        plan = Warm(sources=(str(source),), only=only, fallback_ttl=None)
        with Proxy(server, rough(dice, dice.choice((0.05, 0.15)), met)) as proxy:
            report = warmed_at(proxy, plan, pace)
        if report is None:  # cut before anything was sent
            assert server.raw("DBSIZE") == len(preset)
            continue
        check_counts(report, recorded)
        check_values(server, lines, recorded, preset)
        whole = report.written + report.skipped == report.entries == len(lines)
        rounds[whole] += 1
        if only == Only("all") and whole:
            last = {line.key: line.value for line in lines}
            assert {n: v for n, (v, _) in stored(server, [*last]).items()} == last
            assert report.written == len(lines)
    assert len(met) >= 12


def warmed_at(proxy: Proxy, plan: Warm, pace: str) -> WarmReport | None:
    async def main() -> WarmReport | None:
        async with store_on(proxy, PATIENT) as store:
            store.pace = Pace(PACES[pace])
            try:
                return await warm_with(store, plan)
            except UnreachableError:
                return None

    return asyncio.run(main())


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("seed", range(4))
def test_what_a_writer_tells_is_what_the_server_has(
    server: ServerProcess, seed: int, pace: str
) -> None:
    """The same without an operation, with dumps and batches of any size in between: 12 cuts a seed."""
    dice, met = random.Random(100 + seed), list[int]()
    server.raw("SET", "d", "dumped")
    dump = server.raw("DUMP", "d")

    async def main(proxy: Proxy, batches: Sequence[Writing]) -> None:
        async with store_on(proxy, PATIENT) as store:
            store.pace = Pace(PACES[pace])
            async with store.writer() as writer:
                settled = []
                for batch in batches:
                    settled += await writer.send(batch)
                    if dice.random() < 0.1:
                        settled += await writer.land()
                settled += await writer.land()
            assert settled == batches

    while len(met) < 12:
        server.raw("FLUSHALL")
        lines = some_lines(dice, 1500, 0)
        only_missing = dice.random() < 0.3
        batches, start = [], 0
        while start < len(lines):
            size = dice.choice((1, 10, 100, 700))
            written = [
                Entry(line.key.encode(), line.value, float(line.ttl))
                for line in lines[start : start + size]
            ]
            if dice.random() < 0.2:
                written.append(Entry(b"dump:%d" % start, dump, 100.0, dump=True))
            batches.append(Writing(Entries.of(written), only_missing=only_missing))
            start += size
        with Proxy(server, rough(dice, 0.1, met)) as proxy:
            asyncio.run(main(proxy, batches))
        pairs = [pair for b in batches for pair in zip(b.entries, b.outcomes.replies, strict=True)]
        dumped = [(e, reply) for e, reply in pairs if e.dump]
        server_dumps = [(e.key, server.raw("GET", e.key)) for e, reply in dumped if reply is True]
        assert all(value == b"dumped" for _, value in server_dumps)
        for e, _ in dumped:
            server.raw("DEL", e.key)
        check_values(server, lines, [pair for pair in pairs if not pair[0].dump], set())


def fits(name: bytes, ttl: float | Literal[False] | None) -> bool:
    """Whether this is the TTL that `fill` gave to a key."""
    if name == b"nobody":
        return ttl is False
    return bool(ttl) and 0 <= FIRST + APART * int(name[2:]) - (ttl or 0) < APART


def fill(server: ServerProcess, count: int) -> list[bytes]:
    """Write keys whose value and TTL are their own, without cachectl."""
    names = [b"n:%d" % i for i in range(count)]
    with server.connect() as raw:
        raw.call("FLUSHALL")
        for i, name in enumerate(names):
            raw.send("SET", name, b"=" + name, "EX", FIRST + APART * i)
        assert [raw.read() for _ in names] == [b"OK"] * count
    return names


async def read(store: Store, asked: Sequence[bytes]) -> None:
    none = {UNKNOWN, UNSENT}
    for name, value in zip(asked, (await store.get_many(asked)).replies, strict=True):
        assert value in none | {None if name == b"nobody" else b"=" + name}
    for name, there in zip(asked, (await store.exist(asked)).replies, strict=True):
        assert there in none | {int(name != b"nobody")}
    for name, ttl in zip(asked, (await store.ttls(asked)).replies, strict=True):
        assert ttl in none or fits(name, ttl)


async def walk(store: Store, names: Sequence[bytes]) -> None:
    seen: set[bytes] = set()
    async with aclosing(store.fact_pages(None, lambda keys: keys, ("ttl", "type"))) as pages:
        async for page in pages:
            for name, ttl, kind in zip(page.keys, *page.columns, strict=True):
                assert kind == "string"
                assert fits(name, ttl)
            seen = set() if page.anew else seen | set(page.keys)
    assert seen == set(names)


def odd(keys: Sequence[bytes]) -> list[bytes]:
    return [key for key in keys if key[-1:] in b"13579"]


async def remove(store: Store, server: ServerProcess, names: Sequence[bytes]) -> None:
    removed: Counter[Any] = Counter()
    async with aclosing(store.unlink_pages(None, odd, lambda: True)) as pages:
        async for page in pages:
            assert odd(page.keys) == page.keys
            removed.update(page.replies)
    assert removed[1] <= len(odd(names)) <= removed[1] + removed[UNKNOWN]
    with server.connect() as raw:
        assert raw.call("EXISTS", *odd(names)) == 0
        assert raw.call("DBSIZE") == len(names) - len(odd(names))


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("seed", range(4))
def test_no_reply_is_anothers(server: ServerProcess, seed: int, pace: str) -> None:
    """Values, existence, TTLs, facts, removals over 15 cuts a seed: each answer is its key's own."""
    dice, met = random.Random(200 + seed), list[int]()

    async def main() -> None:
        clean = 0
        async with store_on(proxy, PATIENT) as store:
            store.pace = Pace(PACES[pace])
            while len(met) < 15 or not clean:
                names = fill(server, 1500)
                try:
                    await read(store, dice.choices([*names, b"nobody"], k=dice.randint(1, 1500)))
                    await walk(store, names)
                    await remove(store, server, names)
                except UnreachableError:
                    continue  # five cycles were broken
                clean += 1

    with Proxy(server, rough(dice, 0.03, met)) as proxy:
        asyncio.run(main())
    assert len(met) >= 15


def full(work: Callable[[Store], Any]) -> Callable[[Store], Any]:
    """Do the work at full pace."""

    async def at_full(store: Store) -> Any:
        store.pace = Pace(FULL)
        return await work(store)

    return at_full


@pytest.mark.parametrize("saved", [False, True])
def test_killed_in_the_middle_of_a_full_warm(
    fresh_server: FreshServer, tmp_path: Path, recorded: Recorded, saved: bool
) -> None:
    """kill -9 and back, empty or with a snapshot: the rest is written, and the loss is an error, 3."""
    server = fresh_server()
    count = 100_000
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", count)),))

    async def killed(store: Store) -> WarmReport:
        work = asyncio.create_task(warm_with(store, plan))
        await soon(lambda: len(recorded) > 1000)
        if saved:
            server.raw("SAVE")
            there = server.raw("DBSIZE")
            await soon(lambda: len(recorded) > there + 1000)
        await asyncio.to_thread(server.restart, kill=True)
        return await work

    report = run(server, full(killed))
    check_counts(report, recorded)
    assert report.exit_code == 3
    if report.unknown == report.unsent == 0:
        assert report.written == count
        assert isinstance(report.error, LostError)
    with server.connect() as raw:
        there = [value is not None for value in raw.call("MGET", *(f"n:{i}" for i in range(count)))]
    runs = [held for held, _ in groupby(there)]
    # what was saved, a hole, and all from the first that was not answered before the kill
    assert runs == ([True, False, True] if saved else [False, True])


def test_stopped_and_woken_in_the_middle_of_a_full_warm(
    server: ServerProcess, tmp_path: Path, recorded: Recorded
) -> None:
    """SIGSTOP for a moment, several times: all is written once, nothing is in doubt."""
    count = 60_000
    plan = Warm(sources=(str(entries(tmp_path / "e.jsonl", count)),))

    async def slept(store: Store) -> tuple[WarmReport, int]:
        work, stops = asyncio.create_task(warm_with(store, plan)), 0
        for more in (500, 10_000, 30_000):
            before = more

            def far() -> bool:
                return work.done() or server.raw("DBSIZE") > before  # noqa: B023 called at once

            await soon(far)
            server.sigstop()
            await asyncio.sleep(0.15)
            stops += not work.done()
            server.sigcont()
        return await work, stops

    report, stops = run(server, full(slept))
    assert stops >= 1
    check_counts(report, recorded)
    assert (report.written, report.exit_code) == (count, 0)
    assert server.raw("DBSIZE") == count


def test_a_warm_that_waits_for_its_source_has_all_its_patience_again(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Lines that come later than the patience lasts are written like the first ones."""

    async def slow(store: Store) -> WarmReport:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", 0) as source:
            work = asyncio.create_task(
                warm(store, Warm(sources=("-",)), Stop(), lambda _: None, stdin)
            )
            source.write(b'{"key":"a","value":1}\n')
            await soon(lambda: server.raw("EXISTS", "a"))
            await asyncio.sleep(0.8)
            source.write(b'{"key":"b","value":1}\n')
            await soon(lambda: server.raw("EXISTS", "b") or work.done())
            source.close()
            return await work

    with Proxy(server, latency=0.01) as proxy:
        report = run(proxy, slow, timeout=0.5)
    assert (report.written, report.exit_code) == (2, 0)
