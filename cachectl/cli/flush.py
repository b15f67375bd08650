"""flush: remove namespaces, asked or confirmed, and say truly what is gone."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cachectl.cli import guard, options
from cachectl.cli.progress import progress
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session, stdin_is_terminal
from cachectl.cli.targets import targets
from cachectl.errors import RefusedError
from cachectl.keys import prefix, to_bytes
from cachectl.values import safe

if TYPE_CHECKING:
    from cachectl.operations.stop import Stop
    from cachectl.operations.targets import Target
    from cachectl.reports.flush import FlushReport
    from cachectl.store.store import Store

EXAMPLES = {
    "flush": "  cachectl flush natal --dry-run\n  cachectl flush natal --yes\n"
    "  cachectl -p production flush natal --confirm production"
}


def flush_command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMESPACE...", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole keyspace.")] = False,
    match: options.Match = None,
    literal: Annotated[
        bool, typer.Option("--literal", help="Take names as they stand: natal: is natal::*.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", metavar="NAME", help="Confirm a protected name; implies --yes."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    require_match: Annotated[
        bool, typer.Option("--require-match", help="1 when nothing matched.")
    ] = False,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="Go on until nothing is left; else 1.")
    ] = False,
    pace: options.Pace = "gentle",
    rate: options.Rate = None,
    max_latency: options.MaxLatency = None,
) -> None:
    """Remove everything in a namespace that is older than now, and prove that it is gone.

    Walks the whole keyspace, whatever the namespace: at least twice.
    """
    from cachectl.operations.flush.run import flush

    wanted = targets(names or [], match, everything=everything, literal=literal, verb="flush")
    session = Session(ctx, options.Push(pace, rate, max_latency))
    if dry_run:
        report = _preview(session, wanted, must_match=require_match)
        _show(session, report)
        raise typer.Exit(session.exit_code(report.exit_code, report.stopped))
    session.refuse_read_only()
    names_confirmed = confirm or []
    needed = _protected(session, wanted)
    guard.check_names(session, names_confirmed, known=needed)
    shown = None
    if yes or confirm:
        guard.refuse_unconfirmed(session, names_confirmed, needed)
        guard.show_server(session)
    else:
        shown = _ask(session, wanted, needed)

    async def remove(store: "Store", stop: "Stop") -> "FlushReport":
        with progress(session) as observe:
            report = await flush(
                store,
                wanted,
                stop,
                observe,
                shown=shown,
                until_empty=until_empty,
                must_match=require_match,
            )
        guard.warn_of_del(session, store)
        return report

    report = session.run_stoppable(remove)
    _show(session, report)
    if not report.matched and not report.stopped:
        session.warn("nothing matched")
    raise typer.Exit(session.exit_code(report.exit_code, report.stopped))


def _protected(session: Session, targets: Sequence["Target"]) -> list[str]:
    """Return the protected namespaces that are named; raise for one that only a wider name covers."""
    needed = []
    for name in guard.protected_namespaces(session.server.namespaces):
        start = prefix(to_bytes(name))
        for target in targets:
            if target.namespace is not None and target.start.startswith(start):
                needed.append(name)
            elif start.startswith(target.start):
                wider = "--all" if target.namespace is None else safe(target.namespace)
                msg = f"{wider} covers the protected namespace {safe(name)}"
                raise RefusedError(msg, f"flush it by its own name: --confirm {safe(name)}")
    return needed


def _preview(
    session: Session, targets: Sequence["Target"], *, must_match: bool = False
) -> "FlushReport":
    from cachectl.operations.flush.preview import preview

    async def count(store: "Store", stop: "Stop") -> "FlushReport":
        with progress(session) as observe:
            return await preview(store, targets, stop, observe, must_match=must_match)

    return session.run_stoppable(count)


def _ask(
    session: Session, targets: Sequence["Target"], needed: Sequence[str]
) -> tuple[str | None, ...]:
    """Count, show, and ask a person; return which server it was that was shown."""
    server = session.server
    must_type = [*server.protected_by[:1], *needed]
    if not stdin_is_terminal():
        option = f"--confirm {must_type[0]}" if must_type else "--yes"
        msg = "nobody can be asked: stdin is not a terminal"
        raise RefusedError(msg, f"say it on the command line: {option}")

    async def identity(store: "Store") -> tuple[str | None, ...]:
        return await store.identity()

    shown = session.run(identity)
    report = _preview(session, targets)
    if report.stopped:
        raise typer.Exit(session.exit_code(report.exit_code, report.stopped))
    print(
        f"{report.matched} keys on {safe(server.address.text)} ({safe(server.setting)}):",
        file=sys.stderr,
    )
    for line in text.namespaces(report):
        print(line, file=sys.stderr)
    for name in must_type:
        typed = _answer(f"Type {safe(name)} to remove them: ")
        if typed != name and not (name in server.protected_by and typed in server.protected_by):
            raise _not_confirmed()
    if not must_type and _answer("Remove them? [y/N] ").lower() not in {"y", "yes"}:
        raise _not_confirmed()
    return shown


def _answer(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _not_confirmed() -> RefusedError:
    return RefusedError("not confirmed, nothing was removed")


def _show(session: Session, report: "FlushReport") -> None:
    with out.even_unread():
        if session.as_json:
            code = session.exit_code(report.exit_code, report.stopped)
            as_json.show(as_json.flush(report, session.fields, code))
        else:
            out.lines(text.flush(report, session.server.address.text))
