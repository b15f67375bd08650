"""How long and how often something is tried again: backoff and breaker, without their own clock."""

from collections.abc import Callable, Iterator
from random import uniform


def backoff(base: float, cap: float = 1.0) -> Iterator[float]:
    """Yield the pauses in seconds between attempts, without end: equal jitter, doubling up to `cap`.

    "Equal jitter" (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015): each pause is drawn
    from half the bound to the bound, so that clients that failed together do not come back together.
    """
    bound = base
    while True:
        yield uniform(bound / 2, bound)  # noqa: S311
        bound = min(bound * 2, cap)


class Breaker:
    """Opens after a run of failures, lets one caller try after a pause, closes on its success.

    `threshold` is the length of the run, `pause` the seconds for which everyone is turned away, and
    `clock` gives seconds that only grow.
    """

    __slots__ = ("_clock", "_failures", "_open_until", "_pause", "_threshold")

    def __init__(self, threshold: int, pause: float, clock: Callable[[], float]) -> None:
        """Start closed."""
        self._threshold = threshold
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0

    @property
    def closed(self) -> bool:
        """Whether there is no run of failures long enough to turn callers away."""
        return self._failures < self._threshold

    def allows(self) -> bool:
        """Whether the caller may try now. Once a pause is over, one caller a pause may."""
        if self._failures < self._threshold:
            return True
        now = self._clock()
        if now < self._open_until:
            return False
        self._open_until = now + self._pause
        return True

    def succeeded(self) -> None:
        """Close: the server answered."""
        self._failures = 0

    def failed(self) -> bool:
        """Count a failure; return True when this one opened the breaker."""
        self._failures += 1
        opened = self._failures == self._threshold
        if opened:
            self._open_until = self._clock() + self._pause
        return opened
