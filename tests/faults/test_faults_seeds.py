"""Flush and warm through a restart, a failover and slots that move, at moments left to chance.

Two seeds each; CACHECTL_FAULT_SEEDS=20 runs twenty.
"""

import random
from collections.abc import Callable

import pytest

from tests.clusters import Cluster
from tests.conftest import FreshServer
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import Operator, adds_up, seeds, until, value
from tests.faults.shifting import (
    TAGS,
    Group,
    Moves,
    ask,
    force,
    freeze,
    keys_of,
    kill,
    name,
    names,
    operator_of,
    put,
    values_of,
)
from tests.sentinels import SentinelTrio
from tests.servers import ServerProcess

COUNT = 1000
RATE = ("--rate", "1000")
KEY = "n:0"


@pytest.mark.parametrize("seed", seeds())
def test_a_restart(fresh_server: FreshServer, operator_at: OperatorAt, seed: int) -> None:
    """The server comes back empty, or with all that it had before: a dump brings old keys again."""
    server = fresh_server(tcp=True)
    chance = random.Random(seed)
    put(server, "f:", COUNT)
    if chance.choice([True, False]):
        server.raw("SAVE")
    operator = operator_of(operator_at, server)
    changed_truly(server, operator, chance, lambda: server.restart(kill=True))


@pytest.mark.parametrize("seed", seeds())
def test_a_failover_of_a_cluster(cluster: Cluster, operator_at: OperatorAt, seed: int) -> None:
    """A replica takes over, whether its primary is dead, asks for it, or knows nothing of it."""
    chance = random.Random(seed)
    replace = chance.choice([kill, ask, force, freeze])
    operator = operator_of(operator_at, cluster)
    changed_truly(cluster, operator, chance, lambda: replace(cluster, KEY))


@pytest.mark.parametrize("seed", seeds())
def test_a_failover_of_sentinel(
    sentinels: SentinelTrio, operator_at: OperatorAt, seed: int
) -> None:
    """A replica takes over from a primary that is dead, or wakes up later."""
    chance = random.Random(seed)
    replace = chance.choice([kill, freeze])
    operator = operator_of(operator_at, sentinels)
    changed_truly(sentinels, operator, chance, lambda: replace(sentinels, KEY))


@pytest.mark.parametrize("seed", seeds())
def test_slots_that_move(cluster: Cluster, operator_at: OperatorAt, seed: int) -> None:
    """Slots go to and fro with what is to be removed, and with what is being written."""
    chance = random.Random(seed)
    moves = Moves(cluster, names("n:", 2 * TAGS), chance)
    operator = operator_of(operator_at, cluster)
    code = changed_truly(cluster, operator, chance, lambda: moves.go_on(chance.uniform(0.1, 1.0)))
    assert code == 0  # nothing is lost by a move


def changed_truly(
    group: Group, operator: Operator, chance: random.Random, happen: Callable[[], object]
) -> int:
    """Flush and warm while something happens, and look at the keys; return the exit code of warm."""
    put(group, "f:", COUNT)
    put(group, "n:", 10)
    written = [(name("w:", number % (COUNT // 2)), number) for number in range(COUNT)]
    lines = (b'{"key":"%b","value":%b}\n' % (key.encode(), value(n)) for key, n in written)
    operator.file("w.jsonl", b"".join(lines))
    flush = operator.started("flush", "f", "--yes", *RATE)
    warm = operator.started("warm", "./w.jsonl", *RATE)
    left, there = chance.randrange(COUNT), chance.randrange(COUNT // 2)
    until(
        lambda: flush.over or len(keys_of(group, "f:")) <= left or len(keys_of(group, "w:")) > there
    )
    happen()
    flushed, warmed = flush.ended(), warm.ended()
    if not isinstance(group, ServerProcess):
        group.settle()
    print(f"flush {flushed.code}, warm {warmed.code}")
    assert flushed.code == 0, flushed
    assert not keys_of(group, "f:")
    assert warmed.code in {0, 3}, warmed
    assert adds_up(warmed.report)
    stand = values_of(group, "w:")
    assert warmed.code == 3 or stand == {k.encode(): value(n) for k, n in written}
    assert warmed.code == 0 or "restarted or replaced" in warmed.report["error"]["message"]
    return warmed.code
