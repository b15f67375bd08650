"""What the server refuses, and what would help against it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from cachectl.errors import (
    BusyError,
    CachectlError,
    DeniedError,
    NotReadyError,
    OutOfMemoryError,
    ReadOnlyServerError,
)
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.servers import ReplyError, ServerProcess
from tests.store.stores import PATIENT, entry, final, first_page, run, timed, until

BRIEF = PATIENT._replace(answer=0.4, connect=0.4, total=0.4)
LOOP = "while true do end"


async def put(store: Store) -> bool:
    """Write one key."""
    return await store.set(b"k", b"canary-value", 60)


def test_out_of_memory_is_told_for_each_entry(any_server: ServerProcess) -> None:
    """With noeviction a full server refuses entries one by one; what fits is written."""
    any_server.raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
    any_server.raw("SET", "old", "x")
    deadline = monotonic() + 10
    while any_server.info("memory")["lazyfree_pending_objects"] != "0":
        assert monotonic() < deadline
    used = int(any_server.info("memory")["used_memory"])
    any_server.raw("CONFIG", "SET", "maxmemory", used + 20_000_000)

    async def work(store: Store) -> None:
        writes = [entry(b"k%d" % i, b"canary" * 100_000) for i in range(100)]
        replies = final(await store.write(writes))
        written = [reply for reply in replies if reply is True]
        refused = [reply for reply in replies if isinstance(reply, OutOfMemoryError)]
        assert written
        assert refused
        assert len(written) + len(refused) == 100
        there = final(await store.exist([write.key for write in writes]))
        assert there == [int(reply is True) for reply in replies]
        with pytest.raises(OutOfMemoryError) as caught:
            await store.set(b"k", b"canary" * 100_000)
        assert "maxmemory" in (caught.value.hint or "")
        for error in (*refused, caught.value):
            assert "canary" not in error.message
            assert error.hint == caught.value.hint
        assert final(await store.unlink([b"old"])) == [1]
        assert await store.get(b"old") is None

    run(any_server, work)


def test_a_server_that_cannot_save_refuses_writes(any_server: ServerProcess) -> None:
    """MISCONF: waited for within the patience, then exit 4 in the server's words."""
    any_server.raw("CONFIG", "SET", "save", "3600 1")
    (any_server.directory / "dump.rdb").mkdir()  # the file cannot be written over it
    any_server.raw("SET", "there", "1")
    try:
        any_server.raw("BGSAVE")
        deadline = monotonic() + 10
        while any_server.info("persistence")["rdb_last_bgsave_status"] != "err":
            assert monotonic() < deadline

        async def work(store: Store) -> None:
            assert await store.get(b"there") == b"1"
            seconds, error = await timed(put(store))
            assert isinstance(error, BusyError)
            assert error.message.startswith("MISCONF")
            assert error.exit_code == 4
            assert seconds < 0.6
            outcomes = await store.write([entry(b"a", b"1"), entry(b"b", b"2")])
            assert isinstance(outcomes.error, BusyError)
            assert all(isinstance(reply, BusyError) for reply in outcomes.replies)
            assert outcomes.resent == set()
            with pytest.raises(BusyError, match="MISCONF"):
                await store.ping()

        run(any_server, work, BRIEF)
    finally:
        (any_server.directory / "dump.rdb").rmdir()
        any_server.raw("CONFIG", "SET", "save", "")


@contextmanager
def busy(server: ServerProcess) -> Iterator[None]:
    """Keep a server busy with a script that never ends."""
    server.raw("CONFIG", "SET", "lua-time-limit", "10")
    with server.connect() as script, server.connect() as admin:
        script.send("EVAL", LOOP, 0)
        deadline = monotonic() + 10
        while True:
            assert monotonic() < deadline
            try:
                admin.call("PING")
            except ReplyError as error:
                if str(error).startswith("BUSY"):
                    break
        try:
            yield
        finally:
            admin.call("SCRIPT", "KILL")
            with pytest.raises(ReplyError):
                script.read()


