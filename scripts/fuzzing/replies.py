"""Replies of a server through a real `StreamReader`, in pieces of any size.

A stream that is right gives the same replies however it is cut. Any other gives replies or one of the
errors of a lost server, within the silence that is borne, and the connection goes to nobody else.
"""

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from cachectl.config.url import Address
from cachectl.errors import CachectlError, UnreachableError
from cachectl.store.wire import ReplyTooLargeError, Wire
from scripts.fuzzing.junk import TOKENS, damaged, demand
from scripts.fuzzing.runs import Broken

_SILENCE: Final = 0.005
_PATIENCE: Final = 10.0
"""Seconds after which a case hangs; what comes to an end does so within milliseconds."""
_DEEPEST: Final = 4
_TOKENS: Final = (
    *TOKENS, b">2\r\n+a\r\n+b\r\n", b"*4000000000\r\n", b"*100000\r\n", b"$99999999999\r\n",
    b"$-5\r\n", b"*-5\r\n", b"%1\r\n*0\r\n:1\r\n", b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n",
    b"~1\r\n%0\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*1\r\n" * 2000, b",inf\r\n", b",x\r\n",
    b"(" + b"9" * 5000 + b"\r\n", b"#t\r\n", b"_\r\n", b"=5\r\ntxt:\xff\r\n", b"|1\r\n+a\r\n+b\r\n",
    b"-\xff\r\n", b"-\r\n", b"-MOVED 1 h:1\r\n", b":9223372036854775808\r\n", b"+OK\r\n", b":1\r\n",
    b"$3\r\n", b"*2\r\n", b"!5\r\nERR a\r\n", b"\x15\x03\x01",
)  # fmt: skip


class Given(NamedTuple):
    """A stream and how it is read.

    `right`: what it says, unless it was damaged. `sizes` are those of the pieces, again and again.
    """

    data: bytes
    asked: int
    sizes: tuple[int, ...]
    ends: bool
    called: bool
    limit: int | None
    right: list[Any] | None


def make(random: Random) -> Given:
    """Return the replies to some commands, right or not."""
    replies = [_reply(random, 0) for _ in range(random.choice([1, 1, 2, 5, 30]))]
    whole = b"".join(map(_packed, replies))
    data = damaged(whole, random, _TOKENS)
    right = replies if data == whole else None
    sizes = tuple(random.choice([1, 2, 7, 100, 5000, 300_000]) for _ in range(3))
    if len(data) > 5000:  # noqa: PLR2004 a step of the loop for each byte would take ages
        sizes = tuple(max(100, size) for size in sizes)
    ends = right is not None or random.random() < 9 / 10
    limit = random.choice([None, None, 10, 1000])
    return Given(data, len(replies), sizes, ends, random.random() < 1 / 2, limit, right)


def judge(given: Given) -> bool:
    """Read it as the answers to so many commands."""
    return asyncio.run(_read(given))


async def _read(given: Given) -> bool:
    reader = asyncio.StreamReader()
    wire = Wire(reader, _deaf(), Address("tcp", "cache", 6379))
    feeding = asyncio.create_task(_feed(reader, given))
    found: list[Any] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            await (_call(wire, given, found) if given.called else _receive(wire, given, found))
    except (UnreachableError, ReplyTooLargeError) as error:
        demand(not wire.clean, f"the connection would be lent again after {error!r}")
        demand(str(error).isprintable(), "an error is more than a line")
        demand(
            given.right is None or isinstance(error, ReplyTooLargeError),
            f"replies that are right were not read: {error!r}",
        )
        return False
    except TimeoutError:
        msg = f"it waits for more than {_PATIENCE:g} s"
        raise Broken(msg) from None
    finally:
        feeding.cancel()
    if given.right is not None:
        said = list(map(_plain, found))
        demand(said == given.right, f"{said!r} is read instead of {given.right!r}")
    return True


async def _feed(reader: asyncio.StreamReader, given: Given) -> None:
    at = turn = 0
    while at < len(given.data):
        size = given.sizes[turn % len(given.sizes)]
        reader.feed_data(given.data[at : at + size])
        at, turn = at + size, turn + 1
        await asyncio.sleep(0)
    if given.ends:
        reader.feed_eof()


async def _call(wire: Wire, given: Given, found: list[Any]) -> None:
    for _ in range(given.asked):
        found.append(await wire.call(b"PING", silence=_silence(given), limit=given.limit))  # noqa: PERF401 kept


async def _receive(wire: Wire, given: Given, found: list[Any]) -> None:
    await wire.send(b"", given.asked, silence=_silence(given))
    while len(found) < given.asked:
        received = await wire.receive(silence=_silence(given))
        demand(received.replies, "nothing is taken for replies")
        errors = any(isinstance(reply, CachectlError) for reply in received.replies)
        demand(received.refused == errors, "errors among the replies are not told")
        found += received.replies
    demand(len(found) == given.asked, "there are more replies than commands")


def _silence(given: Given) -> float:
    return _PATIENCE if given.ends else _SILENCE


def _deaf() -> Any:
    """Return a writer that takes everything."""

    async def drained() -> None:
        return None

    return SimpleNamespace(
        write=lambda _: None,
        drain=drained,
        is_closing=lambda: False,
        transport=SimpleNamespace(abort=lambda: None),
    )


class _Word(bytes):
    """A simple string."""


def _reply(random: Random, depth: int) -> Any:
    """Return a reply as it is read; text stands for an error."""
    kind = random.choice(["bulk", "bulk", "word", "number", "error", "none", "list"])
    if kind == "list" and depth < _DEEPEST:
        return [_reply(random, depth + 1) for _ in range(random.choice([0, 1, 3, 8]))]
    if kind == "word":
        return _Word(random.choice([b"OK", b"PONG", b"", b"QUEUED"]))
    if kind == "number":
        return random.choice([0, 1, -1, 2**63 - 1, -(2**63)])
    if kind == "error":
        return random.choice(["ERR no", "OOM full", "MOVED 1 h:1", "WRONGTYPE x", "X"])
    if kind == "none":
        return None
    size = random.choice([0, 1, 5, 60, 60, 300, 9 if depth else 70_000])
    return (random.randbytes(min(size, 60)) + b"\r\n$-1\r\n" * size)[:size]


def _packed(reply: Any) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(_packed, reply))
        case str():
            return b"-%s\r\n" % reply.encode()
        case int():
            return b":%d\r\n" % reply
        case _Word():
            return b"+%s\r\n" % reply
    return b"$%d\r\n%s\r\n" % (len(reply), reply)


def _plain(reply: Any) -> Any:
    """Return what was read as `_reply` has it."""
    if isinstance(reply, list):
        return [_plain(one) for one in reply]
    return reply.message if isinstance(reply, CachectlError) else reply
