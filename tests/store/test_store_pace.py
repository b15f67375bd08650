"""How hard bulk work pushes: the brake, the sizes of the steps, and the look at the latency."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.secrets import Credentials, Secret
from cachectl.operations.warm.plan import Warm
from cachectl.store.pace import FULL, GENTLE, MAX_PAUSE, Brake, Pace, Sizes
from cachectl.store.store import Store
from tests.operations.operating import entries, flush_with, warm_with
from tests.plans import Chunk, Step
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, final, run, until

LIMIT = 0.02


def over(brake: Brake, times: int = 1) -> Brake:
    for _ in range(times):
        brake.note(brake.limit * 2)
    return brake


@given(looks=st.lists(st.floats(0, 10), max_size=200), limit=st.floats(0.001, 5))
def test_the_share_is_halved_or_raised_a_little_and_stays_between_its_bounds(
    looks: list[float], limit: float
) -> None:
    """Whatever is seen: never under the least, never over the whole, and no other step."""
    brake = Brake(limit)
    for seen, latency in enumerate(looks, start=1):
        before = brake.share
        brake.note(latency)
        assert brake.LEAST <= brake.share <= 1
        recent = looks[max(seen - brake.RECENT, 0) : seen]
        late = sum(each > limit for each in recent)
        if late == 0:
            assert brake.share == min(before + brake.MORE, 1.0)
        elif late > len(recent) / 10 and len(recent) == brake.RECENT:
            assert brake.share == max(before / 2, brake.LEAST)


def test_one_late_look_among_ten_is_no_reason_and_two_are() -> None:
    """90 % of the recent looks are to stay under the limit."""
    brake = Brake(LIMIT)
    for _ in range(9):
        brake.note(LIMIT / 2)
    assert over(brake).share == 1
    assert over(brake).share == 0.5


def test_the_share_falls_at_once_and_comes_back_slowly() -> None:
    """Six late looks leave the least; it takes fifty good ones to have everything again."""
    brake = over(Brake(LIMIT), 6)
    assert brake.share == brake.LEAST
    assert over(brake, 100).share == brake.LEAST
    shares = []
    for _ in range(brake.RECENT + 50):
        brake.note(LIMIT / 2)
        shares.append(brake.share)
    assert shares[7] == brake.LEAST  # two of the ten are late still
    assert shares[-2] > shares[20] > shares[10] > brake.LEAST
    assert shares[-1] == 1


def test_a_look_without_an_answer_is_overdue() -> None:
    """After longer than the limit, until it is answered."""
    brake = Brake(LIMIT)
    assert not brake.overdue
    brake.asked = perf_counter()
    brake.asked -= 2 * LIMIT
    assert brake.overdue
    brake.note(2 * LIMIT)
    assert not brake.overdue
    brake.asked = perf_counter() + 10
    assert not brake.overdue


@pytest.mark.parametrize(
    ("pace", "sizes"),
    [
        (Pace(GENTLE), GENTLE[:3]),
        (Pace(FULL), FULL[:3]),
        (Pace(FULL, max_latency=LIMIT), FULL[:3]),
        (Pace(FULL, rate=1e6), (FULL.page, FULL.burst, 0)),
        (Pace(FULL, rate=1000), (50, 50, 0)),
        (Pace(GENTLE, rate=20), (10, 1, 0)),
        (Pace(GENTLE, rate=0.1), (10, 1, 0)),
    ],
)
def test_the_sizes_of_the_steps(pace: Pace, sizes: tuple[int, int, int]) -> None:
    """A capped rate is kept by small steps; nothing is sent ahead of a pause."""
    assert (pace.page, pace.burst, pace.ahead) == sizes


@pytest.mark.parametrize("sizes", [GENTLE, FULL])
def test_the_brake_makes_the_steps_smaller(sizes: Sizes) -> None:
    """By its share, down to one command and ten keys a page, and nothing is sent ahead."""
    pace = Pace(sizes, max_latency=LIMIT)
    assert pace.brake is not None
    over(pace.brake, 2)
    assert (pace.page, pace.burst, pace.ahead) == (sizes.page // 4, sizes.burst // 4, 0)
    over(pace.brake, 10)
    assert (pace.page, pace.ahead) == (max(sizes.page // 64, 10), 0)
    assert 1 <= pace.burst == sizes.burst // 64


def test_only_the_brake_counts_as_held_back() -> None:
    """A pause for the rate was wished for; one for the latency is told."""

    async def rated() -> float:
        pace = Pace(GENTLE, rate=100)
        start = perf_counter()
        assert await pace.turn(10)
        assert await pace.turn(10)
        assert perf_counter() - start >= 0.1
        return pace.held_back

    async def braked(times: int) -> float:
        pace = Pace(GENTLE, rate=100, max_latency=LIMIT)
        assert pace.brake is not None
        over(pace.brake, times)
        for _ in range(2):
            await asyncio.sleep(0.02)  # the step itself
            assert await pace.turn(1)
        return pace.held_back

    assert asyncio.run(rated()) == 0
    assert asyncio.run(braked(0)) < 0.01
    assert asyncio.run(braked(2)) > 0.1  # three times as long as the steps took
    assert asyncio.run(Pace(GENTLE).turn(10**9)) is False


def test_a_pause_is_short_whatever_the_brake_says() -> None:
    """Also when a look is overdue: work that is to stop must not sleep through it."""

    async def longest() -> float:
        pace = Pace(GENTLE, max_latency=LIMIT)
        assert pace.brake is not None
        over(pace.brake, 10)
        pace.brake.asked = 0.0
        await asyncio.sleep(0.3)
        start = perf_counter()
        await pace.turn(1)
        return perf_counter() - start

    took = asyncio.run(longest())
    assert MAX_PAUSE < took < 2 * MAX_PAUSE + 0.3


def watched(
    on: ServerProcess | Proxy,
    work: Callable[[Store, Brake], Coroutine[Any, Any, None]],
    limit: float = LIMIT,
    **settings: Any,
) -> None:
    """Do the work while the latency is looked at."""

    async def main(store: Store) -> None:
        store.pace = Pace(FULL, max_latency=limit)
        assert store.pace.brake is not None
        async with store.watched():
            await store.exist([b"k"])  # nothing is looked at before anyone has connected
            await work(store, store.pace.brake)

    run(on, main, PATIENT, **settings)


@contextmanager
def slowed(server: ServerProcess, seconds: float) -> Iterator[None]:
    """Let another client keep the server busy, for so many seconds at a time."""
    over_now = threading.Event()
    # the time that a script is told stands still
    script = f"local stop = os.clock() + {seconds} while os.clock() < stop do end"

    def keep_busy() -> None:
        with server.connect() as raw:
            while not over_now.is_set():
                raw.call("EVAL", script, 0)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        yield
    finally:
        over_now.set()
        thread.join()


def test_a_server_that_others_keep_busy_slows_the_work(server: ServerProcess) -> None:
    """The share falls while scripts hold the server, and comes back when they are over."""

    async def work(_store: Store, brake: Brake) -> None:
        with slowed(server, 0.1):
            await until(lambda: brake.share <= 1 / 8)
        lowest = brake.share
        await until(lambda: brake.share >= lowest + 5 * brake.MORE)

    watched(server, work, limit=0.05)


def test_a_far_line_slows_the_work(server: ServerProcess) -> None:
    """What is measured is what a client waits: it comes back with a near line."""
    with Proxy(server) as proxy:

        async def work(_store: Store, brake: Brake) -> None:
            proxy.latency = 0.1
            await until(lambda: brake.share <= 1 / 8)
            proxy.latency = 0.0
            await until(lambda: brake.share >= 1 / 2)

        watched(proxy, work, limit=0.1)


def test_a_paused_server_is_overdue(server: ServerProcess) -> None:
    """Before the answer comes, and not afterwards."""

    async def work(_store: Store, brake: Brake) -> None:
        await until(lambda: brake.asked is not None)
        server.raw("CLIENT", "PAUSE", 400, "ALL")
        await until(lambda: brake.overdue)
        await until(lambda: not brake.overdue)

    watched(server, work)


def pings(server: ServerProcess) -> int:
    told = server.info("commandstats").get("cmdstat_ping", "calls=0,")
    return int(told.split("=")[1].split(",")[0])


def test_a_look_whose_connection_is_killed_comes_back(server: ServerProcess) -> None:
    """CLIENT KILL, several times: it looks on, and nothing is held as overdue meanwhile."""

    async def work(store: Store, brake: Brake) -> None:
        for _ in range(3):
            before = pings(server)
            await until(lambda before=before: pings(server) > before + 3)  # type: ignore[misc]
            server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: brake.asked is None)
            assert final(await store.exist([b"k"])) == [0]
        before = pings(server)
        await until(lambda: pings(server) > before)

    watched(server, work, limit=5.0)


def test_a_user_without_the_right_to_ping_measures_all_the_same(server: ServerProcess) -> None:
    """A refusal took its time as well."""
    server.raw("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "-ping")
    with Proxy(server) as proxy:

        async def work(_store: Store, brake: Brake) -> None:
            proxy.latency = 0.1
            await until(lambda: brake.share < 1 / 2)

        watched(proxy, work, limit=0.1, credentials=Credentials("limited", Secret("secret")))
    assert "rejected_calls=0" not in server.info("commandstats")["cmdstat_ping"]


def test_the_look_takes_no_connection_from_the_work(server: ServerProcess) -> None:
    """One connection is all the client may have: the work has it, the look is besides."""

    async def work(store: Store, brake: Brake) -> None:
        await until(lambda: brake.asked is not None)
        batch = [entry(b"k%d" % i, b"1") for i in range(1000)]
        assert final(await store.write(batch)) == [True] * 1000

    watched(server, work, pool_size=1)


def test_nothing_is_looked_at_without_a_limit_nor_after_the_end(server: ServerProcess) -> None:
    """Not a single PING without --max-latency, and none once the work is over."""

    async def main(store: Store) -> None:
        async with store.watched():
            await store.exist([b"k"])
            await asyncio.sleep(0.1)
        assert pings(server) == 0
        store.pace = Pace(FULL, max_latency=LIMIT)
        async with store.watched():
            await until(lambda: pings(server) > 2)
        seen = pings(server)
        assert len(asyncio.all_tasks()) == 1
        await asyncio.sleep(0.1)
        assert pings(server) == seen

    run(server, main)


@pytest.mark.parametrize("sizes", [GENTLE, FULL])
def test_a_limit_below_the_lines_own_latency_is_no_standstill(
    server: ServerProcess, tmp_path: Path, sizes: Sizes
) -> None:
    """5 ms each way and a limit of 1 ms: slow, and done; the report tells what it cost."""
    source = entries(tmp_path / "e.jsonl", 100)
    with Proxy(server, latency=0.005) as proxy:

        async def main(store: Store) -> None:
            store.pace = Pace(sizes, max_latency=0.001)
            async with store.watched():
                await until(lambda: True)
                report = await warm_with(store, Warm(sources=(str(source),)))
                assert (report.written, report.exit_code) == (100, 0)
                assert report.held_back_seconds > 0
                flushed = await flush_with(store, None)
                assert (flushed.deleted, flushed.exit_code) == (100, 0)
                assert flushed.held_back_seconds > report.held_back_seconds

        run(proxy, main)
    assert server.raw("DBSIZE") == 0


def test_while_a_look_is_overdue_little_is_sent(server: ServerProcess) -> None:
    """Looks that are not answered hold the work up from step to step; it goes on with the answers."""
    gate = threading.Event()

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "down" and b"+PONG" in chunk.data and not gate.is_set():
            yield gate
        yield chunk.data

    with Proxy(server, plan) as proxy:

        async def work(store: Store, brake: Brake) -> None:
            await until(lambda: brake.overdue)
            batch = [entry(b"k%d" % i, b"1") for i in range(20_000)]
            task = asyncio.ensure_future(store.write(batch))
            await asyncio.sleep(0.6)
            # a step each MAX_PAUSE at most
            assert server.raw("DBSIZE") <= FULL.burst * (0.6 / MAX_PAUSE + 1)
            gate.set()
            assert final(await task) == [True] * 20_000

        watched(proxy, work)
