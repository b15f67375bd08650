"""A warm from its sources to its report: load entries, or compute requests, and prove the hit rate."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import BinaryIO

from cachectl.config.settings import AccessLog
from cachectl.errors import CachectlError, InputError, LostError, ServerError, UsageError
from cachectl.models import Observer, Problem, Request
from cachectl.operations.stop import Stop, proven, until
from cachectl.operations.warm.choose import (
    askable,
    chosen,
    left_of,
    looked_up,
    total_of,
    wanted,
    within,
)
from cachectl.operations.warm.compute import compute
from cachectl.operations.warm.lease import leased
from cachectl.operations.warm.load import load
from cachectl.operations.warm.memory import guarded
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.preview import asked
from cachectl.operations.warm.rank import Ranked, rank
from cachectl.operations.warm.tally import Tally
from cachectl.operations.warm.verify import Proof
from cachectl.operations.warm.watch import watch
from cachectl.reports.counts import NodeCount
from cachectl.reports.warm import WarmReport
from cachectl.sources.origins.open import check_origin, open_origin
from cachectl.sources.reading import STDIN, named
from cachectl.sources.routes import compiled
from cachectl.store.store import Store

_NOT_LOOKED_AT = {"connection", "locked"}
"""After a warm that was stopped so, as after a signal, nobody can or wants to look at the hit rate."""
_REPLACED = (
    "the server was restarted or replaced while it was warmed: entries written before may be gone"
)
_UNTOLD = (
    "a connection was lost, and the server does not tell whether it was restarted:"
    " entries written before may be gone"
)
_LET_IT_TELL = "allow the user INFO (+info), or prove it: --verify FILE"


def _unsaid(_line: str) -> None:
    """Tell nobody."""


async def warm(
    store: Store,
    plan: Warm,
    stop: Stop,
    observe: Observer,
    stdin: BinaryIO,
    say: Callable[[str], None] = _unsaid,
) -> WarmReport:
    """Warm as `plan` says, and report; `say` is told whom it waits for.

    Until the first write it raises: `UsageError`, `ConfigError` and `InputError` for a plan, an origin
    or a source that cannot be, `UnreachableError` and `ServerError` for a server that cannot be asked.
    From then on it reports.
    """
    start = perf_counter()
    plan.check()
    tally = Tally(stop, observe, plan.fail_fast)
    proof = Proof(plan)
    try:
        await until(stop, _locked(store, plan, tally, proof, stdin, say))
    except CachectlError as error:
        if not tally.begun:
            raise
        tally.end(error)
    tally.close()
    replaced = await _replaced(store, tally)
    await _verify(store, plan, tally, proof)
    await _watch(store, plan, tally, proof)
    if replaced is not None:
        _tell(replaced, tally, proof)
    report = _report(plan, tally, proof, start)
    return replace(report, held_back_seconds=store.pace.held_back)


def check(plan: Warm) -> None:
    """Raise for a plan that cannot be: its options, its files, its origin; asks no server.

    Raises `UsageError`, `InputError` or `ConfigError`. An origin's module is imported here.
    """
    try:
        plan.check()
    except UsageError as error:
        if plan.job is not None:
            error.message = f"the job {plan.job}: {error.message}"
        raise
    _find(plan.read)
    if plan.origin is not None and not plan.verify_only:
        check_origin(plan.origin, plan.directory)
    for requests in (plan.sources, plan.sample):
        if isinstance(requests, AccessLog):
            compiled(requests.route, plan.namespace)


def disabled(plan: Warm) -> WarmReport:
    """Return the report of a warm that the rollback switch keeps from doing anything."""
    stop = Stop()
    stop.set("disabled")
    tally = Tally(stop, lambda _progress: None, plan.fail_fast)
    return _report(plan, tally, Proof(replace(plan, sample=None, watch=None)), perf_counter())


async def _locked(
    store: Store,
    plan: Warm,
    tally: Tally,
    proof: Proof,
    stdin: BinaryIO,
    say: Callable[[str], None],
) -> None:
    """Do the work while others are kept away, if that is wanted."""
    lock = None if plan.verify_only or plan.dry_run else plan.lock
    async with leased(store, lock, tally, say) as held:
        if held:
            await _work(store, plan, tally, proof, stdin)


async def _work(store: Store, plan: Warm, tally: Tally, proof: Proof, stdin: BinaryIO) -> None:
    """Read what is to be read beforehand, look at the server, and load or compute."""
    if not plan.verify_only:
        _find(plan.files)
    if plan.origin is None or plan.verify_only:
        await proof.read(None, stdin)
        await _meet(store, plan, tally)
        await proof.look_before(store)
        if not plan.verify_only:
            await load(store, plan, tally, stdin)
        return
    async with open_origin(plan.origin, plan.directory) as origin:
        tally.origin = origin
        ranked = proof.ranked = await rank(plan.sources, plan.namespace, stdin)
        await proof.read(ranked, stdin)
        await _meet(store, plan, tally)
        todo = await _todo(store, plan, ranked, tally, proof)
        if not (plan.dry_run or tally.stop.is_set()):
            await compute(store, plan, todo, ranked.sources, origin, tally)


async def _meet(store: Store, plan: Warm, tally: Tally) -> None:
    """Look at the server that is to be written to, if one is, and whether it can be watched later."""
    if plan.watch is not None and not plan.dry_run:
        try:
            await store.lookups()
        except ServerError as error:
            error.message = f"the hit rate cannot be watched: {error.message}"
            raise
    if not (plan.verify_only or plan.dry_run):
        await store.writable()
        tally.server = await _standing(store)
        tally.guard = await guarded(store, plan.max_memory, tally)


async def _todo(
    store: Store, plan: Warm, ranked: Ranked, tally: Tally, proof: Proof
) -> Iterable[Request]:
    """Return the requests that are to be computed; one look tells these and the hit rate before."""
    requests = await chosen(store, plan, ranked, tally)
    there = await proof.look_before(store, looked_up(plan, requests))
    tally.follow(requests, [one.key in there for one in requests], total_of(plan, ranked))
    todo = await wanted(store, plan, requests, there, tally)
    todo = askable(plan, ranked, todo, tally)
    if plan.budget is None:
        return todo
    return within(todo, left_of(plan.budget, plan, requests, there), tally)


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


async def _standing(store: Store) -> tuple[object, ...] | None:
    """Return which server this is, or None where it refuses to tell."""
    try:
        return await store.standing()
    except ServerError:
        return None


async def _replaced(store: Store, tally: Tally) -> LostError | None:
    """Return an error if a server is not there any more that the first entries were written to.

    A primary that joined a cluster meanwhile has taken slots over, with what was in them.
    """
    if tally.server is None or not tally.written or tally.stop.reason == "connection":
        return None
    now = tally.server

    async def ask() -> None:
        nonlocal now
        now = await _standing(store) or now

    try:
        await until(tally.stop, ask())
    except CachectlError as error:
        tally.end(error)
    if set(tally.server) <= set(now):
        return None
    return LostError(_UNTOLD, _LET_IT_TELL) if None in tally.server else LostError(_REPLACED)


def _tell(replaced: LostError, tally: Tally, proof: Proof) -> None:
    """Let a server that was replaced be the error of the warm: `written` is not what is there.

    Only a hit rate that was looked up on the new server, and is high enough, says that what is needed
    is there nevertheless: then it is no more than a problem among others.
    """
    verdict = proof.verdict
    if verdict is not None and verdict.met:
        tally.note(Problem(replaced.sentence))
    else:
        tally.error = tally.error or replaced


async def _verify(store: Store, plan: Warm, tally: Tally, proof: Proof) -> None:
    """Look up the hit rate after the work, unless nobody can or wants to wait for it."""
    stop = tally.stop
    if plan.verify_only or plan.dry_run or stop.hurried.is_set() or stop.reason in _NOT_LOOKED_AT:
        return
    try:
        await proven(stop, proof.look_after(store))
    except CachectlError as error:
        tally.end(error)


async def _watch(store: Store, plan: Warm, tally: Tally, proof: Proof) -> None:
    """Follow the hit rate that applications get, once the look-ups of the verification are over."""
    if plan.watch is None or plan.dry_run or tally.stop.is_set():
        return
    try:
        proof.live = await watch(store, plan.watch, tally.stop, tally.observe)
    except ServerError as error:  # INFO is denied by now: the warm itself came to its end
        tally.error = tally.error or error
    except CachectlError as error:
        tally.end(error)


def _report(plan: Warm, tally: Tally, proof: Proof, start: float) -> WarmReport:
    seconds = perf_counter() - start
    return WarmReport(
        job=plan.job,
        entries=tally.entries,
        written=tally.written,
        skipped=tally.skipped,
        failed=tally.failed,
        unknown=tally.unknown,
        unsent=tally.unsent,
        size=tally.size,
        seconds=seconds,
        computed=tally.computed,
        hit_rate=proof.verdict,
        stopped=tally.stop.reason,
        errors=tuple(tally.errors),
        allowed_failures=plan.max_failed.of(tally.entries),
        # it may have asked for more than there was time for
        origin_held_back_seconds=min(tally.origin_held_back, seconds),
        dry_run=plan.dry_run,
        verify_only=plan.verify_only,
        error=tally.error,
        statuses=dict(tally.statuses),
        nodes=tuple(NodeCount(*item) for item in sorted(tally.by_node.items())),
        part=str(plan.part) if plan.part.of > 1 else None,
        asked=None if proof.ranked is None else asked(proof.ranked),
    )
