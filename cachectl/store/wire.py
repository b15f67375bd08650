"""One greeted connection: bytes out, replies in, and never longer silence than is borne.

Only `connect.py` makes one. A wire that was left in the middle of an exchange is never `clean` again.
"""

import asyncio
from typing import Any, NamedTuple, Self

import hiredis

from cachectl.config.url import Address
from cachectl.errors import (
    CachectlError,
    LostError,
    NotReadyError,
    ReadOnlyServerError,
    SilenceError,
)
from cachectl.store.errors import RedirectError, any_error, from_reply, not_redis
from cachectl.units import format_duration

CHUNK = 256 * 1024
"""Bytes read at once at most: each read that brings something is a sign of life."""

STEP = 64 * 1024
"""Bytes written at once: each step that is taken is a sign of life, on a slow line too."""

_MORE = object()

_NONSENSE = (hiredis.ProtocolError, TypeError, MemoryError)
"""What hiredis raises for bytes that are no replies: a map with a list for a key, a length of 4 G."""


Command = tuple[bytes, ...] | bytes
"""The words of a command, or the whole of it as the protocol writes it."""


def pack(command: Command) -> bytes:
    """Return one command as the protocol writes it."""
    if isinstance(command, bytes):
        return command
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub has a 1-tuple
    return packed


def verb(command: Command) -> bytes:
    """Return the first word of a command."""
    return command.split(b"\r\n", 3)[2] if isinstance(command, bytes) else command[0]


class Received(NamedTuple):
    """Replies that came together: how many bytes brought them, and whether errors are among them."""

    replies: list[Any]
    size: int
    refused: bool


class Greeting(NamedTuple):
    """What HELLO tells, even to a user without INFO; `None` where the server does not know HELLO."""

    server: str | None = None
    version: str | None = None
    mode: str | None = None
    role: str | None = None

    @classmethod
    def told(cls, reply: Any) -> Self:
        """Return what the reply to HELLO says; an error says nothing."""
        if not isinstance(reply, list):
            return cls()
        told = {reply[i]: reply[i + 1] for i in range(0, len(reply) - 1, 2)}
        values = (told.get(name) for name in (b"server", b"version", b"mode", b"role"))
        return cls(
            *(v.decode("utf-8", "replace") if isinstance(v, bytes) else None for v in values)
        )


class ReplyTooLargeError(CachectlError):
    """A reply went over the bound of its caller; the connection was dropped."""

    code = "too_large"
    exit_code = 1


