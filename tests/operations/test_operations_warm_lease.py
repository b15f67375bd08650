"""--lock: one warm of a name at a time; who waits is told for whom, and who loses it stops."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cachectl.errors import DeniedError, UnreachableError
from cachectl.operations.stop import Stop, until
from cachectl.operations.warm import lease
from cachectl.operations.warm.lease import leased
from cachectl.operations.warm.plan import Lock
from cachectl.operations.warm.tally import Tally
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.operations.operating import run, silent, soon, store_of, user_with
from tests.servers import ServerProcess

KEY = "cachectl:lock:charts"
CHARTS = Lock("charts")
HELD = r"the lock of charts is held by \S+@\S+ pid \d+ since \d\d:\d\d:\d\d \(\d+(ms|s)\)"


def new_tally() -> Tally:
    return Tally(Stop(), silent, fail_fast=False)


def no_word(text: str) -> None:
    pytest.fail(f"nobody is waited for: {text}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew twenty times a second, and hold the lock for no longer than a second."""
    for name, seconds in {"LEASE": 1.0, "RENEW": 0.05, "AGAIN": 0.02, "MARGIN": 0.05}.items():
        monkeypatch.setattr(lease, name, seconds)


async def had(store: Store, lock: Lock, tally: Tally) -> bool:
    async with leased(store, lock, tally, no_word) as ours:
        return ours


def test_a_lock_stands_for_the_length_of_the_block(any_server: ServerProcess):
    """Its value names us, it would run out by itself, and it is gone at the end."""

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, new_tally(), no_word) as ours:
            assert ours
            told = json.loads(any_server.raw("GET", KEY))
            assert told["holder"].endswith(f" pid {os.getpid()}")
            assert abs(told["since"] - time.time()) < 5
            assert len(told["token"]) == 32
            assert 25_000 < any_server.raw("PTTL", KEY) <= 30_000
        await soon(lambda: not any_server.raw("EXISTS", KEY))

    run(any_server, main)


def test_without_a_lock_nothing_is_asked(server: ServerProcess):
    """Not even a server that is there is needed."""
    tally = new_tally()

    async def main(store: Store) -> bool:
        async with leased(store, None, tally, no_word) as ours:
            return ours

    assert run("redis://127.0.0.1:1/0", main)
    assert tally.stop.reason is None


def test_of_two_at_once_one_is_told_who_holds_it(any_server: ServerProcess):
    """The second one does nothing; the first one is not disturbed."""
    first, second = new_tally(), new_tally()

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, first, no_word) as ours:
            assert ours
            assert not await had(store, CHARTS, second)
            assert await had(store, Lock("others"), new_tally())
            assert any_server.raw("EXISTS", KEY)

    run(any_server, main)
    assert (first.stop.reason, second.stop.reason) == (None, "locked")
    (problem,) = second.errors
    assert re.fullmatch(HELD + "; wait for it: --lock-wait 2m", problem.message)


@pytest.mark.parametrize(
    "value", ["secret", "", "{}", "[1]", '{"holder": 1, "since": 2}', '{"holder": "a", "since": 1e300}',
              '{"holder": "a", "since": "x"}', "[" * 900, "\xff", "NaN"],
)  # fmt: skip
def test_a_value_that_is_none_of_ours_is_an_unknown_holder(server: ServerProcess, value: str):
    """Somebody else's key is left alone, and its value is told to nobody."""
    server.raw("SET", KEY, value.encode("latin-1"))
    tally = new_tally()
    assert not run(server, lambda store: had(store, CHARTS, tally))
    assert tally.errors[0].message.startswith("the lock of charts is held by an unknown holder;")
    assert server.raw("GET", KEY) == value.encode("latin-1")


def test_a_key_of_another_type_is_an_unknown_holder_as_well(any_server: ServerProcess):
    """A list there is nothing of ours either."""
    any_server.raw("RPUSH", KEY, "a")
    tally = new_tally()
    assert not run(any_server, lambda store: had(store, CHARTS, tally))
    assert tally.stop.reason == "locked"
    assert any_server.raw("LLEN", KEY) == 1


