"""How long and how often something is tried again, without a clock: backoff, breaker, troubles."""

from collections.abc import Callable, Iterator
from random import uniform


def backoff(base: float, cap: float = 1.0) -> Iterator[float]:
    """Yield the pauses in seconds between attempts, without end: equal jitter, doubling up to `cap`.

    "Equal jitter" (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015): each pause is drawn
    from half the bound to the bound, so that clients that failed together do not come back together.
    """
    bound, cap = base, max(base, cap)
    while True:
        yield uniform(bound / 2, bound)  # noqa: S311 no secret
        bound = min(bound * 2, cap)


class Breaker:
    """Opens after a run of failures, lets one caller try after a pause, closes on its success.

    `threshold` is the length of the run, `pause` the seconds for which everyone is turned away, and
    `clock` gives seconds that only grow.
    """

    __slots__ = ("_clock", "_failures", "_open_until", "_pause", "_since", "_threshold")

    def __init__(self, threshold: int, pause: float, clock: Callable[[], float]) -> None:
        """Start closed."""
        self._threshold = threshold
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._since = 0.0
        self._open_until: float | None = None

    @property
    def closed(self) -> bool:
        """Whether there is no run of failures long enough to turn callers away."""
        return self._open_until is None

    def allows(self) -> bool:
        """Whether the caller may try now. Once a pause is over, one caller a pause may."""
        if self._open_until is None:
            return True
        now = self._clock()
        if now < self._open_until:
            return False
        self._open_until = now + self._pause
        return True

    def succeeded(self) -> None:
        """Close: the server answered."""
        self._failures = 0
        self._open_until = None

    def failed(self, lasting: float = 0.0) -> None:
        """Count a failure, which opens when the run is long enough and has lasted so many seconds.

        `lasting` is for a silence: many callers who meet one hiccup together are no run.
        """
        now = self._clock()
        if not self._failures:
            self._since = now
        self._failures += 1
        is_run = self._failures >= self._threshold and now - self._since >= lasting
        if is_run and self._open_until is None:
            self._open_until = now + self._pause


class Troubles:
    """Tells the beginning and the end of each kind of trouble, however often it shows.

    A kind is over once it has not shown for `calm` seconds (by kind, else `otherwise`) although
    something went well since: what fails and works by turns is one trouble.
    """

    __slots__ = ("_calm", "_clock", "_otherwise", "_seen")

    def __init__(
        self, calm: dict[str, float], otherwise: float, clock: Callable[[], float]
    ) -> None:
        """Start without trouble."""
        self._calm = calm
        self._otherwise = otherwise
        self._clock = clock
        self._seen: dict[str, float] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._seen)

    def begins(self, kind: str) -> bool:
        """Note that `kind` shows; return True when it is news."""
        news = kind not in self._seen
        self._seen[kind] = self._clock()
        return news

    def over(self) -> list[str]:
        """Note that something went well; return the kinds that are over with it."""
        now = self._clock()
        over = [
            kind
            for kind, seen in self._seen.items()
            if now - seen >= self._calm.get(kind, self._otherwise)
        ]
        for kind in over:
            del self._seen[kind]
        return over


class Rate:
    """Spreads work so that no more than `per_second` is done; `clock` gives seconds that only grow."""

    __slots__ = ("_clock", "_free", "_per_second")

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """Start with room for the first step."""
        self._per_second = per_second
        self._clock = clock
        self._free = clock()

    def wait(self, count: int) -> float:
        """Return the seconds to wait before the next `count`; what was not used is not saved up."""
        now = self._clock()
        start = max(self._free, now)
        self._free = start + count / self._per_second
        return start - now
