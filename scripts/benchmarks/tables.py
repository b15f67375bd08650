"""Figures as a Markdown table, each beside its peer's, with the ratio and the goal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple


class Goal(NamedTuple):
    """The ratio to reach, or not to exceed."""

    ratio: float
    at_most: bool = False

    def verdict(self, ratio: float) -> str:
        """Return `>= 1.00 x: reached`."""
        reached = ratio <= self.ratio if self.at_most else ratio >= self.ratio
        sign, word = ("<=" if self.at_most else ">="), ("reached" if reached else "**missed**")
        return f"{sign} {self.ratio:.2f} x: {word}"


class Contest(NamedTuple):
    """What is compared: a contender of the run, its peer, and the goal, if there is one."""

    what: str
    peer: str
    ours: str
    goal: Goal | None


def rate(number: float) -> str:
    """Return `412,000/s`: three digits, more are noise."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}/s"


def milliseconds(seconds: float) -> str:
    """Return `1.53 ms`."""
    return f"{seconds * 1000:.2f} ms"


def megabytes(size: float) -> str:
    """Return `57.3 MB`."""
    return f"{size / 1e6:.1f} MB"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, after an empty one."""
    yield ""
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def comparison(
    contests: Iterable[Contest], found: dict[str, float], shown: Callable[[float], str]
) -> Iterator[str]:
    """Yield the table of what was found: what, peer, cachectl, ratio, goal."""
    rows = []
    for what, peer, ours, goal in contests:
        ratio = found[ours] / found[peer]
        verdict = goal.verdict(ratio) if goal else ""
        rows.append(
            (what, f"{peer}: {shown(found[peer])}", shown(found[ours]), f"{ratio:.2f} x", verdict)
        )
    yield from markdown(("what", "peer", "cachectl", "ratio", "goal"), rows)
