"""One greeted connection: bytes out, replies in, and never longer silence than is borne.

Only `connect.py` makes one. A wire that was left in the middle of an exchange is never `clean` again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import hiredis

from cachectl.errors import CachectlError, LostError, SilenceError
from cachectl.store.errors import from_reply, not_redis
from cachectl.units import format_duration

CHUNK = 256 * 1024
"""Bytes read at once at most: each read that brings something is a sign of life."""

STEP = 64 * 1024
"""Bytes written at once: each step that is taken is a sign of life, on a slow line too."""

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


class Exchange:
    """Commands on their way over one wire, and the replies that came so far, in order.

    A command is packed when it is sent, not before: a batch may be larger than memory bears twice.
    """

    __slots__ = ("_sizes", "_unanswered", "commands", "replies", "sent")

    def __init__(self, commands: Sequence[tuple[bytes, ...]]) -> None:
        """Start with nothing sent."""
        self.commands = commands
        self.sent = 0
        self.replies: list[Any] = []
        self._sizes: deque[int] = deque()
        self._unanswered = 0

    def burst(self) -> bytes:
        """Return the commands to send next, packed: as many as fit the window, and one more."""
        burst = []
        while self.sent < len(self.commands) and self._unanswered < WINDOW:
            packed = pack(self.commands[self.sent])
            burst.append(packed)
            self._sizes.append(len(packed))
            self._unanswered += len(packed)
            self.sent += 1
        return burst[0] if len(burst) == 1 else b"".join(burst)

    def take(self, reply: Any) -> None:
        """Enter the next reply."""
        self._unanswered -= self._sizes.popleft()
        self.replies.append(reply)

    @property
    def waits_for_reply(self) -> bool:
        """Whether the next reply is to be read before more is sent: until half the window is free."""
        if len(self.replies) == self.sent:
            return False
        return self.sent == len(self.commands) or self._unanswered >= WINDOW // 2


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
        return not (
            self._pending
            or self._parser.has_data()
            # StreamReader has no public look at unread bytes; a test names this attribute if it goes
            or self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001 no public look at unread bytes
            or self._reader.at_eof()
            or self._writer.is_closing()  # the peer's reset is no end of file
        )

    async def call(self, *command: bytes, silence: float) -> Any:
        """Send one command and return its reply; an error reply is returned, not raised.

        Raises `SilenceError` or `LostError`.
        """
        self._pending += 1
        packed = pack(command)
        try:
            async with asyncio.timeout(silence) as timeout:
                if len(packed) > STEP:
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
                while len(exchange.replies) < len(exchange.commands):
                    burst = exchange.burst()
                    self._pending = exchange.sent - len(exchange.replies)
                    await self._write(burst, timeout, silence)
                    while exchange.waits_for_reply:
                        exchange.take(await self._reply(timeout, silence, None))
                        self._pending -= 1
        except (TimeoutError, OSError, hiredis.ProtocolError) as error:
            raise self._lost(error, silence) from None

    async def _write(self, data: bytes, timeout: asyncio.Timeout, silence: float) -> None:
        """Write in steps, so that a slow line that moves is not taken for silence."""
        view = memoryview(data)
        for start in range(0, len(view), STEP):
            self._writer.write(view[start : start + STEP])
            await self._writer.drain()
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
            if reply is _MORE or self._pending > 1:  # there is more to wait for
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
