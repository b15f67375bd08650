"""A synchronous iterator in a thread, for a loop that must never wait for a blocked stdin."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_END: Any = object()


async def in_thread(batches: Iterator[T], ahead: int = 2) -> AsyncGenerator[T, None]:
    """Yield what `batches` yields, iterated in a daemon thread at most `ahead` items ahead.

    What `batches` raises is raised here, after the items before it. Closed early, it ends the
    thread at its next item; if that never comes, the thread does not hold up the exit.
    """
    feed = _Feed[T](ahead)
    threading.Thread(target=feed.run, args=(batches,), name="cachectl-source", daemon=True).start()
    try:
        while (item := await feed.items.get()) is not _END:
            feed.room.release()
            yield item
            del item  # not held while the next is awaited: it may be large
        if feed.error is not None:
            raise feed.error
    finally:
        feed.closed = True
        feed.room.release()


class _Feed(Generic[T]):
    """What the loop and the thread share. `room` counts the items that may still be made."""

    def __init__(self, ahead: int) -> None:
        self.items: asyncio.Queue[T] = asyncio.Queue()
        self.room = threading.Semaphore(ahead)
        self.closed = False
        self.error: BaseException | None = None
        self._loop = asyncio.get_running_loop()

    def run(self, batches: Iterator[T]) -> None:
        """Hand over one item after the other; an item is begun only when there is room for it."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            try:
                while self._may_go_on() and (item := next(batches, _END)) is not _END:
                    self._hand_over(item)
                    del item
            except BaseException as error:  # noqa: BLE001 raised again where it is awaited
                self.error = error
            self._hand_over(_END)

    def _may_go_on(self) -> bool:
        self.room.acquire()
        return not self.closed

    def _hand_over(self, item: T) -> None:
        self._loop.call_soon_threadsafe(self.items.put_nowait, item)
