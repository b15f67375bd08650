"""The URL is a replica's: reading works, a write is refused before anything and told where to go."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conftest import FreshServer
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    READS,
    WRITES,
    Operator,
    admit,
    executed,
    fill,
    keys_of,
    listed,
    until,
    value,
)
from tests.servers import ServerProcess

CHANGES = {"set", "unlink", "del", "restore", "eval", "scan"}
THREE = {b"n:0", b"n:1", b"n:2"}


class Pair(NamedTuple):
    """A primary and its replica, which an operator has taken for it."""

    primary: ServerProcess
    replica: ServerProcess
    operator: Operator

    def check_state(self) -> None:
        """Nothing was changed on either, nor looked for in order to be."""
        assert keys_of(self.primary) == keys_of(self.replica) == THREE
        assert self.primary.raw("GET", "n:1") == value()
        assert not CHANGES & executed(self.replica).keys()


@pytest.fixture
def pair(
    server: ServerProcess, fresh_server: FreshServer, operator_at: OperatorAt
) -> Iterator[Pair]:
    fill(server, "n:", 3)
    server.raw("CONFIG", "SET", "repl-diskless-sync", "yes", "repl-diskless-sync-delay", "0")
    replica = fresh_server(tcp=True)
    replica.raw("REPLICAOF", "127.0.0.1", server.port)
    until(lambda: keys_of(replica) == THREE and replica.raw("ROLE")[3] == b"connected")
    replica.raw("CONFIG", "RESETSTAT")
    operator = operator_at(replica)
    operator.entries(5)
    yield Pair(server, replica, operator)
    replica.close()


def test_reading_works(pair: Pair):
    for name, words in READS.items():
        ended = pair.operator.ran(*words)
        assert ended.code == 0, (name, ended.err)
        if name in {"scan", "export"}:
            assert listed(ended.lines) == dict.fromkeys(THREE, 1)
        elif name in {"stats", "export-to"}:
            assert ended.report["keys" if name == "stats" else "entries"] == 3
        else:
            assert ended.report["value"]["n"] == 0
    assert keys_of(pair.replica) == THREE


@pytest.mark.parametrize("more", [(), ("--only", "missing")])
@pytest.mark.parametrize("name", WRITES)
def test_writing_is_refused_before_anything(pair: Pair, name: str, more: tuple[str, ...]):
    """4, and the primary is named; neither a key is looked for nor a value sent."""
    if more and name != "set":
        more = ("--quiet",)
    ended = pair.operator.ran(*WRITES[name], *more)
    assert (ended.code, ended.out) == (4, b"")
    assert ended.error == {
        "code": "read_only_replica",
        "message": f"READONLY {pair.replica.url} is a replica and takes no writes",
        "hint": f"write to its primary: 127.0.0.1:{pair.primary.port}",
    }
    pair.check_state()


@pytest.mark.parametrize("name", WRITES)
def test_a_user_who_may_not_ask_for_the_role(pair: Pair, name: str):
    """Which server is the primary cannot be told then: the rest of the answer is the same."""
    admit(pair.replica, "~*", "+@all", "-role", "-info")
    ended = pair.operator.ran(*WRITES[name])
    assert (ended.code, ended.out) == (4, b"")
    assert ended.error["code"] == "read_only_replica"
    assert ended.error["hint"] == "write to its primary"
    pair.check_state()


def test_a_dry_run_is_no_write(pair: Pair):
    """It counts what a flush of the primary would remove."""
    ended = pair.operator.ran("flush", "n", "--dry-run")
    assert (ended.code, ended.report["matched"], ended.report["deleted"]) == (0, 3, 0)
    assert keys_of(pair.replica) == THREE


def test_health_warns_of_the_role(pair: Pair):
    """1: the link is up, so a replica is all that there is to say."""
    ended = pair.operator.ran("health")
    assert (ended.code, ended.report["status"]) == (1, "warning")
    assert ended.check("role")["status"] == "warning"
    assert ended.check("role")["message"] == "a replica: it takes no writes"
    assert ended.check("replication")["status"] == "ok"


def test_health_is_critical_once_the_link_is_down(pair: Pair):
    pair.replica.raw("REPLICAOF", "127.0.0.1", "1")
    ended = pair.operator.ran("health")
    assert (ended.code, ended.check("replication")["status"]) == (2, "critical")
    assert ended.check("role")["status"] == "warning"
