"""SET NX whose answer was lost: what it has done is looked up, not guessed."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from cachectl.errors import LostError, OutOfMemoryError, UnreachableError
from cachectl.store.settle import Found, settle
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN
from tests.plans import held, passes
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, final, run, until

Between = Callable[[ServerProcess], object]


async def lose_the_answer(
    store: Store, proxy: Proxy, work: Awaitable[object], applied: Callable[[], object]
) -> "asyncio.Task[object]":
    """Begin something, wait until the server has done it, and cut before the answer is delivered."""
    await store.ping()
    proxy.plan = held(threading.Event())
    task = asyncio.ensure_future(work)
    await until(applied)
    return task


def ours(_server: ServerProcess) -> None:
    """Leave it as it is: our own value stands there."""


def anothers(server: ServerProcess) -> None:
    """Let another's value stand there."""
    server.raw("SET", "k", "another's")


def another_type(server: ServerProcess) -> None:
    """Let a list stand there."""
    server.raw("DEL", "k")
    server.raw("RPUSH", "k", "x")


def gone(server: ServerProcess) -> None:
    """Let nothing stand there, as if the command had never arrived."""
    server.raw("DEL", "k")


CASES = [(ours, True), (anothers, False), (another_type, False), (gone, True)]


@pytest.mark.parametrize(("between", "written"), CASES, ids=lambda x: getattr(x, "__name__", ""))
def test_one_write_whose_answer_is_lost(
    server: ServerProcess, between: Between, *, written: bool
) -> None:
    """Ours there: written. Another's: not. Nothing: it is done now."""
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            setting = store.set(b"k", b"ours", 60, only="missing")
            task = await lose_the_answer(store, proxy, setting, lambda: server.raw("EXISTS", "k"))
            between(server)
            proxy.plan = passes
            proxy.cut()
            assert await task is written

        run(proxy, work)
    if written:
        assert server.raw("GET", "k") == b"ours"
        assert server.raw("TTL", "k") > 0


@pytest.mark.parametrize(("between", "written"), CASES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_batch_whose_answers_are_lost(
    server: ServerProcess, between: Between, *, written: bool
) -> None:
    """The same for many: nobody's entry is told as ours, nor ours as skipped."""
    server.raw("SET", "there", "before")
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            writes = [entry(key, b"ours", ttl=60) for key in (b"k", b"there", b"l")]
            writing = store.write(writes, only_missing=True)
            task = await lose_the_answer(store, proxy, writing, lambda: server.raw("EXISTS", "l"))
            between(server)
            proxy.plan = passes
            proxy.cut()
            outcomes = await task
            assert final(outcomes) == [written, False, True]  # type: ignore[arg-type]

        run(proxy, work)


def test_a_dump_whose_answer_is_lost(server: ServerProcess) -> None:
    """What stands there cannot be compared with a dump: unknown."""
    server.raw("SET", "from", "1")
    dump = server.raw("DUMP", "from")
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            writing = store.write([entry(b"k", dump, dump=True)], only_missing=True)
            task = await lose_the_answer(store, proxy, writing, lambda: server.raw("EXISTS", "k"))
            proxy.plan = passes
            proxy.cut()
            assert final(await task) == [UNKNOWN]  # type: ignore[arg-type]

        run(proxy, work)


@pytest.mark.parametrize("why", ["away", "denied"])
def test_what_cannot_be_looked_up_stays_unknown(server: ServerProcess, why: str) -> None:
    """The server is away, or GET is denied: the loss is told, and that it may be applied."""
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            setting = store.set(b"k", b"ours", only="missing")
            task = await lose_the_answer(store, proxy, setting, lambda: server.raw("EXISTS", "k"))
            if why == "away":
                proxy.refuse = True
            else:
                server.raw("ACL", "SETUSER", "default", "-get")
            proxy.plan = passes
            proxy.cut()
            with pytest.raises(UnreachableError) as caught:
                await task
            assert caught.value.maybe_applied

        run(proxy, work, PATIENT._replace(total=0.5))


SAME: list[tuple[tuple[object, ...], float | None, object]] = [
    (("PX", 60_000), 60, True),
    (("PX", 50_000), 60, False),
    (("PX", 90_000), 60, False),
    ((), 60, False),
    (("PX", 60_000), None, False),
    ((), None, UNKNOWN),
]


@pytest.mark.parametrize(("found", "ttl", "written"), SAME)
def test_an_equal_value_is_ours_by_its_ttl(
    server: ServerProcess, found: tuple[object, ...], ttl: float | None, written: object
) -> None:
    """A lock `SET lock 1` looks the same whoever took it: its TTL tells, or it is not known."""
    with Proxy(server) as proxy:

        async def losing(store: Store, work: Coroutine[object, object, object]) -> object:
            server.raw("DEL", "k")
            task = await lose_the_answer(store, proxy, work, lambda: server.raw("EXISTS", "k"))
            server.raw("SET", "k", "1", *found)
            proxy.plan = passes
            proxy.cut()
            return await task

        async def work(store: Store) -> None:
            outcomes = await losing(store, store.write([entry(b"k", b"1", ttl)], only_missing=True))
            assert final(outcomes) == [written]  # type: ignore[arg-type]
            setting = losing(store, store.set(b"k", b"1", ttl, only="missing"))
            if written is not UNKNOWN:
                assert await setting is written
                return
            with pytest.raises(UnreachableError) as caught:
                await setting
            assert caught.value.maybe_applied

        run(proxy, work)


def test_one_sending_is_counted_once(server: ServerProcess) -> None:
    """The same key and value twice in a batch: one of them was written, the other was not."""
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            writing = store.write([entry(b"k", b"1", 60)] * 2, only_missing=True)
            task = await lose_the_answer(store, proxy, writing, lambda: server.raw("EXISTS", "k"))
            proxy.plan = passes
            proxy.cut()
            outcomes = await task
            assert final(outcomes) == [True, False]  # type: ignore[arg-type]

        run(proxy, work)


def test_an_expiry_at_a_time_does_not_tell(server: ServerProcess) -> None:
    """The same export warmed twice has the same value and time: who wrote it is not known."""
    write = entry(b"k", b"1", expires_at=time.time() + 60)
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            writing = store.write([write], only_missing=True)
            task = await lose_the_answer(store, proxy, writing, lambda: server.raw("EXISTS", "k"))
            proxy.plan = passes
            proxy.cut()
            outcomes = await task
            assert final(outcomes) == [UNKNOWN]  # type: ignore[arg-type]

        run(proxy, work)


def test_a_lost_command_that_arrives_late() -> None:
    """Looked up, not there, sent again, refused, because the first one came in between: written."""

    async def work() -> None:
        founds = iter([Found.NOTHING, Found.OURS])

        async def look() -> Found:
            return next(founds)

        async def send() -> object:
            return None

        assert await settle(look, send, UnreachableError("lost")) is True

    asyncio.run(work())


def test_refused_after_nothing_was_found() -> None:
    """The first one may still arrive: the server's refusal of the second is not the whole truth."""

    async def work() -> None:
        async def look() -> Found:
            return Found.NOTHING

        async def send() -> object:
            msg = "OOM it is full"
            raise OutOfMemoryError(msg)

        with pytest.raises(LostError, match="OOM it is full") as caught:
            await settle(look, send, UnreachableError("lost"))
        assert caught.value.maybe_applied

    asyncio.run(work())
