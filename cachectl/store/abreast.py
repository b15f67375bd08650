"""Several generators side by side: their values as they come, and none that nobody has dealt with."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")


async def abreast(
    begin: Sequence[Callable[[], AsyncGenerator[T, None]]],
) -> AsyncGenerator[T, None]:
    """Yield what generators yield; each goes on once its value was dealt with: the next was asked for.

    What one raises ends them all, after what the others have found until then.
    """
    if len(begin) == 1:
        async with aclosing(begin[0]()) as values:
            async for value in values:
                yield value
        return
    found = _Found[T]()
    tasks = [asyncio.ensure_future(found.collect(one)) for one in begin]
    try:
        while True:
            while found.values:
                value, dealt_with = found.values.popleft()
                yield value
                dealt_with.set()
            if all(task.done() for task in tasks) or any(
                task.done() and task.exception() for task in tasks
            ):
                break
            found.news.clear()
            await found.news.wait()
    finally:
        for task in tasks:
            task.cancel()
        raised = await asyncio.gather(*tasks, return_exceptions=True)
    while found.values:
        yield found.values.popleft()[0]
    for error in raised:
        if isinstance(error, Exception):
            raise error


class _Found(Generic[T]):
    """What was found and is not taken yet; `news` wakes the one who takes it."""

    def __init__(self) -> None:
        self.values: deque[tuple[T, asyncio.Event]] = deque()
        self.news = asyncio.Event()

    async def collect(self, begin: Callable[[], AsyncGenerator[T, None]]) -> None:
        """Put one value after the other, each once the last was dealt with."""
        try:
            async with aclosing(begin()) as values:
                async for value in values:
                    dealt_with = asyncio.Event()
                    self.values.append((value, dealt_with))
                    self.news.set()
                    await dealt_with.wait()
        finally:
            self.news.set()
