"""What an origin is spared: a rate, tries that come too soon, and any call at all once it is sick."""

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol

from cachectl.config.settings import Origin as Settings
from cachectl.models import Request
from cachectl.patience import Rate, backoff
from cachectl.sources.origins.failure import Failure, OriginError
from cachectl.sources.origins.local import LocalOrigin
from cachectl.units import format_duration

WINDOW = 50
"""So many of the last calls are looked at."""
JUDGED_FROM = 20
"""Fewer calls say nothing."""
MAX_WAIT = 60.0
"""Seconds of Retry-After that are waited for; an origin that asks for more is left alone."""
PAUSE, MAX_PAUSE = 0.1, 5.0
"""Seconds before the second try, and before any later one at most."""


class Caller(Protocol):
    """Makes one call for one request."""

    async def compute(self, request: Request) -> bytes:
        """Return the value; raises `OriginError`."""

    async def close(self) -> None:
        """Let go of what was opened."""


class Origin:
    """An origin that is called no faster, and no longer, than its settings say.

    `sick` tells why it is not to be called any more, None while it is well. `held_back` counts the
    seconds for which it asked, by Retry-After, to be left alone. `unanswered` counts the calls under
    way, and in the end those that were left behind.
    """

    def __init__(self, caller: Caller, settings: Settings) -> None:
        """Call nothing yet."""
        self.settings = settings
        self.sick: str | None = None
        self.held_back = 0.0
        self.unanswered = 0
        self.statuses: dict[int, int] = getattr(caller, "statuses", {})
        self.callers: int = getattr(caller, "callers", settings.concurrency)
        """How many may ask at once."""
        self._caller = caller
        self._rate = Rate(settings.rate, monotonic) if settings.rate else None
        self._held_until = 0.0
        self._failed: deque[bool] = deque(maxlen=WINDOW)

    async def compute(self, request: Request) -> bytes:
        """Return the value; raises `OriginError` once no further try is worth it."""
        pauses = backoff(PAUSE, MAX_PAUSE)
        for left in range(self.settings.attempts - 1, -1, -1):
            if self._rate is not None or self._held_until:
                await self._turn()
            self.unanswered += 1
            try:
                value = await self._caller.compute(request)
            except OriginError as error:
                self.unanswered -= 1
                failure = error.failure
                self._hold(failure)
                if not (left and failure.again) or self.sick is not None:
                    self._note(failure)
                    raise
                if failure.wait is None:
                    await asyncio.sleep(next(pauses))
            else:
                self.unanswered -= 1
                self._failed.append(False)
                return value
        raise AssertionError

    def leave_off(self) -> None:
        """Begin none of the calls that wait for their turn."""
        if isinstance(self._caller, LocalOrigin):
            self._caller.leave_off()

    async def _turn(self) -> None:
        """Wait until a call may be made; a call's own timeout begins afterwards."""
        if self._rate is not None:
            await asyncio.sleep(self._rate.wait(1))
        while (left := self._held_until - monotonic()) > 0:  # noqa: ASYNC110 a time, no event
            await asyncio.sleep(left)

    def _hold(self, failure: Failure) -> None:
        """Hold all calls back for as long as the origin asks, if that can be waited for."""
        if failure.wait is None:
            return
        if failure.wait > MAX_WAIT:
            asked = format_duration(failure.wait)
            self.sick = (
                self.sick or f"{failure.message} and asks to be left alone for {asked}: stopped"
            )
            return
        now = monotonic()
        until = max(now + failure.wait, self._held_until)
        self.held_back += until - max(self._held_until, now)
        self._held_until = until

    def _note(self, failure: Failure) -> None:
        """Count a call that failed for good.

        What is the fault of the request itself (parameters that do not fit, a 404 for a page that a log
        still holds) tells nothing about the origin, which answered: it is left out.
        """
        if failure.of_request:
            return
        self._failed.append(True)
        failed, of = sum(self._failed), len(self._failed)
        if of >= JUDGED_FROM and failed > self.settings.breaker * of and self.sick is None:
            self.sick = (
                f"the origin failed {failed} of its last {of} calls"
                f" (the last: {failure.message}): stopped"
            )
