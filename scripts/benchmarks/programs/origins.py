"""Origins that are measured: one that waits, one that keeps a core busy."""

import asyncio
from time import thread_time

SECONDS = 0.010
BUSY = 0.020


async def waits(n: int) -> dict[str, object]:
    """Take 10 ms of which nothing is work."""
    await asyncio.sleep(SECONDS)
    return {"n": n, "value": "x" * 100}


def works(n: int) -> dict[str, object]:
    """Take 20 ms of a core, whoever else wants it."""
    end = thread_time() + BUSY
    while thread_time() < end:
        pass
    return {"n": n, "value": "x" * 100}
