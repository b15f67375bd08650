"""The list of commands. A command's module is imported when it is called: `--help` stays fast."""

import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cachectl.cli.globals import Globals, global_options

NO_HELP_MARKUP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class Verb(NamedTuple):
    """Where a command lives in `cachectl.cli`, and what it does in a line."""

    module: str
    summary: str
    group: bool = False


COMMANDS = {
    "get": Verb("entries", "Print one value."),
    "set": Verb("entries", "Write one value."),
    "delete": Verb("entries", "Unlink keys."),
    "key": Verb("entries", "Print the key that the application uses for parameters."),
    "inspect": Verb("entries", "Show type, TTL, memory and a preview of a key."),
    "scan": Verb("scan", "List keys."),
    "export": Verb("export", "Write entries as JSON Lines, which warm reads."),
    "stats": Verb("stats", "Count keys, memory and TTLs by namespace."),
    "warm": Verb("warm", "Load or compute entries, and prove the hit rate."),
    "flush": Verb("flush", "Remove a namespace safely."),
    "health": Verb("health", "Check whether the cache is fit to serve."),
    "config": Verb("config", "Show, check or find the settings.", group=True),
    "server": Verb("server", "Start, look at or stop the embedded server.", group=True),
}

_NEGATIVE = re.compile(r"-(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


class Command(TyperCommand):
    """A command that takes the global options too, and negative numbers as values."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Append the global options, unseen: `cachectl --help` lists them once."""
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)

    def make_parser(self, ctx: Any) -> Any:
        """Return a parser for which `-12.5` is a value unless the command has that option."""
        parser = super().make_parser(ctx)
        process = parser._process_opts  # noqa: SLF001 Typer is pinned

        def values_too(arg: str, state: Any) -> None:
            if _NEGATIVE.fullmatch(arg) and arg not in parser._short_opt:  # noqa: SLF001 Typer is pinned
                state.largs.append(arg)
            else:
                process(arg, state)

        parser._process_opts = values_too  # type: ignore[method-assign]  # noqa: SLF001 Typer is pinned
        return parser


class Group(TyperGroup):
    """A family of commands (`config show`) that takes the global options between its words."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Append the global options, unseen."""
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)


class Root(TyperGroup):
    """The whole command line: loads the one command that is called, and ends with its exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Show the global options."""
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=False)
        # known by name to Typer's "did you mean"; made when one is called
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command that is called and return it."""
        verb = COMMANDS.get(cmd_name)
        if verb is None:
            return None
        ctx.find_root().obj.command = cmd_name
        module = import_module(f"cachectl.cli.{verb.module}")
        if verb.group:
            command: Any = get_command(module.app)
            command.name = cmd_name
            return command
        return get_command(_single(cmd_name, module))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 Typer's signature
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, show any error in one line, and exit with the code of the contract."""
        from cachectl.cli.ending import ending

        said = Globals()
        words = list(sys.argv[1:] if args is None else args)
        del complete_var, standalone_mode, windows_expand_args  # Typer's signature

        def run() -> Any:
            return super(Root, self).main(
                words, prog_name or "cachectl", obj=said, standalone_mode=False, **extra
            )

        sys.exit(ending(run, said, words))


def _single(name: str, module: Any) -> typer.Typer:
    function: Callable[..., Any] = getattr(module, f"{name}_command")
    single = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    epilog = f"\b\nExample:\n{module.EXAMPLES[name]}\n\n\b\nGlobal options: cachectl --help"
    register = single.command(name, cls=Command, context_settings=NO_HELP_MARKUP, epilog=epilog)
    register(function)
    return single


app = typer.Typer(
    cls=Root,
    name="cachectl",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=NO_HELP_MARKUP,
    epilog="\b\nExample:\n  cachectl -u redis://localhost:6379/0 health\n\n"
    "Help on a command: cachectl COMMAND --help",
)


@app.callback()
def cachectl() -> None:
    """Operate Redis and Valkey caches: look, warm with a proven hit rate, flush safely."""
