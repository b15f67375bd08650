"""Requests and an origin: compute what is missing, most asked first, and write values as they come."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from cachectl.config.settings import PythonOrigin
from cachectl.models import Entries, Entry, Problem, Request
from cachectl.operations.stop import GRACE, first_of_ours, until
from cachectl.operations.warm.plan import Only, Warm
from cachectl.operations.warm.rank import Ranked
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.write import decided, expiring, into, missing
from cachectl.sources.origins import CallableOrigin, OriginError
from cachectl.store.store import Store

WRITES = 500
"""Computed values that are written in one round trip at most."""
MISSING = Only("missing")

Computed = asyncio.Queue[Entry | None]
"""Values on their way from the origin to the cache; None ends them."""


class Origin(NamedTuple):
    """A Python callable, imported, and how it is called."""

    call: Callable[..., Any]
    settings: PythonOrigin


async def compute(store: Store, plan: Warm, ranked: Ranked, origin: Origin, tally: Tally) -> None:
    """Compute and write the values of the `plan.limit` requests that are asked most.

    Once it is to stop, calls that do not end soon are left behind, and what was computed is written.
    """
    requests = _callable(ranked.sources, await _asked(store, plan, ranked, tally), tally)
    if plan.dry_run or tally.stop.is_set():
        return
    _, concurrency, timeout = origin.settings
    computed: Computed = asyncio.Queue(2 * WRITES)
    waiting = iter(requests)

    async def call_all(values: CallableOrigin) -> None:
        async with asyncio.TaskGroup() as calls:
            for _ in range(min(concurrency, len(requests))):
                calls.create_task(_call(waiting, ranked.sources, values, tally, computed))

    try:
        with closing(
            CallableOrigin(origin.call, concurrency=concurrency, timeout=timeout)
        ) as values:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write_all(store, plan, ranked, computed, tally))
                await until(tally.stop, call_all(values), grace=GRACE / 2)
                await computed.put(None)
    except BaseExceptionGroup as errors:
        raise first_of_ours(errors) from None


async def _asked(store: Store, plan: Warm, ranked: Ranked, tally: Tally) -> list[Request]:
    """Return the requests whose value is to be computed; the others are skipped."""
    requests = ranked.requests[: plan.limit]
    tally.entries = tally.total = len(requests) + ranked.bad
    for problem in ranked.problems:
        tally.fail(problem)
    tally.failed += ranked.bad - len(ranked.problems)
    only = plan.only or MISSING
    if only.which == "all":
        return requests
    keys = [request.key for request in requests]
    if only.which == "expiring":
        needed = await expiring(store, keys, only.within)
    else:
        needed = await missing(store, keys)
    kept = [request for request, wanted in zip(requests, needed, strict=True) if wanted]
    tally.skip(len(requests) - len(kept))
    return kept


def _callable(sources: dict[bytes, str], requests: list[Request], tally: Tally) -> list[Request]:
    """Return the requests that a Python origin can be called for; the others fail."""
    for request in requests:
        if request.params is None:
            message = "a Python origin is called with params, and this request has only a key"
            tally.fail(Problem(message, sources[request.key], request.line, request.key))
    tally.tell()
    return [request for request in requests if request.params is not None]


async def _call(
    waiting: Iterator[Request],
    sources: dict[bytes, str],
    origin: CallableOrigin,
    tally: Tally,
    computed: Computed,
) -> None:
    """Take one request after the other and compute its value."""
    for request in waiting:
        source = sources[request.key]
        params: dict[str, Any] = request.params or {}
        try:
            value = await origin.compute(params)
        except OriginError as error:
            tally.fail(Problem(error.message, source, request.line, request.key))
            tally.tell()
        else:
            tally.computed += 1
            await computed.put(Entry(request.key, value, line=request.line))
        if tally.stop.is_set():
            return


async def _write_all(
    store: Store, plan: Warm, ranked: Ranked, computed: Computed, tally: Tally
) -> None:
    """Write what was computed, all that waits at once, until None comes."""
    only_missing = (plan.only or MISSING).which == "missing"

    def source_of(entry: Entry) -> str:
        return ranked.sources[entry.key]

    ended = False
    async with into(store, tally) as cache:
        while not ended:
            batch = [await computed.get()]
            while len(batch) < WRITES and not computed.empty():
                batch.append(computed.get_nowait())
            ended = batch[-1] is None
            if tally.error is None:
                values = Entries.of([entry for entry in batch if entry is not None])
                await cache.send(decided(plan, values), source_of, only_missing=only_missing)
                if computed.empty():
                    await cache.land()
