"""Contenders that take turns, and the median of each: machines are noisy."""

from collections.abc import Callable, Mapping
from statistics import median


def medians(contenders: Mapping[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """Return the median of what each contender measures; they alternate, after one turn unseen."""
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(runs + 1):
        for name, measure in contenders.items():
            value = measure()
            if turn:
                measured[name].append(value)
    return {name: median(values) for name, values in measured.items()}
