"""One command and its reply over a Unix socket of one's own: all that the embedded server is asked."""

import asyncio
import os
import socket
from pathlib import Path

from cachectl.errors import UnreachableError
from cachectl.store.places import reported


async def ask(path: str, command: bytes, deadline: float) -> bytes:
    """Return the reply to one command, empty if nobody listens or the server closed.

    Raises `TimeoutError` when the loop's time reaches `deadline`, or no connection is accepted.
    """
    with socket.socket(socket.AF_UNIX) as connection, reported(Path(path)):
        connection.settimeout(0)
        try:
            _check_owner(path)
            connection.connect(path)  # a Unix socket connects at once or not at all
            async with asyncio.timeout_at(deadline):
                return await _talk(connection, command)
        except BlockingIOError as error:
            raise TimeoutError from error  # its queue is full: it accepts nothing
        except (FileNotFoundError, ConnectionError):
            return b""


def _check_owner(path: str) -> None:
    if Path(path).stat().st_uid != os.geteuid():
        msg = f"the embedded server on {path} belongs to another user"
        raise UnreachableError(msg, hint="use a directory of your own: embedded:PATH")


async def _talk(connection: socket.socket, command: bytes) -> bytes:
    """Send one command and return its whole reply, empty if the server closed before."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, command)
    reply = b""
    while not _is_whole(reply):
        data = await loop.sock_recv(connection, 65536)
        if not data:
            return b""
        reply += data
    return reply


def _is_whole(reply: bytes) -> bool:
    head, end, rest = reply.partition(b"\r\n")
    if not head.startswith(b"$"):
        return bool(end)
    return bool(end) and len(rest) >= int(head[1:]) + 2