def test_a_busy_server_is_waited_for_and_told(any_server: ServerProcess) -> None:
    """BUSY: exit 4 once the patience is over, for one command, a batch and a scan alike."""
    with busy(any_server):

        async def work(store: Store) -> None:
            for attempt in (put(store), store.get(b"k"), first_page(store)):
                seconds, error = await timed(attempt)
                assert isinstance(error, BusyError)
                assert error.exit_code == 4
                assert "busy" in error.message.lower()
                assert seconds < 0.7
            outcomes = await store.get_many([b"a", b"b"])
            assert isinstance(outcomes.error, BusyError)
            with pytest.raises(BusyError):
                await store.ping()

        run(any_server, work, BRIEF)


def test_a_server_that_is_busy_for_a_moment(server: ServerProcess) -> None:
    """It ends its script within the patience: the write goes through."""

    async def work(store: Store) -> None:
        with busy(server):
            task = asyncio.create_task(put(store))
            batch = asyncio.create_task(store.write([entry(b"a", b"1"), entry(b"b", b"2")]))
            await asyncio.sleep(0.1)  # so that both have met the busy server
            assert not task.done()
            assert not batch.done()
        assert await task is True
        outcomes = await batch
        assert final(outcomes) == [True, True]
        assert outcomes.resent == set()

    run(server, work)


@pytest.mark.parametrize("attempts", [1, 3])
def test_without_a_total_the_attempts_decide(server: ServerProcess, attempts: int) -> None:
    """What applications bear: so many attempts, then the answer."""
    patience = PATIENT._replace(total=None, attempts=attempts)
    with busy(server):

        async def work(store: Store) -> None:
            await store._known()
            server_calls = 0
            node = store._topology.node_for(b"k")
            borrow = node.borrow

            async def counted(silence: float) -> object:
                nonlocal server_calls
                server_calls += 1
                return await borrow(silence)

            node.borrow = counted  # type: ignore[method-assign, assignment]
            with pytest.raises(BusyError):
                await put(store)
            assert server_calls == attempts

        run(server, work, patience)


@contextmanager
def loading(server: ServerProcess) -> Iterator[None]:
    """Start a saved server again that takes its time to load."""
    for i in range(2000):
        server.raw("SET", f"loaded{i}", "x" * 100)
    server.raw("SAVE")
    server.kill9()
    server.config = (
        *server.config, "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024",
    )  # fmt: skip
    thread = threading.Thread(target=server.start)
    thread.start()
    try:
        deadline = monotonic() + 10
        while True:
            assert monotonic() < deadline
            try:
                server.raw("GET", "x")
            except ReplyError:
                break
            except OSError:
                pass
        yield
    finally:
        thread.join()


def test_a_loading_server_is_waited_for(fresh_server: FreshServer) -> None:
    """LOADING: exit 3 once the patience is over; within it the value comes."""
    server = fresh_server(tcp=True)
    with loading(server):

        async def impatient(store: Store) -> None:
            for attempt in (store.get(b"k"), first_page(store)):
                _, error = await timed(attempt)
                assert isinstance(error, NotReadyError)
                assert (error.exit_code, error.message.split()[0]) == (3, "LOADING")
                assert "health --wait" in (error.hint or "")
            with pytest.raises(NotReadyError):
                await store.ping()
            outcomes = await store.exist([b"k"])
            assert isinstance(outcomes.error, NotReadyError)

        async def patient(store: Store) -> None:
            assert await store.get(b"loaded7") == b"x" * 100
            keys = [key async for page in store.pages() for key in page.keys]
            assert len(set(keys)) == 2000

        run(server, impatient, BRIEF._replace(total=0.2))
        run(server, patient, PATIENT._replace(total=20.0))


