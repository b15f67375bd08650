"""A primary is replaced: commands follow, and whatever was lost or is not proven is told."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from subprocess import PIPE
from typing import NamedTuple

import pytest

from cachectl import CacheClient
from tests.client.client_tools import until as back_again
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    PASSWORD,
    Operator,
    Running,
    adds_up,
    listed,
    until,
    value,
)
from tests.faults.shifting import (
    Shared,
    ask,
    asleep,
    force,
    freeze,
    home_of,
    keys_of,
    kill,
    meanwhile,
    name,
    names,
    once,
    operator_of,
    owner,
    put,
    values_of,
)
from tests.members import holds

KEY = "n:0"
COUNT = 1200
RATE = ("--rate", "1000")
"""So many keys a second: each command takes a second by itself."""
REPLACED = "the server was restarted or replaced while it was warmed"


class Case(NamedTuple):
    """How the primary of KEY is replaced, and in which group."""

    fixture: str
    replace: Callable[[Shared, str], None]


class Scene(NamedTuple):
    """A group, an operator of it, and what is going to happen."""

    group: Shared
    operator: Operator
    case: Case

    def replace(self) -> None:
        """Replace the primary."""
        self.case.replace(self.group, KEY)

    def replaced(self, old: object) -> bool:
        """Whether another primary works in place of the old one."""
        return home_of(self.group, KEY) not in {None, old}


CASES = (
    Case("cluster", kill),
    Case("cluster", ask),
    Case("cluster", force),
    Case("cluster", freeze),
    Case("sentinels", kill),
    Case("sentinels", ask),
    Case("sentinels", freeze),
)


@pytest.fixture(
    params=[
        pytest.param(
            case,
            id=f"{case.fixture}-{case.replace.__name__}",
            marks=pytest.mark.xdist_group(f"{case.fixture}_of"),
        )
        for case in CASES
    ]
)
def scene(request: pytest.FixtureRequest, operator_at: OperatorAt) -> Scene:
    """Give each way in which a primary is replaced, on a group that is as it was at first."""
    group: Shared = request.getfixturevalue(request.param.fixture)
    return Scene(group, operator_of(operator_at, group), request.param)


def test_single_commands_follow(scene: Scene) -> None:
    """What is asked while nobody is the primary waits for the new one, which does it once."""
    group, operator, _ = scene
    put(group, "n:", 10)
    old = owner(group, KEY)
    with meanwhile(scene.replace):
        dies = scene.case.replace is kill
        until(lambda: (dies and not old.running) or holds(lambda: scene.replaced(old)))
        runs = {
            "get": operator.started("get", KEY),
            "inspect": operator.started("inspect", KEY),
            "set": operator.started("set", "n:{n:0}", '"new"'),
            "delete": operator.started("delete", "n:2", "n:4"),
            "health": operator.started("health"),
        }
        ended = {verb: run.ended() for verb, run in runs.items()}
        assert scene.replaced(old)
    group.settle()
    health = ended.pop("health")
    assert {verb: run.code for verb, run in ended.items()} == dict.fromkeys(ended, 0), ended
    assert health.code in {0, 1, 2}
    assert health.report["status"] == ("ok", "warning", "critical")[health.code]
    assert ended["get"].report["value"] == ended["inspect"].report["value"]
    assert ended["delete"].report == {"deleted": 2, "missing": 0}
    there = {KEY.encode(), b"n:6", b"n:8"} | {name("n:", i).encode() for i in range(1, 10, 2)}
    assert values_of(group, "n:") == dict.fromkeys(there, value()) | {b"n:{n:0}": b'"new"'}
    assert operator.ran("health").check("reachable")["status"] == "ok"


def test_a_list_is_whole(scene: Scene) -> None:
    """scan and export list every key at least once, stats counts each once, and all end with 0."""
    group, operator, _ = scene
    put(group, "n:", COUNT)
    runs = {verb: operator.started(verb, "n", *RATE) for verb in ("scan", "stats", "export")}
    once(runs["scan"], lambda: runs["scan"].out)
    scene.replace()
    ended = {verb: run.ended() for verb, run in runs.items()}
    assert {verb: run.code for verb, run in ended.items()} == dict.fromkeys(ended, 0)
    for verb in ("scan", "export"):
        assert listed(ended[verb].lines).keys() == names("n:", COUNT)
        twice = len(ended[verb].lines) > COUNT
        assert not twice or ended[verb].warnings, ended[verb].err
    assert ended["stats"].report["keys"] == COUNT


def test_a_flush_leaves_no_old_key(scene: Scene) -> None:
    """The scan starts over on the new primary, which still holds what the old one had removed."""
    group, operator, _ = scene
    put(group, "f:", COUNT)
    put(group, "n:", 10)
    run = operator.started("flush", "f", "--yes", *RATE)
    once(run, lambda: len(keys_of(group, "f:")) < COUNT)
    blind = scene.case == Case("sentinels", ask)
    # until Sentinel tells of a failover that it was asked for, nobody can know that writes are lost
    with asleep(run) if blind else nullcontext():
        scene.replace()
    ended = run.ended()
    group.settle()
    report = ended.report
    assert (ended.code, report["exit_code"], report["remaining"], report["failed"]) == (0, 0, 0, 0)
    assert report["passes"] > 1
    assert report["deleted"] >= COUNT
    assert not keys_of(group, "f:")
    assert keys_of(group, "n:") == names("n:", 10)


def test_a_warm_tells_what_may_be_lost(scene: Scene) -> None:
    """It goes on at the new primary; "written" is no proof any more, and a look at the keys is one."""
    group, operator, _ = scene
    sample = b"".join(b'{"key":"v:%d"}\n' % number for number in range(COUNT))
    operator.file("sample.jsonl", sample)
    proof = ("--verify", "sample.jsonl", "--min-hit-rate", "100%")
    runs = {
        "w": operator.started("warm", "-", stdin=PIPE),
        "v": operator.started("warm", "-", *proof, stdin=PIPE),
    }
    for prefix, run in runs.items():
        feed(run, prefix, range(COUNT // 2))
    until(lambda: len(keys_of(group, "[wv]:")) == COUNT)
    old = owner(group, KEY)
    there_before = len(keys_of(old, "v:"))
    scene.replace()
    for prefix, run in runs.items():
        feed(run, prefix, range(COUNT // 2, COUNT))
        assert run.process.stdin is not None
        run.process.stdin.close()
    ended = {prefix: run.ended() for prefix, run in runs.items()}
    group.settle()
    for prefix, end in ended.items():
        report = end.report
        assert adds_up(report)
        counts = (report["entries"], report["written"], report["unknown"])
        assert counts == (COUNT, COUNT, 0), report
        told = [report["error"] or {}, *report["errors"]]
        assert any(error.get("message", "").startswith(REPLACED) for error in told), told
        stand = values_of(group, f"{prefix}:")
        assert stand.items() <= {f"{prefix}:{i}".encode(): value(i) for i in range(COUNT)}.items()
    rows = {row["node"]: row["keys"] for row in ended["v"].report["nodes"]}
    assert sum(rows.values()) == COUNT
    if scene.case.replace is kill:
        # what came after it went to its heir, whoever it was sent to at first
        heir = owner(group, KEY)
        late = {f"v:{i}".encode() for i in range(COUNT // 2, COUNT)} & keys_of(heir, "v:")
        assert rows[old.url] == there_before
        assert rows[heir.url] == len(late)
    assert ended["w"].code == 3
    there = len(keys_of(group, "v:")) / COUNT
    assert ended["v"].report["hit_rate"]["after"] == pytest.approx(there)
    assert ended["v"].code == (0 if there == 1 else 3)


def feed(run: Running, prefix: str, numbers: range) -> None:
    """Write entries to a command's stdin."""
    assert run.process.stdin is not None
    lines = (b'{"key":"%b:%d","value":%b}\n' % (prefix.encode(), i, value(i)) for i in numbers)
    run.process.stdin.write(b"".join(lines))
    run.process.stdin.flush()


def test_an_application_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """CacheClient gives None and False meanwhile, raises nothing, and works with the new primary."""
    group, operator, _ = scene
    monkeypatch.setenv("CANARY", PASSWORD)
    old = owner(group, KEY)
    settings = operator.directory / "cachectl.yaml"

    async def main() -> None:
        async with CacheClient.from_config(settings) as cache:
            assert await cache.set(KEY, 0)
            replacing = asyncio.create_task(asyncio.to_thread(scene.replace))
            number = 1
            while not (replacing.done() and await cache.set(KEY, number)):
                assert await cache.get(KEY) in {None, *range(number + 1)}
                assert (await cache.get_many([KEY])).keys() <= {KEY}
                number += 1
                await asyncio.sleep(0.01)
            await replacing
            await asyncio.to_thread(group.settle)
            await back_again(lambda: cache.set(KEY, -1))
            await back_again(cache.health_check)
            assert await cache.get(KEY) == -1

    asyncio.run(main())
    assert scene.replaced(old)
    assert owner(group, KEY).raw("GET", KEY) == b"-1"
