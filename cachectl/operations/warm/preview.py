"""What a warm would be worth, told from its requests alone: neither server nor origin is asked."""

from typing import BinaryIO

from cachectl.errors import UsageError
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.rank import Ranked, rank
from cachectl.operations.warm.worth import chosen, curve
from cachectl.reports.plan import Asked, PlanReport

TOP = 20
"""So many of the most asked keys are told."""


async def preview(plan: Warm, stdin: BinaryIO) -> PlanReport:
    """Return the ranking of a plan's requests and the hit rates that it promises.

    Raises `UsageError` for entries, of which nobody knows how often they are asked, and `InputError`
    for a source that cannot be read.
    """
    plan.check()
    if plan.origin is None:
        msg = "--plan ranks requests, and entries are none"
        raise UsageError(msg, "name a job with requests, or --origin MODULE:CALLABLE")
    ranked = await rank(plan.sources, plan.namespace, stdin)
    return PlanReport(
        job=plan.job,
        asked=asked(ranked),
        curve=tuple(curve(ranked.requests)),
        top=tuple((request.key, request.count) for request in ranked.requests[:TOP]),
        chosen=chosen(ranked.requests, plan),
        problems=tuple(ranked.problems),
    )


def asked(ranked: Ranked) -> Asked:
    """Return what is told of requests."""
    return Asked(ranked.total, len(ranked.requests), ranked.bad, ranked.unrouted, ranked.filtered)
