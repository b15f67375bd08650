"""What `inspect` asks of one key: a few round trips, each bounded, for every data type."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NamedTuple

from cachectl.errors import CachectlError, DeniedError, ServerError
from cachectl.reports.entries import KeyInfo
from cachectl.store.wire import ReplyTooLargeError

WHOLE = 64 * 1024
"""A string up to so many bytes is shown whole."""
HEAD = 1024
"""Of a longer string, so many bytes are fetched."""
MEMBERS = 10
"""Of a collection, so many members are fetched."""
LIMIT = 1024 * 1024
"""A preview is dropped when its reply grows over so many bytes."""

Run = Callable[[list[tuple[bytes, ...]]], Awaitable[list[Any]]]
"""Sends commands in one round trip and returns their replies; errors among them."""
Bounded = Callable[..., Awaitable[Any]]
"""Sends one command and raises ReplyTooLargeError when its reply is longer than LIMIT."""


class _Shape(NamedTuple):
    """How the length and the first members of a data type are asked for."""

    length: bytes
    preview: Callable[[bytes], tuple[bytes, ...]]
    members: Callable[[Any], Any]


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=False))[:MEMBERS]


_COUNT = b"%d" % MEMBERS
_SHAPES = {
    b"list": _Shape(
        b"LLEN", lambda key: (b"LRANGE", key, b"0", b"%d" % (MEMBERS - 1)), lambda reply: reply
    ),
    b"set": _Shape(
        b"SCARD",
        lambda key: (b"SSCAN", key, b"0", b"COUNT", _COUNT),
        lambda reply: reply[1][:MEMBERS],
    ),
    b"hash": _Shape(
        b"HLEN",
        lambda key: (b"HSCAN", key, b"0", b"COUNT", _COUNT),
        lambda reply: _pairs(reply[1]),
    ),
    b"zset": _Shape(
        b"ZCARD",
        lambda key: (b"ZRANGE", key, b"0", b"%d" % (MEMBERS - 1), b"WITHSCORES"),
        _pairs,
    ),
    b"stream": _Shape(
        b"XLEN",
        lambda key: (b"XRANGE", key, b"-", b"+", b"COUNT", _COUNT),
        lambda reply: [(entry_id, _pairs(fields)) for entry_id, fields in reply],
    ),
}


def located(info: KeyInfo, slot: int | None, node: str) -> KeyInfo:
    """Return what is known of a key with where it lies."""
    unknown = {} if slot is not None else {"slot": "standalone servers have no slots"}
    return replace(info, slot=slot, node=node, unknown={**unknown, **info.unknown})


async def describe(key: bytes, run: Run, bounded: Bounded) -> KeyInfo | None:
    """Return what is known of `key`, or None when it is not there (any more)."""
    kind, pttl, encoding, memory, idle, frequency = await run(
        [
            (b"TYPE", key),
            (b"PTTL", key),
            (b"OBJECT", b"ENCODING", key),
            (b"MEMORY", b"USAGE", key),
            (b"OBJECT", b"IDLETIME", key),
            (b"OBJECT", b"FREQ", key),
        ]
    )
    if isinstance(kind, CachectlError):
        raise kind
    if kind == b"none":
        return None
    known = _Known({})
    size = known.take("bytes", memory)
    length, value, preview = await _content(key, kind, size, known, run, bounded)
    (still,) = await run([(b"TYPE", key)])
    if still != kind:
        return None if still == b"none" else await describe(key, run, bounded)
    text = known.take("encoding", encoding)
    left = known.take("ttl", pttl)
    return KeyInfo(
        key=key,
        type=kind.decode(),
        encoding=text.decode() if text is not None else None,
        ttl=left / 1000 if left is not None and left >= 0 else None,
        memory=size,
        length=length,
        idle=known.take("idle", idle),
        frequency=known.take("frequency", frequency),
        value=value,
        preview=preview,
        unknown=known.reasons,
    )


class _Known:
    """Collects why fields could not be known."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons

    def take(self, name: str, reply: Any) -> Any:
        """Return the reply, or None with the reason noted when it is an error or nil."""
        if isinstance(reply, DeniedError):
            self.reasons[name] = "denied"
        elif isinstance(reply, CachectlError):
            self.reasons[name] = _POLICY.get(name, reply.message)
        elif reply is None:
            self.reasons[name] = "the server did not say"
        else:
            return reply
        return None


_POLICY = {
    "idle": "not tracked under an LFU maxmemory-policy",
    "frequency": "tracked only under an LFU maxmemory-policy",
}


async def _content(
    key: bytes, kind: bytes, size: int | None, known: _Known, run: Run, bounded: Bounded
) -> tuple[int | None, bytes | None, Any]:
    """Return length, whole value (of a short string) and preview."""
    if kind == b"string":
        return await _string(key, known, run)
    shape = _SHAPES.get(kind)
    if shape is None:
        known.reasons["length"] = known.reasons["preview"] = "a module's type"
        return None, None, None
    (reply,) = await run([(shape.length, key)])
    length = known.take("length", reply)
    if size is not None and length and size / length * min(MEMBERS, length) > LIMIT:
        known.reasons["preview"] = f"its members are larger than {LIMIT} bytes"
        return length, None, None
    try:
        reply = await bounded(*shape.preview(key), limit=LIMIT)
    except ReplyTooLargeError:
        known.reasons["preview"] = f"its first members are larger than {LIMIT} bytes"
        return length, None, None
    except ServerError as error:
        reply = error
    members = known.take("preview", reply)
    return length, None, None if members is None else shape.members(members)


async def _string(key: bytes, known: _Known, run: Run) -> tuple[int | None, bytes | None, Any]:
    (reply,) = await run([(b"STRLEN", key)])
    length = known.take("length", reply)
    if length is None:
        return None, None, None
    end = WHOLE if length <= WHOLE else HEAD
    (head,) = await run([(b"GETRANGE", key, b"0", b"%d" % (end - 1))])
    value = known.take("value" if length <= WHOLE else "preview", head)
    return (length, value, None) if length <= WHOLE else (length, None, value)
