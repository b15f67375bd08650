"""A warm from its sources to its report: load entries, or compute requests, and prove the hit rate."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from time import perf_counter, time
from typing import Any, BinaryIO, Literal, NamedTuple

from cachectl.config.settings import Unset
from cachectl.config.ttl import default_ttl, jittered, settings_for
from cachectl.errors import CachectlError, UnreachableError
from cachectl.keys import to_text
from cachectl.models import Batch, Entry, HitRate, Observer, Problem, Request, WarmReport
from cachectl.operations.stop import Stop, first_of_ours, until
from cachectl.operations.warm.plan import (
    Only,
    Ranked,
    Warm,
    batches_of_entries,
    rank,
    read_sample,
)
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.verify import hit_rate, look
from cachectl.sources.origins import CallableOrigin, OriginError, load_callable
from cachectl.store.store import Store, Write

WRITES = 500
"""Computed values that are written in one round trip at most."""


class _Sample(NamedTuple):
    """The requests that a warm is verified against."""

    requests: list[Request]
    kind: Literal["separate", "same"]


async def warm(
    store: Store, plan: Warm, stop: Stop, observe: Observer, stdin: BinaryIO
) -> WarmReport:
    """Warm as `plan` says, and report.

    Until the first write it raises: `UsageError`, `ConfigError` and `InputError` for a plan, an origin
    or a source that cannot be, `UnreachableError` and `ServerError` for a server that cannot be asked.
    From then on it reports.
    """
    start = perf_counter()
    plan.check()
    tally = Tally(stop, observe, plan.fail_fast, "warming")
    ranked, origin = await _prepare(plan, stdin)
    sample = await _sample(plan, ranked, stdin)
    if not (plan.verify_only or plan.dry_run):
        await store.writable()
    before = await hit_rate(store, sample.requests) if sample else None

    async def work() -> None:
        if ranked is not None and origin is not None:
            await _compute_all(store, plan, ranked, origin, tally)
        else:
            await _load_all(store, plan, tally, stdin)

    if not plan.verify_only:
        await _account(work(), tally)
    after = await _after(store, plan, sample, before, tally)
    return _report(plan, tally, start, _verdict(plan, sample, before, after))


def disabled(plan: Warm) -> WarmReport:
    """Return the report of a warm that the rollback switch keeps from doing anything."""
    stop = Stop()
    stop.set("disabled")
    tally = Tally(stop, lambda _progress: None, plan.fail_fast, "warming")
    return _report(plan, tally, perf_counter(), None)


async def _prepare(plan: Warm, stdin: BinaryIO) -> tuple[Ranked | None, CallableOrigin | None]:
    """Return the ranked requests and their origin; nothing for a warm from entries."""
    if plan.verify_only and plan.sample != "same":
        return None, None
    if plan.origin is None:
        return None, None
    call = load_callable(plan.origin.call, plan.directory)
    origin = CallableOrigin(call, timeout=plan.origin.timeout, concurrency=plan.origin.concurrency)
    return await rank(plan.sources, plan.namespace, stdin), origin


async def _sample(plan: Warm, ranked: Ranked | None, stdin: BinaryIO) -> _Sample | None:
    if plan.sample is None:
        return None
    if plan.sample == "same":
        return _Sample(ranked.requests if ranked else [], "same")
    return _Sample(await read_sample(plan.sample, plan.namespace, stdin), "separate")


async def _account(work: Any, tally: Tally) -> None:
    """Do the work; an error of ours after the first write ends it with a report."""
    try:
        await until(tally.stop, work)
    except CachectlError as error:
        if not (tally.written or tally.skipped or tally.failed or tally.unknown):
            raise
        tally.error = tally.error or error
        tally.stop.set("connection")
    tally.unknown += tally.in_flight
    tally.in_flight = 0


async def _load_all(store: Store, plan: Warm, tally: Tally, stdin: BinaryIO) -> None:
    """Write the entries of all sources, batch by batch."""
    async with aclosing(batches_of_entries(plan.sources, stdin)) as batches:
        async for batch in batches:
            limit = None if plan.limit is None else plan.limit - tally.entries
            kept = batch if limit is None else batch._replace(entries=batch.entries[:limit])
            await _load(store, plan, tally, kept)
            if tally.stop.is_set() or (limit is not None and len(batch.entries) >= limit):
                return


async def _load(store: Store, plan: Warm, tally: Tally, batch: Batch) -> None:
    tally.entries += len(batch.entries) + len(batch.problems)
    for problem in batch.problems:
        tally.fail(problem)
    if tally.stop.is_set():
        return
    now = time()
    plain: list[tuple[Write, str, int]] = []
    if_missing: list[tuple[Write, str, int]] = []
    for entry in await _wanted(store, plan, tally, batch.entries):
        if entry.expires_at is not None and entry.expires_at <= now:
            tally.skip(1)
            continue
        only = plan.only.which if plan.only else _default_only(entry)
        group = if_missing if only == "missing" else plain
        group.append((_write(plan, entry), batch.source, entry.line))
    for group, only_missing in ((plain, False), (if_missing, True)):
        if group:
            await _send(store, plan, tally, group, only_missing=only_missing)
    tally.tell()


def _default_only(entry: Entry) -> Literal["missing", "all"]:
    """A backup does not overwrite newer data unless asked."""  # noqa: D401
    return "missing" if entry.dump or entry.expires_at is not None else "all"


async def _wanted(
    store: Store, plan: Warm, tally: Tally, entries: Sequence[Entry]
) -> Sequence[Entry]:
    """Return the entries that are to be written by what is there now; the others are skipped."""
    if plan.only is not None and plan.only.which == "expiring":
        needed = await _expiring(store, [entry.key for entry in entries], plan.only)
    elif plan.dry_run:
        there = await look(store, [entry.key for entry in entries])
        needed = [
            not found or (plan.only.which if plan.only else _default_only(entry)) == "all"
            for entry, found in zip(entries, there, strict=True)
        ]
    else:
        return entries
    kept = [entry for entry, wanted in zip(entries, needed, strict=True) if wanted]
    tally.skip(len(entries) - len(kept))
    return kept


async def _expiring(store: Store, keys: Sequence[bytes], only: Only) -> list[bool]:
    """Return which keys are missing or expire within the wanted seconds."""
    outcomes = await store.ttls(keys)
    if outcomes.error is not None:
        raise outcomes.error
    for reply in outcomes.replies:
        if isinstance(reply, CachectlError):
            raise reply
    return [
        left is False or (left is not None and left <= only.within) for left in outcomes.replies
    ]


def _write(plan: Warm, entry: Entry) -> Write:
    """Return the entry as it is written: its own TTL > flag or job > namespace > cache."""
    if entry.expires_at is not None:
        return Write(entry.key, entry.value, expires_at=entry.expires_at, dump=entry.dump)
    ttl = entry.ttl if not isinstance(entry.ttl, Unset) else _planned_ttl(plan, entry.key)
    return Write(entry.key, entry.value, ttl, dump=entry.dump)


def _planned_ttl(plan: Warm, key: bytes) -> float | None:
    name, namespaces = to_text(key), plan.namespaces or {}
    found = settings_for(name, namespaces)
    jitter = plan.ttl_jitter
    if not isinstance(plan.ttl, Unset):
        inherited = found[1].ttl_jitter if found else 0.0
        return jittered(plan.ttl, inherited if jitter is None else jitter)
    if jitter is None:
        return default_ttl(name, namespaces, plan.fallback_ttl)
    ttl = found[1].ttl if found else plan.fallback_ttl
    return jittered(plan.fallback_ttl if isinstance(ttl, Unset) else ttl, jitter)


async def _send(
    store: Store,
    plan: Warm,
    tally: Tally,
    writes: Sequence[tuple[Write, str, int]],
    *,
    only_missing: bool,
) -> None:
    if plan.dry_run or tally.stop.is_set():
        return
    tally.begin(len(writes))
    outcomes = await store.write([write for write, _, _ in writes], only_missing=only_missing)
    tally.settle(writes, outcomes)


async def _compute_all(
    store: Store, plan: Warm, ranked: Ranked, origin: CallableOrigin, tally: Tally
) -> None:
    """Compute what is missing, most asked first, and write values as they come."""
    requests = ranked.requests[: plan.limit]
    tally.entries = len(requests) + ranked.bad
    tally.total = tally.entries
    for problem in ranked.problems:
        tally.fail(problem)
    tally.failed += ranked.bad - len(ranked.problems)
    requests = await _uncached(store, plan, requests, tally)
    tally.tell()
    if plan.dry_run or tally.stop.is_set():
        return
    done: asyncio.Queue[tuple[Write, str, int] | None] = asyncio.Queue(2 * WRITES)
    waiting = iter(requests)

    async def worker() -> None:
        for request in waiting:
            if tally.stop.is_set():
                return
            source = ranked.sources[request.key]
            value = await _value(request, source, origin, tally)
            if value is not None:
                entry = Entry(request.key, value)
                await done.put((_write(plan, entry), source, request.line))

    only_missing = plan.only is None or plan.only.which == "missing"
    concurrency = plan.origin.concurrency if plan.origin else 1
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_write_computed(store, plan, done, tally, only_missing))
            workers = [group.create_task(worker()) for _ in range(min(concurrency, len(requests)))]
            if workers:
                await asyncio.wait(workers)
            await done.put(None)
    except BaseExceptionGroup as errors:
        raise first_of_ours(errors) from None


async def _uncached(
    store: Store, plan: Warm, requests: list[Request], tally: Tally
) -> list[Request]:
    """Return the requests whose value is to be computed; the others are skipped."""
    only = plan.only or Only("missing")
    if only.which == "all":
        return requests
    keys = [request.key for request in requests]
    if only.which == "expiring":
        needed = await _expiring(store, keys, only)
    else:
        needed = [not found for found in await look(store, keys)]
    kept = [request for request, wanted in zip(requests, needed, strict=True) if wanted]
    tally.skip(len(requests) - len(kept))
    return kept


async def _value(
    request: Request, source: str, origin: CallableOrigin, tally: Tally
) -> bytes | None:
    if request.params is None:
        message = "a Python origin is called with params, and this request has only a key"
        tally.fail(Problem(message, source, request.line, request.key))
        return None
    try:
        value = await origin.compute(request.params)
    except OriginError as error:
        tally.fail(Problem(error.message, source, request.line, request.key))
        tally.tell()
        return None
    tally.computed += 1
    return value


async def _write_computed(
    store: Store,
    plan: Warm,
    done: "asyncio.Queue[tuple[Write, str, int] | None]",
    tally: Tally,
    only_missing: bool,  # noqa: FBT001
) -> None:
    """Write what was computed, all that waits at once, until None comes."""
    ended = False
    while not ended:
        first = await done.get()
        batch = [] if first is None else [first]
        ended = first is None
        while not ended and len(batch) < WRITES and not done.empty():
            following = done.get_nowait()
            ended = following is None
            if following is not None:
                batch.append(following)
        if batch:
            await _send(store, plan, tally, batch, only_missing=only_missing)


async def _after(
    store: Store, plan: Warm, sample: _Sample | None, before: float | None, tally: Tally
) -> float | None:
    """Return the hit rate after the work, or None where it cannot be looked up."""
    if sample is None or plan.dry_run:
        return None
    if plan.verify_only:
        return before
    if tally.stop.reason in {"connection", "interrupted"}:
        return None
    result: list[float | None] = []

    async def measure() -> None:
        result.append(await hit_rate(store, sample.requests))

    try:
        await until(tally.stop, measure())
    except UnreachableError as error:
        tally.error = error
        tally.stop.set("connection")
    return result[0] if result else None


def _verdict(
    plan: Warm, sample: _Sample | None, before: float | None, after: float | None
) -> HitRate | None:
    if sample is None:
        return None
    met = None
    if plan.required is not None and not plan.dry_run:
        met = after is not None and after >= plan.required
    return HitRate(
        before=before,
        after=after,
        requests=sum(request.count for request in sample.requests),
        keys=len(sample.requests),
        sample=sample.kind,
        required=plan.required,
        met=met,
    )


def _report(plan: Warm, tally: Tally, start: float, rate: HitRate | None) -> WarmReport:
    return WarmReport(
        job=plan.job,
        entries=tally.entries,
        written=tally.written,
        skipped=tally.skipped,
        failed=tally.failed,
        unknown=tally.unknown,
        unsent=tally.unsent,
        size=tally.size,
        seconds=perf_counter() - start,
        computed=tally.computed,
        hit_rate=rate,
        stopped=tally.stop.reason,
        errors=tuple(tally.errors),
        allowed_failures=plan.max_failed.of(tally.entries),
        dry_run=plan.dry_run,
        error=tally.error,
    )
