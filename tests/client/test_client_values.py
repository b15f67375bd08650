"""What applications store and read: values, TTLs, many at once, on every server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from cachectl import CacheClient, make_key
from cachectl.config.settings import NamespaceSettings
from cachectl.errors import ConfigError, UsageError
from tests.servers import ReplyError, ServerProcess

VALUES: list[Any] = [
    0, 1, -1.5, "", "text", "Zürich 🜁", [], {}, False, True, 2**80, "a\nb\x00c",
    {"z": [1, {"a": None}], "é": {"deep": [[[]]]}},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_as_they_are(fake_url: str, value: object) -> None:
    """0, "", [] and False are values; a value does not change its type on the way."""

    async def main() -> None:
        async with CacheClient(fake_url) as cache:
            assert await cache.set("n:k", value)
            found = await cache.get("n:k", "nothing")
            assert found == value
            assert type(found) is type(value)

    asyncio.run(main())


def test_a_session_with_every_method(url: str) -> None:
    """Set, read, read many, remove, on each server version and on the fake one."""

    async def main() -> None:
        async with CacheClient(url) as cache:
            assert await cache.health_check() is True
            assert await cache.get("n:a") is None
            assert await cache.set("n:a", {"x": 1}) is True
            assert await cache.get("n:a") == {"x": 1}
            assert await cache.set_many({"n:b": 0, "n:c": "ü"}) == 2
            assert await cache.get_many(["n:b", "n:a", "n:missing", "n:b"]) == {
                "n:a": {"x": 1},
                "n:b": 0,
            }
            assert await cache.delete("n:a", "n:b", "n:b", "n:missing") == 2
            assert await cache.get_many(["n:a", "n:b", "n:c"]) == {"n:c": "ü"}
            assert await cache.get_or_compute("n:d", lambda: [1]) == [1]
            assert await cache.get("n:d") == [1]

    asyncio.run(main())


def test_null_is_a_hit_that_get_shows_as_none(url: str) -> None:
    """`get` cannot tell it from a miss; `default`, get_many and get_or_compute can."""

    async def main() -> None:
        async with CacheClient(url) as cache:
            assert await cache.set("n:null", None)
            assert await cache.get("n:null") is None
            assert await cache.get("n:null", "default") is None
            assert await cache.get("n:missing", "default") == "default"
            assert await cache.get_many(["n:null", "n:missing"]) == {"n:null": None}
            assert await cache.get_or_compute("n:null", lambda: 1) is None

    asyncio.run(main())


def test_the_stored_bytes_are_compact_json_in_utf_8(server: ServerProcess) -> None:
    """What other programs read: the bytes, exactly."""

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            await cache.set("n:k", {"a": [1, "Zü"], "b": None})

    asyncio.run(main())
    assert server.raw("GET", "n:k") == '{"a":[1,"Zü"],"b":null}'.encode()


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"{}x", b'"a', b"\xff\xfe1\x00", b"[" * 100_000], ids=repr
)
def test_a_stored_value_that_is_not_json_is_none_with_one_warning(
    server: ServerProcess, warnings_of: Any, raw: bytes
) -> None:
    """Other programs' bytes, UTF-16 and endless nesting do not raise; good keys go on."""
    server.raw("SET", "n:bad", raw)
    server.raw("SET", "n:good", b" [1, NaN]\n")

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            for _ in range(5):
                assert await cache.get("n:bad") is None
                assert str(await cache.get("n:good")) == "[1, nan]"
                assert list(await cache.get_many(["n:bad", "n:good"])) == ["n:good"]
            assert await cache.get_or_compute("n:bad", lambda: 2) == 2
            assert await cache.get("n:bad") == 2

    asyncio.run(main())
    assert warnings_of.warnings == ["a cached value is not JSON and counts as an error"]


