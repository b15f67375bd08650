"""What a soak came to, in a few plain lines."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from scripts.soaking.run import Result

MAX_SHOWN: Final = 20


def lines(topology: str, seed: int, result: Result) -> Iterator[str]:
    """Yield the report of one topology."""
    first, last = result.memory.first / 1e6, result.memory.last / 1e6
    yield f"{topology}, seed {seed}, {result.seconds:.0f} s: {_verdict(result)}"
    yield f"  faults: {_listed(result.faults)}; {result.failovers} changed a primary"
    yield f"  work: {_listed(result.counts)}"
    yield f"  users: the longest call took {result.longest:.2f} s; {result.keys} keys at the end"
    lost = _listed(result.excused) or "nothing"
    yield f"  lost by failovers: {lost}; {result.around_failovers} writes were acknowledged around them"
    yield f"  {result.descriptors} file descriptors; memory {first:.1f} MB, at the end {last:.1f} MB"
    for one in result.broken[:MAX_SHOWN]:
        yield f"  BROKEN: {one}"


def _verdict(result: Result) -> str:
    return f"{len(result.broken)} promises broken" if result.broken else "all promises kept"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
