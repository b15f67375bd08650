"""What the server's access rules deny: 4 with user, command and rule, and the least that suffices."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.clusters import Cluster
from tests.conftest import FreshServer
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    USER,
    Ended,
    Operator,
    admit,
    executed,
    fill,
    keys_of,
    listed,
    refusals,
    value,
)
from tests.faults.shifting import operator_of
from tests.servers import ServerProcess

THREE = {b"n:0", b"n:1", b"n:2"}
DEL_WARNING = (
    "UNLINK is denied or unknown: keys were removed with DEL, which holds the server up"
    " while it frees a big value"
)
LEAST: dict[str, tuple[str, ...]] = {
    "get": ("+get",),
    "set": ("+set",),
    "warm": ("+set",),
    "delete": ("+unlink",),
    "scan": ("+scan",),
    "stats": ("+scan", "+pttl", "+memory|usage", "+type"),
    "export": ("+scan", "+get", "+pttl"),
    "flush": ("+scan", "+unlink"),
    "inspect": ("+type", "+pttl", "+object|encoding", "+memory|usage", "+strlen", "+getrange"),
    "health": ("+ping", "+info", "+role"),
}
"""What each command needs, and nothing else is allowed."""
ASKED_TOO = {
    "get": {"pttl"},  # the JSON has a "ttl"
    "set": set[str](),
    "delete": set[str](),
    "health": set[str](),
    "inspect": {"object|idletime", "object|freq"},
    "export": {"info", "strlen"},  # how many values are read at once
}
"""What commands ask for besides; else INFO, which tells whether the server was replaced meanwhile."""


@pytest.fixture
def server(server: ServerProcess) -> ServerProcess:
    fill(server, "n:", 3)
    return server


def limited(operator_at: OperatorAt, server: ServerProcess, *rights: str) -> Operator:
    """Return an operator with these rights alone; the server forgets what it has counted."""
    admit(server, *rights)
    server.raw("CONFIG", "RESETSTAT")
    server.raw("ACL", "LOG", "RESET")
    operator = operator_at(server)
    operator.entries(5)
    return operator


def words(name: str) -> Sequence[str]:
    return COMMANDS.get(name, (name,))


def check_done(name: str, ended: Ended, server: ServerProcess) -> None:
    """What the command is for was done, all of it."""
    assert ended.code == 0, (ended.err, ended.out)
    after = {
        "set": THREE,
        "warm": {b"n:%d" % i for i in range(5)},
        "delete": THREE - {b"n:1"},
        "flush": set(),
    }
    assert keys_of(server) == after.get(name, THREE)
    if name in {"scan", "export"}:
        assert listed(ended.lines) == dict.fromkeys(THREE, 1)
    elif name == "stats":
        assert ended.report["keys"] == 3
        assert ended.report["bytes"] > 0
    elif name == "health":
        denied = [row for row in ended.report["checks"] if row["message"] == "denied"]
        assert denied == []


@pytest.mark.parametrize("name", LEAST)
def test_the_least_rights_suffice(operator_at: OperatorAt, server: ServerProcess, name: str):
    """Nothing else was tried but what is put to use where it is allowed."""
    operator = limited(operator_at, server, "~*", *LEAST[name])
    ended = operator.ran(*words(name))
    check_done(name, ended, server)
    assert {asked for _, asked in refusals(server)} <= ASKED_TOO.get(name, {"info"})


ONE_FEWER = [
    ("get", "+get"),
    ("set", "+set"),
    ("warm", "+set"),
    ("delete", "+unlink"),
    ("scan", "+scan"),
    ("stats", "+scan"),
    ("export", "+scan"),
    ("export", "+get"),
    ("export", "+pttl"),
    ("flush", "+scan"),
    ("flush", "+unlink"),
    ("inspect", "+type"),
]
"""Rights without which there is no answer; without the others a part of it is denied."""


@pytest.mark.parametrize(("name", "right"), ONE_FEWER)
def test_one_right_fewer_is_told_with_the_rule(
    operator_at: OperatorAt, server: ServerProcess, name: str, right: str
):
    """The server names user and command, the hint the rule; nothing is done by halves."""
    rights = [each for each in LEAST[name] if each != right]
    operator = limited(operator_at, server, "~*", *rights)
    ended = operator.ran(*words(name))
    assert ended.code == (1 if name == "warm" else 4), ended
    told = ended.out.decode() + ended.err.decode()
    assert f"ACL SETUSER {USER} {right}" in told
    assert f"User {USER} has no permissions to run the '{right[1:]}' command" in told
    assert keys_of(server) == THREE
    assert server.raw("GET", "n:1") == value()
    if name == "warm":
        assert (ended.report["written"], ended.report["failed"]) == (0, 5)


@pytest.mark.parametrize(
    ("name", "right", "field"),
    [
        ("inspect", "+pttl", "ttl"),
        ("inspect", "+object|encoding", "encoding"),
        ("inspect", "+memory|usage", "bytes"),
        ("inspect", "+strlen", "length"),
        ("inspect", "+getrange", "value"),
        ("stats", "+memory|usage", "bytes"),
        ("stats", "+pttl", "ttl"),
    ],
)
def test_a_luxury_that_is_denied_is_named_and_never_0(
    operator_at: OperatorAt, server: ServerProcess, name: str, right: str, field: str
):
    """0: the question is answered; the field is left out and said to be denied."""
    rights = [each for each in LEAST[name] if each != right]
    ended = limited(operator_at, server, "~*", *rights).ran(*words(name))
    assert ended.code == 0, ended
    assert field not in ended.report
    reason = ended.report["unknown_fields"][field]
    assert "denied" in reason or "NOPERM" in reason


def test_no_more_is_asked_than_needed(operator_at: OperatorAt, server: ServerProcess):
    """A line in the log for each call would hide what matters there: single commands leave none."""
    operator = limited(operator_at, server, "~*", "+get", "+set", "+unlink")
    assert operator.ran("get", "n:1", "--output", "text").out == value() + b"\n"
    for name in ("set", "delete"):
        assert operator.ran(*words(name)).code == 0
    assert refusals(server) == {}


KEYS = [
    (name, rule)
    for name in ("get", "set", "delete", "warm", "flush", "export", "inspect")
    for rule in ("~other:*", "resetkeys")
]


@pytest.mark.parametrize(("name", "rule"), KEYS)
def test_a_key_that_is_denied(operator_at: OperatorAt, server: ServerProcess, name: str, rule: str):
    """4 (a warm: 1, entry by entry), and the rule is for keys: a command would not help."""
    operator = limited(operator_at, server, rule, "+@all")
    ended = operator.ran(*words(name))
    assert ended.code == (1 if name == "warm" else 4), ended
    told = ended.out.decode() + ended.err.decode()
    assert f"ACL SETUSER {USER} ~PATTERN" in told
    assert keys_of(server) == THREE
    assert server.raw("GET", "n:1") == value()


def test_only_some_keys_are_denied(operator_at: OperatorAt, server: ServerProcess):
    """Those that are allowed are dealt with, each of the others is a failure of its own."""
    rights = ("~n:1", "~n:2", "+@all")
    warm = limited(operator_at, server, *rights).ran("warm", "./entries.jsonl")
    assert (warm.code, warm.report["written"], warm.report["failed"]) == (1, 2, 3)
    assert [row["key"] for row in warm.report["errors"]] == ["n:0", "n:3", "n:4"]
    export = limited(operator_at, server, *rights).ran("export", "n", "--to", "out.jsonl")
    assert (export.code, export.report["entries"], export.report["failed"]) == (1, 2, 1)
    assert export.report["reasons"] == {"denied": 1}
    delete = limited(operator_at, server, *rights).ran("delete", "n:0", "n:1")
    assert (delete.code, delete.report["deleted"], delete.report["failed"]) == (1, 1, 1)
    flush = limited(operator_at, server, *rights).ran("flush", "n", "--yes")
    assert (flush.code, flush.report["deleted"], flush.report["failed"]) == (1, 1, 1)
    assert keys_of(server) == {b"n:0"}


def test_scan_shows_names_outside_the_patterns(operator_at: OperatorAt, server: ServerProcess):
    """That is the server's doing: what is counted is what stands there."""
    ended = limited(operator_at, server, "~other:*", "+scan").ran("scan", "n")
    assert (ended.code, listed(ended.lines)) == (0, dict.fromkeys(THREE, 1))


