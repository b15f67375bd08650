"""Asynchronous iterators for tests that are not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

T = TypeVar("T")


def collected(items: AsyncIterator[T]) -> list[T]:
    """Return all that comes, from a loop of its own."""
    found: list[T] = []
    collect_into(found, items)
    return found


def collect_into(found: list[T], items: AsyncIterator[T]) -> None:
    """Append all that comes to `found`, until the end or an error."""

    async def collect() -> None:
        async for item in items:
            found.append(item)  # noqa: PERF401 what came before an error is kept

    asyncio.run(collect())


def count_entries(batches: AsyncIterator[Any]) -> int:
    """Return the number of entries, and hold none of them."""

    async def count() -> int:
        return sum([len(batch.entries) async for batch in batches])

    return asyncio.run(count())
