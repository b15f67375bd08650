"""Which settings file is read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from cachectl.errors import ConfigError

FILE_NAME: Final = "cachectl.yaml"
SYSTEM_FILE: Final = Path("/etc/cachectl/config.yaml")

Rule = Literal["--config", "CACHECTL_CONFIG", "./cachectl.yaml", "XDG_CONFIG_HOME", "/etc"]


class Found(NamedTuple):
    """A settings file, how it is shown to people, and the rule that led to it."""

    path: Path
    shown: str
    rule: Rule

    @property
    def named(self) -> bool:
        """Whether somebody named this file, with `--config` or CACHECTL_CONFIG."""
        return self.rule in {"--config", "CACHECTL_CONFIG"}


def candidates(env: Mapping[str, str], cwd: Path) -> list[Found]:
    """Return the places that are looked at when no file is named, in their order."""
    # The specification of XDG has an empty or relative folder ignored.
    folder = env.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.join(env["HOME"], ".config") if env.get("HOME") else ""
    places = [Found(cwd / FILE_NAME, FILE_NAME, "./cachectl.yaml")]
    if folder:
        personal = Path(folder, "cachectl", "config.yaml")
        places.append(Found(personal, str(personal), "XDG_CONFIG_HOME"))
    places.append(Found(SYSTEM_FILE, str(SYSTEM_FILE), "/etc"))
    return places


def find(flag: str | None, env: Mapping[str, str], cwd: Path | str) -> Found | None:
    """Return the settings file by `--config`, CACHECTL_CONFIG, or the first that is there.

    Raises `ConfigError` when a file was named and does not exist. An empty variable is unset.
    """
    cwd = Path(cwd)
    rule: Rule = "--config" if flag is not None else "CACHECTL_CONFIG"
    name = flag if flag is not None else env.get("CACHECTL_CONFIG", "")
    if flag is not None or name:
        path = cwd / name
        if not name or not os.path.lexists(path):
            msg = f"{name or 'an empty name'}: there is no such settings file ({rule})"
            raise ConfigError(msg)
        return Found(path, name, rule)
    # A file that is there and cannot be read is an error later, not a reason to take the next.
    return next((place for place in candidates(env, cwd) if os.path.lexists(place.path)), None)
