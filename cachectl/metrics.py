"""Counters and a latency histogram, by namespace, when `prometheus_client` is installed.

`cache_hits`, `cache_misses`, `cache_errors` (exposed with `_total`) and `cache_latency_seconds`.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from cachectl.config.settings import NamespaceSettings
from cachectl.config.ttl import settings_for
from cachectl.keys import namespace_of

NAMESPACES = 64
"""So many namespaces get a label of their own; later ones fold into `other`."""
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds. A cache answers in a millisecond; three attempts that fail take over one second."""

logger = logging.getLogger("cachectl")


def _nothing(_amount: float = 1) -> None:
    """Count nothing: `prometheus_client` is not installed."""


class Counters(NamedTuple):
    """What is counted for one namespace: call them."""

    hit: Callable[[], None] = _nothing
    miss: Callable[[], None] = _nothing
    error: Callable[[], None] = _nothing
    observe: Callable[[float], None] = _nothing


class Metrics:
    """The counters of each namespace. Those that the settings name always have a label."""

    def __init__(self, configured: Mapping[str, NamespaceSettings]) -> None:
        """Give the `configured` namespaces their labels first."""
        self._families = _families()
        self._configured = configured
        self._known = {namespace: self._labelled(namespace) for namespace in configured}
        self._other = self._labelled("other")

    def of(self, key: str) -> Counters:
        """Return the counters for `key`: of the namespace that directly holds it.

        Where that is not configured but one around it is, of that one.
        """
        return self._known.get(namespace_of(key)) or self._found(key)

    def _found(self, key: str) -> Counters:
        around = settings_for(key, self._configured)
        if around is not None:
            return self._known[around[0]]
        if len(self._known) >= NAMESPACES:
            return self._other
        namespace = namespace_of(key)
        found = self._known[namespace] = self._labelled(namespace)
        return found

    def _labelled(self, namespace: str) -> Counters:
        if self._families is None:
            return Counters()
        hits, misses, errors, latency = (family.labels(namespace) for family in self._families)
        return Counters(hits.inc, misses.inc, errors.inc, latency.observe)


@cache
def _families() -> tuple[Any, Any, Any, Any] | None:
    """Return the four metrics of this process: a registry takes each name once."""
    try:
        from prometheus_client import Counter, Histogram
    except ImportError:
        return None
    label = ("namespace",)
    try:
        return (
            Counter("cache_hits", "Values that the cache answered.", label),
            Counter("cache_misses", "Values that the cache did not hold.", label),
            Counter("cache_errors", "Keys for which the cache failed.", label),
            Histogram(
                "cache_latency_seconds", "Seconds a get or set took.", label, buckets=BUCKETS
            ),
        )
    except ValueError:
        logger.warning("no cache metrics: the application has registered others by their names")
        return None