@pytest.mark.parametrize(
    ("denied", "rule"), [(["-scan"], "+scan"), (["-unlink", "-del"], "+unlink")]
)
def test_a_flush_is_refused_before_anything(
    operator_at: OperatorAt, server: ServerProcess, denied: list[str], rule: str
):
    """Neither KEYS nor another way around; nothing is removed."""
    fill(server, "n:", 3000)
    operator = limited(operator_at, server, "~*", "+@all", *denied)
    ended = operator.ran("flush", "n", "--yes")
    assert (ended.code, ended.out, ended.error["code"]) == (4, b"", "denied")
    assert ended.error["hint"] == f"allow it on the server: ACL SETUSER {USER} {rule}"
    assert server.raw("DBSIZE") == 3000
    assert not {"keys", "del", "unlink", "flushdb", "eval"} & executed(server).keys()
    assert ended.warnings == []


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("pace", ["gentle", "full"])
def test_one_node_that_may_not_be_scanned(
    operator_at: OperatorAt, cluster: Cluster, place: int, pace: str
):
    """Nothing is removed on the others, and nothing of them listed."""
    cluster.fill("n:", 3000)
    cluster.primaries()[place].raw("ACL", "SETUSER", USER, "-scan")
    operator = operator_of(operator_at, cluster)
    for words in (("flush", "n", "--yes", "--pace", pace), ("scan", "n", "--pace", pace)):
        ended = operator.ran(*words)
        assert (ended.code, ended.out, ended.error["code"]) == (4, b"", "denied"), words
    assert cluster.dbsize() == 3000


