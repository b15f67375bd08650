"""NAMESPACE… and its options -> what a command works on."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cachectl.cli import options
from cachectl.errors import UsageError

if TYPE_CHECKING:
    from cachectl.operations.targets import Target


def targets(
    names: Sequence[str], match: str | None, *, everything: bool, literal: bool, verb: str
) -> list["Target"]:
    """Return the targets that are named, none inside another; raise `UsageError` for none at all."""
    from cachectl.operations.targets import Target, outermost

    pattern = None if match is None else os.fsencode(match)
    if everything and names:
        msg = "--all and namespaces exclude each other"
        raise UsageError(msg)
    if not (names or everything or match):
        msg = f"nothing to {verb} is named"
        raise UsageError(msg, "name a NAMESPACE; the whole keyspace is --all")
    if match == "":
        msg = "an empty pattern matches nothing"
        raise UsageError(msg)
    if not names:
        return [Target(None, pattern)]
    checked = [options.checked_namespace(name, literal=literal) for name in names]
    return [Target(name, pattern) for name in outermost(checked)]
