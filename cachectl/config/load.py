"""The door of this room: reads a settings file into `Settings`.

Finding the file is `find`, choosing a server `resolve`; `check`, `describe` and `schema` have
modules of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cachectl.config.find import Found, find
from cachectl.config.resolve import deploy_jobs, job, resolve
from cachectl.config.settings import Settings

if TYPE_CHECKING:
    from cachectl.config.reader import Problem

__all__ = [
    "Found",
    "Read",
    "Settings",
    "defaults",
    "deploy_jobs",
    "find",
    "job",
    "load",
    "read",
    "resolve",
]


class Read(NamedTuple):
    """A settings file with everything that is wrong in it."""

    settings: Settings
    problems: "list[Problem]"


def defaults() -> Settings:
    """Return the settings that hold without a file."""
    return Settings()


def load(found: Found | Path | str, env: Mapping[str, str]) -> Settings:
    """Return the settings of a file; a path counts as named.

    Raises `ConfigError` for the first thing that is wrong with the file as a whole. What is wrong
    with a profile because of the environment, or with a job, is raised when that one is used.
    """
    from cachectl.config.build import waits

    result = read(found, env)
    for problem in result.problems:
        if not waits(problem):
            raise problem.error
    return result.settings


def read(found: Found | Path | str, env: Mapping[str, str]) -> Read:
    """Return the settings of a file together with all its problems, in the order of the file.

    Raises `ConfigError` when the file cannot be read or is not YAML.
    """
    # The description of the settings costs 2 ms, and many commands run without a file.
    from cachectl.config.build import Builder
    from cachectl.config.fields import ROOT
    from cachectl.config.nodes import parse, read_file
    from cachectl.config.reader import Reader

    if not isinstance(found, Found):
        found = Found(Path(found), str(found), "--config")
    file = read_file(found.path, found.shown)
    reader = Reader(found.shown, str(found.path.parent), env)
    given = reader.section(parse(file.text, found.shown), ROOT)
    trusted = file.private or found.rule != "./cachectl.yaml"
    settings = Builder(reader, given, trusted=trusted).settings(found)
    return Read(settings, reader.problems)
