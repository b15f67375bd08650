"""server start, status, stop: the embedded server."""

from typing import TYPE_CHECKING, Any

import typer

from cachectl.cli.app import NO_HELP_MARKUP, Command, Group
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out
from cachectl.cli.session import Session
from cachectl.units import format_duration, format_size
from cachectl.values import safe

if TYPE_CHECKING:
    from cachectl.store.embedded import Embedded, Status

app = typer.Typer(
    cls=Group,
    name="server",
    help="Start, look at or stop the embedded server.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=NO_HELP_MARKUP,
    epilog="\b\nExample:\n  cachectl server start\n  cachectl server status",
)

START_TIMEOUT = 10.0


@app.command("start", cls=Command, epilog="\b\nExample:\n  cachectl server start")
def start(ctx: typer.Context) -> None:
    """Start the embedded server unless it runs already."""
    session = Session(ctx)

    async def begin(embedded: "Embedded") -> Any:
        return await embedded.connect_or_start(start=True, timeout=START_TIMEOUT)

    found = session.run_embedded(begin)
    if session.as_json:
        as_json.show({"socket": found.socket, "started": found.started})
    else:
        what = "started" if found.started else "runs already"
        out.lines([f"{what}: {safe(found.socket)}"])


@app.command("status", cls=Command, epilog="\b\nExample:\n  cachectl server status")
def status(ctx: typer.Context) -> None:
    """Show whether the embedded server runs, where and since when. 1 when it does not."""
    session = Session(ctx)
    timeout = session.server.cli.timeout

    async def look(embedded: "Embedded") -> "Status | None":
        return await embedded.status(timeout)

    found = session.run_embedded(look)
    if session.as_json:
        fields = {"running": found is not None, **(found._asdict() if found else {})}
        as_json.show(fields)
    elif found is None:
        out.lines(["not running"])
    else:
        out.lines(_status_lines(found))
    raise typer.Exit(0 if found else 1)


def _status_lines(found: "Status") -> list[str]:
    used, limit = format_size(found.used_memory), format_size(found.maxmemory)
    return [
        f"running: {safe(found.socket)}",
        f"version: {safe(found.version)}, pid {found.pid}, up {format_duration(found.uptime)}",
        f"memory:  {used} of {limit}, {found.keys} keys",
        f"data:    {safe(found.data_dir)}",
        f"log:     {safe(found.log)}",
    ]


@app.command("stop", cls=Command, epilog="\b\nExample:\n  cachectl server stop")
def stop(ctx: typer.Context) -> None:
    """Save and stop the embedded server."""
    session = Session(ctx)
    timeout = max(session.server.cli.timeout, START_TIMEOUT)

    async def end(embedded: "Embedded") -> bool:
        return await embedded.stop(timeout)

    stopped = session.run_embedded(end)
    if session.as_json:
        as_json.show({"stopped": stopped})
    else:
        where = session.server.address.text if session.server.address.path else "embedded:"
        out.lines([f"stopped {safe(where)}, its data is saved" if stopped else "not running"])
