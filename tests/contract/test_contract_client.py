"""CacheClient: what an application sees is the same wherever the cache lives."""

import asyncio
from pathlib import Path

import pytest

from cachectl import CacheClient, make_key
from tests.cli.conftest import Run
from tests.contract.places import Place, about

PATIENT = {"timeout": "10s", "connect_timeout": "10s"}


@pytest.fixture
def settings(place: Place, workdir: Path) -> Path:
    """Write settings with a namespace's TTL, and patience for a slow machine."""
    place.let("client")
    return place.settings(workdir, namespaces={"n": {"ttl": "7d"}}, client=PATIENT)


def test_the_client_reads_and_writes_single_values(place: Place, settings: Path):
    """Values, what looks like a miss and is none, TTLs of the namespace, of the call, none."""

    async def use() -> None:
        async with CacheClient.from_config(settings) as cache:
            assert await cache.health_check()
            for number, value in enumerate(({"a": [1.5, "é"]}, 0, "", [], False)):
                assert await cache.set(f"n:{number}", value)
                assert await cache.get(f"n:{number}", "a default") == value
            assert await cache.set("k", 1, ttl=100)
            assert await cache.set("forever", None, ttl=None)
            assert await cache.get("forever", "a default") is None
            assert await cache.get("nope", "a default") == "a default"

    asyncio.run(use())
    assert place.value("n:0") == '{"a":[1.5,"é"]}'.encode()
    assert place.ttl("n:0") == about(7 * 86400)
    assert (place.ttl("k"), place.ttl("forever")) == (about(100), None)


def test_the_client_reads_and_writes_many_values(place: Place, settings: Path):
    """In one call over all primaries; hash tags and keys that are not there."""
    values = {f"n:{number}": number for number in range(700)} | {"{t}:a": "a", "{t}:b": "b"}

    async def use() -> None:
        async with CacheClient.from_config(settings) as cache:
            assert await cache.set_many(values) == len(values)
            assert await cache.get_many([*values, "nope"]) == values
            assert await cache.delete("n:0", "n:1", "{t}:a", "nope") == 3
            assert await cache.get_many(["n:0", "n:2", "{t}:b"]) == {"n:2": 2, "{t}:b": "b"}

    asyncio.run(use())
    assert place.keys() == {key.encode() for key in values} - {b"n:0", b"n:1", b"{t}:a"}


def test_the_client_computes_once_for_all_who_wait(place: Place, settings: Path):
    """Then it is in the cache, for the next client as well."""
    key = make_key("n", lat=48.85)
    computed = []

    async def compute() -> list[int]:
        computed.append(key)
        await asyncio.sleep(0)
        return [1]

    async def use() -> None:
        async with CacheClient.from_config(settings) as cache:
            waiting = [cache.get_or_compute(key, compute) for _ in range(10)]
            assert await asyncio.gather(*waiting) == [[1]] * 10
        async with CacheClient.from_config(settings) as cache:
            assert await cache.get_or_compute(key, compute) == [1]

    asyncio.run(use())
    assert computed == [key]
    assert place.value(key) == b"[1]"


def test_the_application_reads_what_the_operator_sets(on: Run, place: Place, settings: Path):
    """And the other way round: the same keys, the same bytes."""
    assert on("set", "-n", "n", "lat:=48.85", '{"sun": 1.5}').code == 0
    place.let("client")
    key = make_key("n", lat=48.85)

    async def use() -> object:
        async with CacheClient.from_config(settings) as cache:
            found = await cache.get(key)
            await cache.set("k", {"moon": 2})
            return found

    assert asyncio.run(use()) == {"sun": 1.5}
    assert on("get", "k").json["value"] == {"moon": 2}
