"""What is found out from a cluster's nodes, and where commands go that were at the wrong one."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest
from redis.crc import key_slot

from cachectl.config.secrets import Credentials
from cachectl.config.settings import Server
from cachectl.config.url import Address
from cachectl.errors import LoginError, ServerError, UnreachableError
from cachectl.models import Entry
from cachectl.store.abreast import abreast
from cachectl.store.cluster import Cluster, Served, told
from cachectl.store.detour import astray
from cachectl.store.errors import RedirectError, from_reply
from cachectl.store.lanes import Sent
from cachectl.store.members import members
from cachectl.store.race import first_answer
from cachectl.store.store import Store
from cachectl.store.stream import UNSENT
from tests import clusters
from tests.store.stores import run

THREE = [
    Served(0, 5460, (("10.0.0.1", 1), ("10.0.0.4", 4))),
    Served(5461, 10922, (("10.0.0.2", 2), ("10.0.0.5", 5))),
    Served(10923, 16383, (("10.0.0.3", 3),)),
]


def cluster_of(served: list[Served]) -> Cluster:
    address = Address("cluster", nodes=(("10.0.0.1", 1),))
    cluster = Cluster(Server(None, "a test", address, Credentials()), address.nodes, 10)
    cluster._enter(served)
    return cluster


def where(cluster: Cluster, key: bytes) -> str:
    return cluster.node_for(key).connector.where


def test_keys_are_split_by_their_slots() -> None:
    """Each key is named once, at the node of its slot, with and without hash tags."""
    cluster = cluster_of(THREE)
    plain = [b"k%d" % i for i in range(500)]
    for keys in (plain, [*plain, b"{a}x", b"{}y", b"{b", b"x{c}{d}", b"\xff{\xfe}"]):
        split = cluster.split(keys)
        places = [place for _, found in split for place in found]
        assert sorted(places) == list(range(len(keys)))
        for pool, found in split:
            assert found == sorted(found)
            assert {cluster.node_for(keys[place]) for place in found} == {pool}
    assert cluster.slot_of(b"{user}:1") == cluster.slot_of(b"{user}:2") == key_slot(b"user")


def test_a_promoted_replica_is_the_same_shard() -> None:
    """Its pool stays, and leads to the new primary; other primaries keep theirs."""
    cluster = cluster_of(THREE)
    pools = {one.start: cluster._pools[one.start] for one in THREE}
    after = [THREE[0]._replace(nodes=(("10.0.0.4", 4), ("10.0.0.1", 1))), *THREE[1:]]
    cluster._enter(after)
    assert {one.start: cluster._pools[one.start] for one in THREE} == pools
    assert pools[0].connector.where == "redis://10.0.0.4:4/0"


def test_moved_is_for_good_and_ask_for_once() -> None:
    """After MOVED a slot's keys go to the other node; ASK tells nothing about the next command."""
    cluster = cluster_of(THREE)
    slot, key = key_slot(b"k1"), b"k1"
    here, there = where(cluster, key), ("10.0.0.9", 9)
    asked = from_reply(f"ASK {slot} {there[0]}:{there[1]}")
    assert isinstance(asked, RedirectError)
    assert cluster.follow(asked).connector.where == "redis://10.0.0.9:9/0"
    assert where(cluster, key) == here
    moved = from_reply(f"MOVED {slot} {there[0]}:{there[1]}")
    assert isinstance(moved, RedirectError)
    cluster.follow(moved)
    assert where(cluster, key) == "redis://10.0.0.9:9/0"
    assert cluster.split([key])[0][0] is cluster.node_for(key)


@pytest.mark.parametrize(
    ("text", "host", "port", "asks"),
    [
        ("MOVED 3999 127.0.0.1:6381", "127.0.0.1", 6381, False),
        ("ASK 3999 ::1:6381", "::1", 6381, True),
        ("MOVED 3999 :6381", "", 6381, False),
        ("MOVED 3999 ?:6381", "", 6381, False),
        ("MOVED 3999 cache-1.example.com:6381", "cache-1.example.com", 6381, False),
    ],
)
def test_a_redirect_is_read(text: str, host: str, port: int, asks: bool) -> None:
    """Host, port and whether ASKING must go before; no host is the one that was asked."""
    error = from_reply(text)
    assert isinstance(error, RedirectError)
    assert (error.slot, error.host, error.port, error.asks) == (3999, host, port, asks)


