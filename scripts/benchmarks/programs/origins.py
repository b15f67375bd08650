"""Origins that are measured: one that waits, one that keeps a core busy."""

import asyncio
import atexit
from pathlib import Path
from time import perf_counter, thread_time

SECONDS = 0.010
BUSY = 0.020
SEEN = "seen"
"""The file, where the process runs, to which `watches` leaves its calls a second."""

_begun: list[float] = []


async def waits(n: int) -> dict[str, object]:
    """Take 10 ms of which nothing is work."""
    await asyncio.sleep(SECONDS)
    return {"n": n, "value": "x" * 100}


async def watches(n: int) -> dict[str, object]:
    """Take as long as `waits`, and tell in the end how many calls began in a second."""
    if not _begun:
        atexit.register(_tell)
    _begun.append(perf_counter())
    return await waits(n)


def _tell() -> None:
    """From the first call to the last: neither the start of a process nor its end counts."""
    Path(SEEN).write_text(str((len(_begun) - 1) / (_begun[-1] - _begun[0])))


def works(n: int) -> dict[str, object]:
    """Take 20 ms of a core, whoever else wants it."""
    end = thread_time() + BUSY
    while thread_time() < end:
        pass
    return {"n": n, "value": "x" * 100}
