"""The hit rate of a sample: the share of its requests, weighted by count, that find their key."""

from collections.abc import Callable, Sequence

from cachectl.errors import CachectlError
from cachectl.models import Request
from cachectl.store.store import Store

BATCH = 1000


async def look(
    store: Store, keys: Sequence[bytes], seen: Callable[[int], None] | None = None
) -> list[bool]:
    """Return which of the keys are in the cache, by EXISTS; raise our error if one cannot be asked.

    EXISTS counts as a lookup in the server's own `keyspace_hits` and `keyspace_misses`.
    """
    there: list[bool] = []
    for start in range(0, len(keys), BATCH):
        outcomes = await store.exist(keys[start : start + BATCH])
        if outcomes.error is not None:
            raise outcomes.error
        for reply in outcomes.replies:
            if isinstance(reply, CachectlError):
                raise reply
            there.append(reply == 1)
        if seen is not None:
            seen(len(there))
    return there


async def hit_rate(store: Store, sample: Sequence[Request]) -> float | None:
    """Return hits / (hits + misses) of the sample, or None when it holds no request."""
    total = sum(request.count for request in sample)
    if not total:
        return None
    there = await look(store, [request.key for request in sample])
    hits = sum(request.count for request, found in zip(sample, there, strict=True) if found)
    return hits / total
