"""A warm from its sources to its report: load entries, or compute requests, and prove the hit rate."""

import os
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import BinaryIO

from cachectl.errors import CachectlError, InputError
from cachectl.models import Observer, WarmReport
from cachectl.operations.stop import Stop, until
from cachectl.operations.warm.compute import Origin, compute
from cachectl.operations.warm.load import load
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.rank import rank
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.verify import Proof
from cachectl.sources.origins import load_callable
from cachectl.sources.reading import STDIN, named
from cachectl.store.store import Store


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
    tally = Tally(stop, observe, plan.fail_fast)
    proof = Proof(plan)
    try:
        await until(stop, _work(store, plan, tally, proof, stdin))
    except CachectlError as error:
        if not tally.begun:
            raise
        tally.end(error)
    tally.close()
    await _verify(store, plan, tally, proof)
    return _report(plan, tally, proof, start)


def disabled(plan: Warm) -> WarmReport:
    """Return the report of a warm that the rollback switch keeps from doing anything."""
    stop = Stop()
    stop.set("disabled")
    tally = Tally(stop, lambda _progress: None, plan.fail_fast)
    return _report(plan, tally, Proof(replace(plan, sample=None)), perf_counter())


async def _work(store: Store, plan: Warm, tally: Tally, proof: Proof, stdin: BinaryIO) -> None:
    """Read what is to be read beforehand, look at the server, and load or compute."""
    origin = ranked = None
    if not plan.verify_only:
        _find(plan.sources)
    if plan.origin is not None and not plan.verify_only:
        origin = Origin(load_callable(plan.origin.call, plan.directory), plan.origin)
        ranked = await rank(plan.sources, plan.namespace, stdin)
    await proof.read(ranked, stdin)
    if not (plan.verify_only or plan.dry_run):
        await store.writable()
    await proof.look_before(store)
    if ranked is not None and origin is not None:
        await compute(store, plan, ranked, origin, tally)
    elif not plan.verify_only:
        await load(store, plan, tally, stdin)


def _find(sources: Sequence[str]) -> None:
    """Raise `InputError` for a file that is not there, before one that comes first is written."""
    for source in sources:
        if source != STDIN:
            try:
                os.stat(source)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "it cannot be read"
                msg = f"{named(source)}: {reason.lower()}"
                raise InputError(msg) from None


async def _verify(store: Store, plan: Warm, tally: Tally, proof: Proof) -> None:
    """Look up the hit rate after the work, unless nobody can or wants to wait for it."""
    reason = tally.stop.reason
    if plan.verify_only or plan.dry_run or reason in {"connection", "interrupted"}:
        return
    try:
        await until(tally.stop, proof.look_after(store))
    except CachectlError as error:
        tally.end(error)


def _report(plan: Warm, tally: Tally, proof: Proof, start: float) -> WarmReport:
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
        hit_rate=proof.verdict,
        stopped=tally.stop.reason,
        errors=tuple(tally.errors),
        allowed_failures=plan.max_failed.of(tally.entries),
        dry_run=plan.dry_run,
        error=tally.error,
    )
