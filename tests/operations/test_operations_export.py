"""export: what is carried, from every server to every other; what is not is said and counted."""

import asyncio
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from cachectl.cli.render.sink import Sink
from cachectl.errors import DeniedError, OutputError, UnreachableError
from cachectl.models import Entry
from cachectl.operations import export as room
from cachectl.operations.export import Target, export
from cachectl.operations.stop import Stop
from cachectl.reports.export import ExportReport
from cachectl.reports.warm import WarmReport
from cachectl.sources.lines import entry_batches
from cachectl.store.store import Store
from tests.conftest import FreshServer, ServerOf
from tests.operations.operating import run, silent, user_with, warmed
from tests.plans import CUT, Chunk, Step, cut_after, random_cuts
from tests.proxies import Proxy
from tests.servers import ServerProcess, binaries

AGE = {"redis-6.2": 0, "redis-7.0": 1, "valkey-8.1": 2, "valkey-9.1": 3}
"""Whose dumps the later ones read, and not the other way round."""
PAIRS = list(product([version for version in binaries() if version in AGE], repeat=2))
STRINGS = {
    b"n:json": b'{"a": [1, 2.50,  3],"big":123456789012345678901234567890.10}',
    b"n:lines": b'{\n "a": 1\n}',
    b"n:empty": b"",
    b"n:binary": bytes(range(256)),
    b"n:text": b"no JSON",
    b"n:separator": '"a\u2028b"'.encode(),
    b"n:space": b" 1 ",
    b"n:\xff\xfe": b"1",
    b'n:a"b\\c': b"1",
    b"n:a\nb\x1b[31m": b"1",
    "n:\U0001f600".encode(): b"1",
    b"n:": b"1",
}  # fmt: skip
OTHERS = {
    b"n:list": ("RPUSH", b"a", b"b"),
    b"n:hash": ("HSET", b"f", b"v", b"\xff", b"\x00"),
    b"n:set": ("SADD", b"a", b"1"),
    b"n:ints": ("SADD", b"1", b"2"),
    b"n:zset": ("ZADD", b"1.5", b"a"),
    b"n:stream": ("XADD", b"*", b"f", b"v"),
}


class Kept:
    """Lines that were written, and what holds the next write up or breaks it."""

    def __init__(self) -> None:
        self.data = b""
        self.before: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self.before()
        self.data += data

    @property
    def lines(self) -> list[bytes]:
        return self.data.splitlines(keepends=True)

    @property
    def entries(self) -> dict[bytes, Entry]:
        async def read() -> list[Entry]:
            batches = [b async for b in entry_batches("-", stdin=io.BytesIO(self.data))]
            assert [problem for batch in batches for problem in batch.problems] == []
            return [Entry(*entry) for batch in batches for entry in batch.entries]

        assert self.data == b"" or self.data.endswith(b"\n")
        return {entry.key: entry for entry in asyncio.run(read())}


async def export_with(
    store: Store,
    kept: Kept,
    *targets: bytes | Target | None,
    stop: Stop | None = None,
    **options: Any,
) -> ExportReport:
    wanted = [t if isinstance(t, Target) else Target(t) for t in targets]
    return await export(store, wanted, stop or Stop(), silent, Sink(kept.write), **options)


def exported(
    on: ServerProcess | Proxy,
    *targets: bytes | Target | None,
    timeout: float = 5.0,
    user: str | None = None,
    kept: Kept | None = None,
    **options: Any,
) -> tuple[ExportReport, Kept]:
    kept = kept or Kept()
    report = run(
        on, lambda store: export_with(store, kept, *targets, **options), timeout=timeout, user=user
    )
    if not report.restarts:
        assert (report.entries, report.size) == (len(kept.lines), len(kept.data))
    return report, kept


def copied(source: ServerProcess, goal: ServerProcess) -> tuple[ExportReport, WarmReport]:
    report, kept = exported(source, b"n")
    return report, warmed(goal, "-", stdin=kept.data)


def filled(server: ServerProcess) -> None:
    for key, value in STRINGS.items():
        server.raw("SET", key, value)
    for key, (verb, *words) in OTHERS.items():
        server.raw(verb, key, *words)


def two(server_of: ServerOf, pair: tuple[str, str], fresh: FreshServer) -> Iterator[ServerProcess]:
    yield server_of(pair[0])
    yield fresh(version=pair[1])


