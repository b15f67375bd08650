"""A user who may do little: on a cluster the same rights suffice, and what tells its slots."""

import pytest

from tests.cli.conftest import Run
from tests.clusters import Cluster
from tests.contract.places import RIGHTS, Sharded

USER, PASSWORD = "app", "canary-c4n4ry"
COMMANDS: dict[str, tuple[str, ...]] = {
    "set": ("k", "1"),
    "get": ("k",),
    "inspect": ("k",),
    "delete": ("k",),
    "warm": ("-",),
    "scan": ("--long",),
    "stats": ("n",),
    "export": ("n",),
    "health": ("--interval", "50ms"),
    "flush": ("n", "--yes"),
}
SLOTS = "+cluster|slots"
WALKS = ("scan", "stats", "export", "flush", "health")
"""Commands that look at all nodes: they ask each what it serves, too."""


@pytest.fixture
def sharded(cluster: Cluster, workdir) -> Sharded:
    """Give the cluster with a user in its settings."""
    place = Sharded(cluster)
    place.profile |= {"username": USER, "password": PASSWORD}
    place.settings(workdir, health={"latency": {"warning": "9s", "critical": "10s"}})
    return place


def let(place: Sharded, *rights: str) -> None:
    for primary in place.primaries():
        primary.raw("ACL", "SETUSER", USER, "reset", "on", f">{PASSWORD}", "~*", *rights)


def test_a_cluster_wants_its_slots_besides(run: Run, sharded: Sharded):
    """Every command does its work, and tries nothing that it may not."""
    entries = b"".join(b'{"key": "n:%d", "value": 1}\n' % number for number in range(50))
    for command, words in COMMANDS.items():
        nodes = ["+cluster|nodes"] if command in WALKS else []
        let(sharded, SLOTS, *nodes, *RIGHTS[command])
        result = run(command, *words, stdin=entries if command == "warm" else b"")
        assert (command, result.code) == (command, 0)
    assert sharded.denied() == []
    assert sharded.keys() == set()


def test_without_its_slots_a_cluster_is_4_and_tells_the_rule(run: Run, sharded: Sharded):
    """Not taken for one server, and nothing is removed."""
    sharded.put("n:1", "1")
    for command, words in COMMANDS.items():
        if command == "health":
            continue
        let(sharded, *RIGHTS[command])
        result = run("-o", "json", command, *words, stdin=b'{"key": "n:2", "value": 1}\n')
        assert (command, result.code, result.out) == (command, 4, b"")
        assert f"ACL SETUSER {USER} {SLOTS}" in result.err
        assert PASSWORD not in result.err
    assert sharded.keys() == {b"n:1"}


def test_what_others_removed_before_one_primary_refused_is_reported(
    run: Run, sharded: Sharded, cluster: Cluster
):
    """1, and what the others removed, to the key; or 4 with nothing on stdout, and nothing was done."""
    cluster.fill("n:", 3000)
    let(sharded, SLOTS, "+cluster|nodes", *RIGHTS["flush"])
    sharded.primaries()[0].raw("ACL", "SETUSER", USER, "-unlink")
    result = run("-o", "json", "flush", "n", "--yes")
    removed = 3000 - len(sharded.keys())
    if not removed:
        assert (result.code, result.out) == (4, b"")
        return
    told = {name: result.json[name] for name in ("deleted", "deleted_exact", "failed", "exit_code")}
    assert told == {
        "deleted": removed,
        "deleted_exact": True,
        "failed": 3000 - removed,
        "exit_code": 1,
    }
    assert result.code == 1
