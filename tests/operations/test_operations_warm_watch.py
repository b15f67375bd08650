import asyncio
from collections.abc import Callable

import pytest

from cachectl.errors import DeniedError, ServerError, UnreachableError
from cachectl.models import Progress
from cachectl.operations.stop import Stop
from cachectl.operations.warm.verify import look
from cachectl.operations.warm.watch import watch
from cachectl.reports.warm import LiveHitRate
from cachectl.store.info import lookups
from cachectl.store.store import Store
from tests.operations.operating import On, run, silent, soon, user_with
from tests.servers import ServerProcess

LONG = 60.0


def watched(
    on: On, *steps: Callable[[], object], timeout: float = 5.0
) -> tuple[LiveHitRate, list[Progress]]:
    """Watch; after each look the next step is taken, and after the last one it is stopped."""
    seen: list[Progress] = []

    async def main(store: Store) -> LiveHitRate:
        stop = Stop()

        def observe(progress: Progress) -> None:
            seen.append(progress)
            if len(seen) > len(steps):
                stop.set("interrupted")
            else:
                steps[len(seen) - 1]()

        return await watch(store, LONG, stop, observe, pause=0.001)

    return run(on, main, timeout=timeout), seen


def ask(server: ServerProcess, *keys: str) -> Callable[[], None]:
    def step() -> None:
        for key in keys:
            server.raw("GET", key)

    return step


def test_the_servers_own_hits_and_misses_are_counted(any_server: ServerProcess):
    """Every version tells them; each look is told to whoever looks on."""
    any_server.raw("SET", "there", "1")
    rate, seen = watched(
        any_server,
        ask(any_server, "there", "there"),
        ask(any_server, "gone", "there"),
    )
    assert (rate.hits, rate.misses, rate.anew, rate.rate) == (3, 1, 0, 0.75)
    assert 0 < rate.seconds < LONG
    assert [(p.doing, p.done, p.hit_rate) for p in seen] == [
        ("watching the hit rate", 0, None),
        ("watching the hit rate", 2, 1.0),
        ("watching the hit rate", 4, 0.75),
    ]


def test_lookups_of_before_do_not_count(server: ServerProcess):
    """Neither those of applications, nor our own verification: it begins with a fresh reading."""
    ask(server, "a", "b", "c")()

    async def main(store: Store) -> LiveHitRate:
        await look(store, [b"a", b"b"])
        return await watch(store, 0.01, Stop(), silent)

    rate = run(server, main)
    assert int(server.info("stats")["keyspace_misses"]) >= 5
    assert (rate.hits, rate.misses) == (0, 0)


def test_without_lookups_there_is_no_rate(server: ServerProcess):
    """Nobody asked: None, not 0; the time it was watched for is told."""
    rate = run(server, lambda store: watch(store, 0.05, Stop(), silent, pause=0.01))
    assert rate.rate is None
    assert 0.05 <= rate.seconds < LONG


def test_reset_counters_begin_anew(server: ServerProcess):
    """CONFIG RESETSTAT: what was counted before is not mixed with what is counted after."""
    rate, _ = watched(
        server,
        ask(server, "gone", "gone"),
        lambda: server.raw("CONFIG", "RESETSTAT"),
        ask(server, "gone"),
    )
    assert (rate.hits, rate.misses, rate.anew) == (0, 1, 1)


def test_reset_counters_that_have_grown_again_are_noticed(server: ServerProcess):
    """The other counters fell as well: many misses after the reset look like none before it."""

    def reset_and_ask() -> None:
        server.raw("CONFIG", "RESETSTAT")
        ask(server, "gone", "gone")()

    for _ in range(50):
        server.raw("PING")
    rate, _ = watched(server, ask(server, "gone"), reset_and_ask, ask(server, "gone"))
    assert (rate.misses, rate.anew) == (1, 1)


def test_a_restarted_server_begins_anew(server: ServerProcess):
    """Another run counts from nothing, also where its counts are the higher ones."""

    def restart_and_ask() -> None:
        server.restart(kill=True)
        ask(server, *["gone"] * 30)()
        for _ in range(50):
            server.raw("PING")

    rate, _ = watched(server, ask(server, "gone"), restart_and_ask, ask(server, "gone"))
    assert (rate.misses, rate.anew) == (1, 1)


def test_stop_ends_it_with_what_was_seen(server: ServerProcess):
    """At once, not at the next look."""

    async def main(store: Store) -> LiveHitRate:
        stop, seen = Stop(), list[Progress]()
        watching = asyncio.create_task(watch(store, LONG, stop, seen.append, pause=LONG))
        await soon(lambda: seen)
        ask(server, "gone")()
        stop.set("interrupted")
        return await asyncio.wait_for(watching, 5)

    rate = run(server, main)
    assert (rate.misses, rate.rate) == (1, 0.0)


def test_stop_does_not_wait_for_a_silent_server(server: ServerProcess):
    """What was seen until then is the answer, though the server would be waited for much longer."""

    async def main(store: Store) -> LiveHitRate:
        stop, seen = Stop(), list[Progress]()
        watching = asyncio.create_task(watch(store, LONG, stop, seen.append, pause=0.001))
        await soon(lambda: seen)
        ask(server, "gone")()
        await soon(lambda: seen[-1].done)
        server.sigstop()
        stop.set("interrupted")
        try:
            return await asyncio.wait_for(watching, 5)
        finally:
            server.sigcont()

    assert run(server, main, timeout=LONG).misses == 1


def test_denied_info_names_the_rule(server: ServerProcess):
    """Without INFO there is nothing to follow."""
    user = user_with(server, "~*", "+@all", "-info")
    with pytest.raises(DeniedError) as refused:
        run(server, lambda store: watch(store, 1.0, Stop(), silent), user=user)
    assert refused.value.hint == "allow it on the server: ACL SETUSER limited +info"


def test_a_lost_server_is_an_error(server: ServerProcess):
    """A rate of what was counted before would pass for that of the whole time."""
    with pytest.raises(UnreachableError):
        watched(server, server.kill9, lambda: None, timeout=0.3)


def test_counters_that_are_not_told_are_an_error():
    """A proxy that answers INFO in its own way: 0 hits would be a lie."""
    with pytest.raises(ServerError, match="does not tell keyspace_hits"):
        lookups({"run_id": "1", "keyspace_hits": "1"})
