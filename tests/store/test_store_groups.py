"""Entries that one command writes together: what is told of each is what it alone would be told."""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cachectl.config.secrets import Credentials, Secret
from cachectl.errors import DeniedError, OutOfMemoryError
from cachectl.models import Entries, Entry
from cachectl.store.pace import FULL, GENTLE, Pace, Sizes, sizes
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN, UNSENT
from cachectl.store.writer import Writer, Writing
from tests.clusters import Cluster
from tests.plans import CUT, Chunk, Step, at, held, passes
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, run, until

GROUP = FULL.group
COUNT = 10 * GROUP
RIGHTS = ("+hello", "+select", "+set", "+get")


def numbered(count: int, ttl: float | None = 100, value: bytes = b"v") -> list[Entry]:
    return [entry(b"k%d" % i, b"%b%d" % (value, i), ttl) for i in range(count)]


async def write(store: Store, *batches: list[Entry], sizes: Sizes = FULL) -> list[Any]:
    """Write batches one behind the other, and return what became of each entry."""
    store.pace = Pace(sizes)
    writings = [Writing(Entries.of(batch), only_missing=False) for batch in batches]
    async with store.writer() as writer:
        settled = [done for batch in writings for done in await writer.send(batch)]
        settled += await writer.land()
    assert settled == writings
    return [reply for batch in writings for reply in batch.outcomes.replies]


def counted(server: ServerProcess, command: str) -> dict[str, int]:
    """Return how often a command was called, rejected, and failed since the statistics were reset."""
    told = server.info("commandstats").get(f"cmdstat_{command}", "")
    return {name: int(number) for name, number in re.findall(r"(\w*calls)=(\d+)", told)}


def calls(server: ServerProcess, command: str) -> int:
    return counted(server, command).get("calls", 0)


def values(server: ServerProcess, count: int) -> list[bytes]:
    found: list[bytes] = server.raw("MGET", *(f"k{i}" for i in range(count)))
    return found


def user(server: ServerProcess, *rights: str) -> dict[str, Any]:
    """Return the settings of a user with these rights alone."""
    server.raw("ACL", "SETUSER", "grouper", "reset", "on", ">secret", *RIGHTS, *rights)
    server.raw("ACL", "LOG", "RESET")
    return {"credentials": Credentials("grouper", Secret("secret"))}


def denied(server: ServerProcess) -> list[tuple[bytes, int]]:
    """Return what the access rules have refused, and how often."""
    lines = [dict(zip(line[::2], line[1::2], strict=True)) for line in server.raw("ACL", "LOG")]
    return [(line[b"object"], line[b"count"]) for line in lines]


