"""A change that is sent again: what its first sending may have done is not told as undone."""

import asyncio
import threading
from collections.abc import Callable, Coroutine

import pytest

from cachectl.errors import LostError, OutOfMemoryError, WrongTypeError
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN, Outcomes
from tests.plans import busy_for_the_first, held, passes
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import entry, final, run, until

FULL = ("CONFIG", "SET", "maxmemory", "1")
DENIED = ("ACL", "SETUSER", "default", "-unlink")
REPLICA = ("REPLICAOF", "127.0.0.1", "1")


def sent_twice(
    server: ServerProcess,
    work: Callable[[Store], Coroutine[object, object, object]],
    done: Callable[[], object],
    between: tuple[object, ...],
) -> object:
    """Let the server do it, cut before it is answered, and change something before it is resent."""
    with Proxy(server) as proxy:

        async def main(store: Store) -> object:
            await store.ping()
            proxy.plan = held(threading.Event())
            task = asyncio.ensure_future(work(store))
            await until(done)
            server.raw(*between)
            proxy.plan = passes
            proxy.cut()
            return await task

        return run(proxy, main)


def test_a_write_refused_when_sent_again_is_unknown(server: ServerProcess) -> None:
    """Its first sending may have been applied: "out of memory" at the second is not the whole truth."""
    server.raw("CONFIG", "SET", "maxmemory-policy", "noeviction")

    async def work(store: Store) -> Outcomes:
        return await store.write([entry(b"k", b"1")])

    outcomes = sent_twice(server, work, lambda: server.raw("EXISTS", "k"), FULL)
    assert isinstance(outcomes, Outcomes)
    assert final(outcomes) == [UNKNOWN]
    assert outcomes.resent == {0}
    (refused,) = final(run(server, work))
    assert isinstance(refused, OutOfMemoryError)


@pytest.mark.parametrize(("between", "word"), [(DENIED, "NOPERM"), (REPLICA, "READONLY")])
def test_a_removal_refused_when_sent_again_is_unknown(
    server: ServerProcess, between: tuple[object, ...], word: str
) -> None:
    """The key is gone, and was not there to be refused; the server's words are kept."""
    server.raw("SET", "k", "1")

    async def work(store: Store) -> Outcomes:
        return await store.unlink([b"k"])

    outcomes = sent_twice(server, work, lambda: not server.raw("EXISTS", "k"), between)
    assert isinstance(outcomes, Outcomes)
    assert final(outcomes) == [UNKNOWN]
    assert isinstance(outcomes.doubt, LostError)
    assert outcomes.doubt.maybe_applied
    assert word in outcomes.doubt.message


def test_a_read_refused_when_sent_again_is_refused(server: ServerProcess) -> None:
    """There is nothing to be in doubt about: the second answer is the answer."""
    server.raw("RPUSH", "l", "1")
    server.raw("CONFIG", "RESETSTAT")

    async def work(store: Store) -> Outcomes:
        return await store.get_many([b"l"])

    def asked() -> bool:
        return "cmdstat_get" in server.info("commandstats")

    outcomes = sent_twice(server, work, asked, ("PING",))
    assert isinstance(outcomes, Outcomes)
    (refused,) = final(outcomes)
    assert outcomes.resent == {0}
    assert isinstance(refused, WrongTypeError)


@pytest.mark.parametrize(("between", "word"), [(FULL, "OOM"), (REPLICA, "READONLY")])
def test_one_write_refused_when_sent_again_may_be_applied(
    server: ServerProcess, between: tuple[object, ...], word: str
) -> None:
    """It stands there: the error says that it may, and why the second sending did not."""
    server.raw("CONFIG", "SET", "maxmemory-policy", "noeviction")

    async def work(store: Store) -> bool:
        return await store.set(b"k", b"1")

    with pytest.raises(LostError, match=word) as caught:
        sent_twice(server, work, lambda: server.raw("EXISTS", "k"), between)
    assert caught.value.maybe_applied
    assert caught.value.hint
    assert server.raw("GET", "k") == b"1"


def test_the_last_write_of_a_key_stands(server: ServerProcess) -> None:
    """The first one is rejected and sent again: it does not overwrite the one that came after it."""
    keys = [b"k", b"a", b"k", b"b", b"k"]
    writes = [entry(key, b"value-%d" % i) for i, key in enumerate(keys)]
    with Proxy(server, busy_for_the_first(server, b"value-0")) as proxy:

        async def work(store: Store) -> Outcomes:
            return await store.write(writes)

        outcomes = run(proxy, work)
    assert final(outcomes) == [True] * 5
    assert server.raw("MGET", b"k", b"a", b"b") == [b"value-4", b"value-1", b"value-3"]
    assert outcomes.resent == {2, 4}


def test_what_was_missing_is_written_once(server: ServerProcess) -> None:
    """With `only_missing` nothing overwrites: the later one was the first to be taken, and stays."""
    writes = [entry(b"k", b"value-0"), entry(b"k", b"value-1")]
    with Proxy(server, busy_for_the_first(server, b"value-0\r\n$2\r\nNX")) as proxy:

        async def work(store: Store) -> Outcomes:
            return await store.write(writes, only_missing=True)

        assert final(run(proxy, work)) == [False, True]
    assert server.raw("GET", "k") == b"value-1"
