"""Which of the ranked requests are worth warming, and what hit rate that promises."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, compress
from statistics import fmean

from cachectl.models import Request
from cachectl.operations.warm.plan import Warm
from cachectl.reports.plan import PlanPoint

OVERHEAD = 80
"""Bytes that a key takes besides its own and its value's: table, objects, expiry. MEMORY USAGE of
strings of 10 to 1,000 bytes with a TTL gives 56 to 96 on Valkey 9.1 and Redis 6.2."""
LIMITS = (10, 25, 50, *(step * 10**power for power in range(2, 9) for step in (1, 2, 5)))


def worth(requests: Sequence[Request], plan: Warm) -> list[Request]:
    """Return those of the ranked requests that `plan` wants to be warmed, in their order.

    `limit` takes the most asked, `coverage` as few as reach that share of the requests, and `budget`
    those that bring most hits for their bytes, as far as sizes are known; a size that is not is taken
    for the mean of those that are.
    """
    chosen = list(requests[: plan.limit])
    if plan.coverage is not None:
        chosen = chosen[: _covering(requests, plan.coverage)]
    if plan.budget is not None:
        chosen = _affordable(chosen, plan.budget)
    return chosen


def _covering(requests: Sequence[Request], coverage: float) -> int:
    """Return how many of the most asked reach a share of all requests."""
    asked = list(accumulate(request.count for request in requests))
    wanted = coverage * asked[-1] if asked else 0.0
    return sum(reached < wanted for reached in asked) + (wanted > 0)


def _affordable(requests: Sequence[Request], budget: int) -> list[Request]:
    """Return the requests that bring most hits in so many bytes: greedily, by hits for a byte."""
    known = [request.size for request in requests if request.size is not None]
    if not known:
        return list(requests)
    mean = fmean(known)
    sizes = [memory(request, mean) for request in requests]
    by_worth = sorted(range(len(requests)), key=lambda i: -requests[i].count / sizes[i])
    taken = [False] * len(requests)
    for place in by_worth:
        if sizes[place] <= budget:
            budget -= sizes[place]
            taken[place] = True
    return list(compress(requests, taken))


def memory(request: Request, size: float) -> int:
    """Return the bytes that a key takes in the cache; `size` stands for that of an unknown value."""
    value = size if request.size is None else request.size
    return round(len(request.key) + value + OVERHEAD)


def curve(requests: Sequence[Request]) -> list[PlanPoint]:
    """Return the hit rate that the 10, 25, 50, … most asked keys promise, and all of them last.

    It is the share of the ranked requests that ask for these keys; `size` is None unless that of every
    value is known.
    """
    asked = list(accumulate(request.count for request in requests))
    sizes = _sizes(requests)
    limits = [limit for limit in LIMITS if limit < len(requests)]
    ends = [*limits, len(requests)] if requests else []
    return [
        PlanPoint(end, asked[end - 1] / asked[-1], None if sizes is None else sizes[end - 1])
        for end in ends
    ]


def promise(requests: Iterable[Request], total: int) -> float | None:
    """Return the share of so many requests that ask for these keys; None of none."""
    return sum(request.count for request in requests) / total if total else None


def chosen(requests: Sequence[Request], plan: Warm) -> PlanPoint | None:
    """Return what `plan` takes of the ranking, and what that promises; None when it takes all."""
    if (plan.limit, plan.coverage, plan.budget) == (None, None, None) or not requests:
        return None
    kept = worth(requests, plan)
    sizes = _sizes(kept)
    total = sum(request.count for request in requests)
    return PlanPoint(len(kept), promise(kept, total) or 0.0, sizes[-1] if sizes else None)


def _sizes(requests: Sequence[Request]) -> list[int] | None:
    if any(request.size is None for request in requests):
        return None
    return list(accumulate(memory(request, 0) for request in requests))
