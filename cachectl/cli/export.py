"""export: entries as JSON Lines, to a pipe or into a file that is whole or not there."""

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cachectl.cli import options
from cachectl.cli.ending import show_error
from cachectl.cli.progress import progress
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session
from cachectl.cli.targets import targets
from cachectl.errors import OutputError
from cachectl.values import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cachectl.cli.render.files import Aside
    from cachectl.operations.stop import Stop
    from cachectl.operations.targets import Target
    from cachectl.reports.export import ExportReport
    from cachectl.store.store import Store

EXAMPLES = {
    "export": "  cachectl export natal --to natal.jsonl.gz\n"
    "  cachectl -p production export natal | cachectl -p local warm -"
}
STDOUT = "-"


def export_command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMESPACE...", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole keyspace.")] = False,
    match: options.Match = None,
    literal: Annotated[
        bool, typer.Option("--literal", help="Take names as they stand: natal: is natal::*.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="Into a file; one that ends in .gz is gzip."),
    ] = None,
    pace: options.Pace = "gentle",
    rate: options.Rate = None,
    max_latency: options.MaxLatency = None,
) -> None:
    """Write entries as JSON Lines, which warm reads: a backup, or one half of a copy.

    A FILE is there once it is whole; an export that does not come to its end leaves none. Walks the
    whole keyspace, whatever the namespace.
    """
    wanted = targets(names or [], match, everything=everything, literal=literal, verb="export")
    session = Session(ctx, options.Push(pace, rate, max_latency))
    if to is None or to == STDOUT:
        write = _shown if out.is_terminal() else out.write_through
        report = _run(session, wanted, write, watched=not out.is_terminal())
        _tell(session, report)
    else:
        report = _into_file(session, wanted, to)
    code = session.exit_code(report.exit_code, report.stopped)
    if to is not None and to != STDOUT:
        _show(session, report, to, code)
    if not (report.entries or report.failed or report.stopped):
        session.warn("nothing matched")
    raise typer.Exit(code)


def _run(
    session: Session,
    wanted: "Sequence[Target]",
    write: "Callable[[bytes], None]",
    *,
    watched: bool = True,
) -> "ExportReport":
    from cachectl.cli.render.sink import Sink
    from cachectl.operations.export import export

    def warn() -> None:
        session.warn(
            "the server was lost, or slots moved, the export begins again: keys may come twice"
        )

    async def run(store: "Store", stop: "Stop") -> "ExportReport":
        with progress(session) if watched else nullcontext(lambda _: None) as observe:
            return await export(store, wanted, stop, observe, Sink(write), anew=warn)

    return session.run_stoppable(run)


def _into_file(session: Session, wanted: "Sequence[Target]", path: str) -> "ExportReport":
    from cachectl.cli.render.files import Aside

    with Aside(path) as file:
        report = _run(session, wanted, file.write)
        return _committed(report, file) if report.whole else report


def _committed(report: "ExportReport", file: "Aside") -> "ExportReport":
    try:
        file.commit()
    except OutputError as error:
        return replace(report, stopped="output", error=error)
    return report


def _shown(lines: bytes) -> None:
    """Write lines for a person: nothing in them steers the terminal."""
    out.lines(safe(line) for line in lines.removesuffix(b"\n").split(b"\n"))


def _tell(session: Session, report: "ExportReport") -> None:
    """Say what was exported where stdout holds the entries."""
    for line in text.export(report, session.server.address.text):
        session.say(line)
    if report.failed:
        session.warn(f"{report.failed} keys could not be exported")
    if report.error is not None:
        show_error(report.error, as_json=session.as_json)


def _show(session: Session, report: "ExportReport", path: str, code: int) -> None:
    with out.even_unread():
        if session.as_json:
            as_json.show(as_json.export(report, session.fields, path, code))
        else:
            out.lines(text.export(report, session.server.address.text, path))
