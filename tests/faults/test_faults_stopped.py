"""A server that is stopped or paused: its silence is borne for `--timeout`, and no longer."""

import json
import threading

import pytest

from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    Ended,
    Operator,
    Running,
    adds_up,
    executed,
    fill,
    keys_of,
    listed,
    until,
    value,
)
from tests.plans import at
from tests.proxies import Proxy
from tests.servers import ServerProcess

COUNT = 3000
BORNE = "600ms"
MULTIPLIED = 1.8
"""Seconds that three attempts with so much silence each would take."""
SLOWLY = ("--rate", "2000/s", "--timeout", "500ms")
TRIGGER = {
    "get": b"GET",
    "inspect": b"TYPE",
    "scan": b"SCAN",
    "stats": b"PTTL",
    "export": b"GET",
    "export-to": b"GET",
    "set": b"SET",
    "delete": b"UNLINK",
    "warm": b"SET",
    "flush": b"UNLINK",
    "health": b"PING",
}
"""What a command has sent when it is in the middle."""


def silent_for(ended: Ended, timeout: str) -> bool:
    return f"has not answered for {timeout}" in ended.error["message"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stopped_server_is_borne_for_the_timeout(
    operator_at: OperatorAt, server: ServerProcess, name: str
):
    """All attempts together; nothing is counted, and the server that wakes finds nothing to do."""
    fill(server, "n:", 2)
    server.raw("CONFIG", "RESETSTAT")
    operator = operator_at(server)
    operator.entries(5)
    server.sigstop()
    ended = operator.ran_within(MULTIPLIED, *COMMANDS[name], "--timeout", BORNE)
    server.sigcont()
    assert (ended.code, ended.out, ended.error["code"]) == (3, b"", "timeout")
    assert silent_for(ended, BORNE)
    assert "is the server stopped" in ended.error["hint"]
    assert ended.seconds >= 0.6
    assert keys_of(server) == {b"n:0", b"n:1"}
    assert server.raw("GET", "n:1") == value()
    assert executed(server).keys() <= {"config|resetstat", "auth", "hello", "keys", "get"}
    assert executed(server)["get"] == 1


@pytest.mark.parametrize("fault", ["stopped", "paused"])
def test_health_of_a_silent_server_is_critical_in_time(
    operator_at: OperatorAt, server: ServerProcess, fault: str
):
    if fault == "stopped":
        server.sigstop()
    else:
        server.raw("CLIENT", "PAUSE", 60000, "ALL")
    ended = operator_at(server).ran_within(MULTIPLIED, "health", "--timeout", BORNE)
    server.sigcont()
    assert (ended.code, ended.report["status"], ended.err) == (2, "critical", b"")
    assert [check["name"] for check in ended.report["checks"]] == ["reachable"]
    assert f"has not answered for {BORNE}" in ended.check("reachable")["message"]


@pytest.mark.parametrize(
    ("typed", "applied"),
    [
        ("set n:1 5", 1),
        ("set n:9 5 --only missing", 1),
        ("delete n:1", 1),
        ("get n:1", 0),
        ("inspect n:1", 0),
    ],
)
def test_stopped_with_a_command_on_its_way(
    operator_at: OperatorAt, server: ServerProcess, typed: str, applied: int
):
    """A write is neither done nor not done: the server does it as soon as it wakes."""
    fill(server, "n:", 2)
    before = state(server)
    words = typed.split()
    with Proxy(server, at(TRIGGER[words[0]], server.sigstop, turn=1)) as proxy:
        ended = operator_at(proxy).ran(*words, "--timeout", "400ms")
        server.sigcont()
        assert (ended.code, ended.out, ended.error["code"]) == (3, b"", "timeout")
        assert silent_for(ended, "400ms")
        assert ("whether it was applied is unknown" in ended.error["message"]) == bool(applied)
        until(lambda: (state(server) != before) == bool(applied))
    assert executed(server)["set"] + executed(server)["unlink"] == applied + 2  # two by `fill`


def state(server: ServerProcess) -> dict[bytes, bytes]:
    return {key: server.raw("GET", key) for key in keys_of(server)}


@pytest.mark.parametrize("name", [*COMMANDS, "health"])
def test_all_goes_on_when_it_wakes_in_time(
    operator_at: OperatorAt, server: ServerProcess, name: str
):
    """Stopped in the middle for a moment: the same answer as ever, and each write sent once."""
    fill(server, "n:", 100)
    server.raw("CONFIG", "RESETSTAT")

    def doze() -> None:
        server.sigstop()
        threading.Timer(0.3, server.sigcont).start()

    with Proxy(server, at(TRIGGER[name], doze, turn=1)) as proxy:
        operator = operator_at(proxy)
        operator.entries(200)
        ended = operator.ran(*COMMANDS.get(name, (name, "--interval", "100ms")))
    assert ended.code == 0, ended
    assert not any("error" in line or "warning" in line for line in ended.told)
    done = executed(server)
    if name == "warm":
        assert (ended.report["written"], done["set"], server.raw("DBSIZE")) == (200, 200, 200)
    elif name == "flush":
        report = ended.report
        assert (report["deleted"], report["deleted_exact"], report["passes"]) == (100, True, 1)
        assert (server.raw("DBSIZE"), ended.report["remaining"]) == (0, 0)
    elif name in {"scan", "export"}:
        assert listed(ended.lines) == {b"n:%d" % number: 1 for number in range(100)}
    elif name == "stats":
        assert (ended.report["keys"], ended.report["passes"]) == (100, 1)
    elif name == "health":
        assert ended.report["status"] == "ok"  # one slow ping of several
    elif name == "export-to":
        assert (ended.report["entries"], done["get"]) == (100, 100)
    else:
        assert done["get"] + done["set"] + done["unlink"] == (name in {"get", "set", "delete"})


def test_writes_that_are_paused_are_unknown_and_reads_go_on(
    operator_at: OperatorAt, server: ServerProcess
):
    """CLIENT PAUSE WRITE, as before a failover: what had not been answered was not done here."""
    fill(server, "n:", 5)
    server.raw("CLIENT", "PAUSE", 60000, "WRITE")
    operator = operator_at(server)
    operator.entries(30)
    short = ("--timeout", "400ms")
    for name in ("set", "delete"):
        ended = operator.ran(*COMMANDS[name], *short)
        assert (ended.code, ended.out) == (3, b"")
        assert "whether it was applied is unknown" in ended.error["message"]
    warm = operator.ran(*COMMANDS["warm"], *short)
    assert (warm.code, warm.report["written"], warm.report["unknown"]) == (3, 0, 30)
    flush = operator.ran(*COMMANDS["flush"], *short)
    assert (flush.code, flush.report["matched"], flush.report["deleted"]) == (3, 5, 0)
    assert not flush.report["deleted_exact"]
    assert "remaining" in flush.report["unknown_fields"]
    assert operator.ran("get", "n:1").report["value"] == json.loads(value())
    assert len(operator.ran("scan", "n").lines) == 5
    server.raw("CLIENT", "UNPAUSE")
    assert state(server) == {b"n:%d" % number: value() for number in range(5)}


class Stopped:
    """A command that goes slowly over many keys, and a server that is stopped when it is half way."""

    def __init__(self, operator: Operator, server: ServerProcess, name: str) -> None:
        self._server = server
        self._name = name
        if name != "warm":
            fill(server, "n:", COUNT)
        fill(server, "else:", 50)
        server.raw("CONFIG", "RESETSTAT")
        self.before = keys_of(server)
        self.run: Running = operator.started(*COMMANDS[name], *SLOWLY)
        until(self._half_way)
        server.sigstop()
        self.ended = self.run.ended()
        server.sigcont()
        until(lambda: server.raw("PING"))
        self.after = keys_of(server)

    def _half_way(self) -> bool:
        changed = abs(self._server.raw("DBSIZE") - len(self.before))
        looked = executed(self._server)["scan"]
        return changed >= 300 if self._name in {"warm", "flush"} else looked >= 8


@pytest.fixture
def stopped(
    request: pytest.FixtureRequest, operator_at: OperatorAt, server: ServerProcess
) -> Stopped:
    operator = operator_at(server)
    operator.entries(COUNT)
    return Stopped(operator, server, request.param)


@pytest.mark.parametrize("stopped", ["warm"], indirect=True)
def test_a_warm_that_is_stopped_half_way(stopped: Stopped):
    """3, and of what was acknowledged and what was not each is counted as such."""
    report = stopped.ended.report
    assert (stopped.ended.code, report["exit_code"], report["stopped"]) == (3, 3, "connection")
    assert report["error"] is None or report["error"]["code"] == "timeout"
    assert adds_up(report)
    new = len(stopped.after - stopped.before)
    assert 0 < report["written"] <= new <= report["written"] + report["unknown"]
    assert report["unsent"] > 0


@pytest.mark.parametrize("stopped", ["flush"], indirect=True)
def test_a_flush_that_is_stopped_half_way(stopped: Stopped):
    """3; the count is a lower bound that says so, and nothing else was touched."""
    report = stopped.ended.report
    assert (stopped.ended.code, report["exit_code"], report["stopped"]) == (3, 3, "connection")
    gone = len(stopped.before - stopped.after)
    assert 0 < report["deleted"] <= gone <= report["matched"] < COUNT
    assert report["deleted"] == gone or not report["deleted_exact"]
    assert {"remaining", "written_meanwhile"} <= report["unknown_fields"].keys()
    assert sum(key.startswith(b"else:") for key in stopped.after) == 50


@pytest.mark.parametrize("stopped", ["scan", "export"], indirect=True)
def test_a_listing_that_is_stopped_half_way(stopped: Stopped):
    """3, and what was printed until then is whole lines with a key each."""
    ended = stopped.ended
    assert (ended.code, ended.error["code"]) == (3, "timeout")
    keys = listed(ended.lines)
    assert 0 < len(keys) < COUNT
    assert set(keys.values()) == {1}
    assert keys.keys() <= stopped.before == stopped.after


@pytest.mark.parametrize("stopped", ["export-to"], indirect=True)
def test_an_export_into_a_file_that_is_stopped_half_way(stopped: Stopped, operator_at: OperatorAt):
    """3 and no file: one that is there is whole."""
    report = stopped.ended.report
    assert (stopped.ended.code, report["stopped"], report["file"]) == (3, "connection", None)
    assert 0 < report["entries"] < COUNT
    assert report["error"]["code"] == "timeout"


@pytest.mark.parametrize("stopped", ["stats"], indirect=True)
def test_stats_that_are_stopped_half_way(stopped: Stopped):
    """3, with the keys that were met by then: never passed off as all of them."""
    report = stopped.ended.report
    assert (stopped.ended.code, report["exit_code"], report["stopped"]) == (3, 3, "connection")
    assert 0 < report["keys"] < COUNT
    assert report["error"]["code"] == "timeout"
