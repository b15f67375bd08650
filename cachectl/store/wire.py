"""One greeted connection: bytes out, replies in, and never longer silence than is borne.

Only `connect.py` makes one. A wire that was left in the middle of an exchange is never `clean` again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis

from cachectl.errors import CachectlError, LostError, SilenceError
from cachectl.store.errors import from_reply, not_redis
from cachectl.units import format_duration

CHUNK = 256 * 1024
"""Bytes written or read at once: each such step that succeeds is a sign of life."""

WINDOW = 1024 * 1024
"""Bytes in flight at most, one command more: a hundred values of 10 MB must not be 1 GB."""


_MORE = object()


def pack(command: tuple[bytes, ...]) -> bytes:
    """Return one command as the protocol writes it."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub has a 1-tuple
    return packed


class Greeting(NamedTuple):
    """What HELLO tells, even to a user without INFO; `None` where the server does not know HELLO."""

    server: str | None = None
    version: str | None = None
    mode: str | None = None
    role: str | None = None


class Exchange:
    """Packed commands on their way over one wire, and the replies that came so far, in order."""

    __slots__ = ("_unanswered", "packed", "replies", "sent")

    def __init__(self, packed: Sequence[bytes]) -> None:
        """Start with nothing sent."""
        self.packed = packed
        self.sent = 0
        self.replies: list[Any] = []
        self._unanswered = 0

    def burst(self) -> list[bytes]:
        """Return the commands to send next: as many as fit the window, at least one; none at the end."""
        start = self.sent
        while self.sent < len(self.packed) and (
            self._unanswered < WINDOW or self.sent == len(self.replies)
        ):
            self._unanswered += len(self.packed[self.sent])
            self.sent += 1
        return list(self.packed[start : self.sent])

    def take(self, reply: Any) -> None:
        """Enter the next reply."""
        self._unanswered -= len(self.packed[len(self.replies)])
        self.replies.append(reply)

    @property
    def waits_for_reply(self) -> bool:
        """Whether the next reply is to be read before more is sent: until half the window is free."""
        if len(self.replies) == self.sent:
            return False
        return self.sent == len(self.packed) or self._unanswered >= WINDOW // 2


class ReplyTooLargeError(CachectlError):
    """A reply went over the bound of its caller; the connection was dropped."""

    code = "too_large"
    exit_code = 1


class Wire:
    """A connection whose replies are read in the order of its commands.

    `where` is the server as people know it, `silence` below is always in seconds.
    """

    __slots__ = ("_parser", "_pending", "_reader", "_writer", "greeting", "where")

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str
    ) -> None:
        """Take over the two ends of an open connection with nothing unread."""
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader(replyError=from_reply, notEnoughData=_MORE)
        self._pending = 0
        self.where = where
        self.greeting = Greeting()

    @property
    def clean(self) -> bool:
        """Whether every reply was read and the server has not hung up: fit for another caller."""
        # StreamReader has no public look at unread bytes; a test names this attribute if it goes
        return not (self._pending or self._reader._buffer or self._reader.at_eof())  # type: ignore[attr-defined]  # noqa: SLF001

    async def call(self, *command: bytes, silence: float) -> Any:
        """Send one command and return its reply; an error reply is returned, not raised.

        Raises `SilenceError` or `LostError`.
        """
        self._pending += 1
        packed = pack(command)
        try:
            async with asyncio.timeout(silence) as timeout:
                if len(packed) > CHUNK:
                    await self._write(packed, timeout, silence)
                else:
                    self._writer.write(packed)
                reply = await self._reply(timeout, silence, None)
        except (TimeoutError, OSError, hiredis.ProtocolError) as error:
            raise self._lost(error, silence) from None
        self._pending -= 1
        return reply

    async def bounded_call(self, *command: bytes, silence: float, limit: int) -> Any:
        """Do as `call`, and raise `ReplyTooLargeError` once the reply is longer than `limit` bytes."""
        self._pending += 1
        try:
            async with asyncio.timeout(silence) as timeout:
                self._writer.write(pack(command))
                reply = await self._reply(timeout, silence, limit)
        except (TimeoutError, OSError, hiredis.ProtocolError) as error:
            raise self._lost(error, silence) from None
        self._pending -= 1
        return reply

    async def exchange(self, exchange: "Exchange", *, silence: float) -> None:
        """Send the commands of `exchange`, at most about `WINDOW` bytes unanswered, and take replies.

        Raises `SilenceError` or `LostError`; what was sent and answered until then stands in it.
        """
        try:
            async with asyncio.timeout(silence) as timeout:
                while len(exchange.replies) < len(exchange.packed):
                    burst = exchange.burst()
                    self._pending += len(burst)
                    await self._write(b"".join(burst), timeout, silence)
                    while exchange.waits_for_reply:
                        exchange.take(await self._reply(timeout, silence, None))
                        self._pending -= 1
        except (TimeoutError, OSError, hiredis.ProtocolError) as error:
            raise self._lost(error, silence) from None

    async def _write(self, data: bytes, timeout: asyncio.Timeout, silence: float) -> None:
        """Write in steps, so that a slow line that moves is not taken for silence."""
        if len(data) <= CHUNK:
            self._writer.write(data)
            await self._writer.drain()
        else:
            view = memoryview(data)
            for start in range(0, len(view), CHUNK):
                self._writer.write(view[start : start + CHUNK])
                await self._writer.drain()
                _bear(timeout, silence)
        _bear(timeout, silence)

    async def _reply(self, timeout: asyncio.Timeout, silence: float, limit: int | None) -> Any:
        reply = self._parser.gets()
        received = 0
        while reply is _MORE:
            chunk = await self._reader.read(CHUNK)
            if not chunk:
                msg = f"{self.where} closed the connection"
                raise LostError(msg)
            received += len(chunk)
            if limit is not None and received > limit:
                msg = f"the reply of {self.where} is longer than {limit} bytes"
                raise ReplyTooLargeError(msg)
            self._parser.feed(chunk)
            reply = self._parser.gets()
            if reply is _MORE:
                _bear(timeout, silence)
        if isinstance(reply, hiredis.PushNotification):
            # protocol 2 has none: whoever sent it would shift every later reply by one
            msg = f"{self.where} sent a message nobody asked for"
            raise LostError(msg)
        return reply

    def _lost(self, error: Exception, silence: float) -> Exception:
        self.drop()
        if isinstance(error, TimeoutError):
            return SilenceError(
                f"{self.where} has not answered for {format_duration(silence)}",
                "the server is stopped, busy or far away: a longer --timeout bears more",
            )
        if isinstance(error, hiredis.ProtocolError):
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
