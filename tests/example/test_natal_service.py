"""The example service answers from the cache, fills it, and does without it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from cachectl import CacheClient, make_key
from examples.natal.chart import chart
from examples.natal.service import PATH, application

from .conftest import NATAL, Server

PARAMS: dict[str, Any] = {"date": "1955-02-25T03:15Z", "lat": 37.77, "lon": -122.42}
QUERY = {name: str(value) for name, value in PARAMS.items()}
KEY = make_key("natal", **PARAMS)

ROOT = NATAL.parents[1]
SERVICE = [sys.executable, "-m", "examples.natal.service"]

Answer = tuple[int, str | None, Any]


@asynccontextmanager
async def _service(cache: CacheClient) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(cache))) as client:
        yield client


async def _ask(client: TestClient[Any, Any], query: dict[str, str]) -> Answer:
    """Return status, `X-Cache` and body of one answer."""
    async with client.get(PATH, params=query) as response:
        return response.status, response.headers.get("X-Cache"), await response.json()


async def _ask_once(url: str, query: dict[str, str]) -> Answer:
    async with CacheClient(url) as cache, _service(cache) as client:
        return await _ask(client, query)


def test_every_birth_is_answered_from_the_cache(
    server: Server, births: list[dict[str, Any]]
) -> None:
    """What is written under the key that `make_key` gives is what the service answers, as a hit."""

    async def run() -> None:
        async with CacheClient(server.url) as cache, _service(cache) as client:
            for line in births:
                params = line["params"]
                written = {"written": line["name"]}
                assert await cache.set(make_key("natal", **params), written, ttl=60)
                query = {name: str(value) for name, value in params.items()}
                assert await _ask(client, query) == (200, "hit", written)

    asyncio.run(run())


def test_a_miss_is_computed_and_kept(server: Server) -> None:
    async def run() -> None:
        async with CacheClient(server.url) as cache, _service(cache) as client:
            assert await _ask(client, QUERY) == (200, "miss", chart(**PARAMS))
            assert await cache.get(KEY) == chart(**PARAMS)
            assert await _ask(client, QUERY) == (200, "hit", chart(**PARAMS))

    asyncio.run(run())


def test_whole_degrees_are_the_same_key_as_floats(server: Server) -> None:
    async def run() -> None:
        async with CacheClient(server.url) as cache, _service(cache) as client:
            key = make_key("natal", date="2000-01-01T12:00Z", lat=48.0, lon=2.0)
            assert await cache.set(key, "there", ttl=60)
            query = {"date": "2000-01-01T12:00Z", "lat": "48", "lon": "2"}
            assert await _ask(client, query) == (200, "hit", "there")

    asyncio.run(run())


def test_the_service_goes_on_when_the_cache_stops(server: Server) -> None:
    """Charts are computed while the server is away: an answer takes longer, and is the same."""

    async def run() -> None:
        async with CacheClient(server.url) as cache, _service(cache) as client:
            assert await _ask(client, QUERY) == (200, "miss", chart(**PARAMS))
            assert await _ask(client, QUERY) == (200, "hit", chart(**PARAMS))
            await asyncio.to_thread(server.stop)
            for _ in range(3):
                assert await _ask(client, QUERY) == (200, "miss", chart(**PARAMS))

    asyncio.run(run())


def test_the_service_starts_without_a_cache(server: Server) -> None:
    server.stop()
    assert asyncio.run(_ask_once(server.url, QUERY)) == (200, "miss", chart(**PARAMS))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"lat": None, "lon": None}, "missing in the query: lat, lon"),
        ({"lat": "north"}, "lat must be a number of degrees, not 'north'"),
        ({"lat": "nan"}, "lat must be a number of degrees from -90 to 90, not nan"),
        ({"lon": "181"}, "lon must be a number of degrees from -180 to 180, not 181.0"),
        ({"date": "1955-02-30"}, "date 1955-02-30 does not exist in the calendar or on the clock"),
    ],
)
def test_a_bad_question_is_told_what_is_wrong(
    server: Server, change: dict[str, str | None], error: str
) -> None:
    query = {name: value for name, value in (QUERY | change).items() if value is not None}
    assert asyncio.run(_ask_once(server.url, query)) == (400, None, {"error": error})


@contextmanager
def _started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the service as a process of its own, and end it when the test is done with it."""
    command = [*SERVICE, *arguments]
    env = os.environ | environment
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_command_prints_its_address_and_ends_on_sigterm(server: Server) -> None:
    with _started("--port", "0", CACHE_URL=server.url) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        query = "&".join(f"{name}={value}" for name, value in QUERY.items())
        with urllib.request.urlopen(f"{address}{PATH}?{query}", timeout=10) as response:
            assert response.headers["X-Cache"] == "miss"
            assert json.load(response) == chart(**PARAMS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert asyncio.run(_ask_once(server.url, QUERY))[1] == "hit"


def test_a_port_in_use_is_told_in_a_line(server: Server) -> None:
    port = server.url.removesuffix("/0").rpartition(":")[2]
    command = [*SERVICE, "--port", port]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert len(done.stderr.splitlines()) == 1
