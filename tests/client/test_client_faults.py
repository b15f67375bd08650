"""A server that is down, slow or wrong costs an application nothing, and is told once."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachectl import CacheClient
from cachectl.client import BREAKER_PAUSE
from cachectl.config.settings import ClientSettings
from cachectl.errors import ConfigError
from tests.client.client_tools import PATIENT, until, until_value
from tests.conftest import FreshServer
from tests.plans import Chunk, Step, delayed, held
from tests.proxies import Proxy
from tests.servers import DEFAULT_VERSION, ReplyError, ServerProcess, free_port


async def several(callers: int, call: Callable[[], Awaitable[object]], each: int = 1) -> list[Any]:
    """Let `callers` call at the same time, `each` times one after the other."""

    async def one() -> list[object]:
        return [await call() for _ in range(each)]

    return [result for results in await asyncio.gather(*(one() for _ in range(callers)))
            for result in results]  # fmt: skip


def test_a_stopped_server_costs_next_to_nothing(server: ServerProcess, warnings_of: Any) -> None:
    """1,000 calls of 10 callers take seconds in all, not seconds each; then the client hits again."""

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            assert await cache.set("n:k", 1)
            assert await several(10, lambda: cache.get("n:k")) == [1] * 10
            server.sigstop()
            start = time.perf_counter()
            assert await several(10, lambda: cache.get("n:k"), 100) == [None] * 1000
            stopped = time.perf_counter() - start
            assert len(warnings_of.warnings) == 1
            server.sigcont()
            again = await until_value(cache, "n:k", 1)
            print(f"stopped: {stopped:.3f} s, hits again after {again:.3f} s")
            assert stopped < 3
            assert again < 2
            await until_value(cache, "n:k", 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [
        lambda cache: cache.get("n:k"),
        lambda cache: cache.set("n:k", 1),
        lambda cache: cache.get_many(["n:k"]),
        lambda cache: cache.set_many({f"n:{i}": i for i in range(2000)}),
        lambda cache: cache.delete("n:k"),
        lambda cache: cache.health_check(),
    ],
    ids=["get", "set", "get_many", "set_many", "delete", "health_check"],
)
def test_every_call_to_a_stopped_server_ends_soon(
    server: ServerProcess, call: Callable[[CacheClient], Awaitable[object]]
) -> None:
    """Even a caller alone waits no longer than a few attempts; several calls cost hardly more."""

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            assert await cache.health_check()
            server.sigstop()
            start = time.perf_counter()
            assert not any([await call(cache) for _ in range(10)])
            assert time.perf_counter() - start < 6

    asyncio.run(main())


def test_a_killed_server_is_missed_at_once_and_found_again(
    fresh_server: FreshServer, warnings_of: Any
) -> None:
    """One warning when it goes, one line when it is back, and hits in between as before."""
    server = fresh_server(tcp=True)

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            assert await cache.set("n:k", 1)
            server.kill9()
            start = time.perf_counter()
            assert await cache.get("n:k") is None
            assert time.perf_counter() - start < 1
            assert await several(10, lambda: cache.get("n:k"), 100) == [None] * 1000
            assert await cache.set("n:k", 1) is False
            assert time.perf_counter() - start < 2
            server.start()
            server.raw("SET", "n:k", "2")
            assert await until_value(cache, "n:k", 2) < 2
            assert len(warnings_of.warnings) == 1

            async def is_told() -> bool:
                return await cache.get("n:k") == 2 and bool(warnings_of.infos)

            await until(is_told)
            server.kill9()
            assert await cache.get("n:k") is None

    asyncio.run(main())
    where = f"redis://127.0.0.1:{server.port}/0"
    assert warnings_of.infos == [f"the cache {where} answers again"]
    assert len(warnings_of.warnings) == 2, "the second time is news again"
    assert all(where in warning for warning in warnings_of.warnings)


def test_a_bypassed_server_is_only_looked_at_in_the_background(server: ServerProcess) -> None:
    """While the breaker is open, calls take microseconds and open no connection but a look's."""

    async def main(proxy: Proxy) -> None:
        async with CacheClient(proxy.url) as cache:
            assert await cache.set("n:k", 1)
            proxy.refuse = True
            proxy.cut()
            while cache._breaker.closed:
                assert await cache.get("n:k") is None
            before, start = proxy.connections, time.perf_counter()
            calls, slowest = 0, 0.0
            while time.perf_counter() - start < 3 * BREAKER_PAUSE:
                began = time.perf_counter()
                assert await cache.get("n:k") is None
                slowest = max(slowest, time.perf_counter() - began)
                calls += 1
                if not calls % 100:
                    await asyncio.sleep(0.001)
            assert calls > 1000
            assert slowest < 0.1
            assert 1 <= proxy.connections - before <= 4
            proxy.refuse = False
            assert await until_value(cache, "n:k", 1) < 2

    with Proxy(server) as proxy:
        asyncio.run(main(proxy))


