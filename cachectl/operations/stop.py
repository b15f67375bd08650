"""Stopping work cleanly: a signal, a deadline or a failure sets it, the operation reports."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cachectl.errors import CachectlError

if TYPE_CHECKING:
    from cachectl.models import Stopped

GRACE = 0.4
"""Seconds that what is in flight may take to finish once work is to stop."""
LATE = 5.0
"""Seconds that a proof may take beyond the deadline."""


class Stop:
    """Set once, with the reason; work looks at it between its steps.

    What wants an end in haste, `late` (the deadline) and `hurried` (a signal), is noted whatever the
    reason is.
    """

    def __init__(self) -> None:
        """Start unset."""
        self._event = asyncio.Event()
        self.late = asyncio.Event()
        self.hurried = asyncio.Event()
        self.reason: Stopped | None = None

    def set(self, reason: "Stopped") -> None:
        """Ask for the end; the first reason stays."""
        if reason in {"deadline", "interrupted"}:
            self.late.set()
        if reason == "interrupted":
            self.hurried.set()
        if self.reason is None:
            self.reason = reason
            self._event.set()

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self.reason is not None

    async def wait(self) -> None:
        """Wait until the end is asked for."""
        await self._event.wait()

    async def wait_for(self, seconds: float) -> None:
        """Wait so long, or until the end is asked for."""
        waiting = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        finally:
            waiting.cancel()


async def until(stop: Stop, work: Coroutine[Any, Any, None], grace: float = GRACE) -> None:
    """Do `work` to its end, or, once `stop` is set, for at most `grace` seconds more.

    Work that is cancelled then has left its account in what it was given. Raises what `work` raises.
    """
    async with _begun(work) as task:
        await _first(task, stop.wait())
        await asyncio.wait({task}, timeout=grace)


async def proven(stop: Stop, work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end although `stop` is set: only the deadline and a signal cut it short.

    Beyond the deadline it may take `LATE` seconds, after a signal no longer than any other work.
    """
    async with _begun(work) as task:
        await _first(task, stop.late.wait())
        await _first(task, stop.hurried.wait(), LATE)
        if stop.hurried.is_set():
            await asyncio.wait({task}, timeout=GRACE)


@asynccontextmanager
async def _begun(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Give a task; at the end of the block it is cancelled unless it has ended, and its error raised."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def _first(
    task: asyncio.Task[None], event: Coroutine[Any, Any, Any], timeout: float | None = None
) -> None:
    """Wait for the end of a task, or for an event, at most for `timeout` seconds."""
    waiting = asyncio.create_task(event)
    try:
        await asyncio.wait({task, waiting}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def first_of_ours(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a group of tasks is to raise: the first of ours, else the first at all."""
    errors = list(_leaves(group))
    return next((e for e in errors if isinstance(e, CachectlError)), errors[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