def data_of(server: ServerProcess) -> dict[bytes, Any]:
    """Return what every key holds, and its milliseconds."""
    ways = {b"string": "GET", b"list": "LRANGE", b"hash": "HGETALL", b"set": "SMEMBERS"}
    found = {}
    for key in server.raw("KEYS", "*"):
        kind = server.raw("TYPE", key)
        if kind == b"zset":
            value = server.raw("ZRANGE", key, 0, -1, "WITHSCORES")
        elif kind == b"stream":
            value = server.raw("XRANGE", key, "-", "+")
        else:
            value = server.raw(ways[kind], key, *((0, -1) if kind == b"list" else ()))
        found[key] = sorted(value) if kind == b"set" else value
    return found


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]} to {pair[1]}")
def test_strings_are_carried_from_every_version_to_every_other(
    server_of: ServerOf, fresh_server: FreshServer, pair: tuple[str, str]
):
    """Binary values, several lines, odd keys, a value of 5 MB: byte for byte."""
    source, goal = two(server_of, pair, fresh_server)
    strings = STRINGS | {
        b"n:5MB": os.urandom(5_000_000),
        b"n:5MB:json": b'"' + b"x" * 5_000_000 + b'"',
    }
    for key, value in strings.items():
        source.raw("SET", key, value)
    source.raw("SET", "else:1", "1")
    report, warm = copied(source, goal)
    assert (report.exit_code, report.entries, report.failed) == (0, len(strings), 0)
    assert (warm.exit_code, warm.written) == (0, len(strings))
    assert data_of(goal) == strings


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]} to {pair[1]}")
def test_all_types_are_carried_to_the_same_version_or_a_newer_one(
    server_of: ServerOf, fresh_server: FreshServer, pair: tuple[str, str]
):
    """An older one says for each what it cannot read, and why; strings come through to any."""
    source, goal = two(server_of, pair, fresh_server)
    filled(source)
    report, warm = copied(source, goal)
    assert (report.exit_code, report.entries) == (0, len(STRINGS) + len(OTHERS))
    if warm.exit_code == 0:
        assert data_of(goal) == data_of(source)
        return
    assert AGE[pair[1]] < AGE[pair[0]]
    assert (warm.exit_code, warm.written, warm.failed) == (1, len(STRINGS), len(OTHERS))
    assert len(warm.errors) == len(OTHERS)
    for problem in warm.errors:
        assert problem.key in OTHERS
        assert "the dump comes from a newer server" in problem.message
        assert "restore it into that version or a newer one" in problem.message


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]} to {pair[1]}")
def test_lives_are_carried(server_of: ServerOf, fresh_server: FreshServer, pair: tuple[str, str]):
    """They end at the same time there, within a second; what never expires does not there either."""
    source, goal = two(server_of, pair, fresh_server)
    for n, ttl in enumerate((5, 3600, 10_000_000)):
        source.raw("SET", f"n:{n}", "1", "EX", ttl)
    source.raw("SET", "n:persistent", "1")
    source.raw("RPUSH", "n:list", "1")
    old = AGE[pair[1]] < AGE[pair[0]]
    if not old:
        source.raw("EXPIRE", "n:list", "100")
    _, warm = copied(source, goal)
    assert warm.written == (4 if old else 5)
    for key in goal.raw("KEYS", "*"):
        there, here = goal.raw("PTTL", key), source.raw("PTTL", key)
        assert there == -1 if here == -1 else abs(there - here) < 1000, key


def test_a_life_is_counted_from_the_question_not_from_when_the_reply_is_read(
    server: ServerProcess,
):
    """A reader who stalls for a second would else lengthen the lives of what waits for it."""
    for n in range(3000):
        server.raw("SET", f"n:{n}", "x" * 1000, "EX", 100)
    kept = Kept()
    stalls = iter([2.0])
    kept.before = lambda: time.sleep(next(stalls, 0.0))
    start = time.time()
    exported(server, b"n", kept=kept)
    took = time.time() - start
    assert took > 2
    ends = {entry.key: entry.expires_at for entry in kept.entries.values()}
    for key, end in ends.items():
        left = server.raw("PTTL", key) / 1000
        assert end is not None
        assert abs(end - (time.time() + left)) < 1.0, key