def test_a_short_hiccup_of_many_callers_is_no_outage(server: ServerProcess) -> None:
    """Ten callers whose first attempt is met by 150 ms of silence all get their value."""

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            assert await cache.set("n:k", 1)
            assert await several(10, lambda: cache.get("n:k"), 3) == [1] * 30
            server.sigstop()
            asyncio.get_running_loop().call_later(0.15, server.sigcont)
            assert await several(10, lambda: cache.get("n:k")) == [1] * 10

    asyncio.run(main())


def test_a_hundred_callers_wait_for_ten_connections(server: ServerProcess) -> None:
    """The pool does not raise; each caller gets its own value; ten connections are all there are."""

    async def main(proxy: Proxy) -> None:
        async with CacheClient(proxy.url, settings=PATIENT) as cache:
            values = {f"n:{i}": i for i in range(100)}
            assert await cache.set_many(values) == 100
            for _ in range(5):
                found = await asyncio.gather(*(cache.get(key) for key in values))
                assert found == list(values.values())
            assert proxy.open == proxy.connections == 10

    with Proxy(server, latency=0.002) as proxy:
        asyncio.run(main(proxy))


def test_what_fails_by_turns_is_one_warning(server: ServerProcess, warnings_of: Any) -> None:
    """A slow line that fails every second call is told once, not at every turn."""
    settings = ClientSettings(attempts=1, timeout=0.05)

    async def main(proxy: Proxy) -> None:
        async with CacheClient(proxy.url, settings=settings) as cache:
            assert await cache.set("n:k", 1)
            for _ in range(5):
                proxy.plan = delayed(0.3)
                await cache.get("n:k")
                proxy.plan = delayed(0)
                assert await cache.get("n:k") == 1

    with Proxy(server) as proxy:
        asyncio.run(main(proxy))
    assert len(warnings_of.warnings) == 1
    assert warnings_of.infos == []


def test_a_key_of_another_type_is_none(any_server: ServerProcess, warnings_of: Any) -> None:
    """WRONGTYPE is told once, leaves the other keys and does not open the breaker."""
    any_server.raw("RPUSH", "n:list", "1")
    any_server.raw("SET", "n:fine", "1")

    async def main() -> None:
        async with CacheClient(any_server.url) as cache:
            for _ in range(10):
                assert await cache.get("n:list") is None
                assert await cache.get_many(["n:list", "n:fine"]) == {"n:fine": 1}
            assert cache._breaker.closed
            assert await cache.get_or_compute("n:list", lambda: 5) == 5

    asyncio.run(main())
    assert len(warnings_of.warnings) == 1
    assert "list" in warnings_of.warnings[0]


def test_what_the_acl_forbids_is_none_and_false(
    any_server: ServerProcess, warnings_of: Any
) -> None:
    """NOPERM for a command or a key is told once each call of trouble, and the rest works."""
    any_server.raw("ACL", "SETUSER", "app", "on", ">pw", "~n:*", "+get")
    any_server.raw("SET", "n:fine", "1")
    url = any_server.url.replace("//", "//app:pw@")

    async def main() -> None:
        async with CacheClient(url) as cache:
            for _ in range(10):
                assert await cache.get("other:k") is None
                assert await cache.set("n:k", 1) is False
                assert await cache.get_many(["other:k", "n:fine"]) == {"n:fine": 1}
                assert await cache.set_many({"n:k": 1, "n:l": 1}) == 0
                assert await cache.delete("n:fine") == 0
                assert await cache.get_or_compute("n:k", lambda: 7) == 7
            assert cache._breaker.closed
            assert await cache.health_check() is True, "PING is denied, and that is an answer"

    asyncio.run(main())
    assert len(warnings_of.warnings) == 1
    assert "pw" not in "".join(warnings_of.warnings)


