"""What a soak must not keep: connections, tasks, file descriptors, memory."""

import asyncio
import gc
import os
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final, NamedTuple

from scripts.soaking import checker
from scripts.soaking.places import Place

WARMED_UP: Final = 0.1
"""The share of the time that is not looked at: modules are imported, pools are filled."""
GROWTH: Final = 1.1
PERIOD: Final = 0.2
PATIENCE: Final = 2.0
"""Seconds in which a server has noticed that a connection was closed."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Memory(NamedTuple):
    """The median of the memory in the first and in the last third, in bytes."""

    first: float
    last: float

    @property
    def grew(self) -> bool:
        """Whether the last third took more than is put down to chance."""
        return self.last > self.first * GROWTH


def descriptors() -> int:
    """Return how many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    """Return the bytes of memory that this process takes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def memory_of(samples: list[int]) -> Memory:
    """Return the two thirds that are compared, after the warm-up."""
    seen = samples[int(len(samples) * WARMED_UP) :]
    third = max(len(seen) // 3, 1)
    return Memory(median(seen[:third]), median(seen[-third:]))


async def sample(samples: list[int], over: asyncio.Event) -> None:
    """Note the memory of this process until it is over."""
    while not over.is_set():
        samples.append(resident())
        await asyncio.sleep(PERIOD)


async def left_behind(place: Place, descriptors_before: int) -> list[str]:
    """Return what was not given back, once servers had the time to notice that it was."""
    gc.collect()
    end = monotonic() + PATIENCE
    while (visitors := checker.visitors(place.everyone)) and monotonic() < end:  # noqa: ASYNC110 they notice
        await asyncio.sleep(0.02)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    left = [f"a task is left: {task}" for task in tasks]
    left += [f"a connection is left: {line}" for line in visitors]
    if descriptors() != descriptors_before:
        left.append(f"{descriptors_before} file descriptors have become {descriptors()}")
    return left