def test_only_the_targets_are_carried_literally(server: ServerProcess):
    """A namespace is no pattern, several are one walk, and a glob goes with them."""
    for key in ("a*:1", "ab:1", "b:1", "b:2", "c:1", "plain"):
        server.raw("SET", key, "1")
    assert exported(server, b"a*")[1].entries.keys() == {b"a*:1"}
    assert exported(server, b"ab", b"b")[1].entries.keys() == {b"ab:1", b"b:1", b"b:2"}
    assert exported(server, Target(b"b", b"*:1"))[1].entries.keys() == {b"b:1"}
    assert exported(server, Target(None, b"p*"))[1].entries.keys() == {b"plain"}
    assert len(exported(server, None)[1].entries) == 6
    report, kept = exported(server, b"nothing")
    assert (report.exit_code, report.entries, kept.data) == (0, 0, b"")


def test_many_keys_of_many_sizes_are_each_carried_once(any_server: ServerProcess):
    """Through pages and groups: small ones together, large ones alone, other types between them."""
    any_server.fill("n:", 5000, "12345")
    for n in range(30):
        any_server.raw("SET", f"n:large:{n}", str(n) * 100_000)
        any_server.raw("SADD", f"n:set:{n}", *range(n + 1))
    report, kept = exported(any_server, b"n")
    assert (report.exit_code, report.entries, report.restarts) == (0, 5060, 0)
    assert len(kept.entries) == 5060
    assert kept.entries[b"n:large:7"].value == b"7" * 100_000


def test_the_empty_key_cannot_be_carried_and_is_said(server: ServerProcess):
    """`warm` writes none: it would be lost on the way."""
    server.raw("MSET", "", "1", "a", "1")
    report, kept = exported(server, None)
    assert (report.exit_code, report.entries, report.failed) == (1, 1, 1)
    assert report.reasons == {"empty_key": 1}
    assert report.errors[0].key == b""
    assert report.whole
    assert kept.entries.keys() == {b"a"}


def test_keys_that_may_not_be_read_are_named_and_counted(server: ServerProcess):
    """The others are carried; 1. Twenty are listed."""
    server.fill("n:open:", 50)
    server.fill("n:secret:", 30)
    user = user_with(server, "+scan", "+strlen", "+get", "+pttl", "~n:open:*")
    report, kept = exported(server, b"n", user=user)
    assert (report.exit_code, report.entries, report.failed) == (1, 50, 30)
    assert report.reasons == {"denied": 30}
    assert len(report.errors) == 20
    assert report.errors[0].key is not None
    assert report.errors[0].key.startswith(b"n:secret:")
    assert "NOPERM" in report.errors[0].message
    assert len(kept.entries) == 50


def test_a_user_without_scan_is_refused_at_once(server: ServerProcess):
    server.fill("n:", 5)
    with pytest.raises(DeniedError) as refused:
        exported(server, b"n", user=user_with(server, "+get", "~*"))
    assert "+scan" in str(refused.value.hint)


def test_where_no_value_may_be_read_the_server_refused_it_all(server: ServerProcess):
    """4, as for a single key; without PTTL nobody knows how long a key lives."""
    server.fill("n:", 5)
    for rules in (["+scan", "+strlen", "+pttl"], ["+scan", "+strlen", "+get"]):
        report, kept = exported(server, b"n", user=user_with(server, *rules, "~*"))
        assert (report.exit_code, report.failed, kept.data) == (4, 5, b""), rules


def test_a_user_who_may_not_ask_for_sizes_reads_all_the_same(server: ServerProcess):
    """Neither STRLEN nor MEMORY: types show when values are asked for, in smaller groups."""
    filled(server)
    server.raw("SET", "n:large", "x" * 3_000_000)
    user = user_with(server, "+scan", "+get", "+dump", "+pttl", "~*")
    report, kept = exported(server, b"n", user=user)
    assert (report.exit_code, report.failed) == (0, 0)
    assert len(kept.entries) == len(STRINGS) + len(OTHERS) + 1
    assert kept.entries[b"n:list"].dump


