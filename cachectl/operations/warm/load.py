"""Entries, ready to be written: from their sources into the cache, batch by batch."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from time import time
from typing import BinaryIO, Literal

from cachectl.models import Batch, Entry
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.tally import Sent, Tally
from cachectl.operations.warm.write import as_written, expiring, missing, send
from cachectl.sources.feed import in_thread
from cachectl.sources.lines import entry_batches
from cachectl.store.store import Store


async def load(store: Store, plan: Warm, tally: Tally, stdin: BinaryIO) -> None:
    """Write the entries of all sources, of those the first `plan.limit`.

    Raises `InputError` for a source that cannot be read, or not to its end, once all before is written.
    """
    left = plan.limit
    async with aclosing(_batches(plan.sources, stdin)) as batches:
        async for batch in batches:
            kept = batch if left is None else _first(batch, left)
            await _load(store, plan, tally, kept)
            if left is not None:
                left -= len(kept.entries)
            if left == 0 or tally.stop.is_set():
                return


async def _batches(sources: Sequence[str], stdin: BinaryIO) -> AsyncGenerator[Batch, None]:
    """Yield the entries of all sources, read in a thread."""

    def read() -> Iterator[Batch]:
        for source in sources:
            yield from entry_batches(source, stdin=stdin)

    async for batch in in_thread(read()):
        yield batch


def _first(batch: Batch, count: int) -> Batch:
    """Return the batch up to its `count`-th entry; bad lines that follow it are none of ours."""
    if len(batch.entries) < count:
        return batch
    last = batch.entries[count - 1].line
    problems = [problem for problem in batch.problems if (problem.line or 0) < last]
    return batch._replace(entries=batch.entries[:count], problems=problems)


async def _load(store: Store, plan: Warm, tally: Tally, batch: Batch) -> None:
    tally.entries += len(batch.entries) + len(batch.problems)
    for problem in batch.problems:
        tally.fail(problem)
    if not tally.stop.is_set():
        alive = _alive(batch.entries, tally)
        wanted = await _wanted(store, plan, tally, alive)
        if not plan.dry_run:
            await _write(store, plan, tally, wanted, batch.source)
    tally.tell()


def _alive(entries: list[Entry], tally: Tally) -> list[Entry]:
    """Return the entries that have not expired while they lay in their backup."""
    now = time()
    alive = [entry for entry in entries if entry.expires_at is None or entry.expires_at > now]
    tally.skip(len(entries) - len(alive))
    return alive


def _which(plan: Warm, entry: Entry) -> Literal["missing", "all", "expiring"]:
    """Return which keys are wanted: a backup does not overwrite newer data unless asked."""
    if plan.only is not None:
        return plan.only.which
    return "missing" if entry.dump or entry.expires_at is not None else "all"


async def _wanted(store: Store, plan: Warm, tally: Tally, entries: list[Entry]) -> list[Entry]:
    """Return the entries that are to be written by what is there now; the others are skipped.

    "Only missing" is asked for with the write itself: no look beforehand could be as true.
    """
    keys = [entry.key for entry in entries]
    if plan.only is not None and plan.only.which == "expiring":
        needed = await expiring(store, keys, plan.only.within)
    elif plan.dry_run:
        absent = await missing(store, keys)
        needed = [a or _which(plan, e) == "all" for e, a in zip(entries, absent, strict=True)]
    else:
        return entries
    kept = [entry for entry, wanted in zip(entries, needed, strict=True) if wanted]
    tally.skip(len(entries) - len(kept))
    return kept


async def _write(store: Store, plan: Warm, tally: Tally, entries: list[Entry], source: str) -> None:
    plain: list[Sent] = []
    if_missing: list[Sent] = []
    for entry in entries:
        group = if_missing if _which(plan, entry) == "missing" else plain
        group.append(Sent(as_written(plan, entry), source, entry.line))
    await send(store, tally, plain, only_missing=False)
    if not tally.stop.is_set():
        await send(store, tally, if_missing, only_missing=True)
