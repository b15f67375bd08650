"""The command that removes keys: UNLINK, or DEL where the server does not let us have that."""

from typing import Final

from cachectl.errors import DeniedError, ServerError

UNLINK: Final = b"UNLINK"
DEL: Final = b"DEL"
"""Removes the same, but frees the memory at once: the server stands still over a big value."""


def is_withheld(reply: object) -> bool:
    """Whether the server refused the command itself, whatever its key: renamed, or denied."""
    if isinstance(reply, DeniedError):
        return "no permissions to run" in reply.message
    return isinstance(reply, ServerError) and "ERR unknown command" in reply.message
