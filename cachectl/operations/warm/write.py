"""Which entries are written, with which TTL, and what became of them."""

from collections.abc import Sequence

from cachectl.config.settings import Unset
from cachectl.config.ttl import planned_ttl
from cachectl.keys import to_text
from cachectl.models import Entry
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.tally import Sent, Tally
from cachectl.operations.warm.verify import answered, look
from cachectl.store.store import Store, Write


def as_written(plan: Warm, entry: Entry) -> Write:
    """Return the entry as it is written: its own TTL > flag or job > namespace > cache."""
    if entry.expires_at is not None:
        return Write(entry.key, entry.value, expires_at=entry.expires_at, dump=entry.dump)
    ttl = entry.ttl if not isinstance(entry.ttl, Unset) else _planned_ttl(plan, entry.key)
    return Write(entry.key, entry.value, ttl, dump=entry.dump)


def _planned_ttl(plan: Warm, key: bytes) -> float | None:
    namespaces = plan.namespaces or {}
    return planned_ttl(to_text(key), namespaces, plan.fallback_ttl, plan.ttl, plan.ttl_jitter)


async def missing(store: Store, keys: Sequence[bytes]) -> list[bool]:
    """Return which of the keys are not there."""
    return [not found for found in await look(store, keys)]


async def expiring(store: Store, keys: Sequence[bytes], within: float) -> list[bool]:
    """Return which of the keys are missing or expire within so many seconds."""
    outcomes = answered(await store.ttls(keys))
    return [left is False or (left is not None and left <= within) for left in outcomes.replies]


async def send(store: Store, tally: Tally, batch: Sequence[Sent], *, only_missing: bool) -> None:
    """Write a batch and enter what became of it; what is cancelled meanwhile stays in flight."""
    if batch:
        tally.begin(len(batch))
        outcomes = await store.write([sent.write for sent in batch], only_missing=only_missing)
        tally.settle(batch, outcomes)