def test_replies_on_their_way_are_bounded_in_bytes(fresh_server: FreshServer):
    """Thirty values of 2 MB are not sent at once: the server never holds more than some of them."""
    server = fresh_server()
    for n in range(30):
        server.raw("SET", f"n:{n}", b"\xff" * 2_000_000)
    kept, most = Kept(), 0

    def look() -> None:
        nonlocal most
        clients = server.raw("CLIENT", "LIST").decode()
        most = max(most, *(int(word[5:]) for word in clients.split() if word.startswith("omem=")))

    kept.before = look
    report, kept = exported(server, b"n", kept=kept)
    assert (report.exit_code, report.entries) == (0, 30)
    assert most < 5_000_000


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_is_cut_again_and_again_loses_no_key(server: ServerProcess, seed: int):
    """0 with everything, or 3; and whole lines in both cases."""
    server.fill("n:", 4000, '{"a": 1}')
    server.raw("RPUSH", "n:list", "a")
    with Proxy(server, random_cuts(seed)) as proxy:
        try:
            report, kept = exported(proxy, b"n")
        except UnreachableError:
            return
    if report.exit_code == 0:
        assert len(kept.entries) == 4001
    else:
        assert report.exit_code == 3
        assert report.stopped == "connection"
        assert kept.data.endswith(b"\n")


def test_a_cut_of_the_values_connection_is_not_seen(server: ServerProcess):
    """What was not answered is asked again, the walk goes on."""
    server.fill("n:", 3000)
    second = cut_after(20_000)

    def plan(chunk: Chunk) -> Iterator[Step]:
        yield from second(chunk._replace(connection=1)) if chunk.connection == 2 else (chunk.data,)

    with Proxy(server, plan) as proxy:
        report, kept = exported(proxy, b"n")
        assert proxy.connections >= 3
    assert (report.exit_code, report.entries, report.restarts) == (0, 3000, 0)
    assert len(kept.entries) == 3000


@pytest.mark.parametrize("dumped", [False, True])
def test_a_value_does_not_get_the_life_of_the_next_one(server: ServerProcess, dumped: bool):
    """The value is answered, the line cut before its life is, and the key overwritten, for ever."""
    add = "SADD" if dumped else "SET"
    server.raw(add, "n:a", '"old"')
    server.raw("EXPIRE", "n:a", 60)
    cut: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        at = chunk.data.find(b'"old"')
        if chunk.direction == "up" or at < 0 or cut:
            yield chunk.data
            return
        cut.append(at)
        end = chunk.data.index(b"\r\n:", at) + 2  # the life follows
        yield chunk.data[:end]
        server.raw("DEL", "n:a")
        server.raw(add, "n:a", '"new"')
        yield CUT

    with Proxy(server, plan) as proxy:
        report, kept = exported(proxy, b"n")
    assert cut
    assert (report.exit_code, report.entries, report.failed) == (0, 1, 0)
    entry = kept.entries[b"n:a"]
    assert (b"new" in entry.value, entry.expires_at) == (True, None)


def test_a_restart_in_the_middle_begins_anew_and_is_told(fresh_server: FreshServer):
    """Its data came back from the disk: all keys are there at the end, some twice."""
    server = fresh_server()
    server.fill("n:", 20_000)
    server.raw("SAVE")
    kept, told = Kept(), []

    def kill() -> None:
        if len(kept.data) > 100_000:
            kept.before = lambda: None
            server.restart(kill=True)

    kept.before = kill
    report, kept = exported(server, b"n", kept=kept, anew=lambda: told.append(1))
    assert report.exit_code == 0
    assert report.restarts == len(told) >= 1
    assert report.entries >= 20_000
    assert len(kept.entries) == 20_000


@pytest.mark.parametrize(("denied", "listed"), [(500, 20), (15, 15)])
def test_what_failed_before_a_restart_is_counted_once(
    fresh_server: FreshServer, denied: int, listed: int
):
    """The walk that begins anew meets it again."""
    server = fresh_server("--user", "u", "on", ">secret", "~n:*", "+@all")
    server.fill("n:", 5000)
    server.fill("denied:", denied)
    server.raw("SAVE")
    kept = Kept()

    def kill() -> None:
        if len(kept.data) > 50_000:
            kept.before = lambda: None
            server.restart(kill=True)

    kept.before = kill
    report, kept = exported(server, None, kept=kept, user="u")
    assert report.restarts >= 1
    assert (report.failed, report.reasons) == (denied, {"denied": denied})
    assert len({problem.key for problem in report.errors}) == len(report.errors) == listed
    assert len(kept.entries) == 5000


