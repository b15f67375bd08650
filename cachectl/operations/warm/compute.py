"""Requests and an origin: compute what is missing, most asked first, and write values as they come."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from cachectl.models import Entries, Entry, Problem, Request
from cachectl.operations.stop import GRACE, first_of_ours, until
from cachectl.operations.warm.choose import MISSING
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.verify import look
from cachectl.operations.warm.write import decided, into
from cachectl.sources.origins.failure import OriginError
from cachectl.sources.origins.limits import Origin
from cachectl.store.store import Store

WRITES = 500
"""Computed values that are written in one round trip at most."""
GATHER = 0.01
"""Seconds that the first of them waits for others: a round trip for each would cost the calls' time."""
_NOT_CACHED = "the application answered {} and did not cache it"

Computed = asyncio.Queue[Entry | None]
"""Values on their way from the origin to the cache; None ends them."""
SourceOf = Callable[[Entry], str]


async def compute(
    store: Store,
    plan: Warm,
    requests: Iterable[Request],
    sources: dict[bytes, str],
    origin: Origin,
    tally: Tally,
) -> None:
    """Compute and write the values of requests, in their order.

    An application that fills its cache by itself is only asked, and afterwards the cache is looked at.
    Once it is to stop, calls that do not end soon are left behind, and what was computed is written.
    """
    computed: Computed = asyncio.Queue(2 * WRITES)
    waiting = iter(requests)
    tally.statuses = origin.statuses

    def source_of(entry: Entry) -> str:
        return sources[entry.key]

    async def call_all() -> None:
        async with asyncio.TaskGroup() as calls:
            for _ in range(min(origin.callers, len(sources))):
                calls.create_task(_call(waiting, sources, origin, tally, computed))

    fills_itself = origin.settings.fills == "application"
    settle = _look_at_all if fills_itself else _write_all
    if fills_itself:
        tally.begun = True  # asking is what changes the cache

    async def leave_off() -> None:
        await tally.stop.wait()
        origin.leave_off()

    leaving_off = asyncio.create_task(leave_off())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(settle(store, plan, source_of, computed, tally))
            await until(tally.stop, call_all(), grace=GRACE / 2)
            await computed.put(None)
    except BaseExceptionGroup as errors:
        raise first_of_ours(errors) from None
    finally:
        leaving_off.cancel()
        if fills_itself:  # it may have cached, or be about to, what was not looked at any more
            tally.unknown += origin.unanswered + tally.computed - tally.looked


async def _call(
    waiting: Iterator[Request],
    sources: dict[bytes, str],
    origin: Origin,
    tally: Tally,
    computed: Computed,
) -> None:
    """Take one request after the other and compute its value."""
    for request in waiting:
        try:
            value = await origin.compute(request)
        except OriginError as error:
            source = sources[request.key]
            tally.fail(Problem(error.message, source, request.line, request.key))
            tally.tell()
            if origin.sick is not None and not tally.stop.is_set():
                tally.halt("origin", origin.sick)
        else:
            tally.computed += 1
            await computed.put(Entry(request.key, value, line=request.line))
        if tally.stop.is_set():
            return


async def _gathered(computed: Computed) -> list[Entry | None]:
    """Return what was computed, as much as came within a moment; None is the last."""
    batch = [await computed.get()]
    if batch[0] is not None and computed.qsize() < WRITES:
        await asyncio.sleep(GATHER)
    while len(batch) < WRITES and not computed.empty():
        batch.append(computed.get_nowait())
    return batch


async def _write_all(
    store: Store, plan: Warm, source_of: SourceOf, computed: Computed, tally: Tally
) -> None:
    """Write what was computed until None comes."""
    only_missing = (plan.only or MISSING).which == "missing"
    ended = False
    async with into(store, tally) as cache:
        while not ended:
            batch = await _gathered(computed)
            ended = batch[-1] is None
            if tally.error is None:
                values = Entries.of([entry for entry in batch if entry is not None])
                await cache.send(decided(plan, values), source_of, only_missing=only_missing)
                if computed.empty():
                    await cache.land()


async def _look_at_all(
    store: Store, _plan: Warm, source_of: SourceOf, computed: Computed, tally: Tally
) -> None:
    """Look which of the keys that the application was asked for are in the cache, until None comes."""
    ended = False
    while not ended:
        batch = await _gathered(computed)
        ended = batch[-1] is None
        asked = [entry for entry in batch if entry is not None]
        there = await look(store, [entry.key for entry in asked])
        tally.looked += len(asked)
        for entry, found in zip(asked, there, strict=True):
            if found:
                tally.written += 1
            else:
                message = _NOT_CACHED.format(entry.value.decode())
                tally.fail(Problem(message, source_of(entry), entry.line, entry.key))
        tally.tell()
