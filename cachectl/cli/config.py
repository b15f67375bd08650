"""config show, check, path, schema: the settings, their origins, and what is wrong in them."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cachectl.cli.app import NO_HELP_MARKUP, Command, Group
from cachectl.cli.ending import wants_json
from cachectl.cli.globals import Globals
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out
from cachectl.cli.session import Session
from cachectl.config.load import Found, find
from cachectl.values import safe

app = typer.Typer(
    cls=Group,
    name="config",
    help="Show, check or find the settings.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=NO_HELP_MARKUP,
    epilog="\b\nExample:\n  cachectl config show\n  cachectl config check",
)


@app.command("show", cls=Command, epilog="\b\nExample:\n  cachectl -p production config show")
def show(ctx: typer.Context) -> None:
    """Print every setting that holds and where it came from; secrets are masked."""
    from cachectl.config.describe import describe

    session = Session(ctx)
    rows = describe(session.settings, session.server, os.environ)
    if session.as_json:
        as_json.show({"settings": [row._asdict() for row in rows]})
    elif out.is_terminal():
        from cachectl.cli.render import table

        cells = [(safe(row.path), safe(row.text), safe(row.origin)) for row in rows]
        table.show(("setting", "value", "from"), cells)
    else:
        out.lines(f"{safe(row.path)}\t{safe(row.text)}\t{safe(row.origin)}" for row in rows)


@app.command("check", cls=Command, epilog="\b\nExample:\n  cachectl config check cachectl.yaml")
def check(
    ctx: typer.Context,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", show_default=False)] = None,
) -> None:
    """Look for everything that is wrong in a settings file. 2 when there is an error."""
    from cachectl.config.check import check as findings_of

    said: Globals = ctx.find_root().obj
    found = _found(said, file)
    findings = [] if found is None else findings_of(found, os.environ)
    wrong = any(finding.level == "error" for finding in findings)
    if wants_json(said):
        fields: dict[str, Any] = {
            "file": str(found.path) if found else None,
            "ok": not wrong,
            "findings": [finding._asdict() for finding in findings],
        }
        as_json.show(fields)
    else:
        for finding in findings:
            hint = f" ({safe(finding.hint)})" if finding.hint else ""
            out.lines([f"{finding.level}: {safe(finding.message)}{hint}"])
        if not findings:
            out.lines([f"{safe(found.shown)}: nothing is wrong" if found else "no settings file"])
    raise typer.Exit(2 if wrong else 0)


def _found(said: Globals, file: str | None) -> Found | None:
    return find(file if file is not None else said.config, os.environ, Path.cwd())


@app.command("path", cls=Command, epilog="\b\nExample:\n  cachectl config path")
def path(ctx: typer.Context) -> None:
    """Print the path of the settings file that is used. 1 when there is none."""
    said: Globals = ctx.find_root().obj
    found = _found(said, None)
    if wants_json(said):
        fields = {"path": str(found.path) if found else None, "rule": found.rule if found else None}
        as_json.show(fields)
    elif found is not None:
        out.lines([safe(str(found.path))])
    raise typer.Exit(0 if found else 1)


@app.command(
    "schema", cls=Command, epilog="\b\nExample:\n  cachectl config schema > cachectl.schema.json"
)
def schema() -> None:
    """Print the JSON Schema of the settings file, for editors."""
    from cachectl.config.schema import schema as made

    as_json.show(made())
