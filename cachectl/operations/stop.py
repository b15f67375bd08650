"""Stopping work cleanly: a signal, a deadline or a failure sets it, the operation reports."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from cachectl.errors import CachectlError

if TYPE_CHECKING:
    from cachectl.models import Stopped

GRACE = 0.4
"""Seconds that what is in flight may take to finish once work is to stop."""


class Stop:
    """Set once, with the reason; work looks at it between its steps."""

    def __init__(self) -> None:
        """Start unset."""
        self._event = asyncio.Event()
        self.reason: Stopped | None = None

    def set(self, reason: "Stopped") -> None:
        """Ask for the end; the first reason stays."""
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
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace)
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.wait({task, stopped})
    if not task.cancelled():
        task.result()


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
