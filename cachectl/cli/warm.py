"""warm: entries, or requests and an origin, or jobs of the settings; the gate on the hit rate."""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cachectl.cli import options
from cachectl.cli.ending import INTERRUPTED, show_error
from cachectl.cli.progress import progress
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session, stdin_bytes
from cachectl.errors import CachectlError, OutputError, UsageError

if TYPE_CHECKING:
    from cachectl.cli.plans import Options
    from cachectl.cli.render.reports.told import Told
    from cachectl.operations.stop import Stop
    from cachectl.operations.warm.plan import Warm
    from cachectl.reports.plan import PlanReport
    from cachectl.reports.warm import WarmReport
    from cachectl.store.store import Store

EXAMPLES = {
    "warm": "  cachectl warm entries.jsonl --ttl 1h\n"
    "  cachectl warm births.jsonl --origin examples.natal.chart:chart -n natal \\\n"
    "    --verify last-hour.jsonl --min-hit-rate 50%\n"
    "  cachectl warm charts"
}
_FORGIVABLE = {1, 3, 4}


def warm_command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", show_default=False)
    ] = None,
    on_deploy: Annotated[
        bool, typer.Option("--on-deploy", help="The jobs marked on_deploy.")
    ] = False,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin", metavar="MODULE:CALLABLE", help="Sources are requests; this computes."
        ),
    ] = None,
    origin_timeout: Annotated[
        Any,
        typer.Option(
            "--origin-timeout",
            parser=options.PositiveDuration,
            metavar="DURATION",
            help="The longest that one call may take (30s).",
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="threads|processes|dask://…",
            help="Where a plain function runs (threads).",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--origin-concurrency", min=1, metavar="N", help="Calls at a time (20)."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Of requests with params."),
    ] = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="DURATION|none", help="For entries without one.")
    ] = None,
    ttl_jitter: Annotated[
        Any,
        typer.Option(
            "--ttl-jitter",
            parser=options.Share,
            metavar="SHARE",
            help="Shorten TTLs by up to this.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="missing|all|expiring:DURATION", help="Which keys are written."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Most asked first.")
    ] = None,
    coverage: Annotated[
        Any,
        typer.Option(
            "--coverage",
            parser=options.Share,
            metavar="SHARE",
            help="As few keys as are this share of the requests.",
        ),
    ] = None,
    budget: Annotated[
        Any,
        typer.Option(
            "--budget",
            parser=options.Size,
            metavar="SIZE",
            help="The keys that bring most hits in so much memory.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--part", metavar="N/OF|auto", help="One of several machines' shares."),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory",
            metavar="SHARE|SIZE",
            help="Stop before the server uses more of its maxmemory.",
        ),
    ] = None,
    lock: Annotated[
        bool, typer.Option("--lock", help="Keep a second warm of the job away meanwhile.")
    ] = False,
    lock_wait: Annotated[
        Any,
        typer.Option(
            "--lock-wait",
            parser=options.PositiveDuration,
            metavar="DURATION",
            help="Wait so long for the lock; it implies --lock.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only rank the requests, and tell what they promise.")
    ] = False,
    verify: Annotated[
        list[str] | None,
        typer.Option("--verify", metavar="FILE|same", help="A sample of requests to prove it on."),
    ] = None,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Only measure the hit rate.")
    ] = False,
    min_hit_rate: Annotated[
        Any,
        typer.Option(
            "--min-hit-rate", parser=options.Share, metavar="SHARE", help="1 when it is lower."
        ),
    ] = None,
    watch_hit_rate: Annotated[
        Any,
        typer.Option(
            "--watch-hit-rate",
            parser=options.PositiveDuration,
            metavar="DURATION",
            help="Then follow the server's own hits and misses.",
        ),
    ] = None,
    max_failed: Annotated[
        str | None,
        typer.Option("--max-failed", metavar="N|SHARE", help="So many may fail (0)."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failure.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, check and look; write nothing.")
    ] = False,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Turn 1, 3 and 4 into 0, with a warning.")
    ] = False,
    report: Annotated[
        list[str] | None,
        typer.Option("--report", metavar="FILE", help="Write one: .md, .xml, .prom or .json."),
    ] = None,
    pace: options.Pace = "gentle",
    rate: options.Rate = None,
    max_latency: options.MaxLatency = None,
) -> None:
    """Load entries, or compute what will be asked for, and prove the hit rate.

    The proof looks keys up with EXISTS, which the server counts as hits and misses of its own.
    """
    from cachectl.cli.plans import Options, check_origins, plans

    said = Options.of(locals())
    reports = report or []
    if reports:
        _formats().check(reports)
    if plan:
        _refuse_beside_plan(said, reports)
    session = Session(ctx, options.Push(pace, rate, max_latency))
    made = plans(said, session.settings, session.server)
    check_origins(said, made)
    if plan:
        for one in made:
            _show_plan(session, one)
        return
    if session.server.cache.enabled:
        _check(session, made)
    codes: list[int] = []
    told: list[Told] = []
    try:
        for one in made:
            run = partial(_not_begun, session, one)
            if not session.over:
                run = partial(_told, session, one, told)
            codes.append(_forgiven(session, run, best_effort=best_effort))
    finally:  # a server that is not there is told as well, and what it kept from being warmed
        told += [_unbegun(session, one) for one in made[len(told) :]]
        codes.append(_reported(session, reports, told))
    raise typer.Exit(_worst(codes))


