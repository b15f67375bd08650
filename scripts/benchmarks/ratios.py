"""Contenders that take turns, the median of each, and their ratio: machines are noisy."""

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


def ratio_line(name: str, ratio: float, goal: float, *, at_most: bool) -> str:
    """Return `name  1.07 x  (goal <= 1.15: reached)`."""
    reached = ratio <= goal if at_most else ratio >= goal
    sign, verdict = ("<=" if at_most else ">="), ("reached" if reached else "MISSED")
    return f"{name:<44} {ratio:5.2f} x   goal {sign} {goal:.2f}: {verdict}"