def test_a_full_server_takes_no_writes_and_still_reads(
    fresh_server: FreshServer, warnings_of: Any
) -> None:
    """OOM: `set` gives False with one warning although reads succeed between; no bypass."""
    server = fresh_server("--maxmemory-policy", "noeviction", tcp=True)
    server.raw("SET", "n:k", "1")
    server.raw("CONFIG", "SET", "maxmemory", "1")

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            for _ in range(20):
                assert await cache.set("n:new", 1) is False
                assert await cache.set_many({"n:a": 1, "n:b": 2}) == 0
                assert await cache.get("n:k") == 1
            assert await cache.get_or_compute("n:c", lambda: 3) == 3
            assert cache._breaker.closed
            assert await cache.delete("n:k") == 1

    asyncio.run(main())
    assert len(warnings_of.warnings) == 1
    assert "OOM" in warnings_of.warnings[0]


def test_a_busy_server_is_bypassed_with_one_warning(
    fresh_server: FreshServer, warnings_of: Any
) -> None:
    """BUSY is as good as down, for single calls and for many at once, and told as one trouble."""
    server = fresh_server("--lua-time-limit", "10", tcp=True)
    server.raw("SET", "n:k", "1")

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            with server.connect() as connection:
                connection.send("EVAL", "while true do end", 0)

                async def is_busy() -> bool:
                    return await cache.get("n:k") is None

                await until(is_busy)
                start = time.perf_counter()
                for _ in range(50):
                    assert await cache.get("n:k") is None
                    assert await cache.get_many(["n:k"]) == {}
                assert time.perf_counter() - start < 5
                server.raw("SCRIPT", "KILL")
                with pytest.raises(ReplyError):
                    connection.read()  # only now it has ended
            assert await until_value(cache, "n:k", 1) < 2

    asyncio.run(main())
    assert len(warnings_of.warnings) == 1


def test_a_wrong_password_is_none_and_one_login_an_attempt(
    any_server: ServerProcess, warnings_of: Any
) -> None:
    """It is not tried again by itself, told once without the password, and bypassed soon."""
    any_server.raw("CONFIG", "SET", "requirepass", "right")
    with any_server.connect() as connection:
        connection.call("AUTH", "right")

        async def main(proxy: Proxy) -> None:
            url = proxy.url.replace("//", "//:canary-pw@")
            async with CacheClient(url) as cache:
                assert await cache.get("n:k") is None
                assert proxy.connections == 1
                assert await cache.set("n:k", 1) is False
                assert proxy.connections == 2
                for _ in range(100):
                    assert await cache.get("n:k") is None
                assert proxy.connections <= 6

        try:
            with Proxy(any_server) as proxy:
                asyncio.run(main(proxy))
        finally:
            connection.call("CONFIG", "SET", "requirepass", "")
    assert len(warnings_of.warnings) == 1
    assert "user or the password" in warnings_of.warnings[0]
    assert "canary" not in warnings_of.warnings[0]


def test_a_password_that_cannot_be_had_is_bypassed_too(
    server: ServerProcess, workdir: Path, warnings_of: Any
) -> None:
    """A password command that fails is not run at every call: it counts as a server that is down."""
    (workdir / "c.yaml").write_text(
        f'profiles: {{p: {{url: "{server.url}", password_command: '
        f'[sh, -c, "echo x >> {workdir}/runs; exit 1"]}}}}\n'
    )

    async def main() -> None:
        async with CacheClient.from_config(workdir / "c.yaml", "p") as cache:
            for _ in range(50):
                assert await cache.get("n:k") is None

    asyncio.run(main())
    assert len((workdir / "runs").read_text().split()) <= 6
    assert len(warnings_of.warnings) == 1