class Wire:
    """A connection whose replies are read in the order of its commands.

    `where` is the server as people know it, `silence` below is always in seconds. With `follows`, the
    server is a primary that another may take the place of: `demoted` tells that this has happened, as
    its READONLY says, which is "not now", or may have happened: it is cut off from the others.
    """

    __slots__ = (
        "_parser",
        "_pending",
        "_reader",
        "_writer",
        "address",
        "demoted",
        "follows",
        "greeting",
        "where",
    )

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address
    ) -> None:
        """Take over the two ends of an open connection with nothing unread."""
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader(replyError=self._refusal, notEnoughData=_MORE)
        self._pending = 0
        self.address = address
        self.where = address.text
        self.greeting = Greeting()
        self.follows = False
        self.demoted = False

    def _refusal(self, text: str) -> CachectlError:
        # one of many servers is to be named; a server alone is, by whoever asked it
        error = from_reply(text, self.where if self.greeting.mode == "cluster" else None)
        if self.follows and isinstance(error, ReadOnlyServerError):
            self.demoted = True
            msg = f"{self.where} has become a replica: another is, or will be, the primary"
            return NotReadyError(msg)
        if self.follows and text.startswith("CLUSTERDOWN"):
            self.demoted = True
        if isinstance(error, RedirectError):
            error.host = error.host or self.address.host
        return error

    @property
    def clean(self) -> bool:
        """Whether every reply was read and the server has not hung up: fit for another caller."""
        return not (
            self._pending
            or self.demoted
            or self._parser.has_data()
            # StreamReader has no public look at unread bytes; a test names this attribute if it goes
            or self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 no public look at unread bytes
            or self.broken
        )

    @property
    def broken(self) -> bool:
        """Whether the server has hung up, or was given up; not one that was left in the middle."""
        return self._reader.at_eof() or self._writer.is_closing()  # a reset is no end of file

    async def call(self, *command: bytes, silence: float, limit: int | None = None) -> Any:
        """Send one command and return its reply; an error reply is returned, not raised.

        Raises `SilenceError` or `LostError`, and `ReplyTooLargeError` once the reply is longer than
        `limit` bytes.
        """
        self._pending += 1
        packed = pack(command)
        try:
            async with asyncio.timeout(silence) as timeout:
                if len(packed) > STEP:
                    await self._write(packed, timeout, silence)
                else:
                    self._writer.write(packed)
                reply = await self._reply(timeout, silence, limit)
        except (TimeoutError, OSError, *_NONSENSE) as error:
            raise self._lost(error, silence) from None
        self._pending -= 1
        return reply

    async def send(self, packed: bytes, count: int, *, silence: float) -> None:
        """Send `count` packed commands whose replies are to be received; raises as `call` does."""
        self._pending += count
        try:
            async with asyncio.timeout(silence) as timeout:
                await self._write(packed, timeout, silence)
        except (TimeoutError, OSError) as error:
            raise self._lost(error, silence) from None

    async def receive(self, *, silence: float) -> Received:
        """Return the replies that have come, at least one.

        Raises as `call` does. Replies that came before the connection broke have been returned.
        """
        size = 0
        try:
            async with asyncio.timeout(silence) as timeout:
                while not (replies := self._parsed()):
                    size += await self._feed()
                    _bear(timeout, silence)
        except (TimeoutError, OSError, *_NONSENSE) as error:
            raise self._lost(error, silence) from None
        kinds = set(map(type, replies))
        if len(replies) > self._pending or hiredis.PushNotification in kinds:
            raise self._unasked()
        self._pending -= len(replies)
        return Received(replies, size, any_error(kinds))

    def _parsed(self) -> list[Any]:
        """Return the replies that are whole by now."""
        return list(iter(self._parser.gets, _MORE))

    async def _write(self, data: bytes, timeout: asyncio.Timeout, silence: float) -> None:
        """Write in steps, so that a slow line that moves is not taken for silence."""
        view = memoryview(data)
        for start in range(0, len(view), STEP):
            if start:
                _bear(timeout, silence)
            self._writer.write(view[start : start + STEP])
            await self._writer.drain()

    async def _reply(self, timeout: asyncio.Timeout, silence: float, limit: int | None) -> Any:
        reply = self._parser.gets()
        received = 0
        while reply is _MORE:
            received += await self._feed()
            if limit is not None and received > limit:
                msg = f"the reply of {self.where} is longer than {limit} bytes"
                raise ReplyTooLargeError(msg)
            reply = self._parser.gets()
            if reply is _MORE:  # there is more to wait for
                _bear(timeout, silence)
        if isinstance(reply, hiredis.PushNotification):
            raise self._unasked()
        return reply

    async def _feed(self) -> int:
        """Give the parser the next chunk and return its size."""
        chunk = await self._reader.read(CHUNK)
        if not chunk:
            msg = f"{self.where} closed the connection"
            raise LostError(msg)
        self._parser.feed(chunk)
        return len(chunk)

    def _unasked(self) -> LostError:
        # protocol 2 has no push messages: whoever sent it would shift every later reply by one
        self.drop()
        return LostError(f"{self.where} sent a message nobody asked for")

    def _lost(self, error: Exception, silence: float) -> Exception:
        self.drop()
        if isinstance(error, TimeoutError):
            return SilenceError(
                f"{self.where} has not answered for {format_duration(silence)}",
                "the server is stopped, busy or far away: a longer --timeout bears more",
            )
        if isinstance(error, _NONSENSE):
            return not_redis(self.where)
        return LostError(f"{self.where}: the connection broke")

    def drop(self) -> None:
        """Close at once, without waiting for anything."""
        self._pending += 1
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close in order; a peer that does not answer the farewell is left behind."""
        self._writer.close()
        try:
            async with asyncio.timeout(0.2):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            self._writer.transport.abort()


def _bear(timeout: asyncio.Timeout, silence: float) -> None:
    timeout.reschedule(asyncio.get_running_loop().time() + silence)
