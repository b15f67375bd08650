"""HTTP services that tests ask: a real aiohttp server in a thread of its own."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """Answers every GET by `answer` until it is closed; `asked` counts paths with their queries."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        """Listen nowhere yet."""
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.port = 0
        self._answer = answer
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'http' if self._tls is None else 'https'}://localhost:{self.port}"

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        """Answer nobody any more."""
        asyncio.run_coroutine_threadsafe(self.close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def close(self) -> None:
        """Refuse connections from now on, and cut those that stand; called in the service's loop."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_get(r"/{path:[\s\S]*}", self._asked)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "localhost", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.raw_path] += 1
        self.headers.append(dict(request.headers))
        return await self._answer(request)
