"""The hit rate of a sample: the share of its requests, weighted by count, that find their key."""

from collections.abc import Sequence
from typing import BinaryIO

from cachectl.errors import CachectlError, LostError
from cachectl.models import Request
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.rank import Ranked, read_sample
from cachectl.reports import HitRate
from cachectl.store.store import Store
from cachectl.store.stream import Outcomes

BATCH = 1000


async def look(store: Store, keys: Sequence[bytes]) -> list[bool]:
    """Return which of the keys are in the cache, by EXISTS; raise our error if one cannot be asked.

    EXISTS counts as a lookup in the server's own `keyspace_hits` and `keyspace_misses`.
    """
    there: list[bool] = []
    for start in range(0, len(keys), BATCH):
        outcomes = answered(await store.exist(keys[start : start + BATCH]))
        there += [reply == 1 for reply in outcomes.replies]
    return there


def answered(outcomes: Outcomes) -> Outcomes:
    """Return the outcomes of a look; raise our error unless every key was answered for."""
    if outcomes.error is not None:
        raise outcomes.error
    for reply in outcomes.replies:
        if isinstance(reply, CachectlError):
            raise reply
        if not isinstance(reply, int | float | None):
            msg = "every connection broke on a look at a key: whether it is there is unknown"
            raise LostError(msg)
    return outcomes


async def hit_rate(store: Store, sample: Sequence[Request]) -> float | None:
    """Return hits / (hits + misses) of the sample, or None when it holds no request."""
    total = sum(request.count for request in sample)
    if not total:
        return None
    there = await look(store, [request.key for request in sample])
    hits = sum(request.count for request, found in zip(sample, there, strict=True) if found)
    return hits / total


class Proof:
    """What a warm is verified against: a sample, and its hit rate before and after the work."""

    def __init__(self, plan: Warm) -> None:
        """Start with nothing read and nothing looked up."""
        self._plan = plan
        self._sample: list[Request] = []
        self._before: float | None = None
        self._after: float | None = None

    async def read(self, ranked: Ranked | None, stdin: BinaryIO) -> None:
        """Read the sample, if there is to be one; `ranked` is what the sample `same` takes."""
        plan = self._plan
        if plan.sample == "same" and ranked is not None:
            self._sample = ranked.requests
        elif plan.sample is not None:
            sources = plan.sources if plan.sample == "same" else plan.sample
            self._sample = await read_sample(sources, plan.namespace, stdin)

    async def look_before(self, store: Store) -> None:
        """Look up the hit rate before the work; without work it is that after it, too."""
        self._before = await hit_rate(store, self._sample)
        if self._plan.verify_only:
            self._after = self._before

    async def look_after(self, store: Store) -> None:
        """Look up the hit rate after the work."""
        self._after = await hit_rate(store, self._sample)

    @property
    def verdict(self) -> HitRate | None:
        """The hit rates, and whether the required one is met; None without a sample."""
        plan = self._plan
        if plan.sample is None:
            return None
        met = None
        if plan.required is not None and not plan.dry_run:
            met = self._after is not None and self._after >= plan.required
        return HitRate(
            before=self._before,
            after=self._after,
            requests=sum(request.count for request in self._sample),
            keys=len(self._sample),
            sample="same" if plan.sample == "same" else "separate",
            required=plan.required,
            met=met,
        )
