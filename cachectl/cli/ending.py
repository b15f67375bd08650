"""How a command ends: every error in one line on stderr, without a traceback, and its exit code."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import typer

from cachectl.cli.globals import Globals
from cachectl.cli.render.out import ClosedPipeError, leave
from cachectl.errors import CachectlError, OutputError, UsageError
from cachectl.values import safe

_USAGE = UsageError.exit_code
_HEALTH_UNKNOWN = 3
_TAKE_KEYS = {"get", "set", "delete", "inspect"}
INTERRUPTED = 130


def ending(run: Callable[[], Any], said: Globals, words: Sequence[str]) -> int:  # noqa: PLR0911 one way to end a line
    """Run the command line and return the exit code; show what went wrong."""
    try:
        code = run()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.Exit as done:
        return done.exit_code
    except CachectlError as error:
        show_error(error, as_json=wants_json(said, words))
        return _code(error.exit_code, said)
    except (KeyboardInterrupt, typer.Abort):
        show_error_line("interrupted")
        return INTERRUPTED
    except ClosedPipeError:
        return 0
    except OSError as error:
        reason = error.strerror or type(error).__name__
        failure = OutputError(f"cannot go on: {reason.lower()}")
        show_error(failure, as_json=wants_json(said, words))
        leave()
        return 1
    except Exception as error:  # noqa: BLE001 the last resort
        return _usage_or_bug(error, said, words)


def _usage_or_bug(error: Exception, said: Globals, words: Sequence[str]) -> int:
    message = getattr(error, "format_message", None)
    if message is not None:  # Typer's own errors of usage
        text = message()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(text, file=sys.stderr)
            return _code(_USAGE, said)
        show_error(UsageError(safe(text), _usage_hint(error)), as_json=wants_json(said, words))
        return _code(_USAGE, said)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    bug = CachectlError(
        f"this is a bug in cachectl: {type(error).__name__} at {place}",
        "please report it with the command that led here, without its secrets",
    )
    show_error(bug, as_json=wants_json(said, words))
    return bug.exit_code


def _usage_hint(error: Exception) -> str:
    ctx = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    path = ctx.command_path if ctx is not None else "cachectl"
    takes_keys = ctx is not None and ctx.info_name in _TAKE_KEYS
    if option is not None and type(error).__name__ == "NoSuchOption" and takes_keys:
        return f"a key that begins with - stands after --; else see {path} --help"
    return f"see {path} --help"


def _code(code: int, said: Globals) -> int:
    """Return the exit code: `health` answers as monitoring plugins do, unknown for bad usage."""
    return _HEALTH_UNKNOWN if said.command == "health" and code == _USAGE else code


def wants_json(said: Globals, words: Sequence[str] = ()) -> bool:
    """Whether results and errors are JSON; `words` help where the command line was not understood."""
    if said.output is not None:
        return said.output == "json"
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word in {"-ojson", "--output=json"} or (
            word in {"-o", "--output"} and following == "json"
        ):
            return True
    return os.environ.get("CACHECTL_OUTPUT") == "json"


def show_error(error: CachectlError, *, as_json: bool) -> None:
    """Print an error on stderr: one line, or one JSON object."""
    if as_json:
        show_error_line(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
    else:
        hint = f" ({safe(error.hint)})" if error.hint else ""
        show_error_line(f"error: {safe(error.message)}{hint}")


def show_error_line(line: str) -> None:
    """Print a line on stderr; what the terminal cannot show is escaped."""
    if sys.stderr is None:  # closed before we began: 2>&-
        return
    encoding = sys.stderr.encoding or "utf-8"
    shown = line.encode(encoding, "backslashreplace").decode(encoding)
    with suppress(BrokenPipeError):  # nobody listens any more: the exit code tells how it went
        print(shown, file=sys.stderr, flush=True)
