"""TCP proxies between a client and a server that cut, delay, split, hold back, or speak TLS."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.plans import Chunk, Cut, Direction, Plan, passes
from tests.servers import ServerProcess


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target`, each chunk as `plan` says.

    `target` is a server, a Unix socket's path or a (host, port). `latency` is seconds each way that
    everything comes later, `rate` bytes a second each way, `tls` terminates TLS. `plan`, `rate` and
    `refuse` (break each new connection at once) may be changed while it runs. A context manager.
    """

    def __init__(
        self,
        target: ServerProcess | Path | str | tuple[str, int],
        plan: Plan = passes,
        *,
        latency: float = 0.0,
        rate: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Keep the behaviour; `with` starts it."""
        self.target = target.socket if isinstance(target, ServerProcess) else target
        self.plan = plan
        self.latency = latency
        self.rate = rate
        self.refuse = False
        self.port = 0
        self.connections = 0
        self.bytes: dict[Direction, int] = {"up": 0, "down": 0}
        self._tls = tls
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._done = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """The URL that clients use instead of the server's."""
        if self._tls:
            return f"rediss://localhost:{self.port}/0"  # a name that the certificate holds
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open(self) -> int:
        """How many connections stand now."""
        return len(self._open)

    def cut(self) -> None:
        """Break every connection that stands now."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def __enter__(self) -> Self:
        """Listen in a thread of its own."""
        self._thread.start()
        if not self._listening.wait(10):
            msg = "the proxy did not start"
            raise RuntimeError(msg)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Break all connections and stop listening."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        port = socket.create_server(("127.0.0.1", 0))
        if self.rate:  # nor does the kernel take what a slow line would still have before it
            port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        # a full queue drops a client's SYN, which it sends again a second later: no fault of ours
        listener = await asyncio.start_server(self._accept, sock=port, ssl=self._tls, backlog=1024)
        self.port = listener.sockets[0].getsockname()[1]
        self._listening.set()
        await self._done.wait()
        listener.close()
        self._cut_all()
        # Transports close in the next round; asyncio.run cancels whatever still waits.
        await asyncio.sleep(0)

    def _cut_all(self) -> None:
        for writers in self._open:
            for writer in writers:
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if not self.refuse:
                await self._forward(reader, writer, self.connections)
        except (OSError, asyncio.CancelledError):
            # Broken by the plan, by a peer, or by the proxy's own end: that is what it is for.
            pass
        finally:
            writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        if isinstance(self.target, tuple):
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        else:
            server_reader, server_writer = await asyncio.open_unix_connection(str(self.target))
        pair = (writer, server_writer)
        self._open.add(pair)
        for each in pair:
            # So that `drain` returns when all is sent: a cut then loses nothing that was delivered.
            each.transport.set_write_buffer_limits(high=1, low=0)
        ways = [
            asyncio.create_task(self._pump(reader, server_writer, number, "up")),
            asyncio.create_task(self._pump(server_reader, writer, number, "down")),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(pair)
            server_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        direction: Direction,
    ) -> None:
        """Carry one way until its end or a cut; a queue lets latency delay without holding up."""
        # A slow line holds little; one that is only far away holds all that is on its way.
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(2 if self.rate else 256)

        async def fill() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(65536)
                except ConnectionError:
                    data = b""  # a broken connection is an end like any other
                await line.put((self._loop.time() + self.latency, data))

        filling = asyncio.create_task(fill())
        offset = 0
        try:
            while True:
                due, data = await line.get()
                await asyncio.sleep(due - self._loop.time())
                chunk = Chunk(number, direction, offset, data)
                if not data or not await self._carry(chunk, writer):
                    return
                offset += len(data)
        finally:
            filling.cancel()

    async def _carry(self, chunk: Chunk, writer: asyncio.StreamWriter) -> bool:
        """Do the steps of the plan for one chunk; False if the connection is to be broken."""
        for step in self.plan(chunk):
            if isinstance(step, Cut):
                return False
            if isinstance(step, threading.Event):
                while not step.is_set():  # noqa: ASYNC110 the test sets it in another thread
                    await asyncio.sleep(0.002)
            elif isinstance(step, bytes):
                await self._deliver(chunk.direction, step, writer)
            else:
                await asyncio.sleep(step)
        return True

    async def _deliver(
        self, direction: Direction, data: bytes, writer: asyncio.StreamWriter
    ) -> None:
        # A tenth of a second at a time, so that a slow line moves instead of jumping.
        size = max(int(self.rate / 10), 1) if self.rate else max(len(data), 1)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            writer.write(part)
            await writer.drain()
            self.bytes[direction] += len(part)
            await asyncio.sleep(len(part) / self.rate if self.rate else 0)
