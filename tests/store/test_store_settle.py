"""SET NX whose answer was lost: what it has done is looked up, not guessed."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from cachectl.errors import UnreachableError
from cachectl.store.store import Store, Write
from cachectl.store.stream import UNKNOWN
from tests.proxies import Proxy, held, passes
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, final, run, until

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
            writes = [Write(b"k", b"ours"), Write(b"there", b"ours"), Write(b"l", b"ours")]
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
            writing = store.write([Write(b"k", dump, dump=True)], only_missing=True)
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


def test_a_lost_command_that_arrives_late(server: ServerProcess) -> None:
    """Looked up, not there, sent again, refused, because the first one came in between: written."""

    async def work(store: Store) -> None:
        call = store._call
        answers = iter([UnreachableError("lost"), None, None, b"ours"])

        async def scripted(*_: object, **__: object) -> object:
            answer = next(answers)
            if isinstance(answer, UnreachableError):
                answer.maybe_applied = True
                raise answer
            return answer

        store._call = scripted  # type: ignore[method-assign]
        assert await store.set(b"k", b"ours", only="missing") is True
        store._call = call  # type: ignore[method-assign]

    run(server, work)
