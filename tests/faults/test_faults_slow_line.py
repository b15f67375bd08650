"""The host is slow: 3 MB/s, and far away. Deadlines count silence, not size: everything works."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from cachectl.client import CacheClient
from cachectl.config.settings import ClientSettings
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    PASSWORD,
    READS,
    USER,
    WRITES,
    Operator,
    adds_up,
    fill,
    keys_of,
    listed,
    value,
)
from tests.proxies import Proxy
from tests.servers import ServerProcess

RATE = 3e6
FAR = 0.1
"""Seconds each way: an answer takes twice as long."""
NEAR = 0.05
SIZE = 10_000_000
THREE = {b"n:0", b"n:1", b"n:2"}


@pytest.fixture
def big(server: ServerProcess) -> bytes:
    """Give a value of 10 MB that stands under `big`."""
    fill(server, "n:", 3)
    value = b'"' + b"0123456789abcde\\n"[:15] * (SIZE // 15) + b'"'
    with server.connect() as connection:
        connection.call("SET", "big", value)
    return value


@pytest.fixture
def far(server: ServerProcess, big: bytes) -> Iterator[Proxy]:
    assert server.raw("STRLEN", "big") == len(big)
    with Proxy(server, rate=RATE, latency=FAR) as proxy:
        yield proxy


@pytest.fixture
def operator(operator_at: OperatorAt, far: Proxy) -> Operator:
    operator = operator_at(far)
    operator.entries(500, "m:")
    return operator


def test_reading_works(operator: Operator):
    for name, words in READS.items():
        ended = operator.ran(*words)
        assert ended.code == 0, (name, ended.err)
        if name in {"scan", "export"}:
            assert listed(ended.lines) == dict.fromkeys(THREE, 1)
        elif name in {"stats", "export-to"}:
            assert ended.report["keys" if name == "stats" else "entries"] == 3


def test_writing_works(operator: Operator, server: ServerProcess):
    for name in ("set", "delete", "flush", "warm"):
        ended = operator.ran(*WRITES[name])
        assert ended.code == 0, (name, ended.err)
        if name == "warm":
            assert (ended.report["written"], ended.report["unknown"]) == (500, 0)
        if name == "flush":
            assert (ended.report["deleted"], ended.report["deleted_exact"]) == (2, True)
    assert keys_of(server) == {b"big"} | {b"m:%d" % i for i in range(500)}
    assert server.raw("GET", "m:499") == value(499)


def test_health_warns_of_the_latency(operator: Operator):
    """0.2 s is over the 0.1 s that a warning is due at, and nothing else is wrong."""
    ended = operator.ran("health")
    assert (ended.code, ended.report["status"]) == (1, "warning")
    latency = ended.check("latency")
    assert (latency["status"], latency["warning"]) == ("warning", 0.1)
    assert 2 * FAR <= latency["value"] < 1
    others = [row for row in ended.report["checks"] if row["status"] not in {"ok", "skipped"}]
    assert others == [latency]


@pytest.mark.parametrize("bears", [(), ("--timeout", "1s")])
def test_a_value_of_10_mb_is_read(operator: Operator, big: bytes, bears: tuple[str, ...]):
    """It takes over three seconds, and no second of them is silent."""
    got = operator.ran("get", "big", "-o", "text", *bears)
    assert got.code == 0, got.err
    assert digest(got.out[:-1]) == digest(big)
    assert got.seconds > SIZE / RATE


def test_a_value_of_10_mb_is_written(operator: Operator, server: ServerProcess, big: bytes):
    """With a timeout that is shorter than the sending takes: bytes that leave are no silence."""
    operator.file("big.json", big)
    done = operator.ran("set", "copy", "--file", "big.json", "--timeout", "1s")
    assert done.code == 0, done.err
    assert digest(server.raw("GET", "copy")) == digest(big)
    operator.file("big.jsonl", b'{"key":"warm","value":%b}\n' % big)
    warm = operator.ran("warm", "./big.jsonl", "--timeout", "1s")
    assert (warm.code, warm.report["written"], warm.report["unknown"]) == (0, 1, 0), warm.err
    assert adds_up(warm.report)
    assert digest(server.raw("GET", "warm")) == digest(big)


def test_a_value_of_10_mb_is_exported(operator: Operator, big: bytes):
    ended = operator.ran("export", "--all", "--timeout", "1s")
    assert ended.code == 0, ended.err
    rows = {row["key"]: row["value"] for row in ended.lines}
    assert rows.keys() == {"big"} | {key.decode() for key in THREE}
    assert rows["big"] == big[1:-1].decode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_line_that_the_defaults_are_made_for(
    operator_at: OperatorAt, server: ServerProcess, big: bytes
):
    """100 ms there and back, 3 MB/s: `get` brings 10 MB with the default settings."""
    with Proxy(server, rate=RATE, latency=NEAR) as proxy:
        got = operator_at(proxy).ran("get", "big", "-o", "text")
    assert (got.code, digest(got.out[:-1])) == (0, digest(big)), got.err


def through_client(
    proxy: Proxy, key: str, settings: ClientSettings | None = None
) -> tuple[Any, float]:
    """Return what an application gets, and how long a call takes once it is connected."""

    async def main() -> tuple[Any, float]:
        url = proxy.url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
        async with CacheClient(url, settings=settings) as cache:
            await cache.health_check()
            begun = time.monotonic()
            return await cache.get(key), time.monotonic() - begun

    return asyncio.run(main())


def test_an_application_on_a_line_within_its_100_ms(server: ServerProcess, big: bytes):
    """Its 100 ms are for the server's silence: 10 MB that take seconds come with the defaults."""
    with Proxy(server, rate=RATE, latency=0.01) as proxy:
        found, seconds = through_client(proxy, "big")
    assert digest(found.encode()) == digest(big[1:-1])
    assert seconds > SIZE / RATE


def test_an_application_whose_100_ms_cannot_hold(
    server: ServerProcess, big: bytes, caplog: pytest.LogCaptureFixture
):
    """An answer is 200 ms away: it misses in time, and says so once."""
    assert big
    with Proxy(server, rate=RATE, latency=FAR) as proxy:
        found, seconds = through_client(proxy, "n:1")
        assert found is None
        assert seconds < 2.5, "three attempts of half a second to connect and 100 ms each"
        warnings = [row.getMessage() for row in caplog.records if row.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "100ms" in warnings[0]
        found, _ = through_client(proxy, "n:1", ClientSettings(timeout=0.5, connect_timeout=2.0))
    assert found["n"] == 0
