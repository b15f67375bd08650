"""What a stream says of its commands is what the server has, whatever happens to the connection."""

import asyncio
import random
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from cachectl.errors import (
    BusyError,
    LostError,
    UnreachableError,
    WrongTypeError,
)
from cachectl.store.store import Store
from cachectl.store.stream import PART, UNKNOWN, UNSENT, WINDOW, Outcomes, Work
from tests.conftest import FreshServer
from tests.plans import (
    CUT,
    Chunk,
    Plan,
    Step,
    byte_by_byte,
    cut_after,
    delayed,
    held,
    passes,
    random_cuts,
)
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, final, run, timed, unix, until

MB = 1_000_000


def cutting(seed: int, share: float, met: list[int]) -> Plan:
    """Do as `random_cuts`, and count."""
    plan = random_cuts(seed, share)

    def counted(chunk: Chunk) -> Iterator[Step]:
        for step in plan(chunk):
            if step == CUT:
                met.append(chunk.connection)
            yield step

    return counted


async def write_and_check(store: Store, server: ServerProcess, dice: random.Random) -> None:
    """Entry, read, look and unlink a batch; hold each answer against the server itself."""
    names = [b"key-%d-%d" % (dice.randrange(10**9), i) for i in range(dice.randint(1, 400))]
    writes = [entry(name, name * dice.randint(1, 40)) for name in names]
    assert final(await store.write(writes)) == [True] * len(names)
    with server.connect() as raw:
        there = raw.call("MGET", *names)
    assert there == [write.value for write in writes]
    assert final(await store.get_many(names)) == there
    outcomes = await store.unlink(names)
    replies = final(outcomes)
    for place, reply in enumerate(replies):
        assert reply == 1 or place in outcomes.resent, "removed by us, and told as not there"
    with server.connect() as raw:
        assert raw.call("EXISTS", *names) == 0


@pytest.mark.parametrize("seed", range(4))
def test_cut_anywhere(server: ServerProcess, seed: int) -> None:
    """Connections break at random bytes, 40 times and more: nothing is lost, mixed up or made up."""
    met: list[int] = []
    dice = random.Random(seed)
    with Proxy(server, cutting(seed, 0.1, met)) as proxy:

        async def work(store: Store) -> None:
            while len(met) < 40:
                await write_and_check(store, server, dice)

        run(proxy, work)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_cut_at_every_byte(server: ServerProcess, direction: str) -> None:
    """The first connection breaks after byte 1, 2, 3 … of either way; the batch is whole each time."""
    names = [b"k%d" % i for i in range(5)]
    for position in range(1, 400 if direction == "up" else 150, 3):
        server.raw("FLUSHALL")
        with Proxy(server, cut_after(position, direction)) as proxy:  # type: ignore[arg-type]

            async def work(store: Store) -> None:
                outcomes = await store.write([entry(name, name) for name in names])
                assert final(outcomes) == [True] * 5
                assert final(await store.get_many(names)) == names
                assert await store.get(b"k3") == b"k3"

            run(proxy, work)
            assert server.raw("MGET", *names) == names


@pytest.mark.parametrize("plan", [byte_by_byte, delayed(0.01)], ids=["byte by byte", "delayed"])
def test_replies_that_come_in_crumbs(server: ServerProcess, plan: Plan) -> None:
    """However the bytes are split, each reply is its command's."""
    with Proxy(server, plan) as proxy:

        async def work(store: Store) -> None:
            names = [b"k%d" % i for i in range(100)]
            assert final(await store.write([entry(n, n * 3) for n in names])) == [True] * 100
            assert final(await store.get_many(names)) == [name * 3 for name in names]

        run(proxy, work)


def test_unlink_sent_again_says_so(server: ServerProcess) -> None:
    """The replies are lost after the keys are gone: 0 came back, and `resent` says what that means."""
    server.fill("k", 10)
    gate = threading.Event()
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            await store.ping()
            proxy.plan = held(gate)
            task = asyncio.create_task(store.unlink([b"k%d" % i for i in range(10)]))
            await until(lambda: server.raw("DBSIZE") == 0)
            proxy.plan = byte_by_byte
            proxy.cut()
            outcomes = await task
            assert final(outcomes) == [0] * 10
            assert outcomes.resent == set(range(10))

        run(proxy, work)
        gate.set()


