"""Counters and the latency histogram, read back from the registry."""

import asyncio
import subprocess
import sys
from typing import Any
from uuid import uuid4

from prometheus_client import REGISTRY

from cachectl import CacheClient
from cachectl.config.settings import NamespaceSettings
from cachectl.metrics import NAMESPACES, Metrics
from tests.servers import ServerProcess

NAMES = {
    "hits": "cache_hits_total",
    "misses": "cache_misses_total",
    "errors": "cache_errors_total",
    "calls": "cache_latency_seconds_count",
}


def counted(namespace: str) -> dict[str, float]:
    """Return what stands in the registry for a namespace."""
    labels = {"namespace": namespace}
    return {short: REGISTRY.get_sample_value(name, labels) or 0 for short, name in NAMES.items()}


def fresh() -> str:
    """Return a namespace that nobody counted yet."""
    return f"n{uuid4().hex[:8]}"


def test_counts_are_exact(server: ServerProcess) -> None:
    """A scripted sequence: each key of a call is one hit, miss or error; get and set are timed."""
    n = fresh()
    server.raw("SET", f"{n}:bad", "{")
    server.raw("RPUSH", f"{n}:list", "1")

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            await cache.get(f"{n}:k")  # a miss
            await cache.set(f"{n}:k", 0)
            await cache.get(f"{n}:k")  # a hit
            await cache.set(f"{n}:null", None)
            await cache.get(f"{n}:null")  # a hit
            await cache.get(f"{n}:bad")  # an error
            await cache.get(f"{n}:list")  # an error
            await cache.get_many([f"{n}:{name}" for name in ("k", "null", "no", "bad", "list")])
            await cache.get_or_compute(f"{n}:new", lambda: 1)  # a miss
            await cache.get_or_compute(f"{n}:new", lambda: 1)  # a hit
            await cache.get_or_compute(f"{n}:set", lambda: {1})  # a miss and an error
            await cache.delete(f"{n}:k")

    asyncio.run(main())
    assert counted(n) == {"hits": 2 + 2 + 1, "misses": 1 + 1 + 2, "errors": 2 + 2 + 1, "calls": 11}


def test_errors_of_a_server_that_is_down_are_counted(server: ServerProcess) -> None:
    """Also the calls that a bypassed server never saw: an outage shows for as long as it lasts."""
    n = fresh()

    async def main() -> None:
        async with CacheClient("redis://127.0.0.1:1") as cache:
            for _ in range(100):
                assert await cache.get(f"{n}:k") is None
                assert await cache.set(f"{n}:k", 1) is False
                assert await cache.get_many([f"{n}:k", f"{n}:l"]) == {}
                assert await cache.set_many({f"{n}:k": 1}) == 0
                assert await cache.delete(f"{n}:k") == 0

    asyncio.run(main())
    found = counted(n)
    assert found["errors"] == 600
    assert found["hits"] == found["misses"] == 0
    assert found["calls"] < 20


def test_refused_writes_are_errors(server: ServerProcess) -> None:
    """What the ACL forbids counts, key by key."""
    n = fresh()
    server.raw("ACL", "SETUSER", "app", "on", ">pw", "~*", "+get")

    async def main() -> None:
        async with CacheClient(server.url.replace("//", "//app:pw@")) as cache:
            assert await cache.set(f"{n}:k", 1) is False
            assert await cache.set_many({f"{n}:k": 1, f"{n}:l": 1}) == 0
            assert await cache.delete(f"{n}:k") == 0

    asyncio.run(main())
    assert counted(n) == {"hits": 0, "misses": 0, "errors": 4, "calls": 1}


def test_a_client_that_is_switched_off_counts_nothing() -> None:
    """Nothing was looked up: there is neither a hit nor a miss."""
    n = fresh()

    async def main() -> None:
        async with CacheClient("redis://127.0.0.1:1", enabled=False) as cache:
            await cache.get(f"{n}:k")
            await cache.set(f"{n}:k", 1)
            await cache.get_many([f"{n}:k"])
            await cache.set_many({f"{n}:k": 1})
            await cache.delete(f"{n}:k")

    asyncio.run(main())
    assert counted(n) == {"hits": 0, "misses": 0, "errors": 0, "calls": 0}


def test_labels_are_bounded_and_configured_namespaces_keep_theirs() -> None:
    """64 namespaces have a label; later ones are `other`; those of the settings always have one."""
    run, later, inner = fresh(), fresh(), fresh()
    configured = {f"{run}-c{i}": NamespaceSettings() for i in range(3)}
    metrics = Metrics(configured)
    before = counted("other")["hits"]
    for i in range(100):
        metrics.of(f"{run}-{i}:k").hit()
    metrics.of(f"{later}:k").hit()
    metrics.of("no-namespace").hit()
    for name in configured:
        metrics.of(f"{name}:k").hit()
        metrics.of(f"{name}:{inner}:k").hit()
    assert sum(counted(f"{run}-{i}")["hits"] for i in range(100)) == NAMESPACES - 3
    assert counted(later)["hits"] == counted(f"{run}-99")["hits"] == 0
    assert counted("other")["hits"] - before == 100 - (NAMESPACES - 3) + 2
    assert [counted(name)["hits"] for name in configured] == [2, 2, 2]
    assert counted(f"{next(iter(configured))}:{inner}")["hits"] == 0


def test_more_configured_namespaces_than_labels() -> None:
    """All of them have a label, and nobody else."""
    run, other = fresh(), fresh()
    metrics = Metrics({f"{run}-{i}": NamespaceSettings() for i in range(100)})
    for i in range(100):
        metrics.of(f"{run}-{i}:k").miss()
    metrics.of(f"{other}:k").miss()
    assert all(counted(f"{run}-{i}")["misses"] == 1 for i in range(100))
    assert counted(other)["misses"] == 0


def test_latency_is_in_seconds(server: ServerProcess) -> None:
    """A stopped server is seen in the buckets: its call took over 100 ms."""
    n = fresh()

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            await cache.get(f"{n}:k")
            server.sigstop()
            await cache.get(f"{n}:k")

    asyncio.run(main())
    total = REGISTRY.get_sample_value("cache_latency_seconds_sum", {"namespace": n})
    slow: Any = REGISTRY.get_sample_value(
        "cache_latency_seconds_bucket", {"namespace": n, "le": "0.1"}
    )
    assert total is not None
    assert 0.1 < total < 5
    assert slow == 1


def test_an_application_with_metrics_of_the_same_name_goes_on_without_ours() -> None:
    """Two metrics of one name cannot be registered: that is a warning, not the application's end."""
    program = """
import asyncio, logging
from prometheus_client import Counter
Counter("cache_hits", "Our own.")
from cachectl import CacheClient
logging.basicConfig(format="%(levelname)s %(message)s")
async def main():
    async with CacheClient("redis://127.0.0.1:1") as cache:
        assert await cache.get("n:k") is None
    CacheClient("redis://127.0.0.1:1")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == (
        "WARNING no cache metrics: the application has registered others by their names"
    )
    assert done.stderr.count("no cache metrics") == 1
