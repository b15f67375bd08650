"""A scan is complete or it says that it is not: cuts, restarts and changes of role begin it anew."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import pytest

from cachectl.errors import CachectlError, SilenceError, UnreachableError
from cachectl.store.scan import CYCLES, Page
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.plans import CUT, Chunk, Step
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, run, until

COUNT = 3000
ALL = {b"key:%d" % i for i in range(COUNT)}


async def cycles(
    pages: AsyncGenerator[Page, None], each: Callable[[int], object] = lambda _n: None
) -> list[list[bytes]]:
    """Return the keys of each cycle; `each` is called with the number of the page just taken."""
    found: list[list[bytes]] = [[]]
    number = 0
    async with aclosing(pages):
        async for page in pages:
            if page.anew:
                found.append([])
            assert len(set(page.keys)) == len(page.keys)
            found[-1] += page.keys
            number += 1
            done = each(number)
            if asyncio.iscoroutine(done):
                await done
    return found


def test_a_scan_that_is_cut_begins_anew(server: ServerProcess) -> None:
    """The page after the cut is marked, and the cycle that begins with it has every key."""
    server.fill("key:", COUNT)
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            def cut_twice(number: int) -> None:
                if number in {5, 12}:
                    proxy.cut()

            found = await cycles(store.pages(b"key:*", 250), cut_twice)
            assert len(found) == 3
            assert set(found[-1]) == ALL
            assert len(found[0]) < COUNT

        run(proxy, work)


@pytest.mark.parametrize("seed", range(5))
def test_a_scan_over_a_bad_line(server: ServerProcess, seed: int) -> None:
    """Connections that end after some 20 to 80 replies: complete at last, or an error, never short."""
    server.fill("key:", COUNT)

    def dying(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "down" and chunk.offset > 4000 * (seed + chunk.connection * 2):
            yield CUT
        else:
            yield chunk.data

    with Proxy(server, dying) as proxy:

        async def work(store: Store) -> None:
            try:
                found = await cycles(store.pages(b"key:*", 50))
            except UnreachableError:
                return
            assert set(found[-1]) == ALL

        run(proxy, work)


def test_a_server_that_was_restarted_with_its_data(fresh_server: FreshServer) -> None:
    """Killed half way and back with what was saved: the old cursor is not used again."""
    server = fresh_server(tcp=True)
    server.fill("key:", COUNT)
    server.raw("SAVE")

    async def work(store: Store) -> None:
        async def restart(number: int) -> None:
            if number == 6:
                await asyncio.to_thread(server.restart, kill=True)

        found = await cycles(store.pages(b"key:*", 250), restart)
        assert len(found) == 2
        assert set(found[-1]) == ALL

    run(server, work)


def test_a_restart_that_takes_its_time(fresh_server: FreshServer) -> None:
    """Many refused connections are one broken cycle, for as long as the patience bears."""
    server = fresh_server(tcp=True)
    server.fill("key:", COUNT)
    server.raw("SAVE")

    async def work(store: Store) -> None:
        async def later() -> None:
            await asyncio.sleep(1.5)
            await asyncio.to_thread(server.start)

        async def kill(number: int) -> None:
            if number == 6:
                server.kill9()
                starting.append(asyncio.create_task(later()))

        starting: list[asyncio.Task[None]] = []
        found = await cycles(store.pages(b"key:*", 250), kill)
        assert len(found) == 2
        assert set(found[-1]) == ALL

    run(server, work, PATIENT._replace(backoff=0.05))


def test_a_change_of_role_in_the_middle_is_not_trusted(server: ServerProcess) -> None:
    """A primary that became a replica in between may have taken another's keys: once more."""
    server.fill("key:", COUNT)

    async def work(store: Store) -> None:
        def demote(number: int) -> None:
            if number == 6:
                server.raw("REPLICAOF", "127.0.0.1", "1")

        found = await cycles(store.pages(b"key:*", 250), demote)
        assert len(found) == 2
        assert set(found[0]) == set(found[1]) == ALL

    run(server, work)


def test_a_role_that_changed_and_changed_back_is_not_trusted(server: ServerProcess) -> None:
    """Replica for a moment, primary again: the same run and role, another data set maybe."""
    server.fill("key:", COUNT)

    async def work(store: Store) -> None:
        def flip(number: int) -> None:
            if number == 6:
                server.raw("REPLICAOF", "127.0.0.1", "1")
                server.raw("REPLICAOF", "NO", "ONE")

        assert len(await cycles(store.pages(b"key:*", 250), flip)) == 2

    run(server, work)


def test_a_replica_that_takes_another_primarys_data(
    fresh_server: FreshServer, server: ServerProcess
) -> None:
    """The same process, role and connection, and other keys: noticed by whose data it is."""
    other, replica = fresh_server(tcp=True), fresh_server(tcp=True)
    server.fill("key:", COUNT)
    other.fill("key:", COUNT)

    async def work(store: Store) -> None:
        async def linked(to: ServerProcess) -> None:
            replica.raw("REPLICAOF", "127.0.0.1", to.port)
            await until(lambda: replica.info("replication")["master_link_status"] == "up")

        async def change(number: int) -> None:
            if number == 6:
                await linked(other)

        await linked(server)
        found = await cycles(store.pages(b"key:*", 250), change)
        assert len(found) == 2
        assert set(found[-1]) == ALL

    run(replica, work)


