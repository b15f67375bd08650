"""An entry -> the command that writes it; the server's answers -> ours."""

from typing import Any, Final, Literal, NamedTuple

from cachectl.errors import CachectlError

CHANGES: Final = frozenset({b"SET", b"RESTORE", b"UNLINK"})
"""The commands of ours that change data."""


class Write(NamedTuple):
    """One entry as it is written: `ttl` in seconds from now, or `expires_at` in Unix time, or neither.

    With `dump`, `value` is what DUMP gave.
    """

    key: bytes
    value: bytes
    ttl: float | None = None
    expires_at: float | None = None
    dump: bool = False


def milliseconds(seconds: float) -> int:
    """Return a TTL or a time as the server takes it: at least 1, where 0 is refused."""
    return max(1, round(seconds * 1000))


def seconds_left(pttl: int) -> float | None | Literal[False]:
    """Return seconds for the server's milliseconds, None for its -1 (persistent), False for its -2."""
    if pttl == -2:  # noqa: PLR2004 the server's word
        return False
    return pttl / 1000 if pttl >= 0 else None


def write_command(write: Write, *, only_missing: bool) -> tuple[bytes, ...]:
    """Return the one command that writes an entry whole."""
    if write.dump:
        return _restore_command(write, only_missing=only_missing)
    command = [b"SET", write.key, write.value]
    if write.expires_at is not None:
        command += [b"PXAT", b"%d" % milliseconds(write.expires_at)]
    elif write.ttl is not None:
        command += [b"PX", b"%d" % milliseconds(write.ttl)]
    if only_missing:
        command.append(b"NX")
    return tuple(command)


def _restore_command(write: Write, *, only_missing: bool) -> tuple[bytes, ...]:
    left = write.expires_at if write.expires_at is not None else write.ttl
    command = [b"RESTORE", write.key, b"%d" % (0 if left is None else milliseconds(left))]
    command.append(write.value)
    if write.expires_at is not None:
        command.append(b"ABSTTL")
    if not only_missing:
        command.append(b"REPLACE")
    return tuple(command)


def written(reply: Any) -> Any:
    """Return True for a reply that says "done", False for "was there already", else the reply."""
    if reply == b"OK":
        return True
    if reply is None:
        return False
    if isinstance(reply, CachectlError) and reply.message.startswith("BUSYKEY"):
        return False
    return reply


def key_facts(kind: Any, pttl: Any, memory: Any) -> tuple[Any, Any, Any]:
    """Return type, TTL and memory as they are told; a key that vanished in between was never there."""
    left = seconds_left(pttl) if isinstance(pttl, int) else pttl
    if left is False:
        return "none", None, None
    return kind.decode() if isinstance(kind, bytes) else kind, left, memory