def nested() -> list[Any]:
    """Return a list that is nested more deeply than Python can follow."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


UNSERIALISABLE: dict[str, Callable[[], object]] = {
    "set": lambda: {1},
    "bytes": lambda: b"x",
    "NaN": lambda: nan,
    "infinity": lambda: [inf],
    "surrogate": lambda: "\ud800",
    "object": object,
    "key": lambda: {(1, 2): 3},
    "depth": nested,
}
Call = Callable[[CacheClient], Awaitable[object]]


@pytest.mark.parametrize("make", UNSERIALISABLE.values(), ids=UNSERIALISABLE)
def test_a_value_that_is_not_json_is_the_callers_error(
    make: Callable[[], object], warnings_of: Any, server: ServerProcess
) -> None:
    """`set` raises; `get_or_compute` returns the value, and says once that it is not cached."""

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            value = make()
            with pytest.raises((TypeError, ValueError)):
                await cache.set("n:k", value)
            with pytest.raises((TypeError, ValueError)):
                await cache.set_many({"n:fine": 1, "n:k": value})
            for _ in range(3):
                assert await cache.get_or_compute("n:k", lambda: value) is value
            assert await cache.get("n:k") is None
            assert await cache.get("n:fine") is None

    asyncio.run(main())
    assert len(warnings_of.warnings) == 1
    assert warnings_of.warnings[0].startswith("a computed value is not cached: ")


@pytest.mark.parametrize("ttl", [0, -1, nan, inf, -inf, 0.0])
def test_a_ttl_that_is_not_positive_is_the_callers_error(ttl: float) -> None:
    """It is raised before anything is asked or computed, and wherever a TTL is given."""

    def compute() -> None:
        raise AssertionError

    async def main() -> None:
        calls: list[Call] = [
            lambda cache: cache.set("n:k", 1, ttl),
            lambda cache: cache.set_many({"n:k": 1}, ttl),
            lambda cache: cache.get_or_compute("n:k", compute, ttl),
        ]
        for enabled in (True, False):
            cache = CacheClient("redis://127.0.0.1:1", enabled)
            for call in calls:
                with pytest.raises(ValueError, match="more than 0 seconds"):
                    await call(cache)

    asyncio.run(main())
    with pytest.raises(ValueError, match="more than 0 seconds"):
        CacheClient("redis://127.0.0.1:1", ttl=ttl)
    with pytest.raises(ValueError, match="more than 0 seconds"):
        CacheClient("redis://127.0.0.1:1", namespaces={"n": NamespaceSettings(ttl=ttl)})


def test_a_key_without_bytes_is_the_callers_error(server: ServerProcess) -> None:
    """A lone surrogate raises in every call; any byte can be named by `surrogateescape`."""

    async def main() -> None:
        calls: list[Call] = [
            lambda cache: cache.get("n:\ud800"),
            lambda cache: cache.set("n:\ud800", 1),
            lambda cache: cache.get_many(["n:\ud800"]),
            lambda cache: cache.set_many({"n:\ud800": 1}),
            lambda cache: cache.delete("n:\ud800"),
        ]
        async with CacheClient(server.url) as cache:
            for call in calls:
                with pytest.raises(UnicodeEncodeError):
                    await call(cache)
            assert await cache.set("n:\udcff", 1)

    asyncio.run(main())
    assert server.raw("GET", b"n:\xff") == b"1"


def left(server: ServerProcess, key: str) -> float:
    """Return the seconds that a key has left, -1 for ever."""
    milliseconds: int = server.raw("PTTL", key)
    return milliseconds / 1000 if milliseconds > 0 else milliseconds


def test_ttls_come_from_the_call_the_namespace_or_the_client(any_server: ServerProcess) -> None:
    """The call's wins, then the innermost namespace's, then the client's; None is persistent."""
    namespaces = {
        "natal": NamespaceSettings(ttl=604800.0),
        "natal:short": NamespaceSettings(ttl=60.0),
        "ever": NamespaceSettings(ttl=None),
        "plain": NamespaceSettings(protected=True),
        "jitter": NamespaceSettings(ttl=1000.0, ttl_jitter=0.5),
    }

    async def main() -> None:
        async with CacheClient(any_server.url, namespaces=namespaces) as cache:
            for key in ("other:k", "natal:k", "natal:short:k", "natal:long:k", "ever:k", "plain:k"):
                await cache.set(key, 1)
            await cache.set("natal:call", 1, ttl=5.5)
            await cache.set("natal:none", 1, ttl=None)
            await cache.get_or_compute("natal:computed", lambda: 1, 7)
            await cache.set_many({f"jitter:{i}": 1 for i in range(100)})
        async with CacheClient(any_server.url, ttl=None) as cache:
            await cache.set("client:none", 1)

    asyncio.run(main())
    wanted = {
        "other:k": 86400, "natal:k": 604800, "natal:short:k": 60, "natal:long:k": 604800,
        "ever:k": -1, "plain:k": 86400, "natal:call": 5.5, "natal:none": -1,
        "natal:computed": 7, "client:none": -1,
    }  # fmt: skip
    assert {key: left(any_server, key) for key in wanted} == pytest.approx(wanted, abs=3)
    jittered = [left(any_server, f"jitter:{i}") for i in range(100)]
    assert 495 <= min(jittered) < 700
    assert 800 < max(jittered) <= 1000


def test_more_than_a_batch_is_read_written_and_removed(any_server: ServerProcess) -> None:
    """1,234 keys at once go in several round trips, in order, each with its own value."""
    values = {f"n:{i}": [i, "x" * (i % 50)] for i in range(1234)}

    async def main() -> None:
        async with CacheClient(any_server.url) as cache:
            assert await cache.set_many(values) == 1234
            assert await cache.get_many(iter([*values, "n:none"])) == values
            assert await cache.delete(*values) == 1234
            assert await cache.get_many(values) == {}
            assert await cache.get_many([]) == {}
            assert await cache.set_many({}) == await cache.delete() == 0

    asyncio.run(main())


def test_large_values_pass(any_server: ServerProcess) -> None:
    """Some megabytes there and back are no silence."""
    value = "x" * 5_000_000

    async def main() -> None:
        async with CacheClient(any_server.url) as cache:
            assert await cache.set("n:large", value)
            assert await cache.get("n:large") == value

    asyncio.run(main())