def test_who_waits_is_told_for_whom_and_comes_next(
    any_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    """It says so once, and begins when the lock is given back."""
    monkeypatch.setattr(lease, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(lease, "LONGEST_PAUSE", 0.01)
    any_server.raw("CONFIG", "RESETSTAT")
    said: list[str] = []

    def looks() -> int:
        told = any_server.info("commandstats")["cmdstat_set"]
        return int(told.split(",")[0].removeprefix("calls="))

    async def main(store: Store) -> None:
        async def second() -> bool:
            async with leased(store, Lock("charts", 20.0), new_tally(), said.append) as ours:
                return ours

        async with leased(store, CHARTS, new_tally(), no_word):
            waiting = asyncio.create_task(second())
            await soon(lambda: looks() > 5)
        assert await waiting

    run(any_server, main)
    assert len(said) == 1
    assert re.fullmatch("waiting for " + HELD.replace(" is held", ", held"), said[0])


def test_a_wait_ends(server: ServerProcess):
    """After so long it is as if it had not waited."""
    tally = new_tally()
    said: list[str] = []

    async def main(store: Store) -> None:
        async with (
            leased(store, CHARTS, new_tally(), no_word),
            leased(store, Lock("charts", 0.1), tally, said.append) as ours,
        ):
            assert not ours

    run(server, main)
    assert tally.stop.reason == "locked"
    assert tally.errors[0].message.endswith("; after 100ms")


def test_a_wait_is_ended_by_a_signal(server: ServerProcess):
    """Then it is interrupted, not locked."""
    tally = new_tally()

    async def main(store: Store) -> None:
        async with (
            leased(store, CHARTS, new_tally(), no_word),
            leased(
                store, Lock("charts", 20.0), tally, lambda _text: tally.stop.set("interrupted")
            ) as ours,
        ):
            assert not ours

    run(server, main)
    assert (tally.stop.reason, tally.errors) == ("interrupted", [])


HOLD = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from cachectl.operations.stop import Stop
from cachectl.operations.warm.lease import leased
from cachectl.operations.warm.plan import Lock
from cachectl.operations.warm.tally import Tally
from tests.operations.operating import silent, store_of

async def main():
    async with store_of(sys.argv[1]) as store:
        async with leased(store, Lock("charts"), Tally(Stop(), silent, False), print) as ours:
            print("held" if ours else "not held", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


def test_the_lock_of_a_killed_one_is_taken_over_when_it_has_run_out(server: ServerProcess):
    """kill -9 gives nothing back; the lease runs out by itself."""
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, server.url, root], stdout=subprocess.PIPE, cwd=root
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
    tally = new_tally()
    assert not run(server, lambda store: had(store, CHARTS, tally))
    assert f" pid {holder.pid} since " in tally.errors[0].message
    left = server.raw("PTTL", KEY)
    assert 0 < left <= 30_000
    server.raw("PEXPIRE", KEY, 300)  # the rest of the time, shortened
    said: list[str] = []

    async def main(store: Store) -> bool:
        async with leased(store, Lock("charts", 20.0), new_tally(), said.append) as ours:
            return ours

    assert run(server, main)
    assert f" pid {holder.pid} since " in said[0]


@pytest.mark.usefixtures("quick")
def test_a_lock_is_renewed_for_as_long_as_the_work_takes(any_server: ServerProcess):
    """Longer than one lease lasts, it is still ours."""
    tally = new_tally()

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, tally, no_word):
            value = any_server.raw("GET", KEY)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                assert any_server.raw("GET", KEY) == value
                await asyncio.sleep(0.01)

    run(any_server, main)
    assert tally.stop.reason is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (("DEL", KEY), "it was deleted, or ran out"),
        (("FLUSHALL",), "it was deleted, or ran out"),
        (("SET", KEY, '{"holder": "b@c pid 1", "since": 1}'), r"it is held by b@c pid 1 since .*"),
    ],
)
def test_a_lock_that_is_lost_in_the_middle_stops_the_work(
    any_server: ServerProcess, lose: tuple[str, ...], why: str
):
    """Another may run meanwhile; its lock is left alone."""
    tally = new_tally()

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, tally, no_word) as ours:
            assert ours
            any_server.raw(*lose)
            await asyncio.wait_for(tally.stop.wait(), 5)

    run(any_server, main)
    assert tally.stop.reason == "locked"
    (problem,) = tally.errors
    assert re.fullmatch(
        f"the lock of charts was lost: {why}; another warm may be running", problem.message
    )
    assert any_server.raw("EXISTS", KEY) == (lose[0] == "SET")