def renamed(
    fresh_server: FreshServer, name: str, to: str, version: str = "valkey-9.1"
) -> ServerProcess:
    """Return a server on which a command has another name, or none."""
    server = fresh_server("--rename-command", name, to or '""', version=version, tcp=True)
    fill(server, "n:", 3)
    return server


@pytest.mark.parametrize("version", ["valkey-9.1", "redis-6.2"])
@pytest.mark.parametrize("how", ["denied", "removed", "renamed"])
def test_without_unlink_keys_are_removed_with_del(
    operator_at: OperatorAt, fresh_server: FreshServer, how: str, version: str
):
    """With one warning of what DEL does; once it is known, UNLINK is not asked for again."""
    rights = ["~*", "+@all"]
    if how == "denied":
        server = fresh_server(version=version, tcp=True)
        rights.append("-unlink")
    else:
        server = renamed(fresh_server, "UNLINK", "gone" if how == "renamed" else "", version)
    fill(server, "n:", 5000)
    operator = limited(operator_at, server, *rights)
    delete = operator.ran("delete", "n:1", "n:2", "none")
    assert (delete.code, delete.report) == (0, {"deleted": 2, "missing": 1})
    assert delete.warnings == [DEL_WARNING]
    server.raw("ACL", "LOG", "RESET")
    flush = operator.ran("flush", "n", "--yes")
    report = flush.report
    assert (flush.code, report["matched"], report["deleted"], report["failed"]) == (
        0,
        4998,
        4998,
        0,
    )
    assert report["deleted_exact"] is True
    assert report["remaining"] == 0
    assert flush.warnings == [DEL_WARNING]
    assert keys_of(server) == set()
    asked = refusals(server)["command", "unlink"]
    assert asked < 600, "the first page alone, by its groups and key by key"
    assert executed(server)["del"] < 1000, "in groups, as with UNLINK"


def test_del_is_of_the_same_key_patterns(operator_at: OperatorAt, server: ServerProcess):
    """A key that is denied stays one: DEL is no way around."""
    operator = limited(operator_at, server, "~n:1", "+@all", "-unlink")
    ended = operator.ran("delete", "n:0", "n:1")
    assert (ended.code, ended.report["deleted"], ended.report["failed"]) == (1, 1, 1)
    assert "~PATTERN" in ended.report["errors"][0]["message"]
    assert keys_of(server) == {b"n:0", b"n:2"}


