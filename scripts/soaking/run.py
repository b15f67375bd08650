"""One soak: users and operators at work while servers fail; then the independent look."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from random import Random
from time import monotonic
from typing import Final, NamedTuple

from cachectl import CacheClient
from scripts.benchmarks.processes import Place as Directory
from scripts.soaking import checker
from scripts.soaking.faults import Faults
from scripts.soaking.ledger import Ledger
from scripts.soaking.operators import Operators
from scripts.soaking.places import Place
from scripts.soaking.resources import Memory, descriptors, left_behind, memory_of, sample
from scripts.soaking.users import CLIENTS, USERS, User

CALM: Final = 1.5
"""Seconds of work after the last fault: whoever bypasses the servers is back by then."""
LONGEST: Final = 5.0
"""Seconds that no call of a user may take: three attempts of 600 ms, and a machine that is slow."""


class Result(NamedTuple):
    """What one soak came to: `broken` are promises that did not hold.

    `excused` is what failovers lost, of `around_failovers` writes acknowledged when they happened.
    """

    seconds: float
    faults: Counter[str]
    failovers: int
    counts: Counter[str]
    longest: float
    keys: int
    around_failovers: int
    excused: Counter[str]
    descriptors: int
    memory: Memory
    broken: list[str]


async def soak(place: Place, seconds: float, seed: int) -> Result:
    """Soak one place for about so many seconds: what has begun is brought to its end."""
    begun = monotonic()
    ledger = Ledger()
    faults = Faults(place, seeded("faults", seed))
    samples: list[int] = []
    open_before = descriptors()
    with Directory() as directory, _warnings_counted(ledger):
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, told: ledger.broken.append(f"nobody heard: {told}")
        )
        operators = Operators(place, directory, ledger, faults, seeded("operators", seed))
        await operators.prepare()
        try:
            await _work(place, ledger, faults, operators, samples, seconds, seed)
        finally:
            await asyncio.to_thread(faults.end)
        keys = _last_look(place, ledger, operators)
    memory = memory_of(samples)
    broken, excused = _judged(ledger, faults, memory)
    broken += await left_behind(place, open_before)
    return Result(
        monotonic() - begun,
        faults.made,
        len(faults.failovers),
        ledger.counts,
        ledger.longest,
        keys,
        ledger.acknowledged_in(faults.failovers),
        excused,
        open_before,
        memory,
        broken,
    )


def seeded(who: str, seed: int) -> Random:
    """Return what one of those at work draws from."""
    return Random(f"{who} {seed}")  # noqa: S311 no secret


async def _work(
    place: Place,
    ledger: Ledger,
    faults: Faults,
    operators: Operators,
    samples: list[int],
    seconds: float,
    seed: int,
) -> None:
    """Let everybody work, and the faults happen, until the time is over."""
    over = asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        caches = [await stack.enter_async_context(CacheClient(place.url)) for _ in range(CLIENTS)]
        for number in range(USERS):
            cache, random = caches[number % CLIENTS], seeded(f"user {number}", seed)
            user = User(number, cache, ledger, random)
            group.create_task(user.work(over))
        for namespace in ("warm0", "warm1"):
            group.create_task(operators.keep_warm(namespace, over))
        for namespace in ("flush0", "flush"):
            group.create_task(operators.keep_empty(namespace, over))
        group.create_task(operators.keep_looking(over))
        group.create_task(sample(samples, over))
        faults.start()
        await asyncio.to_thread(faults.join, seconds)
        await asyncio.to_thread(faults.end)
        await asyncio.sleep(CALM)
        over.set()


def _last_look(place: Place, ledger: Ledger, operators: Operators) -> int:
    """Hold what is there against what was acknowledged; return how many keys of users are there."""
    primaries = place.primaries()
    for namespace, (version, _) in operators.warmed.items():
        found = checker.versions(primaries, namespace)
        operators.judge_warm(namespace, found.count(version), monotonic())
    return checker.check_keys(ledger, primaries)


def _judged(ledger: Ledger, faults: Faults, memory: Memory) -> tuple[list[str], Counter[str]]:
    """Return all that broke a promise, and how much of each kind was lost by failovers."""
    windows = {"failover": faults.failovers, "fault": faults.all, "nothing": []}
    broken, excused = ledger.doubts(windows)
    if faults.error is not None:
        broken.append(f"the servers did not recover: {faults.error}")
    if ledger.longest > LONGEST:
        broken.append(f"a call of a user took {ledger.longest:.1f} s")
    if memory.grew:
        broken.append(f"memory grew by {memory.last / memory.first - 1:.0%}")
    return ledger.broken + broken, excused


class _Warnings(logging.Handler):
    """Counts what users are warned of, which else would be printed."""

    def __init__(self, counts: Counter[str]) -> None:
        """Take where it is counted."""
        super().__init__()
        self._counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self._counts[f"logged {record.levelname.lower()}s"] += 1


@contextmanager
def _warnings_counted(ledger: Ledger) -> Iterator[None]:
    """Count the warnings for the length of a block."""
    counting = _Warnings(ledger.counts)
    logger = logging.getLogger("cachectl")
    logger.addHandler(counting)
    try:
        yield
    finally:
        logger.removeHandler(counting)