def test_only_what_was_unanswered_is_resent(server: ServerProcess) -> None:
    """Half of the replies came before the cut: these are not asked twice."""
    server.fill("k", 10)
    names = [b"k%d" % i for i in range(10)]

    def cut_half_way(chunk: Chunk) -> Iterator[Step]:
        if chunk.connection == 1 and chunk.data.startswith(b":1\r\n"):
            yield b":1\r\n" * 5
            yield CUT
        else:
            yield chunk.data

    with Proxy(server, cut_half_way) as proxy:

        async def work(store: Store) -> None:
            outcomes = await store.unlink(names)
            assert final(outcomes)[:5] == [1] * 5
            assert outcomes.resent == set(range(5, 10))

        run(proxy, work)
    assert server.raw("DBSIZE") == 0


def stats(server: ServerProcess, command: str) -> int:
    """Return how often a command was called."""
    told = server.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
    return int(told.split("=")[1].split(",")[0])


@pytest.mark.parametrize("total", [None, 1.0, 5.0])
def test_a_value_that_breaks_every_connection(
    any_server: ServerProcess, total: float | None
) -> None:
    """Over proto-max-bulk-len: that one is left unknown or refused, its neighbours are written."""
    any_server.raw("CONFIG", "SET", "proto-max-bulk-len", 1024 * 1024)
    sizes = [10, 10, 3 * MB, 10, 2 * MB, 3 * MB, 10]
    writes = [entry(b"k%d" % i, b"x" * size) for i, size in enumerate(sizes)]

    async def work(store: Store) -> None:
        seconds, outcomes = await timed(store.write(writes))
        assert isinstance(outcomes, Outcomes)
        replies = final(outcomes)
        assert seconds < 5
        for size, reply in zip(sizes, replies, strict=True):
            if size == 10:
                assert reply is True
            else:
                assert reply is UNKNOWN or "bulk length" in str(reply)

    run(any_server, work, PATIENT._replace(total=total))
    run(unix(any_server), work, PATIENT._replace(total=total))
    assert any_server.raw("DBSIZE") == 4


