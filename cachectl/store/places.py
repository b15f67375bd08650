"""Where the embedded server lives: its data directory, and its socket in a runtime directory."""

import hashlib
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cachectl.errors import ConfigError, UnreachableError

LONGEST_SOCKET: Final = 103
"""Bytes that a socket's path may have: Linux takes 107, macOS 103."""


@contextmanager
def reported(place: Path) -> Iterator[None]:
    """Turn what the system refuses at a directory into our error."""
    try:
        yield
    except (BlockingIOError, TimeoutError):
        raise  # no refusal
    except OSError as error:
        msg = f"cannot use {error.filename or place} for the embedded server: {error.strerror}"
        hint = "choose another directory: embedded:PATH, or XDG_DATA_HOME"
        raise UnreachableError(msg, hint=hint) from error


def data_dir(path: str, environment: Mapping[str, str]) -> Path:
    """Return the directory that `embedded:PATH` names, or the user's default one."""
    if path.startswith("~/"):  # a shell expands it only at the beginning of a word
        return _home(environment) / path[2:]
    if path:
        return Path(path)
    data_home = Path(environment.get("XDG_DATA_HOME", ""))
    if not data_home.is_absolute():  # the XDG specification has relative ones ignored
        data_home = _home(environment) / ".local" / "share"
    return data_home / "cachectl" / "embedded"


def _home(environment: Mapping[str, str]) -> Path:
    try:
        return Path(environment.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError as error:
        msg = "the embedded server has no directory: HOME is not set, and the user has no home"
        raise ConfigError(msg, hint="set HOME or XDG_DATA_HOME, or use embedded:PATH") from error


def socket_path(data: Path, environment: Mapping[str, str]) -> str:
    """Return a path that is short enough, in a directory that nobody else can write; makes that."""
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12] + ".sock"
    # Not the system's choice of a temporary directory: TMPDIR may be long, and may be anyone's.
    runtime = Path(f"/tmp/cachectl-{os.geteuid()}")  # noqa: S108 made and checked to be ours alone
    session = Path(environment.get("XDG_RUNTIME_DIR", ""))
    if session.is_absolute() and os.access(session, os.W_OK | os.X_OK):
        own = session.is_dir() and session.stat().st_uid == os.geteuid()
        if own and len(os.fsencode(session / "cachectl" / name)) <= LONGEST_SOCKET:
            runtime = session / "cachectl"
    with reported(runtime):
        runtime.mkdir(mode=0o700, exist_ok=True)
        found = runtime.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        msg = f"{runtime} is not a directory that only this user can enter"
        raise UnreachableError(msg, hint="remove it, or set XDG_RUNTIME_DIR to one of your own")
    return str(runtime / name)
