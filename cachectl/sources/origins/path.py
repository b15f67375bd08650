"""The path of an origin: a text with `{name}` where a request's parameters go."""

import re
from collections.abc import Sequence
from typing import Final

from cachectl.models import Request

PLACE: Final = re.compile(r"\{([^{}]+)\}")
NO_TARGET: Final = "nothing says what to ask the service for: give the origin a path"
KEY: Final = "key"
"""Stands for the key where no parameter has this name."""


def needs(path: str) -> list[str]:
    """Return the names of the parameters that a path needs."""
    return PLACE.findall(path)


def lacking(needed: Sequence[str], request: Request) -> str | None:
    """Return what is wrong with a request that does not have all that a path needs."""
    params = request.params or {}
    for name in needed:
        if name not in params and name != KEY:
            return f"the origin's path needs {{{name}}}, which the request does not have"
    return None
