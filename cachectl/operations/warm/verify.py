"""The hit rate of a sample: the share of its requests, weighted by count, that find their key."""

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain, compress
from typing import BinaryIO, Literal

from cachectl.errors import CachectlError, LostError
from cachectl.models import Request
from cachectl.operations.warm.parts import mine
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.rank import Ranked, read_sample
from cachectl.reports.warm import HitRate, LiveHitRate
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


def _kind(plan: Warm) -> Literal["separate", "same"] | None:
    """Return which kind of sample a plan has, None: none."""
    if plan.sample is None or plan.sample == "same":
        return plan.sample
    return "separate"


def hit_rate(sample: Sequence[Request], there: Container[bytes]) -> float | None:
    """Return hits / (hits + misses) of a sample, or None when it holds no request."""
    total = sum(request.count for request in sample)
    hits = sum(request.count for request in sample if request.key in there)
    return hits / total if total else None


class Proof:
    """What a warm is verified against: a sample, and its hit rate before and after the work.

    `ranked` are the requests that are warmed, or else those of the sample; `live` is what the server
    itself counted afterwards.
    """

    def __init__(self, plan: Warm) -> None:
        """Start with nothing read and nothing looked up."""
        self._plan = plan
        self._sample: list[Request] = []
        self._before: float | None = None
        self._after: float | None = None
        self.live: LiveHitRate | None = None
        self.ranked: Ranked | None = None

    async def read(self, ranked: Ranked | None, stdin: BinaryIO) -> None:
        """Read the sample, if there is to be one; `ranked` is what the sample `same` takes.

        Of a sample, a part is proven by the keys that are its own.
        """
        plan = self._plan
        if plan.sample is None:
            return
        if plan.sample != "same" or ranked is None:
            sources = plan.sources if plan.sample == "same" else plan.sample
            ranked = await read_sample(sources, plan.namespace, stdin)
        self.ranked = self.ranked or ranked
        keys = [request.key for request in ranked.requests]
        self._sample = list(compress(ranked.requests, mine(keys, plan.part)))

    async def look_before(self, store: Store, keys: Iterable[bytes] = ()) -> set[bytes]:
        """Look up the hit rate before the work, and `keys` with it; return those that are there.

        Without work it is the hit rate after it, too.
        """
        there = await self._there(store, keys)
        self._before = hit_rate(self._sample, there)
        if self._plan.verify_only:
            self._after = self._before
        return there

    async def look_after(self, store: Store) -> None:
        """Look up the hit rate after the work."""
        self._after = hit_rate(self._sample, await self._there(store))

    async def _there(self, store: Store, keys: Iterable[bytes] = ()) -> set[bytes]:
        asked = list(dict.fromkeys(chain((request.key for request in self._sample), keys)))
        return set(compress(asked, await look(store, asked)))

    @property
    def verdict(self) -> HitRate | None:
        """The hit rates, and whether the required one is met; None when nothing measures one."""
        plan = self._plan
        if plan.sample is None and plan.watch is None:
            return None
        met = None
        if plan.required is not None and not plan.dry_run:
            met = all(rate is not None and rate >= plan.required for rate in self._judged())
        return HitRate(
            before=self._before,
            after=self._after,
            requests=sum(request.count for request in self._sample),
            keys=len(self._sample),
            sample=_kind(plan),
            required=plan.required,
            met=met,
            live=self.live,
        )

    def _judged(self) -> Iterator[float | None]:
        """Yield the hit rates that the required one is held against."""
        if self._plan.sample is not None:
            yield self._after
        if self._plan.watch is not None:
            yield self.live.rate if self.live else None
