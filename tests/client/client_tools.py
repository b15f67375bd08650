"""What the client's tests share: polling with a deadline, and settings that bear more or less."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cachectl import CacheClient
from cachectl.config.settings import ClientSettings

PATIENT = ClientSettings(timeout=10.0, connect_timeout=10.0)
"""For tests in which a slow machine must not look like a dead server."""


async def until(
    condition: Callable[[], Awaitable[Any]], seconds: float = 5.0, every: float = 0.005
) -> float:
    """Poll until `condition` gives something true; return the seconds that it took."""
    start = time.perf_counter()
    while not await condition():
        assert time.perf_counter() - start < seconds, "it did not happen in time"
        await asyncio.sleep(every)
    return time.perf_counter() - start


async def until_value(cache: CacheClient, key: str, value: object, seconds: float = 5.0) -> float:
    """Poll `get` until it gives `value`; return the seconds that it took."""

    async def is_there() -> bool:
        return bool(await cache.get(key) == value)

    return await until(is_there, seconds)
