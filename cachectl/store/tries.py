"""How long the silence of a server is borne, and how often a command is tried again."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from cachectl.errors import CachectlError, SilenceError
from cachectl.patience import backoff
from cachectl.store.errors import is_rejected, is_worth_another_try, may_be_applied

ENOUGH = 0.3
"""Seconds that a server which said "not now" is left to answer, be it 200 ms away: a write that is sent
in the last millisecond, and not answered, may be applied."""


def _always() -> bool:
    return True


class Patience(NamedTuple):
    """What one caller bears, in seconds.

    `answer` is the longest silence of one attempt, `connect` that of connecting and greeting, `total`
    that of all attempts together (`None`: `attempts` alone decides), `backoff` the first pause.
    `worth_it` is asked after each failed attempt that another would follow: False ends the trying.
    """

    answer: float
    connect: float
    attempts: int
    backoff: float
    total: float | None = None
    worth_it: Callable[[], bool] = _always


class Tries:
    """The attempts at one thing: what is left of the patience, and the pauses between them."""

    __slots__ = ("_count", "_patience", "_pauses", "_since", "reason")

    def __init__(self, patience: Patience) -> None:
        """Begin with nothing tried, now."""
        self._patience = patience
        self.progress()

    def progress(self) -> None:
        """Begin anew: the server has answered something."""
        self._count = 0
        self.reason: CachectlError | None = None
        self._since = asyncio.get_running_loop().time()
        self._pauses = backoff(self._patience.backoff)

    @property
    def left(self) -> float:
        """Seconds of silence that are still borne."""
        if self._patience.total is None:
            return float("inf")
        passed = asyncio.get_running_loop().time() - self._since
        return self._patience.total - passed

    @property
    def answer(self) -> float:
        """Seconds of silence that this attempt bears once it is connected."""
        return min(self._patience.answer, max(self.left, 0.001))

    @property
    def connect(self) -> float:
        """Seconds that this attempt may take to connect and greet."""
        return min(self._patience.connect, max(self.left, 0.001))

    async def again(self, error: CachectlError, *, idempotent: bool, known: bool) -> bool:
        """Pause before the next attempt, or return False when there is none.

        A server that says "not now", or was there before (`known`) and cannot be reached, is waited for
        as long as `total` allows; anything else is tried `attempts` times. `reason` is the error to end
        with: "not now" says more than that a last attempt, cut short, met silence.
        """
        self._count += 1
        if not (isinstance(error, SilenceError) and is_rejected(self.reason)):
            self.reason = error
        if not is_worth_another_try(error, idempotent=idempotent, known=known):
            return False
        waits = is_rejected(error) or (known and not may_be_applied(error))
        by_time = waits and self._patience.total is not None
        if not by_time and self._count >= self._patience.attempts:
            return False
        pause = next(self._pauses)
        needed = pause + (ENOUGH if is_rejected(error) else 0.0)
        if needed >= self.left or not self._patience.worth_it():
            return False
        await asyncio.sleep(pause)
        return True