@pytest.mark.parametrize(
    "text",
    ["MOVED", "MOVED 1", "MOVED 16384 a:1", "ASK x a:1", "ASK 1 a", "MOVED 1 a:1x"],
)
def test_what_is_no_redirect_is_an_error_like_others(text: str) -> None:
    """Words that only begin like one lead nowhere."""
    assert type(from_reply(text)) is ServerError


def test_slots_are_read_as_they_are_told() -> None:
    """Names, addresses, and what has none: the host that was asked."""
    reply = [
        [0, 5, [b"10.0.0.1", 7, b"id"], [b"", 8, b"id"]],
        [6, 9, [None, 9, b"id", []]],
        [10, 11, [b"?", 9, b"id", [b"ip", b"1.2.3.4"]]],
    ]
    assert told(reply, "asked") == [
        Served(0, 5, (("10.0.0.1", 7), ("asked", 8))),
        Served(6, 9, (("asked", 9),)),
        Served(10, 11, (("asked", 9),)),
    ]


def test_the_nodes_of_a_cluster_are_read() -> None:
    """Flags, primaries, and slots with what is moving."""
    reply = (
        b"aa 127.0.0.1:7001@17001,host,shard-id=x myself,master - 0 0 1 connected 0-5 9 [7->-bb]\n"
        b"bb :7002@17002 slave,fail? aa 0 0 1 disconnected\n"
    )
    one, two = members(reply)
    assert (one.address, one.myself, one.served, one.moving) == ("127.0.0.1:7001", True, 7, 1)
    assert (two.primary, two.failing, two.served, two.slots) == ("aa", True, 0, ())


def moved() -> RedirectError:
    return RedirectError("MOVED 1 127.0.0.1:1", 1, "127.0.0.1", 1)


def test_a_write_that_was_referred_is_not_overtaken() -> None:
    """What was written to its key since goes again behind it; other keys, and reads, do not."""
    first, second = Sent([b"1"] * 3), Sent([b"2"] * 3)
    first.last_wins, second.last_wins = [b"a", b"b", b"c"], [b"c", b"b", b"d"]
    first.outcomes.replies = [b"OK", moved(), b"OK"]
    second.outcomes.replies = [b"OK", b"OK", b"OK"]
    found = [(stray.sent, stray.place) for stray in astray([first, second])]
    assert found == [(first, 1), (second, 1)]
    first.last_wins = second.last_wins = None
    assert [(stray.sent, stray.place) for stray in astray([first, second])] == [(first, 1)]
    second.outcomes.replies = [UNSENT] * 3
    assert len(astray([second])) == 0


def test_the_first_answer_wins() -> None:
    """Who is silent, or fails, is passed over; a refused login is final."""
    asked: list[str] = []

    def asking(name: str, outcome: object) -> Callable[[], object]:
        async def ask() -> object:
            asked.append(name)
            if outcome is None:
                await asyncio.Event().wait()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return ask

    def winner(*outcomes: object) -> object:
        asked.clear()
        ask = [asking(str(place), outcome) for place, outcome in enumerate(outcomes)]
        return asyncio.run(first_answer(ask, "of them"))  # type: ignore[arg-type]

    assert winner("yes", "no") == "yes"
    assert asked == ["0"]
    assert winner(None, UnreachableError("gone"), "third") == "third"
    with pytest.raises(UnreachableError, match="last"):
        winner(UnreachableError("first"), UnreachableError("last"))
    with pytest.raises(LoginError):
        winner(LoginError("no"), "yes")
    assert asked == ["0"]


