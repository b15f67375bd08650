"""Connections that break at any byte: nothing is lost, counted twice or guessed."""

import json
import math
import random
from collections.abc import Iterator

import pytest

from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    adds_up,
    executed,
    fill,
    keys_of,
    listed,
    seeds,
    value,
)
from tests.plans import Chunk, Direction, Plan, Step, cut_after, lost_reply
from tests.proxies import Proxy
from tests.servers import ServerProcess

WAYS: tuple[Direction, ...] = ("up", "down")
COUNT = 1000
CUTS = 3
"""So many connections are cut in a run, each at a byte of its own; those after them stand."""
FIRST = {"up": 400, "down": 4000}
"""Bytes that every one of these commands sends and gets: within them the first cut lies."""
LATER = 30_000


def cuts(dice: random.Random) -> Plan:
    """Cut the first connections, each at a byte of one way: of its greeting as likely as of its work."""
    ways = [dice.choice(WAYS) for _ in range(CUTS)]
    limits = [FIRST[ways[0]], *[LATER] * (CUTS - 1)]
    places = [int(math.exp(dice.uniform(0, math.log(limit)))) for limit in limits]

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.connection > CUTS:
            yield chunk.data
            return
        number = chunk.connection - 1
        yield from cut_after(places[number], ways[number], None)(chunk)

    return plan


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["get", "inspect", "set", "delete"])
def test_a_single_command_over_one_cut(
    operator_at: OperatorAt, server: ServerProcess, name: str, way: Direction, seed: int
):
    """One more try and the same answer, whichever byte it was; what was lost is not guessed."""
    dice = random.Random(f"{seed}{name}{way}")
    fill(server, "n:", 2)
    with Proxy(server) as proxy:
        operator = operator_at(proxy)
        operator.ran(*COMMANDS[name])
        assert proxy.connections == 1
        fill(server, "n:", 2)
        server.raw("CONFIG", "RESETSTAT")
        proxy.plan = cut_after(dice.randrange(proxy.bytes[way]), way, 2)
        ended = operator.ran(*COMMANDS[name])
        assert proxy.connections == 3
    done = executed(server)
    if name == "get":
        assert (ended.code, ended.report["value"]) == (0, json.loads(value()))
        assert done["get"] in {1, 2}
    elif name == "inspect":
        assert (ended.code, ended.report["type"]) == (0, "string")
    elif name == "set":
        assert (ended.code, ended.report["written"]) == (0, True)
        assert server.raw("GET", "n:1") == b"5"
        assert done["set"] in {1, 2}
    elif done["unlink"] == 1:
        assert (ended.code, ended.report) == (0, {"deleted": 1, "missing": 0})
    else:  # the first sending removed it, or it had not been there: the second cannot know
        assert (ended.code, ended.report) == (3, {"deleted": 0, "missing": 0, "unknown": 1})
    assert (b"n:1" in keys_of(server)) == (name != "delete")


@pytest.mark.parametrize("name", [*COMMANDS, "health"])
def test_every_connection_is_cut(operator_at: OperatorAt, server: ServerProcess, name: str):
    """3 after some tries (health: 2), and nothing is told that did not come."""
    fill(server, "n:", COUNT)
    before = keys_of(server)
    with Proxy(server, cut_after(40, "down", None)) as proxy:
        operator = operator_at(proxy)
        operator.entries(COUNT)
        ended = operator.ran(*COMMANDS.get(name, (name,)), "--timeout", "1s")
    if name == "health":
        assert (ended.code, ended.report["status"]) == (2, "critical")
    else:
        assert (ended.code, ended.out) == (3, b"")
        assert ended.error["code"] in {"connection_lost", "timeout"}
    assert keys_of(server) == before
    assert proxy.connections >= 3


def test_a_lost_answer_to_only_missing_is_looked_up(operator_at: OperatorAt, server: ServerProcess):
    """Its own first try has set the key: sent again, the server would say that it was there."""
    with Proxy(server, lost_reply(b"SET")) as proxy:
        ended = operator_at(proxy).ran("set", "n:1", value().decode(), "--only", "missing")
    assert (ended.code, ended.report) == (0, {"key": "n:1", "written": True})
    assert server.raw("GET", "n:1") == value()