def test_databases_that_are_swapped_in_the_middle(any_server: ServerProcess) -> None:
    """The same process, run and connection, and other keys: noticed by the count of SWAPDB."""
    any_server.fill("key:", COUNT)

    async def work(store: Store) -> None:
        def swap(number: int) -> None:
            if number == 6:
                any_server.raw("SWAPDB", 0, 1)
                any_server.fill("key:", COUNT)

        before = await store.identity()
        found = await cycles(store.pages(b"key:*", 250), swap)
        assert len(found) == 2
        assert set(found[-1]) == ALL
        assert await store.identity() != before

    run(any_server, work)


def test_the_proof_after_the_last_page(fresh_server: FreshServer) -> None:
    """Killed after the last page was given: the end is not the end before the server has said so."""
    server = fresh_server(tcp=True)
    server.fill("key:", 10)
    server.raw("SAVE")

    async def work(store: Store) -> None:
        async with aclosing(store.pages(count=1000)) as pages:
            first = await anext(pages)
            assert len(first.keys) == 10
            assert not first.anew
            await asyncio.to_thread(server.restart, kill=True)
            again = await anext(pages)
            assert again.anew
            assert len((await anext(pages)).keys) == 10
            with pytest.raises(StopAsyncIteration):
                await anext(pages)

    run(server, work)


def test_five_broken_cycles_are_enough(server: ServerProcess) -> None:
    """A server on which no scan ends: an error that says that nothing is proven."""
    server.fill("key:", COUNT)
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            begun = 0

            async def cut_each(pages: AsyncGenerator[Page, None]) -> None:
                nonlocal begun
                number = 0
                async with aclosing(pages):
                    async for page in pages:
                        number = 1 if page.anew else number + 1
                        begun += number == 1
                        if number == 3:
                            proxy.cut()

            with pytest.raises(UnreachableError, match=f"{CYCLES} scans were broken off") as caught:
                await cut_each(store.pages(b"key:*", 250))
            assert begun == CYCLES
            assert "nothing is proven" in (caught.value.hint or "")

        run(proxy, work)


def test_a_slow_reader_is_no_silent_server(server: ServerProcess) -> None:
    """Whoever takes longer over a page than the server may be silent does not lose the scan."""
    server.fill("key:", COUNT)

    async def work(store: Store) -> None:
        async def dawdle(number: int) -> None:
            if number in {2, 4}:
                await asyncio.sleep(0.4)

        found = await cycles(store.pages(b"key:*", 250), dawdle)
        assert len(found) == 1
        assert set(found[0]) == ALL

    run(server, work, PATIENT._replace(answer=0.3, connect=0.3, total=0.3))


def test_a_server_that_falls_silent_in_the_middle(server: ServerProcess) -> None:
    """SIGSTOP after some pages: borne as long as was said, then exit 3; no short list."""
    server.fill("key:", COUNT)

    async def work(store: Store) -> None:
        def stop(number: int) -> None:
            if number == 3:
                server.sigstop()

        with pytest.raises(SilenceError):
            await cycles(store.pages(b"key:*", 250), stop)

    try:
        run(server, work, PATIENT._replace(answer=0.3, connect=0.3, total=0.3))
    finally:
        server.sigcont()


def test_a_key_twice_in_a_reply_is_one_key(server: ServerProcess) -> None:
    """SCAN may repeat itself while its table is rebuilt; a page does not."""
    server.fill("key:", 1)

    def doubling(chunk: Chunk) -> Iterator[Step]:
        once, twice = b"*1\r\n$5\r\nkey:0\r\n", b"*2\r\n$5\r\nkey:0\r\n$5\r\nkey:0\r\n"
        yield chunk.data.replace(once, twice)

    with Proxy(server, doubling) as proxy:

        async def work(store: Store) -> None:
            assert [page.keys async for page in store.pages()] == [[b"key:0"]]

        run(proxy, work)


def test_an_empty_server_has_one_empty_page(any_server: ServerProcess) -> None:
    """Nothing there: a scan that ends, and proves it."""

    async def work(store: Store) -> None:
        assert [page[:3] async for page in store.pages()] == [Page([], [])[:3]]

    run(any_server, work)


def test_a_scan_left_early_gives_its_connection_back(server: ServerProcess) -> None:
    """A reader who has seen enough: the connection serves the next command."""
    server.fill("key:", COUNT)

    async def work(store: Store) -> None:
        for _ in range(20):
            async with aclosing(store.pages()) as pages:
                assert (await anext(pages)).keys
            assert await store.get(b"key:1") == b"1"
        with pytest.raises(CachectlError):
            await store.get(b"\xff") or await store._call(b"", b"NOSUCH")
        assert server.info("clients")["connected_clients"] == "2"

    run(server, work, pool_size=1)