@pytest.mark.parametrize("name", ["scan", "stats", "export", "flush"])
def test_without_scan_there_is_no_other_way(
    operator_at: OperatorAt, fresh_server: FreshServer, name: str
):
    """4 in the server's words; never KEYS, which stands still over a large keyspace."""
    server = renamed(fresh_server, "SCAN", "")
    operator = limited(operator_at, server, "~*", "+@all")
    ended = operator.ran(*words(name))
    assert (ended.code, ended.out) == (4, b"")
    assert "unknown command 'SCAN'" in ended.error["message"]
    assert "keys" not in executed(server)
    assert keys_of(server) == THREE


HEALTH: list[tuple[tuple[str, ...], str, int, dict[str, str]]] = [
    (("+@all", "-info"), "ok", 0, {"memory": "skipped", "role": "ok", "reachable": "ok"}),
    (("+@all", "-ping"), "ok", 0, {"latency": "skipped", "memory": "ok", "reachable": "ok"}),
    (("+@all", "-role"), "ok", 0, {"role": "ok", "memory": "ok"}),
    (("+get",), "ok", 0, {"latency": "skipped", "memory": "skipped", "role": "ok"}),
]


@pytest.mark.parametrize(("rights", "status", "code", "checks"), HEALTH)
def test_health_skips_what_is_denied(
    operator_at: OperatorAt,
    server: ServerProcess,
    rights: tuple[str, ...],
    status: str,
    code: int,
    checks: dict[str, str],
):
    """Denied is no verdict; HELLO, which cannot be denied, still tells the role."""
    ended = limited(operator_at, server, "~*", *rights).ran("health", "--interval", "100ms")
    found: dict[str, Any] = {row["name"]: row for row in ended.report["checks"]}
    assert (ended.code, ended.report["status"]) == (code, status), found
    assert {name: found[name]["status"] for name in checks} == checks
    for name, verdict in checks.items():
        if verdict == "skipped":
            assert found[name]["message"] == "denied"
            assert found[name]["value"] is None


def test_health_is_unknown_when_nothing_can_be_asked(
    operator_at: OperatorAt, fresh_server: FreshServer
):
    """No HELLO, no PING, no INFO: 3, and not "ok" for want of a fault."""
    server = renamed(fresh_server, "HELLO", "")
    ended = limited(operator_at, server, "~*", "+get").ran("health", "--interval", "100ms")
    assert (ended.code, ended.report["status"]) == (3, "unknown"), ended


@pytest.mark.parametrize("name", ["get", "set", "scan", "flush", "warm"])
def test_without_hello_work_goes_on(operator_at: OperatorAt, fresh_server: FreshServer, name: str):
    """A proxy that knows little, an administrator who renames much: AUTH is enough to be let in."""
    server = renamed(fresh_server, "HELLO", "")
    operator = limited(operator_at, server, "~*", "+@all")
    check_done(name, operator.ran(*words(name)), server)


def test_another_database_needs_select(operator_at: OperatorAt, server: ServerProcess):
    """`+select` is named when it is missing, and suffices."""
    admit(server, "~*", "+get")
    server.raw("ACL", "LOG", "RESET")
    operator = operator_at(server.url.removesuffix("0") + "1")
    ended = operator.ran("get", "n:1")
    assert (ended.code, ended.error["code"]) == (4, "denied")
    assert f"ACL SETUSER {USER} +select" in ended.error["hint"]
    admit(server, "~*", "+get", "+select")
    assert operator.ran("get", "n:1").error["code"] == "missing"


def test_rights_come_with_the_next_command(operator_at: OperatorAt, server: ServerProcess):
    """The rule of the hint, typed at the server, is all that was missing."""
    operator = limited(operator_at, server, "~*", "+scan")
    hint = operator.ran("get", "n:1").error["hint"]
    server.raw(*hint.removeprefix("allow it on the server: ").split())
    assert operator.ran("get", "n:1").code == 0


def test_a_user_who_is_switched_off(operator_at: OperatorAt, fresh_server: FreshServer):
    """That is a login that fails: 3, not tried again."""
    server = fresh_server(tcp=True)
    server.raw("ACL", "SETUSER", USER, "off")
    ended = operator_at(server).ran("get", "n:1")
    assert (ended.code, ended.error["code"]) == (3, "authentication")
    assert sum(refusals(server).values()) == 1
