"""Slots move between the nodes of a cluster: commands follow, no key is left out, none counted twice."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from cachectl import CacheClient
from tests.clusters import Cluster, Node
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import PASSWORD, Operator, executed, listed, seeds, value
from tests.faults.shifting import (
    TAGS,
    Moves,
    keys_of,
    name,
    names,
    once,
    operator_of,
    put,
    values_of,
)

COUNT = 800
RATE = ("--rate", "800")
"""So many keys a second: a command takes a second by itself."""
WALKS = (("scan", "n"), ("stats", "n"), ("export", "n"), ("flush", "n", "--yes"))


class Half(NamedTuple):
    """A slot that stays half-moved: some of its keys are on one node, others on the other."""

    slot: int
    source: Node
    target: Node
    left: list[str]
    moved: list[str]

    @property
    def keys(self) -> list[str]:
        """All of its keys."""
        return self.left + self.moved


@pytest.fixture
def operator(cluster: Cluster, operator_at: OperatorAt) -> Operator:
    """Give an operator of the cluster; a slow machine must not look like a dead server."""
    return operator_of(operator_at, cluster, client={"timeout": "10s", "connect_timeout": "10s"})


@contextmanager
def half_moved(cluster: Cluster, count: int = 40) -> Iterator[Half]:
    """Move half of the keys of a slot, and the others when the block ends."""
    keys = [f"n:{{half}}:{number}" for number in range(count)]
    slot = cluster.slot_of(keys[0])
    source = cluster.owner_of(slot)
    target = next(node for node in cluster.primaries() if node is not source)
    for key in keys:
        source.raw("SET", key, value())
    cluster.begin_move(slot, target)
    cluster.move_keys(slot, target, count // 2)
    moved = {key.decode() for key in target.raw("KEYS", "n:*")}
    for node in cluster.servers:
        node.raw("CONFIG", "RESETSTAT")
    yield Half(slot, source, target, sorted(set(keys) - moved), sorted(moved))
    cluster.move_keys(slot, target)
    cluster.end_move(slot, target)


def counted(cluster: Cluster, *verbs: str) -> dict[str, int]:
    """Return how often the primaries together have executed commands."""
    total = sum((executed(node) for node in cluster.primaries()), Counter[str]())
    return {verb: total[verb] for verb in verbs}


def test_single_commands_follow_a_key_to_either_side(cluster: Cluster, operator: Operator) -> None:
    """A key that is on neither side is written to the new one; each write is applied once."""
    with half_moved(cluster, count=2) as half:
        (left,), (moved,) = half.left, half.moved
        new = "n:{half}:new"
        for key in (left, moved):
            got = operator.ran("get", key)
            seen = operator.ran("inspect", key)
            assert (got.code, seen.code) == (0, 0), (got, seen)
            assert got.report["value"] == seen.report["value"]
            assert seen.report["slot"] == half.slot
        assert operator.ran("get", new).code == 1
        for key in (left, moved, new):
            done = operator.ran("set", key, '"again"')
            assert done.code == 0, done
        assert half.source.raw("KEYS", "n:*") == [left.encode()]
        assert set(half.target.raw("KEYS", "n:*")) == {moved.encode(), new.encode()}
        done = operator.ran("delete", left, moved, "n:{half}:none")
        assert (done.code, done.report) == (0, {"deleted": 2, "missing": 1}), done
        assert keys_of(cluster, "n:") == {new.encode()}
        assert counted(cluster, "set", "unlink") == {"set": 3, "unlink": 3}


def test_a_warm_writes_each_entry_once(cluster: Cluster, operator: Operator) -> None:
    """Of two values for a key the last one stands, whichever side it is on."""
    with half_moved(cluster) as half:
        keys = [*half.keys, *(f"n:{{half}}:new{number}" for number in range(20))]
        rows = [(key, number) for number in (1, 2) for key in keys]
        lines = (b'{"key":"%b","value":%b}\n' % (key.encode(), value(n)) for key, n in rows)
        operator.file("entries.jsonl", b"".join(lines))
        done = operator.ran("warm", "./entries.jsonl")
        assert (done.code, done.report["written"]) == (0, len(rows)), done
        assert counted(cluster, "set") == {"set": len(rows)}
        told = {row["node"]: row["keys"] for row in done.report["nodes"]}
        sets = {node.url: executed(node)["set"] for node in cluster.primaries()}
        assert told == {url: count for url, count in sets.items() if count}
    assert values_of(cluster, "n:") == {key.encode(): value(2) for key in keys}


def test_many_keys_at_once_follow_to_both_sides(
    cluster: Cluster, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application's `set_many`, `get_many` and `delete` treat each key of the slot once."""
    monkeypatch.setenv("CANARY", PASSWORD)

    async def main() -> None:
        async with CacheClient.from_config(operator.directory / "cachectl.yaml") as cache:
            new = [f"n:{{half}}:new{number}" for number in range(10)]
            values = {key: key for key in [*half.keys, *new]}
            assert await cache.set_many(values) == len(values)
            assert await cache.get_many([*values, "n:{half}:none"]) == values
            assert await cache.delete(*values, "n:{half}:none") == len(values)
            assert await cache.get_many(values) == {}
        assert counted(cluster, "set", "unlink") == {"set": 50, "unlink": 51}

    with half_moved(cluster) as half:
        asyncio.run(main())
        assert keys_of(cluster, "n:") == set()