def _refuse_beside_plan(said: "Options", reports: "Sequence[str]") -> None:
    """Raise for what a plan alone cannot give: a script that relies on it would not notice."""
    relied_on = {
        "report": reports,
        "min-hit-rate": said.min_hit_rate is not None,
        "watch-hit-rate": said.watch_hit_rate is not None,
        "verify-only": said.verify_only,
    }
    for name in filter(relied_on.__getitem__, relied_on):
        msg = f"--{name} is of a warm, and --plan does none"
        raise UsageError(msg, "-o json prints the plan for programs")


def _formats() -> Any:
    from cachectl.cli.render.reports import formats

    return formats


def _not_begun(session: Session, plan: "Warm") -> int:
    """Say that a plan is not warmed any more; return the exit code for that."""
    session.warn(f"{'the job ' + plan.job if plan.job else 'the warm'} was not begun")
    return session.exit_code(1, "deadline")


def _told(session: Session, plan: "Warm", told: "list[Told]") -> int:
    """Warm one plan, and keep how it ended for the reports, whatever ends it."""
    from cachectl.cli.render.reports.told import CutShortError, Told

    where = session.server.address.text, session.server.profile
    try:
        report, code = _one(session, plan)
    except CachectlError as error:
        told.append(Told(plan.job, *where, error, error.exit_code))
        raise
    except BaseException as error:
        cut = CutShortError("it was ended at once: what it wrote until then was not counted")
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else cut.exit_code
        told.append(Told(plan.job, *where, cut, getattr(error, "exit_code", code)))
        raise
    told.append(Told(plan.job, *where, report, code))
    return code


def _unbegun(session: Session, plan: "Warm") -> "Told":
    """Return what is told of a plan that was not warmed to its report."""
    from cachectl.cli.render.reports.told import Told, UnbegunError

    where = session.server.address.text, session.server.profile
    msg = "it was not warmed: the command had ended before"
    return Told(plan.job, *where, UnbegunError(msg), UnbegunError.exit_code)


def _reported(session: Session, paths: "Sequence[str]", told: "Sequence[Told]") -> int:
    """Write the reports; return 0, or 1 when one of them could not be written."""
    if not (paths and told):
        return 0
    try:
        _formats().write_reports(paths, told, os.environ, session.warn)
    except OutputError as error:
        show_error(error, as_json=session.as_json)
        return error.exit_code
    return 0


def _show_plan(session: Session, plan: "Warm") -> None:
    """Rank the requests of a plan, and show what warming them would be worth."""
    from cachectl.cli.render import plan as rendered
    from cachectl.operations.warm.preview import preview

    async def rank() -> "PlanReport":
        return await preview(plan, _stdin(plan.files))

    report = session.run_without_server(rank)
    with out.even_unread():
        if session.as_json:
            as_json.show(rendered.fields(report, session.said.command))
        else:
            out.lines(rendered.lines(report))


def _stdin(files: Sequence[str]) -> Any:
    """Return stdin, if one of the files is that."""
    return stdin_bytes() if "-" in files else None


def _check(session: Session, plans: "Sequence[Warm]") -> None:
    """Raise for a job that cannot be before the first one writes: 2 means nothing was attempted."""
    from cachectl.operations.warm.run import check

    with redirect_stdout(sys.stderr):
        for plan in plans:
            if not (plan.dry_run or plan.verify_only):
                session.refuse_read_only()
            check(plan)


def _one(session: Session, plan: "Warm") -> "tuple[WarmReport, int]":
    """Warm one plan, show its report, and return its exit code."""
    from cachectl.operations.warm.run import disabled, warm

    if not session.server.cache.enabled:
        session.warn("the cache is disabled (ENABLE_CACHE or cache.enabled): nothing is warmed")
        report = disabled(plan)
    else:
        stdin = _stdin(plan.read)

        async def run(store: "Store", stop: "Stop") -> "WarmReport":
            # stdout is the report's: what an origin prints belongs to the conversation
            with redirect_stdout(sys.stderr), progress(session) as observe:
                return await warm(store, plan, stop, observe, stdin, session.say)

        report = session.run_stoppable(run, start_embedded=True)
    code = session.exit_code(report.exit_code, report.stopped)
    with out.even_unread():
        if session.as_json:
            as_json.show(as_json.warm(report, session.fields, code))
        else:
            out.lines(text.warm(report, session.server.address.text))
    if not (report.entries or report.stopped or plan.verify_only):
        session.warn(_nothing(plan, report))
    return report, code


def _nothing(plan: "Warm", report: "WarmReport") -> str:
    """Say why there was nothing to warm."""
    asked = report.asked
    if asked is not None and asked.keys:
        return "of what the sources ask for, nothing was to be warmed here"
    if asked is not None and (asked.unrouted or asked.filtered):
        return "no line of the log is a request: see its route and its filters"
    return "the sources hold no " + ("entries" if plan.origin is None else "requests")


def _forgiven(session: Session, run: Any, *, best_effort: bool) -> int:
    """Return the exit code of a warm; with `--best-effort` a failure is a warning."""
    if not best_effort:
        return int(run())
    try:
        code = int(run())
    except CachectlError as error:
        if error.exit_code not in _FORGIVABLE:
            raise
        show_error(error, as_json=session.as_json)
        code = error.exit_code
    if code in _FORGIVABLE:
        session.warn(f"going on in spite of exit code {code} (--best-effort)")
        return 0
    return code


def _worst(codes: Sequence[int]) -> int:
    """Return the worst exit code: a signal's, then 3, 4, 1."""
    order = (143, 130, 3, 4, 1)
    return next((code for code in order if code in codes), 0)
