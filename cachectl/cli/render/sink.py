"""Lines on their way out: written in a thread, while the next ones are made."""

import asyncio  # noqa: TID253 only imported with the command that exports
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

from cachectl.sources.threads import Outcome, Threads

MOMENT = 0.4
"""Seconds that what is being written may take once work was cut short: a reader may have stalled."""


class Sink:
    """Takes lines and writes them by `write`, in their order; `entries` and `size` are written whole.

    In a thread: neither a reader who stalls nor what compressing costs holds up the loop, and so no
    signal. A thread that is blocked is left behind; `write` must take no lock that the end wants.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        """Write nothing yet."""
        self._put = write
        self._threads = Threads()
        self._going: asyncio.Future[Outcome | None] | None = None
        self.entries = 0
        self.size = 0

    async def write(self, lines: bytes) -> None:
        """Take whole lines, as soon as those before are written; raises what writing these raised."""
        await self._begin(partial(self._write, lines))

    async def write_long(self, parts: Iterator[bytes]) -> None:
        """Take one line in parts."""
        await self._begin(partial(self._write_parts, parts))

    async def settle(self) -> None:
        """Wait until all that was taken is written; raises what that raised."""
        if self._going is not None:
            await asyncio.wait({self._going})
            outcome, self._going = self._going.result(), None
            if outcome is not None and outcome.error is not None:
                raise outcome.error

    async def leave(self) -> None:
        """Wait a moment for what is being written, so that it ends with a whole line."""
        if self._going is not None:
            await asyncio.wait({self._going}, timeout=MOMENT)
        self._threads.close()

    async def _begin(self, call: Callable[[], None]) -> None:
        await self.settle()
        self._going = asyncio.ensure_future(self._threads.outcome(call, inf))

    def _write(self, lines: bytes) -> None:
        self._put(lines)
        self.entries += lines.count(b"\n")
        self.size += len(lines)

    def _write_parts(self, parts: Iterator[bytes]) -> None:
        size = 0
        for part in parts:
            self._put(part)
            size += len(part)
        self.entries += 1
        self.size += size
