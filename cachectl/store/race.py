"""The first answer of several that may be asked: one that is silent costs a moment, not the patience."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from cachectl.errors import BusyError, CachectlError, ConfigError, LoginError, UnreachableError

T = TypeVar("T")

STAGGER = 0.1
"""Seconds that one is asked alone before the next is asked as well."""


async def first_answer(ask: Sequence[Callable[[], Awaitable[T]]], whom: str) -> T:
    """Return the first answer; the next is asked once one has failed, or is silent for a moment.

    Raises the last of our errors when all fail, and says that none of `whom` answered. A refusal (a
    password, a permission) is final: whoever is asked next would refuse as well. One that is busy with
    a script is passed over; so is one that was not set up, whose error is raised if nobody knows better.
    """
    waiting = list(ask)
    asked, done = set[asyncio.Future[T]](), set[asyncio.Future[T]]()
    error: CachectlError | None = None
    try:
        while waiting or asked:
            if waiting:
                asked.add(asyncio.ensure_future(waiting.pop(0)()))
            done, asked = await asyncio.wait(
                asked,
                timeout=STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for answer in done:
                try:
                    return answer.result()
                except (UnreachableError, BusyError, ConfigError) as failed:
                    if isinstance(failed, LoginError):
                        raise
                    error = error if isinstance(error, ConfigError) else failed
    finally:
        for late in asked:
            late.cancel()
        # also those that failed in the same moment: nobody else hears of it
        await asyncio.gather(*asked, *done, return_exceptions=True)
    if error is None:
        msg = "there is nobody to ask"
        raise UnreachableError(msg)
    if len(ask) > 1 and not isinstance(error, ConfigError):
        error.message = f"none of {len(ask)} {whom} answers; the last: {error.message}"
    raise error
