"""health: checks with thresholds, answered as monitoring plugins do; `--wait` until ready."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cachectl.cli import options
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session

if TYPE_CHECKING:
    from cachectl.reports.health import HealthReport
    from cachectl.store.store import Store

EXAMPLES = {"health": "  cachectl health\n  cachectl -p production health --wait 60s -o json"}


def health_command(
    ctx: typer.Context,
    interval: Annotated[
        Any,
        typer.Option(
            "--interval",
            parser=options.PositiveDuration,
            metavar="DURATION",
            help="Between the two looks that rates are made of (1s).",
        ),
    ] = None,
    wait: Annotated[
        Any,
        typer.Option(
            "--wait",
            parser=options.Duration,
            metavar="DURATION",
            help="Wait so long until nothing is critical.",
        ),
    ] = None,
) -> None:
    """Check whether the cache is fit to serve: 0 ok, 1 warning, 2 critical, 3 unknown."""
    from cachectl.operations.health import health, wait_until_ready

    session = Session(ctx)
    seconds = 1.0 if interval is None else interval

    async def look(store: "Store") -> "HealthReport":
        thresholds, timeout = session.settings.health, session.server.cli.timeout
        if wait is None:
            return await health(store, thresholds, interval=seconds, timeout=timeout)
        return await wait_until_ready(
            store, thresholds, interval=seconds, timeout=timeout, wait=wait
        )

    report = session.run(look)
    with out.even_unread():
        if session.as_json:
            as_json.show(as_json.health(report, session.fields))
        else:
            out.lines(text.health(report, session.server.address.text))
    raise typer.Exit(report.exit_code)