@pytest.mark.parametrize(
    "profile",
    [
        "{url: 'redis://h', password_prompt: true}",
        "{sentinel: {service: m, nodes: [s], password_prompt: true}}",
    ],
)
def test_a_password_that_a_person_types_is_refused_at_once(workdir: Path, profile: str) -> None:
    """An application has no terminal to ask at: the settings are wrong for it, and it says so."""
    (workdir / "c.yaml").write_text(f"profiles: {{p: {profile}}}\n")
    with pytest.raises(ConfigError, match="only the command line can ask") as caught:
        CacheClient.from_config(workdir / "c.yaml", "p")
    assert "profiles.p of" in caught.value.message
    assert caught.value.hint is not None
    assert "password_file" in caught.value.hint


def test_nobody_listens(warnings_of: Any) -> None:
    """A port that nobody listens on: None and False, one warning, no exception."""

    async def main() -> None:
        async with CacheClient(f"redis://127.0.0.1:{free_port()}") as cache:
            start = time.perf_counter()
            for _ in range(100):
                assert await cache.get("n:k") is None
                assert await cache.set("n:k", 1) is False
            assert time.perf_counter() - start < 2
            assert await cache.health_check() is False

    asyncio.run(main())
    assert len(warnings_of.warnings) == 1


def test_fifty_callers_share_one_computation(server: ServerProcess) -> None:
    """All who ask meanwhile get what the first one's function gave, also without a server."""

    async def main(url: str) -> None:
        computed = 0

        async def compute() -> list[int]:
            nonlocal computed
            computed += 1
            await asyncio.sleep(0.05)
            return [computed]

        async with CacheClient(url) as cache:
            for _ in range(10):  # the breaker, where nobody listens
                await cache.get("n:other")
            found = await several(50, lambda: cache.get_or_compute("n:k", compute))
            assert found == [[1]] * 50
            assert cache._computing == {}

    asyncio.run(main(server.url))
    asyncio.run(main(f"redis://127.0.0.1:{free_port()}"))


def test_an_exception_of_the_computation_reaches_everyone(server: ServerProcess) -> None:
    """Each caller gets it; nothing is cached; the next call computes anew."""
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        msg = "no ephemeris"
        raise LookupError(msg)

    async def main() -> None:
        async with CacheClient(server.url) as cache:
            callers = [asyncio.create_task(cache.get_or_compute("n:k", fail)) for _ in range(50)]
            await asyncio.sleep(0.05)
            gate.set()
            results = await asyncio.gather(*callers, return_exceptions=True)
            assert {type(result) for result in results} == {LookupError}
            assert await cache.get_or_compute("n:k", lambda: 2) == 2

    asyncio.run(main())


def test_a_cancelled_caller_leaves_the_others_undisturbed(server: ServerProcess) -> None:
    """Even the first one, who began the computation; with all of them gone it still is cached."""

    async def main() -> None:
        gate = asyncio.Event()

        async def compute() -> int:
            await gate.wait()
            return 5

        async with CacheClient(server.url) as cache:
            callers = [asyncio.create_task(cache.get_or_compute("n:k", compute)) for _ in range(5)]
            await until(lambda: _true(len(cache._computing) == 1))
            await asyncio.sleep(0.02)
            callers[0].cancel()
            callers[3].cancel()
            await asyncio.sleep(0)
            gate.set()
            results = await asyncio.gather(*callers, return_exceptions=True)
            assert [isinstance(r, asyncio.CancelledError) for r in results] == [
                True, False, False, True, False,
            ]  # fmt: skip
            assert results[1] == results[2] == results[4] == 5
            gate.clear()
            alone = asyncio.create_task(cache.get_or_compute("n:alone", compute))
            await until(lambda: _true(len(cache._computing) == 1))
            alone.cancel()
            gate.set()
            await until_value(cache, "n:alone", 5)

    asyncio.run(main())


async def _true(value: object) -> object:
    return value


