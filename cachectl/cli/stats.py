"""stats: keys, memory and TTLs by namespace, and the largest keys."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cachectl.cli import options
from cachectl.cli.progress import progress
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session
from cachectl.cli.targets import targets
from cachectl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cachectl.operations.stats import Target
    from cachectl.operations.stop import Stop
    from cachectl.reports.stats import StatsReport
    from cachectl.store.store import Store

EXAMPLES = {
    "stats": "  cachectl stats\n  cachectl stats natal --depth 0 -o json\n"
    "  cachectl stats --sort keys --top 20"
}


def stats_command(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMESPACE]...", show_default=False)
    ] = None,
    depth: Annotated[
        int,
        typer.Option(
            "--depth",
            min=0,
            metavar="N",
            show_default=False,
            help="Name parts of a row below NAMESPACE, 0: itself (1).",
        ),
    ] = 1,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            min=0,
            max=1000,
            metavar="N",
            show_default=False,
            help="So many namespaces and so many of the largest keys (10).",
        ),
    ] = 10,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="bytes|keys|name",
            show_default=False,
            help="Which namespaces come first (bytes).",
        ),
    ] = "bytes",
    match: options.Match = None,
    literal: Annotated[bool, typer.Option("--literal", help="Take names as they stand.")] = False,
    pace: options.Pace = "gentle",
    rate: options.Rate = None,
    max_latency: options.MaxLatency = None,
) -> None:
    """Count keys, memory and TTLs by namespace, and find the largest keys.

    Walks the whole keyspace, whatever the namespace, and asks for memory and TTL of each key in it.
    """
    order = _order(sort)
    wanted = _targets(names or [], match, depth, literal=literal)
    session = Session(ctx, options.Push(pace, rate, max_latency))

    async def count(store: "Store", stop: "Stop") -> "StatsReport":
        from cachectl.operations.stats import stats

        with progress(session) as observe:
            return await stats(store, wanted, stop, observe, depth=depth, top=top, sort=order)

    report = session.run_stoppable(count)
    _show(session, report)
    if not (report.total.keys or report.stopped):
        session.warn("nothing matched")
    raise typer.Exit(session.exit_code(report.exit_code, report.stopped))


def _order(sort: str) -> Literal["bytes", "keys", "name"]:
    if sort == "bytes":
        return "bytes"
    if sort == "keys":
        return "keys"
    if sort == "name":
        return "name"
    msg = "--sort takes bytes, keys or name"
    raise UsageError(msg)


def _targets(
    names: "Sequence[str]", match: str | None, depth: int, *, literal: bool
) -> list["Target"]:
    if not (names or depth):
        msg = "--depth 0 is a row for each NAMESPACE, and none is named"
        raise UsageError(msg, "name one, or leave --depth out")
    return targets(names, match, everything=not names, literal=literal, verb="count")


def _show(session: Session, report: "StatsReport") -> None:
    with out.even_unread():
        if session.as_json:
            code = session.exit_code(report.exit_code, report.stopped)
            as_json.show(as_json.stats(report, session.fields, code))
            return
        out.lines(text.stats(report, session.server.address.text))
        if report.namespaces:
            _show_table(text.NAMESPACES, list(text.stats_namespaces(report)), 5)
            out.lines(text.stats_more(report))
        if report.largest:
            _show_table(text.LARGEST, list(text.stats_largest(report)), 1)


def _show_table(headings: "Sequence[str]", rows: "Sequence[Sequence[str]]", numbers: int) -> None:
    """Print a table below an empty line: by rich for a person, as plain lines for a pipe."""
    out.lines([""])
    if out.is_terminal():
        from cachectl.cli.render import table

        table.show(headings, rows, numbers)
    else:
        out.lines(text.aligned(headings, rows, numbers))
