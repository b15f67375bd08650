"""Silence is borne for as long as was said, all attempts together; a line that moves is not silent."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from time import monotonic
from typing import Any

import pytest

from cachectl.errors import SilenceError, UnreachableError
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN, UNSENT
from tests.conftest import FreshServer
from tests.plans import Chunk, Step, held
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, final, first_of, first_page, run, timed, unix, until

HALF = PATIENT._replace(answer=0.5, connect=0.5, total=0.5)
MB = 1_000_000

WORKS: dict[str, Callable[[Store], Coroutine[Any, Any, Any]]] = {
    "get": lambda store: store.get(b"k"),
    "set": lambda store: store.set(b"k", b"1"),
    "missing": lambda store: store.set(b"k", b"1", only="missing"),
    "describe": lambda store: store.describe(b"k"),
    "facts": lambda store: first_of(store.fact_pages(None, list, ["ttl"])),
    "pages": first_page,
    "writable": lambda store: store.writable(),
    "identity": lambda store: store.identity(),
    "ping": lambda store: store.ping(),
    "vitals": lambda store: store.vitals(),
}


@pytest.mark.parametrize("known", [False, True], ids=["at first contact", "later"])
@pytest.mark.parametrize("name", WORKS)
def test_a_stopped_server_is_borne_for_half_a_second(
    server: ServerProcess, name: str, *, known: bool
) -> None:
    """SIGSTOP: one silence for all attempts together, then exit 3."""

    async def work(store: Store) -> None:
        if known:
            await store.ping()
        server.sigstop()
        seconds, error = await timed(WORKS[name](store))
        assert isinstance(error, SilenceError)
        assert error.exit_code == 3
        assert 0.4 < seconds < 1.0
        if name in {"set", "missing"}:
            assert error.maybe_applied is known

    try:
        run(server, work, HALF)
    finally:
        server.sigcont()


def test_a_batch_to_a_stopped_server(server: ServerProcess) -> None:
    """What was sent is unknown, what was not is unsent."""

    async def work(store: Store) -> None:
        await store.ping()
        server.sigstop()
        start = monotonic()
        outcomes = await store.write([entry(b"k%d" % i, b"x" * MB) for i in range(20)])
        assert 0.4 < monotonic() - start < 1.0
        assert isinstance(outcomes.error, SilenceError)
        assert outcomes.replies[0] is UNKNOWN
        assert outcomes.replies[-1] is UNSENT

    try:
        run(server, work, HALF)
    finally:
        server.sigcont()


def test_a_paused_server(any_server: ServerProcess) -> None:
    """CLIENT PAUSE answers nobody, and is borne as long."""

    async def work(store: Store) -> None:
        await store.ping()
        any_server.raw("CLIENT", "PAUSE", "3000")
        for name in ("get", "set"):
            seconds, error = await timed(WORKS[name](store))
            assert isinstance(error, SilenceError)
            assert "500ms" in error.message
            assert 0.4 < seconds < 1.0

    # one attempt, and no bound of all: else what went to finding a connection is missing
    run(any_server, work, HALF._replace(attempts=1, total=None))


def test_many_attempts_share_one_patience(server: ServerProcess) -> None:
    """Ten attempts of 0.2 s each, 0.5 s in all: over after 0.5 s."""
    patience = PATIENT._replace(answer=0.2, connect=0.2, attempts=10, total=0.5)

    async def work(store: Store) -> None:
        await store.ping()
        server.sigstop()
        for attempt in (store.get(b"k"), store.exist([b"k"])):
            seconds, outcome = await timed(attempt)
            error = outcome if isinstance(outcome, Exception) else outcome.error  # type: ignore[union-attr]
            assert isinstance(error, SilenceError)
            assert 0.4 < seconds < 0.8

    try:
        run(server, work, patience)
    finally:
        server.sigcont()


def test_applications_bear_so_many_attempts(server: ServerProcess) -> None:
    """Without a total: three attempts of 0.1 s, for one key and for many."""
    patience = PATIENT._replace(answer=0.1, connect=0.1, attempts=3, total=None)

    async def work(store: Store) -> None:
        await store.ping()
        server.sigstop()
        for attempt in (store.get(b"k"), store.get_many([b"k", b"l"])):
            seconds, outcome = await timed(attempt)
            error = outcome if isinstance(outcome, Exception) else outcome.error  # type: ignore[union-attr]
            assert isinstance(error, SilenceError)
            assert 0.28 < seconds < 0.6

    try:
        run(server, work, patience)
    finally:
        server.sigcont()


@pytest.mark.parametrize("name", ["get", "set", "describe", "pages", "writable"])
def test_a_server_that_wakes_in_time(server: ServerProcess, name: str) -> None:
    """SIGSTOP, SIGCONT within the patience: as if nothing had been."""
    server.raw("SET", "k", "1")

    async def work(store: Store) -> None:
        await store.ping()
        server.sigstop()
        task = asyncio.create_task(WORKS[name](store))
        batch = asyncio.create_task(store.write([entry(b"b%d" % i, b"v") for i in range(1000)]))
        await asyncio.sleep(0.3)
        assert not task.done()
        assert not batch.done()
        server.sigcont()
        await task
        assert final(await batch) == [True] * 1000

    try:
        run(server, work)
    finally:
        server.sigcont()


def test_ten_mb_over_a_slow_line(server: ServerProcess) -> None:
    """3 MB/s: more than three seconds each way, and never one of silence."""
    patience = PATIENT._replace(answer=1.0, total=1.0)
    value = bytes(10 * MB)
    with Proxy(server, rate=3 * MB) as proxy:

        async def work(store: Store) -> None:
            start = monotonic()
            assert await store.set(b"k", value)
            assert final(await store.write([entry(b"l", value)])) == [True]
            assert monotonic() - start > 5
            assert await store.get(b"k") == value
            assert final(await store.get_many([b"l"])) == [value]

        run(proxy, work, patience)


def test_slow_replies_one_by_one_are_no_silence(server: ServerProcess) -> None:
    """Each reply comes 0.3 s after the last: six of them are more than a second, and no silence."""

    def one_by_one(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up" or not chunk.data.startswith(b":"):
            yield chunk.data
            return
        for reply in chunk.data.split(b"\r\n")[:-1]:
            yield 0.3
            yield reply + b"\r\n"

    with Proxy(server, one_by_one) as proxy:

        async def work(store: Store) -> None:
            start = monotonic()
            assert final(await store.exist([b"k"] * 6)) == [0] * 6
            assert monotonic() - start > 1.5
            assert proxy.connections == 1

        run(proxy, work, PATIENT._replace(answer=1.0, total=1.0))


def test_a_server_200_ms_away(server: ServerProcess) -> None:
    """Latency is no silence, and many commands share their round trips."""
    with Proxy(server, latency=0.1) as proxy:

        async def work(store: Store) -> None:
            assert await store.set(b"k", b"1")
            assert await store.get(b"k") == b"1"
            start = monotonic()
            writes = [entry(b"k%d" % i, b"x" * 100) for i in range(5000)]
            assert final(await store.write(writes)) == [True] * 5000
            assert monotonic() - start < 1.5
            keys = {key async for page in store.pages(count=5000) for key in page.keys}
            assert len(keys) == 5001

        run(proxy, work, PATIENT._replace(answer=1.0, connect=1.0, total=1.0))


def test_a_busy_pool_is_waited_for(server: ServerProcess) -> None:
    """Twenty callers, one connection: all are served; one that never comes back is told."""

    async def work(store: Store) -> None:
        assert await asyncio.gather(*(store.get(b"k") for _ in range(20))) == [None] * 20
        node = store._topology.node_for(b"k")
        async with node.lend(1.0):
            with pytest.raises(SilenceError, match="all 1 connections were busy") as caught:
                await store.get(b"k")
            assert not caught.value.maybe_applied
        assert await store.get(b"k") is None

    run(server, work, HALF, pool_size=1)


def test_a_known_server_that_is_away_is_waited_for(fresh_server: FreshServer) -> None:
    """Killed and started again a second later, over TCP and over its socket: no command fails."""
    server = fresh_server(tcp=True)
    for url in (server.url, unix(server)):

        async def work(store: Store) -> None:
            await store.set(b"k", b"1")
            server.stop()  # the socket's file goes too
            tasks = [
                asyncio.create_task(each)
                for each in (
                    store.set(b"a", b"1"),
                    store.set(b"b", b"2", only="missing"),
                    store.write([entry(b"c", b"3")]),
                    first_page(store),
                    store.writable(),
                )
            ]
            await asyncio.sleep(1.0)
            assert not any(task.done() for task in tasks)
            await asyncio.to_thread(server.start)
            await asyncio.gather(*tasks)
            assert await store.get(b"b") == b"2"

        run(url, work, PATIENT._replace(backoff=0.05))


def test_a_known_server_that_stays_away(fresh_server: FreshServer) -> None:
    """It is waited for as long as the patience bears, and no longer."""
    server = fresh_server(tcp=True)

    async def work(store: Store) -> None:
        await store.ping()
        server.kill9()
        for attempt in (store.get(b"k"), store.exist([b"k"]), first_page(store)):
            seconds, outcome = await timed(attempt)
            error = outcome if isinstance(outcome, Exception) else outcome.error  # type: ignore[union-attr]
            assert type(error) is UnreachableError
            assert 0.2 < seconds < 0.8

    run(server, work, HALF)


def test_behind_a_door_that_opens_to_nobody(server: ServerProcess) -> None:
    """A balancer that accepts and hangs up while its server is away: waited for just the same."""
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            await store.ping()
            proxy.refuse = True
            proxy.cut()
            await until(lambda: proxy.open == 0)
            tasks = [
                asyncio.create_task(each)
                for each in (store.get(b"k"), store.exist([b"k"]), first_page(store))
            ]
            await asyncio.sleep(0.6)
            assert not any(task.done() for task in tasks)
            proxy.refuse = False
            await asyncio.gather(*tasks)

        run(proxy, work)


def test_a_doubt_stays_a_doubt(server: ServerProcess) -> None:
    """Sent, cut, and then away: that the last attempt was refused does not make it unsent."""
    gate = threading.Event()
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            await store.ping()
            proxy.plan = held(gate)
            task = asyncio.create_task(timed(store.set(b"k", b"1")))
            await until(lambda: server.raw("EXISTS", "k"))
            proxy.refuse = True
            proxy.cut()
            _, error = await task
            assert isinstance(error, UnreachableError)
            assert error.maybe_applied

        run(proxy, work, HALF)
        gate.set()
