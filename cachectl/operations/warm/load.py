"""Entries, ready to be written: from their sources into the cache, batch by batch."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import time
from typing import BinaryIO

from cachectl.errors import CachectlError
from cachectl.models import Batch, Entries, Entry
from cachectl.operations.warm.parts import mine
from cachectl.operations.warm.plan import Part, Warm
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.write import Into, decided, expiring, into, missing
from cachectl.sources.lines import entry_batches
from cachectl.store.store import Store

PAUSE = 0.005
"""Seconds that the next batch is waited for before the replies to those that were sent are."""


async def load(store: Store, plan: Warm, tally: Tally, stdin: BinaryIO) -> None:
    """Write the entries of all sources, of those the first `plan.limit`.

    Raises `InputError` for a source that cannot be read, or not to its end, once all before is written.
    """
    left = plan.limit
    async with aclosing(_batches(plan.files, stdin)) as batches, into(store, tally) as cache:
        async for batch in _unhurried(batches, cache):
            kept = batch if left is None else _first(batch, left)
            if left is not None:
                left -= len(kept.entries)
            await _load(store, plan, tally, cache, _of_part(kept, plan.part))
            if left == 0 or tally.stop.is_set():
                return


async def _unhurried(
    batches: AsyncGenerator[Batch, None], cache: Into
) -> AsyncGenerator[Batch, None]:
    """Yield the batches; while the next one is not there yet, let what was sent be answered."""
    loop = asyncio.get_running_loop()
    landing: list[asyncio.Task[None]] = []

    def land() -> None:
        landing.append(loop.create_task(cache.land()))

    while True:
        timer = loop.call_later(PAUSE, land)  # a task for each batch would cost ten times as much
        batch = failure = None
        try:
            batch = await anext(batches, None)
        except CachectlError as error:
            failure = error
        except asyncio.CancelledError:
            for task in landing:
                task.cancel()
            raise
        finally:
            timer.cancel()
        if landing:  # awaited alone: two must not read the same replies
            await landing.pop()
        if failure is not None:
            raise failure
        if batch is None:
            return
        yield batch


async def _batches(sources: Sequence[str], stdin: BinaryIO) -> AsyncGenerator[Batch, None]:
    """Yield the entries of all sources."""
    for source in sources:
        async with aclosing(entry_batches(source, stdin=stdin)) as batches:
            async for batch in batches:
                yield batch


def _first(batch: Batch, count: int) -> Batch:
    """Return the batch up to its `count`-th entry; bad lines that follow it are none of ours."""
    if len(batch.entries) < count:
        return batch
    last = batch.entries.lines[count - 1]
    problems = [problem for problem in batch.problems if (problem.line or 0) < last]
    return batch._replace(entries=batch.entries[:count], problems=problems)


def _of_part(batch: Batch, part: Part) -> Batch:
    """Return the entries of a batch that are this part's; bad lines are everybody's."""
    if part.of == 1:
        return batch
    return batch._replace(entries=batch.entries.where(mine(batch.entries.keys, part)))


async def _load(store: Store, plan: Warm, tally: Tally, cache: Into, batch: Batch) -> None:
    tally.entries += len(batch.entries) + len(batch.problems)
    for problem in batch.problems:
        tally.fail(problem)
    if not tally.stop.is_set():
        wanted = await _wanted(store, plan, tally, _alive(batch.entries, tally))
        if not plan.dry_run:
            await _write(plan, tally, cache, wanted, batch.source)
    tally.tell()


def _alive(entries: Entries, tally: Tally) -> Entries:
    """Return the entries that have not expired while they lay in their backup."""
    if not entries.of_backup:
        return entries
    now = time()
    alive = [at is None or at > now for at in entries.expiries]
    tally.skip(alive.count(False))
    return entries.where(alive)


def _overwrites(plan: Warm, entries: Entries) -> list[bool]:
    """Return which entries may take another's place: those of a backup may not unless asked."""
    if plan.only is not None or not entries.of_backup:
        overwrites = plan.only is None or plan.only.which != "missing"
        return [overwrites] * len(entries)
    pairs = zip(entries.dumps, entries.expiries, strict=True)
    return [not dump and at is None for dump, at in pairs]


async def _wanted(store: Store, plan: Warm, tally: Tally, entries: Entries) -> Entries:
    """Return the entries that are to be written by what is there now; the others are skipped.

    "Only missing" is asked for with the write itself: no look beforehand could be as true.
    """
    if plan.only is not None and plan.only.which == "expiring":
        needed = await expiring(store, entries.keys, plan.only.within)
    elif plan.dry_run:
        absent = await missing(store, entries.keys)
        overwrites = _overwrites(plan, entries)
        needed = [a or over for a, over in zip(absent, overwrites, strict=True)]
    else:
        return entries
    tally.skip(needed.count(False))
    return entries.where(needed)


async def _write(plan: Warm, tally: Tally, cache: Into, entries: Entries, source: str) -> None:
    ready = decided(plan, entries)
    overwrites = _overwrites(plan, ready)

    def source_of(_entry: Entry) -> str:
        return source

    if False not in overwrites:
        await cache.send(ready, source_of, only_missing=False)
        return
    await cache.send(ready.where(overwrites), source_of, only_missing=False)
    if not tally.stop.is_set():
        others = ready.where([not over for over in overwrites])
        await cache.send(others, source_of, only_missing=True)
