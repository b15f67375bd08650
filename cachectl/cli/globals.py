"""The global options, accepted before and after the command; of two the later wins."""

from typing import Any, Literal, NamedTuple

import typer
from typer.core import TyperOption

from cachectl import __version__
from cachectl.units import positive_duration


class Globals:
    """What the global options said, filled while the command line is parsed."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.config: str | None = None
        self.profile: str | None = None
        self.url: str | None = None
        self.output: Literal["text", "json"] | None = None
        self.timeout: float | None = None
        self.deadline: float | None = None
        self.quiet = False
        self.verbose = False
        self.command = ""


class _Option(NamedTuple):
    names: tuple[str, ...]
    help: str
    metavar: str | None = None


_OPTIONS = (
    _Option(("--config", "-c"), "Settings file. [env: CACHECTL_CONFIG]", "FILE"),
    _Option(("--profile", "-p"), "Which profile of it. [env: CACHECTL_PROFILE]", "NAME"),
    _Option(
        ("--url", "-u"),
        "A server, instead of a profile's. [env: CACHECTL_URL, then REDIS_URL]",
        "URL",
    ),
    _Option(("--output", "-o"), "How the result is printed. [env: CACHECTL_OUTPUT]", "text|json"),
    _Option(("--timeout",), "The longest silence of the server that is borne (5s).", "DURATION"),
    _Option(("--deadline",), "Stop the whole command after this time and report.", "DURATION"),
    _Option(("--quiet", "-q"), "Only results and errors."),
    _Option(("--verbose", "-v"), "Tell on stderr which server is used, and why."),
)


def global_options(*, hidden: bool) -> list[TyperOption]:
    """Return the options for one command; they write into the root context's `Globals`."""
    options = [
        TyperOption(
            param_decls=list(option.names),
            help=option.help,
            metavar=option.metavar,
            is_flag=option.metavar is None,
            default=False if option.metavar is None else None,
            expose_value=False,
            callback=_remember,
            hidden=hidden,
        )
        for option in _OPTIONS
    ]
    if not hidden:
        version = TyperOption(
            param_decls=["--version"],
            help="Print the version.",
            is_flag=True,
            is_eager=True,
            default=False,
            expose_value=False,
            callback=_print_version,
        )
        options.append(version)
    return options


def _remember(ctx: typer.Context, param: TyperOption, value: Any) -> None:
    if value is None or value is False:
        return
    said = ctx.find_root().obj
    setattr(said, str(param.name), _parsed(str(param.name), value))


def _parsed(name: str, value: Any) -> Any:
    if name in {"timeout", "deadline"}:
        try:
            return positive_duration(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=f"--{name}") from None
    if name == "output" and value not in {"text", "json"}:
        msg = "expected text or json"
        raise typer.BadParameter(msg, param_hint="--output")
    return value


def _print_version(_ctx: typer.Context, _param: TyperOption, value: bool) -> None:
    if value:
        print(f"cachectl {__version__}")
        raise typer.Exit