@pytest.mark.usefixtures("quick")
def test_a_server_that_comes_back_empty_has_lost_the_lock(fresh_server: FreshServer):
    """A server that was replaced knows nothing of the lock."""
    server, tally = fresh_server(), new_tally()

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, tally, no_word):
            server.restart(kill=True)
            await asyncio.wait_for(tally.stop.wait(), 5)

    run(server, main)
    assert tally.stop.reason == "locked"


def test_a_server_that_is_away_for_less_than_the_lease_does_no_harm(
    fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch
):
    """A renewal that fails is tried again, and the lease goes on meanwhile."""
    server, tally = fresh_server(), new_tally()
    monkeypatch.setattr(lease, "RENEW", 0.05)
    monkeypatch.setattr(lease, "AGAIN", 0.02)
    failed = []
    real = lease.Lease.renew

    async def renew(self: lease.Lease) -> str | None:
        try:
            return await real(self)
        except UnreachableError:
            failed.append(self)
            raise

    monkeypatch.setattr(lease.Lease, "renew", renew)

    async def main() -> None:
        async with (
            store_of(server, timeout=0.1) as store,
            leased(store, CHARTS, tally, no_word),
        ):
            server.sigstop()
            await soon(lambda: len(failed) > 1)
            server.sigcont()
            server.raw("PEXPIRE", KEY, 5000)
            await soon(lambda: server.raw("PTTL", KEY) > 20_000)
        await soon(lambda: not server.raw("EXISTS", KEY))

    asyncio.run(main())
    assert (tally.stop.reason, tally.errors) == (None, [])


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_away_for_longer_than_the_lease_stops_the_work(fresh_server: FreshServer):
    """Whether it is ours nobody can tell any more. Giving it back is not even tried."""
    server, tally = fresh_server(), new_tally()

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, tally, no_word):
            server.sigstop()
            await asyncio.wait_for(tally.stop.wait(), 5)
        server.sigcont()

    run(server, main)
    assert tally.stop.reason == "locked"
    assert "while the server did not answer" in tally.errors[0].message
    assert len(tally.errors) == 1


def test_a_lock_that_cannot_be_given_back_is_noted(
    fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch
):
    """Nobody waits long for it: it runs out by itself."""
    server, tally = fresh_server(), new_tally()
    monkeypatch.setattr(lease, "RELEASE", 0.1)

    async def main(store: Store) -> None:
        async with leased(store, CHARTS, tally, no_word):
            server.sigstop()
        server.sigcont()

    run(server, main)
    assert tally.stop.reason is None
    assert re.search(r"could not be given back: it runs out in (29|30)s$", tally.errors[0].message)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_signal_gives_the_lock_back(server: ServerProcess, cancelled: bool):
    """Work that is stopped, and work that is cancelled, leaves no lock behind."""
    tally = new_tally()

    async def main(store: Store) -> None:
        async def work() -> None:
            async with leased(store, CHARTS, tally, no_word):
                tally.stop.set("interrupted")
                if cancelled:
                    await asyncio.Event().wait()

        await until(tally.stop, work(), grace=0.05)
        await soon(lambda: not server.raw("EXISTS", KEY))

    run(server, main)
    assert tally.errors == []


def test_an_error_gives_the_lock_back(server: ServerProcess):
    """The error leaves as it is."""

    async def main(store: Store) -> None:
        with pytest.raises(UnreachableError, match="gone"):
            async with leased(store, CHARTS, new_tally(), no_word):
                raise UnreachableError("gone")  # noqa: EM101
        await soon(lambda: not server.raw("EXISTS", KEY))

    run(server, main)


def test_the_rights_that_are_named_are_enough(any_server: ServerProcess):
    """+get +set +pexpire on the lock's key: nothing else is needed."""
    user = user_with(any_server, "~cachectl:lock:*", "+get", "+set", "+pexpire")
    tally = new_tally()
    assert run(any_server, lambda store: had(store, CHARTS, tally), user=user)
    assert (tally.stop.reason, tally.errors) == (None, [])


@pytest.mark.parametrize("denied", ["get", "set", "pexpire"])
def test_a_denial_is_told_before_anything(any_server: ServerProcess, denied: str):
    """Not after ten seconds, at the first renewal; and no lock is left behind."""
    user = user_with(any_server, "~*", "+@all", f"-{denied}")
    with pytest.raises(DeniedError) as caught:
        run(any_server, lambda store: had(store, CHARTS, new_tally()), user=user)
    assert f"limited +{denied}" in (caught.value.hint or "")
    end = time.monotonic() + 5
    while any_server.raw("EXISTS", KEY):
        assert time.monotonic() < end