def test_a_replica_names_its_primary(any_server: ServerProcess) -> None:
    """READONLY: 4, with the primary to write to; found before anything is written."""
    any_server.raw("SET", "k", "old")
    any_server.raw("REPLICAOF", "127.0.0.1", "1")

    async def work(store: Store) -> None:
        assert await store.get(b"k") == b"old"
        for attempt in (put(store), store.writable()):
            _, error = await timed(attempt)
            assert isinstance(error, ReadOnlyServerError)
            assert error.exit_code == 4
            assert any_server.url in error.message
            assert error.hint == "write to its primary: 127.0.0.1:1"
        (reply,) = final(await store.unlink([b"k"]))
        assert isinstance(reply, ReadOnlyServerError)
        assert await store.get(b"k") == b"old"

    run(any_server, work)


def test_a_server_that_becomes_a_replica_is_noticed(server: ServerProcess) -> None:
    """`writable` asks anew: a greeting of before says nothing."""

    async def work(store: Store) -> None:
        await store.writable()
        server.raw("REPLICAOF", "127.0.0.1", "1")
        server.raw("ACL", "SETUSER", "default", "-role")
        with pytest.raises(ReadOnlyServerError) as caught:
            await store.writable()
        assert caught.value.hint == "write to its primary"

    run(server, work)


DENIED = [
    ("-set", "+set"),
    ("resetkeys", "~PATTERN"),
]


@pytest.mark.parametrize(("rule", "helps"), DENIED)
@pytest.mark.parametrize("user", ["default", "monkey", "patterns"])
def test_what_is_denied_comes_with_the_rule_that_allows_it(
    any_server: ServerProcess, rule: str, helps: str, user: str
) -> None:
    """NOPERM: 4, user and rule in the hint, whatever the user is called; asked once each."""
    any_server.raw("ACL", "SETUSER", user, "on", "nopass", "~*", "+@all", rule)
    url = f"redis://{user}:x@127.0.0.1:{any_server.port}/0"
    any_server.raw("ACL", "LOG", "RESET")

    async def work(store: Store) -> None:
        with pytest.raises(DeniedError) as caught:
            await put(store)
        assert caught.value.exit_code == 4
        assert caught.value.hint == f"allow it on the server: ACL SETUSER {user} {helps}"
        assert "canary" not in caught.value.message
        (reply,) = final(await store.write([entry(b"k", b"1")]))
        assert isinstance(reply, DeniedError)
        assert reply.hint == caught.value.hint

    run(url, work)
    entries = any_server.raw("ACL", "LOG")
    assert len(entries) == 1
    assert dict(zip(entries[0][::2], entries[0][1::2], strict=True))[b"count"] == 2


def test_a_scan_that_is_denied(any_server: ServerProcess) -> None:
    """The rule for SCAN is in the hint."""
    any_server.raw("ACL", "SETUSER", "default", "-scan")

    async def work(store: Store) -> None:
        with pytest.raises(DeniedError) as caught:
            await first_page(store)
        assert caught.value.hint == "allow it on the server: ACL SETUSER default +scan"

    run(any_server, work)


def test_an_ended_server_side_user_is_a_login_error(server: ServerProcess) -> None:
    """A user who is switched off between two commands: the next connection is refused."""
    server.raw("ACL", "SETUSER", "brief", "on", ">x", "~*", "+@all")

    async def work(store: Store) -> None:
        await put(store)
        server.raw("ACL", "DELUSER", "brief")  # closes the connection
        idle = store._topology.node_for(b"k")._idle
        await until(lambda: not idle[0].clean)
        with pytest.raises(CachectlError) as caught:
            await store.get(b"k")
        assert caught.value.code == "authentication"

    run(f"redis://brief:x@127.0.0.1:{server.port}/0", work)


def test_no_error_of_a_batch_holds_a_value(any_server: ServerProcess) -> None:
    """Unknown commands repeat their arguments; what comes up here does not."""

    async def work(store: Store) -> None:
        outcomes = await store.run([(b"NOSUCH", b"canary-key", b"canary-value")] * 2, [b"k", b"k"])
        for reply in final(outcomes):
            assert isinstance(reply, CachectlError)
            assert "canary" not in f"{reply} {reply.hint} {reply.as_dict()}"

    run(any_server, work)