@pytest.mark.parametrize("tells", [True, False])
def test_a_server_replaced_after_the_walk_is_no_short_list(
    fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch, tells: bool
):
    """The last values are still on their way when it comes back with what it had saved.

    Where INFO is denied, a connection that was lost is as good as a restart.
    """
    denied = () if tells else ("-info",)
    server = fresh_server("--user", "u", "on", ">secret", "~*", "+@all", *denied)
    server.fill("n:", 500)
    server.raw("SAVE")
    finish = room._Export._finish
    done = False

    async def late(self: Any, reader: Any) -> None:
        nonlocal done
        if not done:
            done = True
            server.raw("FLUSHALL")  # what those values are asked for again finds nothing
            server.kill9()
            await asyncio.to_thread(server.start)
            server.raw("CONFIG", "SET", "save", "")
        await finish(self, reader)

    monkeypatch.setattr(room._Export, "_finish", late)
    report, kept = exported(server, b"n", user="u")
    assert (report.exit_code, report.restarts) == (0, 1)
    assert len(kept.entries) == 500


def test_a_lost_server_ends_with_3_and_whole_lines(fresh_server: FreshServer):
    server = fresh_server()
    server.fill("n:", 20_000)
    kept = Kept()
    kept.before = lambda: server.kill9() if len(kept.data) > 100_000 else None
    report, kept = exported(server, b"n", kept=kept, timeout=0.5)
    assert (report.exit_code, report.stopped) == (3, "connection")
    assert 0 < report.entries < 20_000
    assert not report.whole
    assert len(kept.entries) == report.entries


def test_a_server_that_is_not_there_raises(fresh_server: FreshServer):
    server = fresh_server()
    server.kill9()
    with pytest.raises(UnreachableError):
        exported(server, b"n")


def test_stopping_leaves_whole_lines_and_a_report(server: ServerProcess):
    server.fill("n:", 20_000)
    kept, stop = Kept(), Stop()
    kept.before = lambda: stop.set("interrupted") if len(kept.data) > 50_000 else None
    report, kept = exported(server, b"n", kept=kept, stop=stop)
    assert (report.stopped, report.exit_code, report.whole) == ("interrupted", 1, False)
    assert 0 < report.entries < 20_000
    assert len(kept.entries) == report.entries


def test_a_reader_who_stalls_does_not_hold_up_the_end(server: ServerProcess):
    """A pipe that nobody reads from: within a second of the signal."""
    server.fill("n:", 20_000)
    kept, stop, release = Kept(), Stop(), threading.Event()
    kept.before = lambda: None if not kept.data else (release.wait(20), None)[1]

    async def work(store: Store) -> tuple[float, ExportReport]:
        exporting = asyncio.create_task(export_with(store, kept, b"n", stop=stop))
        await asyncio.sleep(0.5)
        start = time.monotonic()
        stop.set("interrupted")
        report = await exporting
        return time.monotonic() - start, report

    seconds, report = run(server, work)
    release.set()
    assert seconds < 1.2
    assert report.stopped == "interrupted"
    assert report.entries > 0


def test_what_writing_raises_ends_the_export(server: ServerProcess):
    """A full disk: our error is reported with what is there, others are raised."""
    server.fill("n:", 20_000)
    kept = Kept()

    def fail(error: Exception) -> Callable[[], None]:
        def before() -> None:
            if kept.data:
                raise error

        return before

    kept.before = fail(OutputError("full"))
    report, _ = exported(server, b"n", kept=kept)
    assert (report.exit_code, report.stopped, report.whole) == (1, "output", False)
    assert report.entries > 0
    kept.before = fail(OSError("other"))
    with pytest.raises(OSError, match="other"):
        exported(server, b"n", kept=kept)


def test_keys_that_vanish_meanwhile_are_left_out(server: ServerProcess):
    """They are gone, which is no failure."""
    server.fill("n:", 3000)
    kept = Kept()

    def remove() -> None:
        kept.before = lambda: None
        server.raw("FLUSHALL")

    kept.before = remove
    report, kept = exported(server, b"n", kept=kept)
    assert (report.exit_code, report.failed) == (0, 0)
    assert 0 < len(kept.entries) < 3000


def test_a_type_that_changes_while_it_is_asked_for_is_carried(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """STRLEN saw a string, GET a list."""
    server.raw("SET", "n:a", "1")
    ask = room._Export._ask

    async def late(self: Any, *args: Any) -> None:
        server.raw("DEL", "n:a")
        server.raw("RPUSH", "n:a", "1")
        await ask(self, *args)

    monkeypatch.setattr(room._Export, "_ask", late)
    report, kept = exported(server, b"n")
    assert (report.exit_code, report.entries) == (0, 1)
    assert kept.entries[b"n:a"].dump
