"""A callable that is called in this process: a coroutine function in the loop, others in threads."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from cachectl.models import Request
from cachectl.sources.origins.call import of_outcome
from cachectl.sources.origins.failure import Failure, OriginError
from cachectl.sources.origins.runners import Runners
from cachectl.sources.threads import (
    MAX_LEFT_BEHIND,
    Answer,
    Outcome,
    Threads,
    answered,
    deliver,
)
from cachectl.units import format_duration

EXHAUSTED = Failure(f"{MAX_LEFT_BEHIND} calls of the origin hang; it is not called any more")


def too_long(timeout: float) -> Failure:
    """Return the failure of a call that was left behind at its deadline."""
    return Failure(f"the origin took longer than {format_duration(timeout)}", again=True)


def is_async(call: Callable[..., Any]) -> bool:
    """Whether calling it does nothing yet, and gives a coroutine."""
    return any(map(inspect.iscoroutinefunction, (call, type(call).__call__)))


class LocalOrigin:
    """Computes values as `call(**params)`, each for `timeout` seconds at most.

    Of a coroutine function `concurrency` calls run at once; `callers` of them ask at once, so that one
    begins when another ends. Of other callables as many run as are asked for.

    A call that hangs is left behind at its deadline: a coroutine is cancelled, a thread runs on and
    counts no more.
    """

    def __init__(
        self, call: Callable[..., Any], *, concurrency: int = 20, timeout: float = 30.0
    ) -> None:
        """Call nothing yet, start no thread yet."""
        self._call = call
        self._timeout = timeout
        self._threads = Threads()
        self._is_async = is_async(call)
        self._runners = Runners(concurrency, timeout)
        self.callers = concurrency * 2 if self._is_async else concurrency

    async def compute(self, request: Request) -> bytes:
        """Return the value as the JSON text that `CacheClient` stores; raises `OriginError`."""
        outcome = await self._outcome(request.params or {})
        made = too_long(self._timeout) if outcome is None else of_outcome(outcome)
        if isinstance(made, Failure):
            raise OriginError(made) from (outcome.error if outcome else None)
        return made

    def leave_off(self) -> None:
        """Begin no more calls."""
        self._runners.leave_off()

    async def close(self) -> None:
        """Let the idle threads end."""
        self._threads.close()

    async def _outcome(self, params: dict[str, Any]) -> Outcome | None:
        call = partial(self._call, **params)
        if self._is_async:
            return await self._runners.outcome(call)
        if self._threads.exhausted():
            raise OriginError(EXHAUSTED)
        deadline = asyncio.get_running_loop().time() + self._timeout
        # What a plain function returns may have to be awaited as well (a wrapper, a partial).
        made = await self._threads.outcome(call, deadline)
        if made is not None and inspect.isawaitable(made.value):
            return await _awaited(made.value, deadline)
        return made


async def _awaited(awaitable: Awaitable[Any], deadline: float) -> Outcome | None:
    """Return the outcome of `awaitable`, or `None` when it was cancelled at its deadline.

    In a task of its own, that may take its time over the cancellation, or ignore it.
    """
    answer: Answer = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(_settle(awaitable, answer))
    try:
        return await answered(answer, deadline)
    finally:
        task.cancel()


async def _settle(awaitable: Awaitable[Any], answer: Answer) -> None:
    try:
        outcome = Outcome(await awaitable)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 not ours
        # A SystemExit would leave through the loop. Cancelled by us, nobody waits for the answer.
        outcome = Outcome(error=error)
    deliver(answer, outcome)
