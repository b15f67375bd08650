"""The server's own hit rate, followed for a while: what applications find, not what a sample would."""

from time import perf_counter

from cachectl.models import Observer, Progress
from cachectl.operations.stop import Stop, until
from cachectl.reports.warm import LiveHitRate
from cachectl.store.info import Lookups
from cachectl.store.store import Store

PAUSE = 1.0
"""Seconds between two looks at the counters."""


async def watch(
    store: Store, seconds: float, stop: Stop, observe: Observer, pause: float = PAUSE
) -> LiveHitRate:
    """Follow the server's hits and misses from now on, for so long or until `stop`.

    It counts the lookups of whoever asks, other programs' included. When the server is restarted, or its
    counters are reset, it begins anew and says so. Raises our error when the server cannot be asked
    (`DeniedError` names the rule that INFO needs).
    """
    counted = _Counted(observe)
    await until(stop, _follow(store, seconds, stop, counted, pause))
    return counted.rate


async def _follow(
    store: Store, seconds: float, stop: Stop, counted: "_Counted", pause: float
) -> None:
    counted.see(await store.lookups())
    end = perf_counter() + seconds
    while not stop.is_set() and (left := end - perf_counter()) > 0:
        await stop.wait_for(min(pause, left))
        counted.see(await store.lookups())


class _Counted:
    """What was counted between the first look, or the last beginning, and the latest look."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._first: list[Lookups] = []
        self._last: list[Lookups] = []
        self._since = 0.0
        self.rate = LiveHitRate(0, 0, 0.0)

    def see(self, told: list[Lookups]) -> None:
        """Take another look at every primary into account."""
        now, anew = perf_counter(), self.rate.anew
        if not _go_on(self._last, told):
            anew += bool(self._first)
            self._first, self._since = told, now
        self._last = told
        pairs = list(zip(self._first, told, strict=True))
        self.rate = LiveHitRate(
            hits=sum(later.hits - first.hits for first, later in pairs),
            misses=sum(later.misses - first.misses for first, later in pairs),
            seconds=now - self._since,
            anew=anew,
        )
        looked = self.rate.hits + self.rate.misses
        self._observe(Progress("watching the hit rate", looked, hit_rate=self.rate.rate))


def _go_on(last: list[Lookups], now: list[Lookups]) -> bool:
    """Whether the same runs of the same servers have counted on; a counter that fell was reset."""
    return len(last) == len(now) and all(
        before.run == after.run
        and before.hits <= after.hits
        and before.misses <= after.misses
        and before.commands <= after.commands
        for before, after in zip(last, now, strict=True)
    )