def test_many_entries_are_written_by_few_commands(server: ServerProcess) -> None:
    """Each with its value and its TTL, and the last of a key stands."""
    server.raw("CONFIG", "RESETSTAT")
    entries = [*numbered(COUNT), entry(b"k7", b"last", 100)]
    assert run(server, lambda store: write(store, entries)) == [True] * (COUNT + 1)
    assert (calls(server, "msetex"), calls(server, "set")) == (COUNT // GROUP + 1, 0)
    assert values(server, COUNT) == [b"v%d" % i if i != 7 else b"last" for i in range(COUNT)]
    assert all(99_000 < server.raw("PTTL", f"k{i}") <= 100_000 for i in range(COUNT))


def test_a_group_has_one_life(server: ServerProcess) -> None:
    """Entries in a row with the same TTL, the same end or none go together, others do not."""
    lives: list[tuple[float | None, float | None]] = [
        (100, None), (None, None), (None, 4e9), (0.5, 4e9), (200, None),
    ]  # fmt: skip
    entries = [entry(b"k%d" % i, b"v%d" % i, *lives[i // 40]) for i in range(200)]
    server.raw("CONFIG", "RESETSTAT")
    assert run(server, lambda store: write(store, entries)) == [True] * 200
    assert calls(server, "msetex") == 5
    assert values(server, 200) == [b"v%d" % i for i in range(200)]
    ends = [server.raw("PEXPIRETIME", f"k{i}") for i in range(200)]
    assert set(ends[40:80]) == {-1}
    assert set(ends[80:160]) == {4_000_000_000_000}
    assert all(server.raw("PTTL", f"k{i}") <= 100_000 for i in range(40))
    assert all(100_000 < server.raw("PTTL", f"k{i}") <= 200_000 for i in range(160, 200))


@pytest.mark.parametrize("sizes", [GENTLE, FULL])
def test_both_paces_write_groups(server: ServerProcess, sizes: Sizes) -> None:
    server.raw("CONFIG", "RESETSTAT")
    told = run(server, lambda store: write(store, numbered(COUNT), sizes=sizes))
    assert told == [True] * COUNT
    assert (calls(server, "msetex"), calls(server, "set")) == (COUNT // GROUP, 0)


def test_only_at_full_pace_a_user_with_rights_of_its_own_may_be_refused() -> None:
    groups = [
        (pace, user, sizes(pace, user).group) for pace in ("gentle", "full") for user in USERS
    ]
    assert groups == [
        ("gentle", None, GROUP),
        ("gentle", "default", GROUP),
        ("gentle", "deployer", 1),
        *(("full", user, GROUP) for user in USERS),
    ]


USERS = (None, "default", "deployer")
ALONE = {
    "few": (numbered(GROUP - 1), FULL),
    "lives differ": ([entry(b"k%d" % i, b"v%d" % i, 100 + i) for i in range(COUNT)], FULL),
    "large": (numbered(GROUP, value=b"x" * 20_000), FULL),
}


@pytest.mark.parametrize("why", ALONE)
def test_what_goes_alone(server: ServerProcess, why: str) -> None:
    entries, sizes = ALONE[why]
    server.raw("CONFIG", "RESETSTAT")
    assert run(server, lambda store: write(store, entries, sizes=sizes)) == [True] * len(entries)
    assert (calls(server, "msetex"), calls(server, "set")) == (0, len(entries))


@pytest.mark.parametrize("how", [{"rate": 1e6}, {"max_latency": 10.0}])
def test_a_limited_pace_takes_its_steps_one_by_one(how: dict[str, float]) -> None:
    assert Pace(FULL, **how).group == 1
    assert Pace(FULL).group == GROUP
    assert Pace().group == 1  # an application's


def test_only_missing_goes_alone(server: ServerProcess) -> None:
    """Of a group all or none would be written."""
    server.raw("SET", "k7", "before")

    async def work(store: Store) -> list[Any]:
        store.pace = Pace(FULL)
        return (await store.write(numbered(COUNT), only_missing=True)).replies

    assert run(server, work) == [i != 7 for i in range(COUNT)]
    assert server.raw("GET", "k7") == b"before"


def test_a_server_without_the_command_is_asked_once(any_server: ServerProcess) -> None:
    any_server.raw("CONFIG", "RESETSTAT")
    told = run(any_server, lambda store: write(store, *[numbered(COUNT)] * 3))
    assert told == [True] * COUNT * 3
    assert values(any_server, COUNT) == [b"v%d" % i for i in range(COUNT)]
    if not calls(any_server, "msetex"):
        assert calls(any_server, "set") == COUNT * 3
        assert any_server.info("errorstats")["errorstat_ERR"] == "count=1"


def test_a_user_without_the_right_is_refused_once(server: ServerProcess) -> None:
    """That is the one line in the server's log: all is written, by SET."""
    settings = user(server, "~*")
    told = run(server, lambda store: write(store, *[numbered(COUNT)] * 3), **settings)
    assert told == [True] * COUNT * 3
    assert denied(server) == [(b"msetex", 1)]


def test_a_key_that_is_denied_is_refused_alone(server: ServerProcess) -> None:
    """Its neighbours are written, and those of the groups behind it are not overtaken."""
    settings = user(server, "+msetex", "~k*")
    first, second, third = (numbered(4 * GROUP, value=b"%d-" % n) for n in range(3))
    second[GROUP + 3] = entry(b"other", b"", 100)
    told = run(server, lambda store: write(store, first, second, third), **settings)
    refused = [i for i, reply in enumerate(told) if reply is not True]
    assert refused == [5 * GROUP + 3]
    assert isinstance(told[refused[0]], DeniedError)
    assert values(server, 4 * GROUP) == [b"2-%d" % i for i in range(4 * GROUP)]
    assert server.raw("EXISTS", "other") == 0


def test_when_memory_runs_out_each_entry_is_told_for_itself(server: ServerProcess) -> None:
    server.raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.raw("CONFIG", "SET", "maxmemory", int(server.info()["used_memory"]) + 2_000_000)
    entries = numbered(10_000, value=b"x" * 500)
    told = run(server, lambda store: write(store, entries[:5000], entries[5000:]))
    assert {type(reply) for reply in told} == {bool, OutOfMemoryError}
    assert server.raw("DBSIZE") == told.count(True)
    there = [value is not None for value in values(server, 10_000)]
    assert there == [reply is True for reply in told]


def loading_once(mark: bytes) -> Any:
    """Answer the first group in the chunk that holds `mark` with "not now", and keep it away."""
    met: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        data = chunk.data
        if chunk.direction == "up" and not met and mark in data:
            met.append(chunk.connection)
            start = data.rindex(b"*%d\r\n" % (2 * GROUP + 4), 0, data.index(mark))
            end = data.find(b"*", start + 1)
            yield data[:start] + data[end:]
        elif chunk.direction == "down" and len(met) == 1:
            met.append(chunk.connection)
            yield b"-LOADING the dataset\r\n" + data
        else:
            yield data

    return plan


def test_a_group_that_is_rejected_goes_out_again_before_what_followed(
    server: ServerProcess,
) -> None:
    """ "Not now" for a group in the middle: the last write of each key stands."""
    batches = [numbered(GROUP, value=b"%d-" % n) for n in range(6)]
    with Proxy(server, loading_once(b"2-7")) as proxy:
        assert run(proxy, lambda store: write(store, *batches)) == [True] * 6 * GROUP
    assert values(server, GROUP) == [b"5-%d" % i for i in range(GROUP)]


def test_what_a_cut_leaves_unanswered_is_sent_again_alone(server: ServerProcess) -> None:
    """The replies to three groups come through, the connection breaks: all is there, nothing twice."""
    batches = [numbered(4 * GROUP, value=b"%d-" % n) for n in range(3)]
    with Proxy(server) as proxy:

        async def work(store: Store) -> list[Any]:
            await store.ping()
            proxy.plan = held(threading.Event(), after=proxy.bytes["down"] + 3 * len(b":1\r\n"))
            task = asyncio.ensure_future(write(store, *batches))
            await until(lambda: server.raw("GET", "k0") == b"2-0")
            proxy.plan = passes
            server.raw("CONFIG", "RESETSTAT")
            proxy.cut()
            return await task

        assert run(proxy, work) == [True] * 12 * GROUP
    assert (calls(server, "msetex"), calls(server, "set")) == (0, 9 * GROUP)
    assert values(server, 4 * GROUP) == [b"2-%d" % i for i in range(4 * GROUP)]


@pytest.mark.parametrize("answers", [0, 1, 7])
def test_cancelled_it_says_of_each_entry_what_became_of_it(
    server: ServerProcess, answers: int
) -> None:
    """The first group is waited for; of the others all are sent, and some answered."""
    writings = [Writing(Entries.of(numbered(5 * GROUP)), only_missing=False) for _ in range(2)]
    sent = 10 if answers else 1
    with Proxy(server) as proxy:

        async def write_all(writer: Writer) -> None:
            for writing in writings:
                await writer.send(writing)
            await writer.land()

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.ping()
            proxy.plan = held(
                threading.Event(), after=proxy.bytes["down"] + answers * len(b":1\r\n")
            )
            server.raw("CONFIG", "RESETSTAT")
            async with store.writer() as writer:
                task = asyncio.ensure_future(write_all(writer))
                await until(lambda: calls(server, "msetex") == sent)
                await asyncio.sleep(0.1)  # the replies that are let through are read
                task.cancel()
                await asyncio.wait([task])

        run(proxy, work)
    told = [reply for writing in writings for reply in writing.so_far().replies]
    assert told == (
        [True] * answers * GROUP
        + [UNKNOWN] * (sent - answers) * GROUP
        + [UNSENT] * (10 - sent) * GROUP
    )


def test_what_was_refused_together_and_not_sent_alone_is_unsent(server: ServerProcess) -> None:
    """Cancelled right behind the refusal: nobody has refused the neighbours, nor sent them alone."""
    settings = user(server, "+msetex", "~k*")
    entries = numbered(5 * GROUP)
    entries[GROUP + 3] = entry(b"other", b"", 100)
    writing = Writing(Entries.of(entries), only_missing=False)
    replies = b":1\r\n-NOPERM No permissions to access a key\r\n:1\r\n"
    with Proxy(server) as proxy:

        async def work(store: Store) -> None:
            store.pace = Pace(FULL)
            await store.get(b"k")
            proxy.plan = held(threading.Event(), after=proxy.bytes["down"] + len(replies))
            async with store.writer() as writer:
                await writer.send(writing)
                landing = asyncio.ensure_future(writer.land())
                await until(lambda: calls(server, "msetex") == 4)
                await asyncio.sleep(0.1)  # the replies that are let through are read
                landing.cancel()
                await asyncio.wait([landing])

        server.raw("CONFIG", "RESETSTAT")
        run(proxy, work, **settings)
    told = writing.so_far().replies
    assert [set(told[i * GROUP : (i + 1) * GROUP]) for i in range(5)] == [
        {True}, {UNSENT}, {True}, {UNKNOWN}, {UNKNOWN},
    ]  # fmt: skip


@pytest.mark.parametrize("way", [[CUT], [threading.Event()]])
def test_what_hangs_up_on_the_command_or_is_silent_is_spared_it(
    server: ServerProcess, way: list[Step]
) -> None:
    """Some proxies do: it is tried once, and all is written by SET."""
    server.raw("CONFIG", "RESETSTAT")
    with Proxy(server) as proxy:
        proxy.plan = at(b"MSETEX", *way)
        told = run(
            proxy,
            lambda store: write(store, *[numbered(COUNT)] * 3),
            PATIENT._replace(answer=0.2),
        )
        assert proxy.connections == 2
    assert told == [True] * COUNT * 3
    assert (calls(server, "msetex"), calls(server, "set")) == (0, COUNT * 3)


@pytest.mark.xdist_group("cluster_of")
def test_in_a_cluster_each_key_has_its_node(cluster: Cluster) -> None:
    for node in cluster.primaries():
        node.raw("CONFIG", "RESETSTAT")
    assert run(cluster.url, lambda store: write(store, numbered(COUNT))) == [True] * COUNT
    assert [calls(node, "msetex") for node in cluster.primaries()] == [0] * 3