def test_a_line_on_which_nothing_gets_through_is_given_up(server: ServerProcess) -> None:
    """It greets, and breaks on every command: some are tried, and then it is the line's fault."""

    def greets_only(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up" and b"HELLO" not in chunk.data:
            yield CUT
        else:
            yield chunk.data

    with Proxy(server, greets_only) as proxy:

        async def work(store: Store) -> None:
            names = [b"k%d" % i for i in range(500)]
            seconds, outcomes = await timed(store.get_many(names))
            assert isinstance(outcomes, Outcomes)
            assert isinstance(outcomes.error, LostError)
            assert seconds < 5
            assert proxy.connections < 50
            for attempt in (store.describe(b"k"), store.ttl(b"k")):
                _, error = await timed(attempt)
                assert isinstance(error, LostError)

        run(proxy, work)


def test_killed_and_restarted_in_the_middle(fresh_server: FreshServer) -> None:
    """kill -9 while 40,000 entries go out, back within the patience: each True is told once and true."""
    server = fresh_server(tcp=True)
    writes = [entry(b"k%d" % i, b"v" * 500) for i in range(40_000)]

    async def work(store: Store) -> None:
        await store.ping()
        task = asyncio.create_task(store.write(writes))
        await until(lambda: server.raw("DBSIZE") > 1000)
        server.kill9()
        await asyncio.to_thread(server.start)
        outcomes = await task
        assert final(outcomes) == [True] * len(writes)
        # those answered before the kill are gone with the old server; what was resent is there
        there = final(await store.exist([write.key for write in writes]))
        assert all(there[place] for place in outcomes.resent)
        first = there.index(1)
        assert all(there[first:])

    run(server, work, PATIENT._replace(backoff=0.05))


def test_a_server_that_stays_away(fresh_server: FreshServer) -> None:
    """The error says away; what was sent is unknown, the rest was never sent."""
    server = fresh_server(tcp=True)
    writes = [entry(b"k%d" % i, b"v" * 10_000) for i in range(1000)]
    gate, holds = threading.Event(), threading.Event()
    begins: list[int] = []

    def fifty_answers(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up":
            yield chunk.data
            return
        begins.append(chunk.offset)
        now = max(begins[0] + 50 * len(b"+OK\r\n") - chunk.offset, 0)
        yield chunk.data[:now]
        if chunk.data[now:]:
            holds.set()
            yield gate

    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            await store.ping()
            proxy.plan = fifty_answers
            task = asyncio.create_task(store.write(writes))
            await until(lambda: server.raw("DBSIZE") > 60)
            await until(holds.is_set)
            proxy.refuse = True
            server.kill9()
            seconds, outcomes = await timed(task)
            assert isinstance(outcomes, Outcomes)
            assert isinstance(outcomes.error, UnreachableError)
            assert 0.2 < seconds < 2
            replies = outcomes.replies
            assert replies[:50] == [True] * 50
            unknown = replies.count(UNKNOWN)
            assert replies[50 : 50 + unknown] == [UNKNOWN] * unknown
            assert 10 <= unknown <= WINDOW // 10_000 + 1
            assert replies[50 + unknown :] == [UNSENT] * (950 - unknown)
            assert outcomes.resent == set()

        run(proxy, work, PATIENT._replace(answer=0.5, total=0.5))
        gate.set()


def test_a_hundred_values_of_10_mb_do_not_fill_memory(server: ServerProcess) -> None:
    """One at a time: what is packed and in flight stays far below the batch's gigabyte."""
    value = bytes(10 * MB)
    writes = [entry(b"k%d" % (i % 3), value) for i in range(100)]

    async def work(store: Store) -> None:
        await store.ping()
        tracemalloc.start()
        try:
            assert final(await store.write(writes)) == [True] * 100
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 45 * MB

    run(server, work)


def test_the_window_bounds_what_is_in_flight(server: ServerProcess) -> None:
    """While no reply comes, about a megabyte goes out and no more."""
    gate = threading.Event()
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            await store.ping()
            proxy.plan = held(gate)
            before = proxy.bytes["up"]
            task = asyncio.create_task(
                store.write([entry(b"k%d" % i, b"x" * 1000) for i in range(5000)])
            )
            await until(lambda: proxy.bytes["up"] - before > WINDOW - PART - 2000)
            proxy.plan = passes
            assert not task.done()
            assert proxy.bytes["up"] - before <= WINDOW
            gate.set()
            proxy.cut()
            assert final(await task) == [True] * 5000

        run(proxy, work)


def test_what_is_packed_together() -> None:
    """As many commands as may be, but not many large ones: one that is larger alone."""
    small, large = (b"SET", b"k", b"x"), (b"SET", b"k", b"x" * PART)
    work = Work([small, small, small, large, small])
    assert work.pack(2)[1] == 2
    packed, count, _ = work.pack(100)
    assert count == 4
    assert PART < len(packed) < PART + 200
    work.sent = 4
    assert work.pack(100)[1] == 1


def test_a_message_nobody_asked_for_ends_the_connection(server: ServerProcess) -> None:
    """A push would shift every later reply by one: the commands are sent again elsewhere."""
    server.raw("SET", "k", "1")

    def pushing(chunk: Chunk) -> Iterator[Step]:
        if chunk.connection == 1 and chunk.data.startswith(b"$"):
            yield b">2\r\n$10\r\ninvalidate\r\n*0\r\n"
        yield chunk.data

    with Proxy(server, pushing) as proxy:

        async def work(store: Store) -> None:
            assert await store.get(b"k") == b"1"
            assert proxy.connections == 2

        run(proxy, work)


def test_garbage_is_no_reply(server: ServerProcess) -> None:
    """Something else than the protocol in the middle: never taken for a value."""

    def garbled(chunk: Chunk) -> Iterator[Step]:
        value = chunk.direction == "down" and chunk.data.startswith(b"$")
        yield b"hello\r\n" if value else chunk.data

    server.raw("SET", "k", "1")
    with Proxy(server, garbled) as proxy:

        async def work(store: Store) -> None:
            with pytest.raises(UnreachableError, match="does not speak the Redis protocol"):
                await store.get(b"k")
            outcomes = await store.get_many([b"k"])
            assert isinstance(outcomes.error, UnreachableError)
            assert outcomes.replies == [UNKNOWN]

        run(proxy, work)


def test_a_refusal_at_its_own_place(any_server: ServerProcess) -> None:
    """One wrong type among many commands: the others are answered."""
    any_server.raw("RPUSH", "k1", "x")

    async def work(store: Store) -> None:
        first, refused, last = final(await store.get_many([b"k0", b"k1", b"k2"]))
        assert (first, last) == (None, None)
        assert isinstance(refused, WrongTypeError)
        assert not isinstance(refused, BusyError)
        assert stats(any_server, "get") >= 3

    run(any_server, work)