def test_a_lost_answer_to_only_missing_where_another_was_first(
    operator_at: OperatorAt, server: ServerProcess
):
    server.raw("SET", "n:1", "theirs")
    with Proxy(server, lost_reply(b"SET")) as proxy:
        ended = operator_at(proxy).ran("set", "n:1", value().decode(), "--only", "missing")
    assert (ended.code, ended.report) == (1, {"key": "n:1", "written": False})
    assert server.raw("GET", "n:1") == b"theirs"


def test_a_lost_answer_to_delete_is_unknown(operator_at: OperatorAt, server: ServerProcess):
    """Of several keys, too: gone they are, whether they had been there nobody can tell."""
    fill(server, "n:", 3)
    with Proxy(server, lost_reply(b"UNLINK")) as proxy:
        ended = operator_at(proxy).ran("delete", "n:0", "n:1", "none")
    assert (ended.code, ended.report) == (3, {"deleted": 0, "missing": 0, "unknown": 3})
    assert keys_of(server) == {b"n:2"}


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("only", ["all", "missing"])
def test_no_entry_is_lost_or_counted_twice(
    operator_at: OperatorAt, server: ServerProcess, only: str, seed: int
):
    """Three cuts anywhere: 0 with all of them there, or 3 with what is unknown."""
    preset = {b"n:%d" % number for number in range(0, COUNT, 3)}
    with server.connect() as raw:
        raw.call("MSET", *(word for key in sorted(preset) for word in (key, b"0")))
    with Proxy(server, cuts(random.Random(seed))) as proxy:
        operator = operator_at(proxy)
        operator.entries(COUNT)
        ended = operator.ran("warm", "./entries.jsonl", "--only", only)
        assert proxy.connections >= 2
    if not ended.out:  # cut before anything was sent
        assert (ended.code, keys_of(server)) == (3, preset)
        return
    report = ended.report
    assert adds_up(report)
    ours = sum(server.raw("GET", b"n:%d" % i) == value(i) for i in range(COUNT))
    assert report["written"] <= ours <= report["written"] + report["unknown"]
    if only == "missing":
        assert report["skipped"] <= len(preset)
        assert all(server.raw("GET", key) == b"0" for key in preset)
    if ended.code == 0:
        assert report["written"] == ours == (COUNT if only == "all" else COUNT - len(preset))
        assert server.raw("DBSIZE") == COUNT
    else:
        assert ended.code == 3
        assert report["unknown"] + report["unsent"] > 0


@pytest.mark.parametrize("seed", seeds())
def test_a_flush_counts_what_is_gone(operator_at: OperatorAt, server: ServerProcess, seed: int):
    fill(server, "n:", COUNT)
    fill(server, "else:", 100)
    with Proxy(server, cuts(random.Random(seed))) as proxy:
        ended = operator_at(proxy).ran(*COMMANDS["flush"])
        assert proxy.connections >= 2
    gone = COUNT + 100 - server.raw("DBSIZE")
    assert len(keys_of(server, "else:*")) == 100
    if not ended.out:
        assert (ended.code, gone) == (3, 0)
        return
    report = ended.report
    assert report["deleted"] <= gone <= report["matched"] <= COUNT
    assert report["deleted"] == gone or not report["deleted_exact"]
    if ended.code == 0:
        assert (gone, report["remaining"], report["matched"]) == (COUNT, 0, COUNT)
    else:
        assert ended.code == 3


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("name", ["scan", "export", "export-to", "stats"])
def test_no_key_is_left_out(operator_at: OperatorAt, server: ServerProcess, name: str, seed: int):
    """Listed at least once, and a restart is said; counted once."""
    fill(server, "n:", COUNT)
    fill(server, "else:", 100)
    with Proxy(server, cuts(random.Random(f"{seed}{name}"))) as proxy:
        operator = operator_at(proxy)
        ended = operator.ran(*COMMANDS[name])
        assert proxy.connections >= 2
    out = operator.directory / "out.jsonl"
    if ended.code == 3:
        assert not out.exists()
        return
    assert ended.code == 0
    if name == "stats":
        assert ended.report["keys"] == COUNT
        return
    rows = [json.loads(line) for line in out.read_bytes().splitlines()] if out.exists() else []
    keys = listed(rows or ended.lines)
    assert keys.keys() == {b"n:%d" % number for number in range(COUNT)}
    assert max(keys.values()) <= 1 + len(ended.warnings)
    assert all(row["value"] == json.loads(value()) for row in rows)
