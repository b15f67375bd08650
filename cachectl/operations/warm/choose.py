"""Which of the ranked requests are computed: worth it, of this part, and not in the cache already."""

from collections.abc import Iterator, Sequence
from itertools import compress

from cachectl.config.settings import Origin
from cachectl.models import Problem, Request
from cachectl.operations.warm.parts import mine
from cachectl.operations.warm.plan import Only, Warm
from cachectl.operations.warm.rank import Ranked
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.worth import OVERHEAD, memory, worth
from cachectl.operations.warm.write import expiring
from cachectl.sources.origins.path import NO_TARGET, lacking, needs
from cachectl.store.store import Store

MISSING = Only("missing")
_NO_PARAMS = "a Python origin is called with params, and this request has only a key"


async def chosen(store: Store, plan: Warm, ranked: Ranked, tally: Tally) -> list[Request]:
    """Return the requests that are this warm's, computed or not; they and bad lines are its entries.

    All parts choose from the same ranking, so that together they do what one would do alone. A log
    holds lines that are no requests in the best of times: those are none of the entries.
    """
    requests = ranked.requests
    if plan.budget is not None and all(request.size is None for request in requests):
        requests = await _sized(store, requests)
    kept = worth(requests, plan)
    kept = list(compress(kept, mine([request.key for request in kept], plan.part)))
    tally.entries = tally.total = len(kept)
    if not ranked.of_log:
        tally.entries = tally.total = len(kept) + ranked.bad
        for problem in ranked.problems:
            tally.fail(problem)
        tally.failed += ranked.bad - len(ranked.problems)
    return kept


async def _sized(store: Store, requests: Sequence[Request]) -> list[Request]:
    """Return the requests with the sizes of those values that are in the cache, if the server tells."""
    keys = [request.key for request in requests]
    told = (await store.sizes(keys)).replies
    return [
        request._replace(size=max(size - len(request.key) - OVERHEAD, 0))
        if isinstance(size, int)
        else request
        for request, size in zip(requests, told, strict=True)
    ]


def looked_up(plan: Warm, requests: Sequence[Request]) -> list[bytes]:
    """Return the keys of which must be known whether they are there."""
    needed = plan.budget is not None or (plan.only or MISSING).which == "missing"
    return [request.key for request in requests] if needed else []


async def wanted(
    store: Store, plan: Warm, requests: Sequence[Request], there: set[bytes], tally: Tally
) -> list[Request]:
    """Return the requests whose values are to be computed; the others are skipped.

    `there` are those keys that are in the cache.
    """
    only = plan.only or MISSING
    if only.which == "all":
        return list(requests)
    if only.which == "expiring":
        needed = await expiring(store, [request.key for request in requests], only.within)
    else:
        needed = [request.key not in there for request in requests]
    tally.skip(needed.count(False))
    return list(compress(requests, needed))


def total_of(plan: Warm, ranked: Ranked) -> int:
    """Return how many of the ranked requests this part's are, repeated ones counted each time."""
    own = mine([request.key for request in ranked.requests], plan.part)
    return sum(request.count for request in compress(ranked.requests, own))


def askable(plan: Warm, ranked: Ranked, requests: Sequence[Request], tally: Tally) -> list[Request]:
    """Return the requests that the origin can be asked for; the others fail."""
    origin = plan.origin or Origin()
    needed = needs(origin.path or "")
    asked = []
    for request in requests:
        problem = _unaskable(origin, needed, request)
        if problem is None:
            asked.append(request)
        else:
            source = ranked.sources[request.key]
            tally.fail(Problem(problem, source, request.line, request.key))
    tally.tell()
    return asked


def _unaskable(origin: Origin, needed: Sequence[str], request: Request) -> str | None:
    """Return why an origin, whose path needs so many parameters, cannot be asked for a request."""
    if origin.call:
        return _NO_PARAMS if request.params is None else None
    if request.target:
        return None
    return lacking(needed, request) if origin.path else NO_TARGET


def left_of(budget: int, plan: Warm, requests: Sequence[Request], there: set[bytes]) -> float:
    """Return the bytes of a budget that this part may fill: some of its values are there already."""
    taken = sum(memory(request, 0) for request in requests if request.key in there)
    return budget / plan.part.of - taken


def within(requests: Sequence[Request], left: float, tally: Tally) -> Iterator[Request]:
    """Yield requests while so many bytes have room for another value of the mean size so far.

    The rest are entries no more, as beyond a limit.
    """
    failed = tally.failed
    for given, request in enumerate(requests):
        taken = given + 1 - (tally.failed - failed)
        mean = (tally.size / tally.written + OVERHEAD) if tally.written else 0.0
        if left <= 0 or taken * mean > left:
            tally.entries -= len(requests) - given
            tally.total = tally.entries
            return
        yield request
