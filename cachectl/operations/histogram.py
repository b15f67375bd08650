"""TTLs by the million in a few kilobytes: a histogram whose buckets grow with what they hold.

The buckets are those of DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile
Sketch with Relative-Error Guarantees", PVLDB 12, 2019): with g = (1 + e) / (1 - e), bucket i holds what
lies between g^i and g^(i+1) and is told as 2 g^(i+1) / (g + 1): off by no more than the share e.
"""

from array import array
from collections.abc import Sequence
from math import ceil, log

ERROR = 0.01
"""The relative error of a quantile at most."""
LEAST = 0.001
"""Seconds; the server counts in milliseconds, and what is shorter counts as one."""

_GAMMA = (1 + ERROR) / (1 - ERROR)
_SCALE = 1 / log(_GAMMA)


class Histogram:
    """Seconds, counted by size: quantiles with a relative error of at most `ERROR`, exact ends.

    It takes 4 bytes a bucket: 4 kB for a TTL of a week, 6 kB for one of a hundred years.
    """

    __slots__ = ("count", "counts", "longest", "shortest")

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.counts = array("I")
        self.count = 0
        self.shortest = float("inf")
        self.longest = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        """Count some, none of them below 0."""
        if not seconds:
            return
        self.count += len(seconds)
        self.shortest = min(self.shortest, *seconds)
        self.longest = max(self.longest, *seconds)
        self._grow(_bucket(self.longest) + 1)
        counts, first, scale = self.counts, LEAST, _SCALE
        for value in seconds:
            counts[int(log(value / first) * scale) if value > first else 0] += 1

    def merge(self, other: "Histogram") -> None:
        """Count what another has counted."""
        self.count += other.count
        self.shortest = min(self.shortest, other.shortest)
        self.longest = max(self.longest, other.longest)
        self._grow(len(other.counts))
        for place, count in enumerate(other.counts):
            if count:
                self.counts[place] += count

    def quantile(self, share: float) -> float | None:
        """Return what the `share` of all is at most, by nearest rank; None of nothing."""
        if not self.count:
            return None
        left = max(1, ceil(share * self.count))
        place = 0
        for place, count in enumerate(self.counts):  # noqa: B007 where it ends is what is asked for
            left -= count
            if left <= 0:
                break
        middle = LEAST * 2 * _GAMMA ** (place + 1) / (_GAMMA + 1)
        return min(max(middle, self.shortest), self.longest)

    def _grow(self, size: int) -> None:
        if size > len(self.counts):
            self.counts.extend([0] * (size - len(self.counts)))


def _bucket(seconds: float) -> int:
    return int(log(seconds / LEAST) * _SCALE) if seconds > LEAST else 0
