"""Cancelled calls and expired deadlines at any moment: no stale value, no lost connection slot."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cachectl import CacheClient
from tests.client.client_tools import PATIENT, until
from tests.plans import Chunk, Plan, Step
from tests.proxies import Proxy
from tests.servers import ServerProcess

KEYS = 50


def value_of(key: str) -> list[str]:
    """Return what stands under a key, always."""
    return [key, key * 3]


def slow_at_random(seed: int) -> Plan:
    """Return a plan that delivers chunks after up to 3 ms, split anywhere."""
    dice = random.Random(seed)

    def plan(chunk: Chunk) -> Iterator[Step]:
        seam = dice.randint(0, len(chunk.data))
        yield dice.random() * 0.003
        yield chunk.data[:seam]
        if dice.random() < 0.3:
            yield dice.random() * 0.002
        yield chunk.data[seam:]

    return plan


async def call(cache: CacheClient, dice: random.Random) -> None:
    """Make one call and hold its answer against what must stand there."""
    key = f"n:{dice.randrange(KEYS)}"
    match dice.randrange(4):
        case 0:
            assert await cache.set(key, value_of(key))
        case 1:
            keys = [f"n:{dice.randrange(KEYS)}" for _ in range(5)]
            assert await cache.get_many(keys) == {key: value_of(key) for key in keys}
        case _:
            assert await cache.get(key) == value_of(key)


async def cancelled(cache: CacheClient, dice: random.Random, longest: float) -> bool:
    """Cancel a call after up to `longest` seconds; return whether that was before its end."""
    task = asyncio.create_task(call(cache, dice))
    await asyncio.sleep(dice.random() * longest)
    in_time = task.cancel()
    with suppress(asyncio.CancelledError):
        await task
        assert not in_time, "a cancellation was swallowed"
    return in_time


async def expired(cache: CacheClient, dice: random.Random, longest: float) -> bool:
    """Put a deadline of up to `longest` seconds around a call; return whether it expired."""
    try:
        async with asyncio.timeout(dice.random() * longest) as deadline:
            await call(cache, dice)
    except TimeoutError:
        return True
    assert not deadline.expired(), "a deadline was swallowed"
    return False


async def storm(cache: CacheClient, seed: int, longest: float) -> None:
    """Let ten callers give up 300 calls by cancelling and 100 by deadlines, others between."""
    given_up = late = 0

    async def caller(number: int) -> None:
        nonlocal given_up, late
        dice = random.Random(seed * 100 + number)
        while given_up < 300 or late < 100:
            given_up += await cancelled(cache, dice, longest)
            late += await expired(cache, dice, longest)
            await call(cache, dice)

    await asyncio.gather(*(caller(number) for number in range(10)))
    await asyncio.gather(*(call(cache, random.Random(i)) for i in range(100)))


async def all_slots_work(cache: CacheClient, proxy: Proxy) -> None:
    """Hold back replies until ten calls are on their way at the same time: no slot was lost."""
    gate = threading.Event()
    asked: set[int] = set()

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up":
            asked.add(chunk.connection)
        elif b"HELLO" not in chunk.data and b"server" not in chunk.data:
            yield gate
        yield chunk.data

    async def ten() -> bool:
        return len(asked) == 10

    proxy.plan = plan
    calls = [asyncio.create_task(cache.get(f"n:{i}")) for i in range(30)]
    try:
        await until(ten)
    finally:
        gate.set()
    assert await asyncio.gather(*calls) == [value_of(f"n:{i}") for i in range(30)]
    assert proxy.open <= 10


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "delayed"])
def test_no_stale_value_and_no_lost_slot(server: ServerProcess, seed: int, slow: bool) -> None:
    """Whenever a call is given up, the next ones get their own values over ten connections."""

    async def main(proxy: Proxy) -> None:
        async with CacheClient(proxy.url, settings=PATIENT) as cache:
            values = {f"n:{i}": value_of(f"n:{i}") for i in range(KEYS)}
            assert await cache.set_many(values) == KEYS
            if slow:
                proxy.plan = slow_at_random(seed)
            await storm(cache, seed, 0.003 if slow else 0.001)
            await all_slots_work(cache, proxy)

    with Proxy(server) as proxy:
        asyncio.run(main(proxy))


def test_no_stale_value_over_the_unix_socket(server: ServerProcess) -> None:
    """The same without anything in between, where replies come at once."""

    async def main() -> None:
        async with CacheClient(f"unix:{server.socket}", settings=PATIENT) as cache:
            values = {f"n:{i}": value_of(f"n:{i}") for i in range(KEYS)}
            assert await cache.set_many(values) == KEYS
            await storm(cache, 3, 0.0005)

    asyncio.run(main())


def test_the_applications_own_impatience_is_no_failure_of_the_server(
    server: ServerProcess,
) -> None:
    """Cancelled calls do not open the breaker and log nothing."""

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            assert await cache.set("n:k", 1)
            for _ in range(50):
                with suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await cache.get("n:k")
            assert await cache.get("n:k") == 1

    asyncio.run(main())
