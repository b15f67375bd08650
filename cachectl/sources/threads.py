"""Daemon threads for calls that may hang: left behind at their deadline, forgotten at the exit.

`asyncio.to_thread` and `ThreadPoolExecutor` join their threads when the interpreter exits, so that
one call that hangs would hang the process.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

MAX_LEFT_BEHIND = 1000
"""How many threads may hang at the same time before no more calls should be made."""


class Outcome(NamedTuple):
    """What a call returned, or what it raised."""

    value: Any = None
    error: BaseException | None = None


Answer = asyncio.Future[Outcome | None]


def attempt(call: Callable[[], Any]) -> Outcome:
    """Return the outcome of `call`, which may raise anything, `SystemExit` included."""
    try:
        return Outcome(call())
    except BaseException as error:  # noqa: BLE001 somebody else's code
        return Outcome(error=error)


async def answered(answer: Answer, deadline: float) -> Outcome | None:
    """Return the outcome that is delivered to `answer`, or `None` after `deadline` (loop time)."""
    timer = answer.get_loop().call_at(deadline, deliver, answer, None)
    try:
        return await answer
    finally:
        timer.cancel()


def deliver(answer: Answer, outcome: Outcome | None) -> None:
    """Give `answer` its outcome, unless nobody waits for it any more."""
    if not answer.done():
        answer.set_result(outcome)
    elif outcome is not None:
        _drop(outcome)


def _drop(outcome: Outcome) -> None:
    """Close a coroutine that nobody will await: no warning about that."""
    if inspect.iscoroutine(outcome.value):
        outcome.value.close()


class Threads:
    """Threads that are used again and again, as many as calls run at once."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._idle: list[_Worker] = []
        self._left_behind: list[_Worker] = []

    async def outcome(self, call: Callable[[], Any], deadline: float) -> Outcome | None:
        """Return the outcome of `call` in a thread, or `None` when it was left behind.

        `deadline` is a time of the running loop. A cancelled call is left behind, too.
        """
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        worker = self._idle.pop() if self._idle else _Worker()
        worker.calls.put(_Call(call, loop, answer))
        outcome = None
        try:
            outcome = await answered(answer, deadline)
        finally:
            if outcome is not None:
                self._idle.append(worker)
            else:
                worker.calls.put(None)
                self._left_behind.append(worker)
        return outcome

    def exhausted(self) -> bool:
        """Whether `MAX_LEFT_BEHIND` threads hang."""
        if len(self._left_behind) >= MAX_LEFT_BEHIND:
            self._left_behind = [worker for worker in self._left_behind if worker.is_alive()]
        return len(self._left_behind) >= MAX_LEFT_BEHIND

    def close(self) -> None:
        """Let the idle threads end."""
        while self._idle:
            self._idle.pop().calls.put(None)


class _Call(NamedTuple):
    call: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: Answer


class _Worker(threading.Thread):
    """A thread that makes the calls in its queue, one at a time, until a `None`."""

    def __init__(self) -> None:
        super().__init__(name="cachectl-origin", daemon=True)
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while (todo := self.calls.get()) is not None:
            outcome = attempt(todo.call)
            try:
                todo.loop.call_soon_threadsafe(deliver, todo.answer, outcome)
            except RuntimeError:  # the loop is closed: nobody waits any more
                _drop(outcome)
            del todo, outcome  # an idle thread holds no values
