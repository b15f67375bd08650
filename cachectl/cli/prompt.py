"""Asks a person for a password: on the terminal, unseen, whatever stdin and stdout are."""

import fcntl
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import GetPassWarning, getpass
from pathlib import Path
from typing import Any, NoReturn

import typer

from cachectl.cli.ending import show_error_line
from cachectl.config.secrets import Credentials, given
from cachectl.config.settings import Server
from cachectl.config.url import node_text
from cachectl.errors import ConfigError
from cachectl.values import safe


def answered(server: Server) -> Server:
    """Return the server with the passwords that a person typed, where the settings want that.

    Raises `ConfigError` without a terminal, and for an empty answer.
    """
    address, sentinel = server.address, server.sentinel
    if server.credentials.password_prompt:
        tcp = address.kind == "tcp"
        where = node_text((address.host, address.port)) if tcp else address.text
        server = server._replace(credentials=_asked(server.credentials, where))
    if sentinel and sentinel.credentials.password_prompt:
        where = f"the Sentinels {', '.join(map(node_text, address.nodes))}"
        credentials = _asked(sentinel.credentials, where)
        server = server._replace(sentinel=sentinel._replace(credentials=credentials))
    return server


def _asked(credentials: Credentials, where: str) -> Credentials:
    whose = safe(f"{credentials.username or 'default'} at {where}")
    try:
        text = _typed(f"Password of {whose}: ")
    except GetPassWarning:  # it would be read from stdin, and seen
        msg = f"there is no terminal to ask for the password of {whose}"
        raise ConfigError(msg, "give password_file or password_command in its place") from None
    except UnicodeDecodeError:
        msg = "the prompt: gave a password that cannot be decoded"
        raise ConfigError(msg) from None
    return credentials._replace(password=given(text, "the prompt"), password_prompt=False)


def _typed(question: str) -> str:
    """Return the line that is typed, an end of input as an empty one; then the terminal echoes again."""
    # Ended or stopped in between by the signal itself, it would be left without its echo.
    deeds: dict[signal.Signals, Any] = {
        signal.SIGINT: _end,
        signal.SIGTERM: _end,
        signal.SIGTSTP: signal.SIG_IGN,
    }
    former = {number: signal.signal(number, deed) for number, deed in deeds.items()}
    try:
        with _alone(), warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            return getpass(question)
    except EOFError:
        _end_line()
        return ""
    except typer.Exit:
        _end_line()
        show_error_line("interrupted")
        raise
    finally:
        for number, deed in former.items():
            signal.signal(number, deed)


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process ask at a time: both of `export | warm -` may, and one read the other's answer."""
    for terminal in filter(os.isatty, range(3)):
        with suppress(OSError):  # not every system locks terminals
            fcntl.lockf(terminal, fcntl.LOCK_EX)
    try:
        yield
    finally:
        for terminal in filter(os.isatty, range(3)):
            with suppress(OSError):
                fcntl.lockf(terminal, fcntl.LOCK_UN)


def _end(number: int, _frame: object) -> NoReturn:
    raise typer.Exit(128 + number)


def _end_line() -> None:
    """End the line of the question, which `getpass` does after an answer alone."""
    with suppress(OSError):
        Path("/dev/tty").write_text("\n")