def test_closing_while_computing_gives_the_callers_their_value(server: ServerProcess) -> None:
    """Shutting down is no reason to fail: the value is returned, and no connection opened again."""

    async def main(proxy: Proxy) -> None:
        gate = asyncio.Event()

        async def compute() -> int:
            await gate.wait()
            return 5

        cache = CacheClient(proxy.url)
        async with cache:
            callers = [asyncio.create_task(cache.get_or_compute("n:k", compute)) for _ in range(3)]
            await until(lambda: _true(len(cache._computing) == 1))
            await asyncio.sleep(0.02)
        opened = proxy.connections
        gate.set()
        assert await asyncio.gather(*callers) == [5, 5, 5]
        assert await cache.get("n:k") is None
        assert await cache.set("n:k", 1) is False
        assert await cache.get_many(["n:k"]) == {}
        assert await cache.health_check() is False
        assert await cache.get_or_compute("n:k", lambda: 6) == 6
        assert proxy.connections == opened
        await cache.close()
        with pytest.raises(RuntimeError, match="was closed"):
            async with cache:
                pass

    with Proxy(server) as proxy:
        asyncio.run(main(proxy))
    assert server.raw("GET", "n:k") is None


def test_closing_while_a_look_is_on_its_way(server: ServerProcess) -> None:
    """`close` ends the look in the background; nothing of the client is left running."""

    async def main() -> None:
        cache = CacheClient(server.url)
        assert await cache.health_check()
        server.sigstop()
        await several(10, lambda: cache.get("n:k"))
        await asyncio.sleep(BREAKER_PAUSE)
        await until(lambda: _looks(cache))
        start = time.perf_counter()
        await cache.close()
        assert time.perf_counter() - start < 0.3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def _looks(cache: CacheClient) -> bool:
    await cache.get("n:k")
    return cache._look is not None and not cache._look.done()


def test_a_cancelled_call_gives_its_connection_up(server: ServerProcess) -> None:
    """Its reply never reaches the next caller: the connection is closed, a new one is opened."""
    gate = threading.Event()

    async def main(proxy: Proxy) -> None:
        async with CacheClient(proxy.url, settings=PATIENT) as cache:
            assert await cache.set_many({"n:a": "a", "n:b": "b"}) == 2
            proxy.plan = held(gate)
            task = asyncio.create_task(cache.get("n:a"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.set()
            assert await cache.get("n:b") == "b"
            assert proxy.connections == 2

    with Proxy(server) as proxy:
        asyncio.run(main(proxy))


def test_the_default_server_is_the_newest() -> None:
    """The tests of the faults run on the version that the embedded extra installs."""
    assert DEFAULT_VERSION == "valkey-9.1"


def test_without_prometheus_client_everything_works(server: ServerProcess) -> None:
    """The extra is optional: a program without it caches as ever and counts nothing."""
    program = f"""
import sys
sys.modules["prometheus_client"] = None
import asyncio
from cachectl import CacheClient
async def main():
    async with CacheClient({server.url!r}) as cache:
        assert await cache.get("n:k") is None
        assert await cache.set("n:k", [1])
        assert await cache.get("n:k") == [1]
        assert await cache.get_many(["n:k", "n:l"]) == {{"n:k": [1]}}
        assert await cache.set_many({{"n:l": 2}}) == 1
        assert await cache.get_or_compute("n:m", lambda: 3) == 3
        assert await cache.delete("n:k", "n:l") == 2
    async with CacheClient("redis://127.0.0.1:1") as cache:
        assert await cache.get("n:k") is None
        assert await cache.delete("n:k") == 0
asyncio.run(main())
print("well")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_a_miss_that_comes_late_is_not_computed_again(server: ServerProcess) -> None:
    """Two ask, the answer to one is held back until the value of the other is cached: it is a hit."""
    late, misses = threading.Event(), list[int]()

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "down" and chunk.data == b"$-1\r\n":
            misses.append(chunk.connection)
            if len(misses) == 2:
                yield late
        yield chunk.data

    computed: list[str] = []

    async def main() -> None:
        async with CacheClient(proxy.url, settings=PATIENT) as cache:

            async def compute() -> int:
                computed.append("n:k")
                await until(both_missed)
                return 5

            async def both_missed() -> bool:
                return len(misses) == 2

            first, second = (
                asyncio.create_task(cache.get_or_compute("n:k", compute)) for _ in range(2)
            )
            done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            late.set()
            assert (await first, await second) == (5, 5)

    with Proxy(server, plan) as proxy:
        asyncio.run(main())
    assert computed == ["n:k"]
