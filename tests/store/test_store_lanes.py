"""Batch behind batch down a lane: they settle in order, and what is told of each is true."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cachectl.errors import BusyError, CachectlError
from cachectl.models import Entries, Entry
from cachectl.store.pace import FULL, GENTLE, STEADY, Pace, Sizes
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN, UNSENT, WINDOW
from cachectl.store.writer import Writer, Writing
from tests.conftest import FreshServer
from tests.plans import CUT, Chunk, Step, busy_for_the_first, held, passes, rejects
from tests.proxies import Proxy
from tests.servers import ReplyError, ServerProcess
from tests.store.stores import PATIENT, entry, final, run, timed, until

MB = 1_000_000

HUNDREDS = Sizes(page=100, burst=100, ahead=0)


def writing(entries: Sequence[Entry], *, only_missing: bool = False) -> Writing:
    return Writing(Entries.of(entries), only_missing=only_missing)


def batches_of(count: int, size: int, value: bytes = b"") -> list[Writing]:
    """Return batches whose keys count through: `k0`, `k1` …; a value begins with its key."""
    names = [b"k%d" % i for i in range(count * size)]
    entries = [entry(name, name + b"=" + value) for name in names]
    return [writing(entries[i * size : (i + 1) * size]) for i in range(count)]


async def all_settled(writer: Writer, batches: Sequence[Writing]) -> list[Writing]:
    """Send the batches and wait for all of them; return them as they were settled."""
    settled = []
    for batch in batches:
        settled += await writer.send(batch)
    return settled + await writer.land()


def told(batches: Sequence[Writing]) -> list[Any]:
    return [reply for batch in batches for reply in batch.outcomes.replies]


async def every_slot_is_there(store: Store, size: int) -> None:
    """Read by `size` callers at once: a lost slot would hold one of them up."""
    async with asyncio.timeout(5):
        await asyncio.gather(*(store.get(b"nothing") for _ in range(size)))


@pytest.mark.parametrize("sizes", [GENTLE, FULL])
def test_batches_settle_in_the_order_of_sending(server: ServerProcess, sizes: Any) -> None:
    """Of any size, one behind the other: each comes back once, in order, whole, and is there."""
    batches = [batch for n in (1, 500, 3, 1000, 7) for batch in batches_of(4, n)]

    async def work(store: Store) -> None:
        store.pace = Pace(sizes)
        async with store.writer() as writer:
            assert await all_settled(writer, batches) == batches
        assert set(told(batches)) == {True}
        names = [b"k%d" % i for i in range(4000)]
        assert final(await store.get_many(names)) == [name + b"=" for name in names]

    run(server, work)


def test_a_rejection_in_an_earlier_batch_resends_the_later_writes_of_its_key(
    server: ServerProcess,
) -> None:
    """BUSY for the first batch only: the last write of the key, two batches later, stands."""
    batches = [
        writing([entry(b"k", b"value-0"), entry(b"a", b"value-1")]),
        writing([entry(b"k", b"value-2"), entry(b"b", b"value-3")]),
        writing([entry(b"c", b"value-4"), entry(b"k", b"value-5")]),
    ]
    with Proxy(server, rejects(1, b"value-0")) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.ping()
            async with store.writer() as writer:
                assert await all_settled(writer, batches) == batches

        run(proxy, work)
    assert told(batches) == [True] * 6
    assert server.raw("MGET", "k", "a", "b", "c") == [
        b"value-5", b"value-1", b"value-3", b"value-4",
    ]  # fmt: skip
    assert [batch.outcomes.resent for batch in batches] == [set(), {0}, {1}]


def test_a_script_in_the_middle_of_several_batches(server: ServerProcess) -> None:
    """A real BUSY at the first bytes: all batches are written in the end, the last value stands."""
    batches = [
        writing([entry(b"k", b"value-%d" % n), entry(b"own-%d" % n, b"x" * 200)]) for n in range(40)
    ]
    with Proxy(server, busy_for_the_first(server, b"value-0")) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            async with store.writer() as writer:
                assert await all_settled(writer, batches) == batches

        run(proxy, work)
    assert told(batches) == [True] * 80
    assert server.raw("GET", "k") == b"value-39"
    assert server.raw("DBSIZE") == 41


def test_a_later_write_that_was_overtaken_goes_out_again_whatever_happens(
    server: ServerProcess,
) -> None:
    """Rejected, resent in small steps, and cut after the first: the last write stands, and is told."""
    writes = [
        entry(b"k", b"old"),
        *(entry(b"o%d" % i, b"x") for i in range(24)),
        entry(b"k", b"new"),
    ]
    rejecting = rejects(20, b"old")
    seen: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        again = chunk.direction == "up" and b"old" in chunk.data
        seen.extend([chunk.connection] * again)
        yield from rejecting(chunk)
        if chunk.direction == "down" and len(seen) == 2:
            seen.append(0)
            yield CUT

    with Proxy(server, plan) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL, max_latency=10.0)
            brake = store.pace.brake
            assert brake is not None
            await store.ping()
            async with store.writer() as writer:
                batch = writing(writes)
                brake.share = 1.0
                sending = asyncio.ensure_future(writer.send(batch))
                await until(lambda: seen)
                brake.share = brake.LEAST  # from now on, 7 commands a step
                assert [*await sending, *await writer.land()] == [batch]
                assert batch.outcomes.replies == [True] * 26

        run(proxy, work)
    assert len(seen) == 3
    assert server.raw("GET", "k") == b"new"


@pytest.mark.parametrize("pace", [GENTLE, FULL])
def test_after_a_lane_gave_up_all_that_follows_is_unsent(
    fresh_server: FreshServer, pace: Any
) -> None:
    """The server is gone: each batch comes back, with the error; nothing is made up, or tried again."""
    server = fresh_server()
    batches = batches_of(6, 50)

    async def work(store: Store) -> None:
        store.pace = Pace(pace)
        async with store.writer() as writer:
            settled = await all_settled(writer, batches[:2])
            server.kill9()
            settled += await all_settled(writer, batches[2:3])
            seconds, rest = await timed(all_settled(writer, batches[3:]))
            assert isinstance(rest, list)
            assert seconds < 0.2  # it is not waited for once more
            assert settled + rest == batches
        assert told(batches[:2]) == [True] * 100
        assert set(told(batches[2:3])) <= {UNKNOWN, UNSENT}
        assert set(told(batches[3:])) == {UNSENT}
        errors = [batch.outcomes.error for batch in batches]
        assert errors[:2] == [None, None]
        assert errors[2] is not None
        assert all(error is errors[2] for error in errors[2:])

    run(server, work, PATIENT._replace(total=0.5))


@pytest.mark.parametrize("sizes", [HUNDREDS, STEADY])
@pytest.mark.parametrize("answers", [0, 1, 250, 777])
def test_cancelled_in_the_middle_it_says_what_was_sent_and_answered(
    server: ServerProcess, sizes: Any, answers: int
) -> None:
    """`so_far`: as many True as replies came through, the others sent are UNKNOWN, the rest UNSENT."""
    batches = batches_of(8, 250)
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(sizes)
            await store.ping()
            proxy.plan = held(
                threading.Event(), after=proxy.bytes["down"] + answers * len(b"+OK\r\n")
            )
            async with store.writer() as writer:
                task = asyncio.ensure_future(all_settled(writer, batches))
                steps = [i + j for i in range(0, 2000, 250) for j in (100, 200, 250)]
                sent = min(s for s in steps if s > answers) if sizes is HUNDREDS else 2000
                await until(lambda: server.raw("DBSIZE") == sent)
                await asyncio.sleep(0.1)  # the replies that are let through are read
                task.cancel()
                await asyncio.wait([task])
            replies = [reply for batch in batches for reply in batch.so_far().replies]
            assert replies == (
                [True] * answers + [UNKNOWN] * (sent - answers) + [UNSENT] * (2000 - sent)
            )
            proxy.plan = passes
            proxy.cut()
            await every_slot_is_there(store, 2)

        run(proxy, work, pool_size=2)


def test_cancelled_while_it_is_sent_again_it_does_not_say_refused(server: ServerProcess) -> None:
    """Rejected, then sent again, and cancelled before the answer: it is UNKNOWN, and written."""
    rejecting = rejects(2, b"value-0")
    batches = [
        writing([entry(b"k%d" % i, b"value-%d" % i) for i in range(n * 4, n * 4 + 4)])
        for n in range(2)
    ]
    with Proxy(server) as proxy:
        seen: list[int] = []

        def plan(chunk: Chunk) -> Iterator[Step]:
            if chunk.direction == "up" and b"value-0" in chunk.data:
                seen.append(chunk.connection)
            if chunk.direction == "up" or len(seen) < 2:
                yield from rejecting(chunk)

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.ping()
            proxy.plan = plan
            async with store.writer() as writer:
                task = asyncio.ensure_future(all_settled(writer, batches))
                await until(lambda: server.raw("DBSIZE") == 8)
                task.cancel()
                await asyncio.wait([task])
            replies = [reply for batch in batches for reply in batch.so_far().replies]
            assert replies[:2] == [UNKNOWN] * 2
            assert not any(isinstance(reply, CachectlError) for reply in replies)
            assert UNSENT not in replies

        run(proxy, work)


def test_cancelled_while_the_rest_is_sent_it_does_not_say_unsent(server: ServerProcess) -> None:
    """The connection broke, the rest goes out on another, unanswered: UNKNOWN, for it is written."""
    batch = writing([entry(b"k%d" % i, b"v" * 100) for i in range(300)])
    with Proxy(server) as proxy:

        def plan(chunk: Chunk) -> Iterator[Step]:
            first = chunk.connection == 1
            if not first and chunk.direction == "down" and chunk.data.startswith(b"+OK"):
                return  # the answers are lost
            yield chunk.data
            if first and chunk.direction == "down":
                yield CUT  # the first hundred are answered

        async def work(store: Store) -> None:
            store.pace = Pace(HUNDREDS)
            await store.ping()
            proxy.plan = plan
            async with store.writer() as writer:
                task = asyncio.ensure_future(all_settled(writer, [batch]))
                await until(lambda: server.raw("DBSIZE") == 200)
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.wait([task])
            replies = batch.so_far().replies
            assert replies == [True] * 100 + [UNKNOWN] * 100 + [UNSENT] * 100

        run(proxy, work)


def test_cancelled_while_a_set_nx_is_looked_up_it_does_not_say_skipped(
    server: ServerProcess,
) -> None:
    """Written, cut, sent again and found there: until it is told whose it is, it is UNKNOWN."""
    batch = writing([entry(b"k%d" % i, b"v", 100) for i in range(10)], only_missing=True)
    looked = threading.Event()
    with Proxy(server) as proxy:

        def silent(chunk: Chunk) -> Iterator[Step]:
            if chunk.direction == "up" and b"PTTL" in chunk.data:
                looked.set()
            if chunk.direction == "up" or not looked.is_set():
                yield chunk.data

        async def work(store: Store) -> None:
            await store.ping()
            proxy.plan = held(threading.Event())
            async with store.writer() as writer:
                task = asyncio.ensure_future(all_settled(writer, [batch]))
                await until(lambda: server.raw("DBSIZE") == 10)
                proxy.plan = silent
                proxy.cut()
                await until(looked.is_set)
                task.cancel()
                await asyncio.wait([task])
            assert batch.so_far().replies == [UNKNOWN] * 10

        run(proxy, work)


def test_the_window_holds_across_batches(server: ServerProcess) -> None:
    """However many batches are sent, no more bytes than the window and one step wait for answers."""
    batches = batches_of(20, 40, b"x" * 10_000)
    gate = threading.Event()
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.ping()
            proxy.plan = held(gate)
            before = proxy.bytes["up"]
            async with store.writer() as writer:
                task = asyncio.ensure_future(all_settled(writer, batches))
                await until(lambda: proxy.bytes["up"] - before > WINDOW / 2)
                await asyncio.sleep(0.2)
                assert proxy.bytes["up"] - before <= WINDOW
                assert not task.done()
                gate.set()
                assert await task == batches

        run(proxy, work)
    assert server.raw("DBSIZE") == 800


def test_of_values_that_nobody_knows_ten_are_asked_for_first(server: ServerProcess) -> None:
    """Of sixty values of 2 MB, ten are asked for, and later no more; of small ones soon hundreds."""
    server.fill("big", 60, "x" * 2 * MB)
    server.fill("small", 2000, "x")
    asked: list[int] = []
    gate = threading.Event()

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up":
            asked.append(chunk.data.count(b"GET\r\n"))
        elif not gate.is_set():
            yield gate
        yield chunk.data

    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.ping()
            proxy.plan = plan
            task = asyncio.ensure_future(store.get_many([b"big%d" % i for i in range(60)]))
            await until(lambda: sum(asked) >= 10)
            await asyncio.sleep(0.1)
            assert sum(asked) == 10
            gate.set()
            assert list(map(len, final(await task))) == [2 * MB] * 60
            assert max(asked) <= 10
            assert sum(asked) == 60
            asked.clear()
            final(await store.get_many([b"small%d" % i for i in range(2000)]))
            assert max(asked) > 100

        run(proxy, work)


@pytest.mark.parametrize("only_missing", [False, True])
@pytest.mark.parametrize("sizes", [GENTLE, FULL])
def test_a_connection_closed_between_two_batches_is_replaced_without_loss(
    server: ServerProcess, sizes: Any, only_missing: bool
) -> None:
    """CLIENT KILL after each batch: all is written, and told as written."""
    entries = [entry(b"k%d" % i, b"%d" % i, 100) for i in range(300)]
    batches = [writing(entries[i : i + 30], only_missing=only_missing) for i in range(0, 300, 30)]

    async def work(store: Store) -> int:
        store.pace = Pace(sizes)
        killed, settled = 0, []
        async with store.writer() as writer:
            for number, batch in enumerate(batches):
                settled += await writer.send(batch)
                if number % 2:  # nothing is on its way, and the connection was given back
                    settled += await writer.land()
                await asyncio.sleep(0.01)
                killed += server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            settled += await writer.land()
        assert settled == batches
        return killed

    assert run(server, work) >= 5
    assert told(batches) == [True] * 300
    assert server.raw("MGET", *(e.key for e in entries)) == [e.value for e in entries]


def test_packed_and_unpacked_commands_are_sent_again_together(server: ServerProcess) -> None:
    """A batch of small values, one with a dump, one of 2 MB, all cut at once: all are written."""
    server.raw("SET", "d", "dumped")
    dump = server.raw("DUMP", "d")
    batches = [
        writing([entry(b"s%d" % i, b"small") for i in range(5)]),
        writing([entry(b"d1", dump, dump=True), entry(b"d2", b"plain")]),
        writing([entry(b"t%d" % i, b"small") for i in range(5)]),
        writing([entry(b"big", b"x" * 2 * MB)]),
    ]
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.ping()
            proxy.plan = held(threading.Event())
            async with store.writer() as writer:
                task = asyncio.ensure_future(all_settled(writer, batches))
                await until(lambda: server.raw("EXISTS", "t4"))
                proxy.plan = passes
                proxy.cut()
                assert await task == batches

        run(proxy, work)
    assert told(batches) == [True] * 13
    assert server.raw("MGET", "s0", "d1", "d2", "t4") == [b"small", b"dumped", b"plain", b"small"]
    assert server.raw("STRLEN", "big") == 2 * MB


def test_a_pause_of_whoever_brings_the_batches_is_not_the_servers_silence(
    server: ServerProcess,
) -> None:
    """Longer than the patience, with all answered before: the next batch has all of it again."""
    first, second = batches_of(2, 10)
    with Proxy(server, latency=0.02) as proxy:

        async def work(store: Store) -> None:
            async with store.writer() as writer:
                await all_settled(writer, [first])
                await asyncio.sleep(0.6)
                await all_settled(writer, [second])

        run(proxy, work, PATIENT._replace(total=0.4, answer=0.4, connect=0.4))
    assert second.outcomes.error is None
    assert told([first, second]) == [True] * 20


@pytest.mark.parametrize("sizes", [GENTLE, FULL])
def test_what_waits_for_its_turn_is_unsent_and_what_was_sent_is_answered(
    server: ServerProcess, sizes: Any
) -> None:
    """A capped rate, cancelled: only the last step may be without its answer, at either pace."""
    batches = batches_of(3, 100)

    async def work(store: Store) -> None:
        store.pace = Pace(sizes, rate=200)
        step = store.pace.burst
        async with store.writer() as writer:
            task = asyncio.ensure_future(all_settled(writer, batches))
            await until(lambda: server.raw("DBSIZE") >= 100)
            task.cancel()
            await asyncio.wait([task])
        replies = [reply for batch in batches for reply in batch.so_far().replies]
        sent = server.raw("DBSIZE")
        assert replies.count(UNSENT) == 300 - sent > 0
        assert replies.count(UNKNOWN) <= step
        assert replies.count(True) == sent - replies.count(UNKNOWN)

    run(server, work)


def test_a_busy_server_that_stays_busy_ends_the_lane_with_its_words(server: ServerProcess) -> None:
    """Each batch comes back: rejected is our error at its place, the rest is UNSENT; none is True."""
    batches = batches_of(5, 20)
    server.raw("CONFIG", "SET", "lua-time-limit", "1")

    async def work(store: Store) -> None:
        store.pace = Pace(FULL)
        await store.ping()
        with server.connect() as script:
            script.send("EVAL", "while true do end", 0)
            await asyncio.sleep(0.1)
            async with store.writer() as writer:
                assert await all_settled(writer, batches) == batches
            server.raw("SCRIPT", "KILL")
            with pytest.raises(ReplyError):
                script.read()  # only now it has ended
        replies = told(batches)
        assert isinstance(replies[0], BusyError)
        assert all(reply is UNSENT or isinstance(reply, BusyError) for reply in replies)
        assert isinstance(batches[-1].outcomes.error, BusyError)

    run(server, work, PATIENT._replace(total=0.5))
    assert server.raw("DBSIZE") == 0