def test_operator_and_application_share_keys_and_values(server: ServerProcess) -> None:
    """What `make_key` names and an operator stores as JSON text is what the application reads."""
    key = make_key("natal", date="1990-05-17", lat=48.85, lon=2.35)
    server.raw("SET", "natal:652c49679deeadba", json.dumps({"sun": 26.1}, indent=1))

    async def main() -> object:
        async with CacheClient(server.url) as cache:
            return await cache.get(key)

    assert asyncio.run(main()) == {"sun": 26.1}


@pytest.mark.parametrize("switch", ["false", "0", "FALSE", " false "])
def test_enable_cache_false_switches_the_client_off(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    """The rollback switch: it misses, skips writes, still computes, and touches nothing."""
    server.raw("SET", "n:k", "1")
    monkeypatch.setenv("ENABLE_CACHE", switch)
    asyncio.run(_switched_off(CacheClient(server.url), server))


def test_enabled_false_switches_the_client_off(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does the argument; ENABLE_CACHE=true does not switch it on again."""
    server.raw("SET", "n:k", "1")
    monkeypatch.setenv("ENABLE_CACHE", "true")
    asyncio.run(_switched_off(CacheClient(server.url, enabled=False), server))


async def _switched_off(cache: CacheClient, server: ServerProcess) -> None:
    before = server.info("stats")["total_connections_received"]
    async with cache:
        assert await cache.get("n:k") is None
        assert await cache.set("n:k", 2) is False
        assert await cache.get_many(["n:k"]) == {}
        assert await cache.set_many({"n:k": 2}) == 0
        assert await cache.delete("n:k") == 0
        assert await cache.get_or_compute("n:k", lambda: 3) == 3
        received = int(server.info("stats")["total_connections_received"]) - int(before)
        assert received == 1, "only the test itself connected"
        assert await cache.health_check() is True
    assert server.raw("GET", "n:k") == b"1"


@pytest.mark.parametrize("switch", ["true", "1", "True", ""])
def test_enable_cache_true_changes_nothing(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    """Set to true, or empty, it is as if it were not there."""
    if switch:
        monkeypatch.setenv("ENABLE_CACHE", switch)

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            assert await cache.set("n:k", 1)
            assert await cache.get("n:k") == 1

    asyncio.run(main())


def test_enable_cache_garbage_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch that is neither true nor false is not guessed at."""
    monkeypatch.setenv("ENABLE_CACHE", "maybe")
    with pytest.raises(UsageError, match="ENABLE_CACHE is neither true nor false"):
        CacheClient()


@pytest.mark.parametrize("wrong", ["", "localhost", "http://localhost", "redis://h:port/0"])
def test_a_url_that_is_none_is_an_error_at_once(wrong: str) -> None:
    """It is the application's mistake, not the server's."""
    with pytest.raises(ConfigError):
        CacheClient(wrong)


def test_from_config_takes_profile_namespaces_and_patience(
    server: ServerProcess, workdir: Path, monkeypatch: pytest.MonkeyPatch, warnings_of: Any
) -> None:
    """The settings that an operator writes are what the application gets."""
    (workdir / "secret").write_text("pw\n")
    (workdir / "secret").chmod(0o644)
    server.raw("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all")
    (workdir / "cachectl.yaml").write_text(f"""
default_profile: dead
client: {{attempts: 1}}
cache: {{ttl: 10m}}
namespaces: {{natal: {{ttl: 5m}}}}
profiles:
  dead: {{url: "redis://127.0.0.1:1"}}
  live: {{url: "{server.url}", username: app, password_file: secret}}
  off: {{url: "{server.url}", cache: {{enabled: false}}}}
""")

    async def main() -> None:
        async with CacheClient.from_config("cachectl.yaml") as cache:
            assert await cache.health_check() is False
        async with CacheClient.from_config(workdir / "cachectl.yaml", profile="live") as cache:
            assert await cache.set("natal:k", 1)
            assert await cache.set("other:k", 1)
        async with CacheClient.from_config("cachectl.yaml", "off") as cache:
            assert await cache.get("natal:k") is None

    asyncio.run(main())
    assert left(server, "natal:k") == pytest.approx(300, abs=3)
    assert left(server, "other:k") == pytest.approx(600, abs=3)
    assert any("other users can read" in warning for warning in warnings_of.warnings)
    with pytest.raises(UsageError, match="no profile 'lvie'"):
        CacheClient.from_config("cachectl.yaml", "lvie")
    with pytest.raises(ConfigError):
        CacheClient.from_config("missing.yaml")


def test_the_embedded_server_is_started_for_an_application(private_home: Path) -> None:
    """`embedded:` is a cache like any other; what one client stores the next one reads."""

    async def main() -> None:
        async with CacheClient("embedded:") as cache:
            for _ in range(20):
                if await cache.set("n:k", 1):
                    break
            assert await cache.get("n:k") == 1
        async with CacheClient("embedded:") as cache:
            assert await cache.get("n:k") == 1

    asyncio.run(main())


def test_the_servers_of_the_tests_are_real(any_server: ServerProcess) -> None:
    """An unknown command is refused: nothing in between answers for the server."""
    with pytest.raises(ReplyError):
        any_server.raw("NOSUCH")
