"""What a soak must not keep: connections, tasks, file descriptors, memory."""

import asyncio
import ctypes
import os
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final, NamedTuple

from scripts.soaking import checker
from scripts.soaking.places import Place

WARM_UP: Final = 10
"""Seconds that are not looked at: modules are imported, pools are filled."""
ENOUGH: Final = 120
"""Seconds after that which tell anything: what is at work at a time differs by megabytes."""
GROWTH: Final = 1.1
PERIOD: Final = 1.0
PATIENCE: Final = 2.0
"""Seconds in which a server has noticed that a connection was closed."""
_free_what_is_kept = ctypes.CDLL(None).malloc_trim
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Memory(NamedTuple):
    """The median of the memory in the first and in the last third of so many samples, in bytes."""

    first: float
    last: float
    samples: int

    @property
    def grew(self) -> bool:
        """Whether the last third took more than is put down to chance, in a time that tells."""
        return self.samples * PERIOD >= ENOUGH and self.last > self.first * GROWTH


def descriptors() -> int:
    """Return how many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    """Return the bytes of memory that this process takes, without what is free and only kept."""
    _free_what_is_kept(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def memory_of(samples: list[int]) -> Memory:
    """Return the two thirds that are compared, after the warm-up."""
    seen = samples[int(WARM_UP / PERIOD) :] or samples
    third = max(len(seen) // 3, 1)
    return Memory(median(seen[:third]), median(seen[-third:]), len(seen))


async def sample(samples: list[int], over: asyncio.Event) -> None:
    """Note the memory of this process, once a period, until it is over."""
    while not over.is_set():
        samples.append(resident())
        await asyncio.sleep(PERIOD)


async def left_behind(place: Place, descriptors_before: int) -> list[str]:
    """Return what was not given back, once servers had the time to notice that it was."""
    end = monotonic() + PATIENCE
    while (visitors := checker.visitors(place.everyone)) and monotonic() < end:  # noqa: ASYNC110 they notice
        await asyncio.sleep(0.02)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    left = [f"a task is left: {task}" for task in tasks]
    left += [f"a connection is left: {line}" for line in visitors]
    if descriptors() != descriptors_before:
        left.append(f"{descriptors_before} file descriptors have become {descriptors()}")
    return left
