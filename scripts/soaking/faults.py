"""One fault after the other, by a seed, in a thread of its own."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final

from scripts.soaking.ledger import LAG, Span
from scripts.soaking.places import Place

REST: Final = (0.4, 2.5)
"""Seconds from the end of a fault to the next one: work is to be done meanwhile."""


class Faults(Thread):
    """Makes faults until it is ended; each is over before the next one begins.

    `failovers` and `all` are when they were; `error` is why there are no more of them.
    """

    def __init__(self, place: Place, random: Random) -> None:
        """Take the servers; `start` begins."""
        super().__init__(name="faults")
        self.failovers: list[Span] = []
        self.all: list[Span] = []
        self.made: Counter[str] = Counter()
        self.error: Exception | None = None
        self._place = place
        self._random = random
        self._over = Event()
        self._making = Lock()

    def run(self) -> None:
        """Make one after the other."""
        try:
            while not self._over.wait(self._random.uniform(*REST)):
                with self._making:
                    self._make()
        except Exception as error:  # noqa: BLE001 the soak ends with it, and tells
            self.error = error

    def end(self) -> None:
        """Wait for the end of the last one."""
        self._over.set()
        self.join()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep the faults away for the length of a block."""
        with self._making:
            yield

    def _make(self) -> None:
        """Make one. Where another is the primary afterwards, there was a failover, wanted or not."""
        place = self._place
        name = self._random.choice(list(place.faults))
        primaries = place.primaries()
        begun = monotonic()
        self.all.append((begun, float("inf")))
        place.faults[name](self._random)
        place.settle()
        ended = monotonic()
        self.all[-1] = (begun, ended)
        self.made[name] += 1
        if set(place.primaries()) != set(primaries):
            self.failovers.append((begun - LAG, ended))
