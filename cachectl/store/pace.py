"""How hard bulk work pushes: the sizes of its steps, a cap on its rate, a brake that watches latency.

Other clients wait while the server works through what it has read of ours, so small steps keep their
latency low, and pauses keep it lower.
"""

import asyncio
from collections import deque
from time import perf_counter
from typing import NamedTuple

from cachectl.errors import CachectlError
from cachectl.patience import Rate
from cachectl.store.pool import Pool
from cachectl.store.tries import Patience
from cachectl.store.wire import Wire


class Sizes(NamedTuple):
    """The steps of bulk work: keys a page of SCAN, and commands a burst.

    `ahead` is how many commands may be unanswered when the next burst goes out, `group` how many
    entries one command writes where the server and the rights of the user allow that.
    """

    page: int
    burst: int
    ahead: int
    group: int = 1


GROUP = 50
"""Entries of one command: the server is done with them in 0.6 of the time that it takes for as many."""
GENTLE = Sizes(page=300, burst=400, ahead=0, group=GROUP)
"""Leaves the server idle between two steps, while the next one is prepared."""
FULL = Sizes(page=1000, burst=2000, ahead=100_000, group=GROUP)
"""Keeps the server busy. SCAN's COUNT is never more: a page is one command, that blocks all others."""
STEADY = FULL._replace(group=1)
"""An application's: nothing is tried that its user may be denied, which would stand in a log."""

STEPS = 20
"""A capped rate is kept by at least so many steps a second."""
MAX_PAUSE = 0.25
"""Seconds of a pause at most: shorter than what work is given to end once it is to stop."""
EVERY = 0.02
"""Seconds from one look at the latency to the next."""
AGAIN = 0.2
"""Seconds before a connection that broke is replaced."""


def sizes(pace: str, username: str | None) -> Sizes:
    """Return the steps of a pace that the operator chose, for the user of the profile.

    At the gentle one nothing is tried that a user with rights of its own may be denied; the default
    user seldom is.
    """
    if pace == "full":
        return FULL
    return GENTLE if username in {None, "default"} else GENTLE._replace(group=1)


class Brake:
    """Additive increase, multiplicative decrease of the share of the time that work may take.

    `limit` is the latency in seconds that 90 % of the recent looks are to stay under.
    """

    RECENT = 10
    """So many looks are recent: at one each 20 ms, the last 200 ms."""
    LEAST = 1 / 64
    """The share that is always left, so that a limit which the line itself exceeds is no standstill."""
    MORE = 0.02

    def __init__(self, limit: float) -> None:
        """Start with the whole of the time."""
        self.limit = limit
        self.share = 1.0
        self.asked: float | None = None
        """When the look was begun that has no answer yet (`perf_counter`)."""
        self.held_back = 0.0
        """Seconds of pauses so far."""
        self._recent: deque[float] = deque(maxlen=self.RECENT)

    def note(self, latency: float) -> None:
        """Take in what a look has found, in seconds."""
        self.asked = None
        self._recent.append(latency)
        ninth = sorted(self._recent)[
            len(self._recent) * 9 // 10 - 1 if len(self._recent) > 1 else 0
        ]
        if ninth > self.limit:
            self.share = max(self.share / 2, self.LEAST)
        else:
            self.share = min(self.share + self.MORE, 1.0)

    @property
    def overdue(self) -> bool:
        """Whether a look has been on its way for longer than the limit."""
        return self.asked is not None and perf_counter() - self.asked > self.limit


class Pace:
    """What every step of bulk work asks before it is sent.

    `rate` caps entries or keys a second.
    """

    def __init__(
        self, sizes: Sizes = STEADY, rate: float | None = None, max_latency: float | None = None
    ) -> None:
        """Start at once. With `max_latency`, in seconds, there is a brake, which is to be told."""
        self._sizes = sizes
        self._rate = None if rate is None else Rate(rate, perf_counter)
        self._smooth = None if rate is None else max(1, int(rate / STEPS))
        self._begun = perf_counter()
        self.brake = None if max_latency is None else Brake(max_latency)

    def uncapped(self) -> "Pace":
        """Return the same pace without the rate: for what more is asked of keys that were counted."""
        pace = Pace(self._sizes)
        pace.brake = self.brake
        return pace

    @property
    def held_back(self) -> float:
        """Seconds that the brake took."""
        return 0.0 if self.brake is None else self.brake.held_back

    @property
    def page(self) -> int:
        """Keys a page of SCAN."""
        return max(10, self._step(self._sizes.page))

    @property
    def burst(self) -> int:
        """Commands to write at once."""
        return self._step(self._sizes.burst)

    @property
    def group(self) -> int:
        """Entries that one command may write: a limited pace takes its steps one by one."""
        return 1 if self.limited else self._sizes.group

    @property
    def limited(self) -> bool:
        """Whether there may be a wait before a step."""
        return self._rate is not None or self.brake is not None

    @property
    def ahead(self) -> int:
        """Commands that may be unanswered when the next burst is written: none before a pause."""
        pauses = self._rate is not None or (self.brake is not None and self.brake.share < 1.0)
        return 0 if pauses else self._sizes.ahead

    def _step(self, size: int) -> int:
        if self._smooth is not None:
            size = min(size, self._smooth)
        return size if self.brake is None else max(1, int(size * self.brake.share))

    async def turn(self, count: int) -> bool:
        """Wait until a step of `count` entries or keys may be taken; return whether there was a wait."""
        start = perf_counter()
        pause = 0.0 if self._rate is None else self._rate.wait(count)
        if pause:
            await asyncio.sleep(pause)
        if self.brake is not None:
            braked = perf_counter()
            await self._hold(self.brake, start - self._begun)
            self._begun = perf_counter()
            self.brake.held_back += self._begun - braked
        return self.limited

    async def _hold(self, brake: Brake, busy: float) -> None:
        """Pause so long that the time since the last turn is no more than the share of it all."""
        pause = min(busy * (1 / brake.share - 1), MAX_PAUSE)
        if pause > 0:
            await asyncio.sleep(pause)
        end = perf_counter() + MAX_PAUSE
        while brake.overdue and perf_counter() < end:  # noqa: ASYNC110 it is a clock that is waited for
            await asyncio.sleep(brake.limit / 4)


async def watch(node: Pool, brake: Brake, patience: Patience) -> None:
    """Ping by a connection of its own, and tell the brake how long each answer took.

    It begins once work has connected, and goes on until it is cancelled. An answer that is a refusal
    took its time as well.
    """
    while True:
        try:
            if node.connected:
                # not one of the pool's: it might be the only one
                wire = await node.connector.connect(patience.connect)
                try:
                    await _ping(wire, brake, patience)
                finally:
                    wire.drop()
        except CachectlError:
            brake.asked = None
        await asyncio.sleep(AGAIN if node.connected else EVERY)


async def _ping(wire: Wire, brake: Brake, patience: Patience) -> None:
    while True:
        brake.asked = start = perf_counter()
        await wire.call(b"PING", silence=patience.answer)
        took = perf_counter() - start
        brake.note(took)
        await asyncio.sleep(max(EVERY - took, 0.001))
