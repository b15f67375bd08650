"""The event loop of a command: the library's, with timers that end on time."""

import asyncio
import select
import selectors
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
MAX_DESCRIPTOR = 1023
"""What `select` takes (FD_SETSIZE). A loop's own is higher only if a parent left many open."""

if sys.platform == "linux":

    class Selector(selectors.EpollSelector):
        """Waits to the microsecond: epoll rounds up to a millisecond, a tenth of a call of 10 ms."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Return what is ready, after `timeout` seconds at the latest; None waits without end."""
            if timeout is not None and timeout > 0 and self.fileno() <= MAX_DESCRIPTOR:
                select.select((self,), (), (), timeout)  # epoll is ready when one of its files is
                timeout = 0
            return super().select(timeout)

else:
    Selector = selectors.DefaultSelector


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that waits by `Selector`."""
    return asyncio.SelectorEventLoop(Selector())


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)