def test_generators_side_by_side_lose_nothing() -> None:
    """Each goes on when its value was dealt with; what one raises comes after all that was found."""
    begun: list[str] = []

    async def count(name: str, end: int, error: Exception | None) -> AsyncGenerator[str, None]:
        for i in range(end):
            begun.append(f"{name}{i}")
            yield f"{name}{i}"
        if error is not None:
            raise error
        await asyncio.sleep(0)

    async def collect(error: Exception | None) -> list[str]:
        found: list[str] = []
        both = [lambda: count("a", 3, None), lambda: count("b", 2, error)]
        try:
            async with aclosing(abreast(both)) as values:
                async for value in values:
                    assert len(begun) - len(found) <= 2
                    found.append(value)
        except ValueError:
            found.append("raised")
        return found

    assert sorted(asyncio.run(collect(None))) == ["a0", "a1", "a2", "b0", "b1"]
    begun.clear()
    found = asyncio.run(collect(ValueError("b")))
    assert found[-1] == "raised"
    assert sorted(found[:-1]) == sorted(begun)


def test_every_command_reaches_its_slot(cluster: clusters.Cluster) -> None:
    """Writes, reads and removals over all primaries; a scan has each key once."""
    entries = [Entry(b"n:%d" % i, b"%d" % i, 60.0) for i in range(1000)]
    keys = [entry.key for entry in entries]

    async def work(store: Store) -> None:
        assert (await store.write(entries)).replies == [True] * 1000
        assert (await store.get_many(keys)).replies == [entry.value for entry in entries]
        assert (await store.exist([*keys, b"none"])).replies == [1] * 1000 + [0]
        async with aclosing(store.pages(b"n:*")) as pages:
            found = [page async for page in pages]
        assert sorted(key for page in found for key in page.keys) == sorted(keys)
        assert len({page.node for page in found}) == 3
        assert len(await store.identity()) == 3
        assert (await store.unlink(keys)).replies == [1] * 1000

    run(cluster.url, work)
    assert cluster.dbsize() == 0


def test_a_stale_table_is_mended_by_what_the_nodes_say(cluster: clusters.Cluster) -> None:
    """Slots that moved since are followed, and the last write of a key stands."""
    keys = [b"k%d" % i for i in range(60)]

    async def work(store: Store) -> None:
        assert (await store.write([Entry(key, b"0", None) for key in keys])).error is None
        for key in keys[:6]:
            slot = cluster.slot_of(key)
            target = next(p for p in cluster.primaries() if p is not cluster.owner_of(slot))
            cluster.move_slot(slot, target)
        twice = [Entry(key, value, None) for value in (b"1", b"2") for key in keys]
        assert (await store.write(twice)).replies == [True] * 120
        assert (await store.get_many(keys)).replies == [b"2"] * 60
        for key in keys[:6]:
            assert await store.get(key) == b"2"

    run(cluster.url, work)


def test_a_slot_on_its_way_is_asked_for(cluster: clusters.Cluster) -> None:
    """Half of a slot's keys here, half there: each is read and written where it is, and only there."""
    tagged = [b"{tag}%d" % i for i in range(40)]
    slot = cluster.slot_of(tagged[0])
    target = next(p for p in cluster.primaries() if p is not cluster.owner_of(slot))

    async def work(store: Store) -> None:
        await store.write([Entry(key, b"0", None) for key in tagged])
        cluster.begin_move(slot, target)
        cluster.move_keys(slot, target, 20)
        assert (await store.get_many(tagged)).replies == [b"0"] * 40
        new = [b"{tag}new%d" % i for i in range(5)]
        written = await store.write([Entry(key, b"1", None) for key in (*tagged, *new)])
        assert written.replies == [True] * 45
        assert await store.get(tagged[39]) == b"1"
        assert await store.set(new[0], b"2")
        assert (await store.unlink(tagged)).replies == [1] * 40
        assert (await store.get_many(new)).replies == [b"2"] + [b"1"] * 4

    run(cluster.url, work)
    assert cluster.dbsize() == 5
    cluster.move_keys(slot, target)
    cluster.end_move(slot, target)


def test_what_fails_beside_the_first_answer_is_heard() -> None:
    """Two that end in the same moment, one well: the other's error is not left to the loop."""
    unheard: list[object] = []

    async def main() -> str:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
        second_asked = asyncio.Event()

        async def fails() -> str:
            await second_asked.wait()
            msg = "gone"
            raise UnreachableError(msg)

        async def works() -> str:
            second_asked.set()
            return "yes"

        found = await first_answer([fails, works], "of them")
        gc.collect()
        return found

    assert asyncio.run(main()) == "yes"
    assert not unheard
