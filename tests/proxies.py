"""The one fault proxy between a client and a server: it delays, cuts, holds back and throttles."""

import asyncio
import socket
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Self

from tests.plans import CUT, Chunk, Cut, Direction, Plan, passes
from tests.servers import ServerProcess

Line = asyncio.Queue[tuple[float, bytes]]
"""What is on its way one way, each with the time when it arrives; no bytes are the end."""


@dataclass(eq=False)
class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target`, each chunk as `plan` says.

    `target` is a server or a (host, port). `latency` is seconds each way that everything comes later,
    `rate` bytes a second each way, `tls` terminates TLS. `plan`, `latency`, `rate` and `refuse` (break
    each new connection at once) may be changed while it runs. A context manager.
    """

    target: ServerProcess | tuple[str, int]
    plan: Plan = passes
    _: KW_ONLY
    latency: float = 0.0
    rate: float | None = None
    tls: ssl.SSLContext | None = None
    refuse: bool = False

    def __post_init__(self) -> None:
        """Nothing has come yet; `with` starts it."""
        self.port = self.connections = 0
        self.bytes: dict[Direction, int] = {"up": 0, "down": 0}
        self._open: set[StreamWriter] = set()  # two for each connection
        self._done = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        """The URL that clients use instead of the server's."""
        place = "rediss://localhost" if self.tls else "redis://127.0.0.1"  # as certificates say
        return f"{place}:{self.port}/0"

    @property
    def open(self) -> int:
        """How many connections stand now."""
        return len(self._open) // 2

    def cut(self) -> None:
        """Break every connection that stands now."""
        for writer in self._open.copy():
            self._loop.call_soon_threadsafe(writer.transport.abort)

    def __enter__(self) -> Self:
        """Listen in a thread of its own."""
        self._thread.start()
        assert self._listening.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        """Break all connections and stop listening."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        port = socket.create_server(("127.0.0.1", 0))
        if self.rate:  # nor does the kernel take what a slow line would still have before it
            port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        # a full queue drops a client's SYN, which it sends again a second later: no fault of ours
        listener = await asyncio.start_server(self._accept, sock=port, ssl=self.tls, backlog=1024)
        self.port = port.getsockname()[1]
        self._listening.set()
        await self._done.wait()
        self._loop.remove_reader(port)  # what was accepted is to begin, or asyncio leaves it open
        await asyncio.sleep(0.01)
        listener.close()  # and asyncio.run cancels every connection

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.transport.abort()
            return
        number, ends = self.connections, {writer}
        try:
            if isinstance(self.target, ServerProcess):
                server_in, server_out = await asyncio.open_unix_connection(self.target.socket)
            else:
                server_in, server_out = await asyncio.open_connection(*self.target)
            ends.add(server_out)
            self._open |= ends
            # A slow line holds little; one that is only far away holds all that is on its way.
            up, down = (Line(2 if self.rate else 256) for _ in ends)
            async with asyncio.TaskGroup() as ways:  # the first that breaks takes the others along
                ways.create_task(self._read(reader, up))
                ways.create_task(self._write(server_out, up, number, "up"))
                ways.create_task(self._read(server_in, down))
                ways.create_task(self._write(writer, down, number, "down"))
        except* (OSError, asyncio.CancelledError):
            pass  # broken by the plan, by a peer, or by the proxy's own end: that is what it is for
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _read(self, reader: StreamReader, line: Line) -> None:
        """Put on the line what comes, until its end: latency delays without holding up."""
        with suppress(ConnectionError):  # a broken connection is an end like any other
            while data := await reader.read(65536):
                await line.put((self._loop.time() + self.latency, data))
        await line.put((self._loop.time() + self.latency, b""))

    async def _write(self, writer: StreamWriter, line: Line, number: int, way: Direction) -> None:
        """Do with each chunk of the line what the plan says; its end and a cut are raised."""
        # So that `drain` returns when all is sent: a cut then loses nothing that was delivered.
        writer.transport.set_write_buffer_limits(high=1, low=0)
        offset = 0
        while True:
            due, data = await line.get()
            await asyncio.sleep(due - self._loop.time())
            for step in self.plan(Chunk(number, way, offset, data)) if data else [CUT]:
                match step:
                    case bytes():
                        await self._deliver(step, writer, way)
                    case threading.Event():
                        while not step.is_set():  # noqa: ASYNC110 set in the test's thread
                            await asyncio.sleep(0.002)
                    case Cut():
                        raise ConnectionAbortedError
                    case seconds:
                        await asyncio.sleep(seconds)
            offset += len(data)

    async def _deliver(self, data: bytes, writer: StreamWriter, way: Direction) -> None:
        """Send a tenth of a second's bytes at a time: a slow line moves instead of jumping."""
        while data:
            size = max(int(self.rate / 10), 1) if self.rate else len(data)
            part, data = data[:size], data[size:]
            self.bytes[way] += len(part)  # before: whoever has received it finds it counted
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(len(part) / self.rate if self.rate else 0)
