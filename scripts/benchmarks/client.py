"""CacheClient.get by ten callers, metrics on, against redis.asyncio with json.loads by hand.

Both have ten connections and the same timeouts, in one process, one event loop after the other.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import prometheus_client
import redis.asyncio as driver

from cachectl import CacheClient
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison
from scripts.benchmarks.tables import rate as shown
from tests.servers import ServerProcess

CALLERS = 10
CALLS = 2000
KEYS = 1000
POOL_SIZE = 10
TIMEOUT = 0.1
CONNECT_TIMEOUT = 0.5
VALUE = {"sun": {"sign": "Taurus", "longitude": 56.123}, "planets": [n / 7 for n in range(10)]}
GOAL = Goal(1.0)
Get = Callable[[str], Awaitable[Any]]


def bench(runs: int = 7) -> Iterator[str]:
    """Yield the medians in calls a second and the ratios."""
    with ServerProcess(tcp=True) as server:
        for number in range(KEYS):
            server.raw("SET", f"natal:{number}", json.dumps(VALUE))
        pools = (driver.ConnectionPool, driver.BlockingConnectionPool)
        contenders = {
            pool.__name__: partial(run, partial(by_hand, server.url, pool)) for pool in pools
        }
        contenders["CacheClient"] = partial(run, partial(by_cachectl, server.url))
        yield f"{CALLERS} callers, {CALLS} GETs each, medians of {runs} runs that alternate"
        yield f"metrics by prometheus_client {version()}"
        found = medians(contenders, runs)
    contests = [Contest("get", pool.__name__, "CacheClient", GOAL) for pool in pools]
    yield from comparison(contests, found, shown)


def version() -> str:
    """Return the version of what counts, which is installed or this benchmark means nothing."""
    from importlib.metadata import version

    return version(prometheus_client.__name__)


def run(contender: Callable[[], Awaitable[float]]) -> float:
    """Return the calls a second of one contender in an event loop of its own."""

    async def main() -> float:
        return await contender()

    return asyncio.run(main())


async def by_hand(url: str, pool_class: Any) -> float:
    """Measure redis.asyncio as an application would use it without cachectl."""
    pool = pool_class.from_url(
        url,
        max_connections=POOL_SIZE,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
    )
    client = driver.Redis(connection_pool=pool)

    async def get(key: str) -> Any:
        raw = await client.get(key)
        return None if raw is None else json.loads(raw)

    try:
        return await rate(get)
    finally:
        await client.aclose()
        await pool.disconnect()


async def by_cachectl(url: str) -> float:
    """Measure CacheClient with its defaults, which are the same timeouts and pool."""
    async with CacheClient(url) as cache:
        return await rate(cache.get)


async def rate(get: Get) -> float:
    """Return GETs a second of all callers together, after each has connected."""

    async def caller(offset: int, calls: int) -> None:
        for number in range(calls):
            if await get(f"natal:{(number * CALLERS + offset) % KEYS}") is None:
                msg = "a key was not found: nothing is measured"
                raise RuntimeError(msg)

    async def all_callers(calls: int) -> None:
        async with asyncio.TaskGroup() as group:
            for offset in range(CALLERS):
                group.create_task(caller(offset, calls))

    await all_callers(20)
    start = perf_counter()
    await all_callers(CALLS)
    return CALLERS * CALLS / (perf_counter() - start)