def test_health_warns_while_a_slot_moves(cluster: Cluster, operator: Operator) -> None:
    """Each node knows its own end alone: both are told of, whichever node is seen first."""
    with half_moved(cluster):
        ended = operator.ran("health")
        check = ended.check("cluster")
        assert (ended.code, check["status"], check["value"]) == (1, "warning", 2)
        assert "slots are moving" in check["message"]
    assert operator.ran("health").check("cluster")["status"] == "ok"


@pytest.mark.parametrize("words", WALKS, ids=[words[0] for words in WALKS])
def test_nothing_is_proven_while_a_slot_stays_half_moved(
    cluster: Cluster, operator: Operator, words: tuple[str, ...]
) -> None:
    """After five passes it ends with 3 and says why; once the slot is closed, with 0."""
    with half_moved(cluster):
        ended = operator.ran(*words)
        assert ended.code == 3, ended
        told = ended.out + ended.err
        assert b"5 scans were broken off" in told
        assert b"were moving while it was scanned" in told
    ended = operator.ran(*words)
    assert ended.code == 0, ended
    assert len(keys_of(cluster, "n:")) == (0 if words[0] == "flush" else 40)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "given-up"])
def test_a_slot_that_came_back_is_noticed(
    cluster: Cluster, operator: Operator, *, closed: bool
) -> None:
    """Its keys were elsewhere while its node was scanned; the slots are where they were before."""
    put(cluster, "n:", COUNT)
    home, away, _ = cluster.primaries()
    *_, slot, last = sorted({cluster.slot_of(f"n:{{{n}}}") for n in range(TAGS)} & home.slots())
    beyond = [b'"%b"' % key for key in names("n:", COUNT) if cluster.slot_of(key) == last]
    run = operator.started("scan", "n", *RATE)
    once(run, lambda: run.out)
    cluster.begin_move(slot, away)
    cluster.move_keys(slot, away)
    if closed:
        cluster.end_move(slot, away)
    once(run, lambda: any(key in run.out for key in beyond))
    if closed:
        cluster.move_slot(slot, home)
    else:
        give_up(cluster, slot, away)
    ended = run.ended()
    assert ended.code == 0, ended.err
    assert listed(ended.lines).keys() == names("n:", COUNT)
    assert ended.warnings


def give_up(cluster: Cluster, slot: int, away: Node) -> None:
    """Close an open slot where it was, and take its keys back there."""
    home = cluster.owner_of(slot)
    home.raw("CLUSTER", "SETSLOT", slot, "STABLE")
    keys = away.raw("CLUSTER", "GETKEYSINSLOT", slot, COUNT)
    away.raw("MIGRATE", "127.0.0.1", home.port, "", 0, 5000, "KEYS", *keys)
    away.raw("CLUSTER", "SETSLOT", slot, "STABLE")


@pytest.mark.parametrize("seed", seeds())
def test_a_list_is_whole_while_slots_move(cluster: Cluster, operator: Operator, seed: int) -> None:
    """scan and export list every key at least once, stats counts each once."""
    put(cluster, "n:", COUNT)
    chance = random.Random(seed)
    runs = {verb: operator.started(verb, "n", *RATE) for verb in ("scan", "stats", "export")}
    once(runs["scan"], lambda: runs["scan"].out)
    Moves(cluster, names("n:", COUNT), chance).go_on(chance.uniform(0.1, 1.0))
    ended = {verb: run.ended() for verb, run in runs.items()}
    assert {verb: run.code for verb, run in ended.items()} == dict.fromkeys(ended, 0)
    for verb in ("scan", "export"):
        assert listed(ended[verb].lines).keys() == names("n:", COUNT)
    assert ended["stats"].report["keys"] == COUNT


@pytest.mark.parametrize("seed", seeds())
def test_an_application_follows_slots_that_move(
    cluster: Cluster, operator: Operator, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever CacheClient says that it wrote is what it reads; each write is applied once."""
    monkeypatch.setenv("CANARY", PASSWORD)
    chance = random.Random(seed)
    moves = Moves(cluster, names("n:", 2 * TAGS), chance)
    keys = [name("n:", number) for number in range(2 * TAGS)]

    async def main() -> int:
        async with CacheClient.from_config(operator.directory / "cachectl.yaml") as cache:
            moving = asyncio.create_task(asyncio.to_thread(moves.go_on, 1.0))
            rounds = 0
            while not moving.done():
                rounds += 1
                assert await cache.set_many(dict.fromkeys(keys, rounds)) == len(keys)
                assert await cache.get_many(keys) == dict.fromkeys(keys, rounds)
                key = chance.choice(keys)
                assert await cache.set(key, [rounds])
                assert await cache.get(key) == [rounds]
            await moving
            return rounds

    rounds = asyncio.run(main())
    assert counted(cluster, "set") == {"set": rounds * (len(keys) + 1)}
