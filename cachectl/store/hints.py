"""What helps against a refusal of the server."""

from cachectl.errors import CachectlError, DeniedError

_RULES = (
    ("permissions to access a key", "~PATTERN"),
    ("permissions to access one of the keys", "~PATTERN"),
    ("permissions to access database", "db=NUMBER"),
)
"""What is refused, in the server's words, and the rule that allows it."""

_UNREAD_DUMPS = ("DUMP payload version", "Bad data format")
_NEWER = "the dump comes from a newer server than this one, which cannot read it, or is damaged"

_HINTS = {
    "out_of_memory": "raise maxmemory, or let the server evict (maxmemory-policy)",
    "wrong_type": "look at it: cachectl inspect KEY",
    "not_ready": "wait until it serves: cachectl health --wait 60s",
    "busy": "cachectl health says what it is busy with",
}


def explained(error: CachectlError, command: bytes, user: str) -> CachectlError:
    """Return the error with a hint: what `user` must be allowed, or what else to do."""
    if error.hint is not None:
        return error
    error.hint = _HINTS.get(error.code)
    if command == b"RESTORE" and any(words in error.message for words in _UNREAD_DUMPS):
        error.hint = "restore it into that version or a newer one"
        error.message = f"{_NEWER}: {error.hint} ({error.message})"
    if isinstance(error, DeniedError):
        rule = f"+{command.decode().lower()}" if command else "+COMMAND"
        rule = next((r for words, r in _RULES if words in error.message), rule)
        error.hint = f"allow it on the server: ACL SETUSER {user} {rule}"
    return error
