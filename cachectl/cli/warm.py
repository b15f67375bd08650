"""warm: entries, or requests and an origin, or jobs of the settings; the gate on the hit rate."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cachectl.cli import options
from cachectl.cli.ending import show_error
from cachectl.cli.progress import progress
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session, stdin_bytes
from cachectl.config.resolve import deploy_jobs, job
from cachectl.config.settings import UNSET, PythonOrigin, Unset, WarmJob
from cachectl.errors import CachectlError, UsageError
from cachectl.units import positive_duration, share
from cachectl.values import safe

if TYPE_CHECKING:
    from cachectl.operations.stop import Stop
    from cachectl.operations.warm.plan import MaxFailed, Only, Warm
    from cachectl.reports import WarmReport
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
    pace: options.Pace = "gentle",
    rate: options.Rate = None,
    max_latency: options.MaxLatency = None,
) -> None:
    """Load entries, or compute what will be asked for, and prove the hit rate."""
    said = _Said(locals())
    session = Session(ctx, options.Push(pace, rate, max_latency))
    plans = said.plans(session)
    if session.server.cache.enabled:
        _check(session, plans)
    codes = []
    for plan in plans:
        if session.over:
            session.warn(f"the job {plan.job} was not begun")
            continue
        run = partial(_one, session, plan)
        codes.append(_forgiven(session, run, best_effort=best_effort))
    raise typer.Exit(_worst(codes))


def _check(session: Session, plans: "Sequence[Warm]") -> None:
    """Raise for a job that cannot be before the first one writes: 2 means nothing was attempted."""
    from cachectl.operations.warm.run import check

    with redirect_stdout(sys.stderr):
        for plan in plans:
            if not (plan.dry_run or plan.verify_only):
                session.refuse_read_only()
            check(plan)


class _Said:
    """The options, and the plans that they and the settings' jobs make together."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.names: list[str] = given["names"] or []

    def plans(self, session: Session) -> list["Warm"]:
        """Return one plan for files, one for each job; raise `UsageError` for what cannot be."""
        files = [name for name in self.names if _is_file(name)]
        jobs = [job(session.settings, name) for name in self.names if not _is_file(name)]
        if files and jobs:
            msg = "files and jobs cannot be warmed by one command"
            raise UsageError(msg, f"a file is written with its path: ./{safe(jobs[0].name)}")
        if self.given["on_deploy"]:
            if self.names:
                msg = "--on-deploy and sources exclude each other"
                raise UsageError(msg)
            jobs = list(deploy_jobs(session.settings))
            if not jobs:
                msg = "no job of the settings is marked on_deploy"
                raise UsageError(msg, "mark one: on_deploy: true")
        if jobs:
            if self.given["origin"]:
                msg = "--origin is for files; a job has its own"
                raise UsageError(msg)
            return [self._plan(session, one) for one in jobs]
        if files.count("-") > 1:
            msg = "stdin is named twice"
            raise UsageError(msg)
        return [self._plan(session, None, tuple(files))]

    def _plan(self, session: Session, of: WarmJob | None, files: tuple[str, ...] = ()) -> "Warm":
        from cachectl.operations.warm.plan import MaxFailed, Warm

        given = self.given
        settings = session.settings
        directory = "." if of is None or settings.path is None else str(settings.path.parent)
        only = given["only"] or (of.only if of else None)
        sample = tuple(given["verify"] or ()) or (of.verify.requests if of and of.verify else None)
        required = given["min_hit_rate"]
        if required is None and of and of.verify:
            required = of.verify.min_hit_rate
        jitter = given["ttl_jitter"]
        return Warm(
            sources=files if of is None else (of.requests or of.entries),
            job=of.name if of else None,
            origin=self._origin(of),
            directory=directory,
            namespace=given["namespace"] or (of.namespace if of else None),
            ttl=self._ttl(of),
            ttl_jitter=jitter if jitter is not None or of is None else of.ttl_jitter,
            only=_only(only) if only else None,
            limit=given["limit"] or (of.limit if of else None),
            sample="same" if sample == ("same",) else sample,
            required=required,
            verify_only=given["verify_only"],
            dry_run=given["dry_run"],
            max_failed=MaxFailed()
            if given["max_failed"] is None
            else _max_failed(given["max_failed"]),
            fail_fast=given["fail_fast"],
            namespaces=session.server.namespaces,
            fallback_ttl=session.server.cache.ttl,
        )

    def _origin(self, of: WarmJob | None) -> PythonOrigin | None:
        given = self.given
        origin = of.origin if of else None
        if given["origin"]:
            origin = PythonOrigin(given["origin"])
        if origin is None:
            return None
        if given["origin_timeout"] is not None:
            origin = origin._replace(timeout=given["origin_timeout"])
        if given["concurrency"] is not None:
            origin = origin._replace(concurrency=given["concurrency"])
        return origin

    def _ttl(self, of: WarmJob | None) -> float | None | Unset:
        text_given = self.given["ttl"]
        if text_given is None:
            return of.ttl if of else UNSET
        if text_given == "none":
            return None
        try:
            return positive_duration(text_given)
        except ValueError as error:
            msg = f"--ttl: {error}, or none"
            raise UsageError(msg) from None


def _is_file(name: str) -> bool:
    return name == "-" or "/" in name or "." in name


def _only(given: str) -> "Only":
    from cachectl.operations.warm.plan import Only

    which, _, within = given.partition(":")
    if which in {"missing", "all"} and not within:
        return Only(which)  # type: ignore[arg-type]
    try:
        if which == "expiring":
            return Only("expiring", positive_duration(within))
    except ValueError as error:
        msg = f"--only expiring: {error}"
        raise UsageError(msg) from None
    msg = "--only takes missing, all or expiring:DURATION"
    raise UsageError(msg)


def _max_failed(given: str) -> "MaxFailed":
    from cachectl.operations.warm.plan import MaxFailed

    if given.isascii() and given.isdigit():
        return MaxFailed(number=int(given))
    try:
        return MaxFailed(share=share(given))
    except ValueError:
        msg = "--max-failed takes a number like 10, or a share like 0.1%"
        raise UsageError(msg) from None


def _one(session: Session, plan: "Warm") -> int:
    """Warm one plan, show its report, and return its exit code."""
    from cachectl.operations.warm.run import disabled, warm

    if not session.server.cache.enabled and not plan.verify_only:
        session.warn("the cache is disabled (ENABLE_CACHE or cache.enabled): nothing is warmed")
        report = disabled(plan)
    else:
        stdin: Any = stdin_bytes() if "-" in (*plan.sources, *(plan.sample or ())) else None

        async def run(store: "Store", stop: "Stop") -> "WarmReport":
            # stdout is the report's: what an origin prints belongs to the conversation
            with progress(session) as observe, redirect_stdout(sys.stderr):
                return await warm(store, plan, stop, observe, stdin)

        report = session.run_stoppable(run, start_embedded=True)
    code = session.exit_code(report.exit_code, report.stopped)
    with out.even_unread():
        if session.as_json:
            as_json.show(as_json.warm(report, session.fields, code))
        else:
            out.lines(text.warm(report, session.server.address.text))
    if not (report.entries or report.stopped or plan.verify_only):
        session.warn("the sources hold no entries")
    return code


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
