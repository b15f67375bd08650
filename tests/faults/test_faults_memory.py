"""maxmemory is reached and nothing may be evicted: what writes is refused and told, all else works."""

from collections.abc import Iterator

import pytest

from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    READS,
    Operator,
    adds_up,
    executed,
    fill,
    keys_of,
    listed,
    until,
    value,
)
from tests.servers import ServerProcess

OOM = "OOM command not allowed when used memory > 'maxmemory'."
HINT = "raise maxmemory, or let the server evict (maxmemory-policy)"
BIG = 100_000
"""Bytes of the values of which some fit, and some do not."""


@pytest.fixture
def full(server: ServerProcess) -> Iterator[ServerProcess]:
    """Give a server with three keys, that takes no more."""
    fill(server, "n:", 3)
    server.raw("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
    server.raw("CONFIG", "RESETSTAT")
    yield server
    server.raw("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture
def operator(operator_at: OperatorAt, full: ServerProcess) -> Operator:
    operator = operator_at(full)
    operator.entries(5)
    return operator


@pytest.mark.parametrize("name", READS)
def test_reading_works(operator: Operator, full: ServerProcess, name: str):
    """A full server answers as ever: the value, and every key."""
    ended = operator.ran(*COMMANDS[name])
    assert ended.code == 0, ended.err
    if name in {"scan", "export"}:
        assert listed(ended.lines) == {b"n:0": 1, b"n:1": 1, b"n:2": 1}
    elif name in {"stats", "export-to"}:
        assert ended.report["keys" if name == "stats" else "entries"] == 3
    else:
        assert ended.report["value"]["n"] == 0
    assert keys_of(full) == {b"n:0", b"n:1", b"n:2"}


@pytest.mark.parametrize("only", [(), ("--only", "missing"), ("--only", "existing")])
def test_set_is_refused_with_4(operator: Operator, full: ServerProcess, only: tuple[str, ...]):
    """The server's words and what helps; asked once, as a full server does not empty itself."""
    ended = operator.ran("set", "n:1", "5", *only)
    assert (ended.code, ended.out) == (4, b"")
    assert ended.error == {"code": "out_of_memory", "message": OOM, "hint": HINT}
    assert full.raw("GET", "n:1") == value()
    assert full.info("commandstats")["cmdstat_set"].startswith("calls=0,")
    assert "rejected_calls=1," in full.info("commandstats")["cmdstat_set"]


def test_removing_works(operator: Operator, full: ServerProcess):
    """It is what makes room."""
    deleted = operator.ran("delete", "n:1")
    assert (deleted.code, deleted.report) == (0, {"deleted": 1, "missing": 0})
    flushed = operator.ran("flush", "n", "--yes")
    assert (flushed.code, flushed.report["deleted"], flushed.report["remaining"]) == (0, 2, 0)
    assert keys_of(full) == set()


def test_every_entry_of_a_warm_fails_with_the_reason(operator: Operator, full: ServerProcess):
    """1: it ran, and these entries failed; what is there stays as it is."""
    ended = operator.ran("warm", "./entries.jsonl")
    report = ended.report
    assert (ended.code, report["exit_code"], report["stopped"]) == (1, 1, None)
    assert (report["entries"], report["failed"], report["written"]) == (5, 5, 0)
    assert [(row["line"], row["key"]) for row in report["errors"]] == [
        (line, f"n:{line - 1}") for line in range(1, 6)
    ]
    assert {row["message"] for row in report["errors"]} == {f"{OOM} ({HINT})"}
    assert keys_of(full) == {b"n:0", b"n:1", b"n:2"}
    assert "set" not in executed(full)


def test_what_fits_is_written_and_counted(operator: Operator, full: ServerProcess):
    """Memory runs out in the middle of a warm: `written` is what the server holds."""
    rows = (b'{"key":"b:%d","value":"%b"}\n' % (i, b"x" * BIG) for i in range(200))
    source = operator.file("big.jsonl", b"".join(rows))
    full.raw("CONFIG", "SET", "maxmemory", int(full.info("memory")["used_memory"]) + 80 * BIG)
    ended = operator.ran("warm", f"./{source.name}")
    report = ended.report
    assert (ended.code, report["entries"], report["stopped"]) == (1, 200, None), ended.err
    assert adds_up(report)
    assert report["written"] == len(keys_of(full, "b:*")) > 0
    assert report["failed"] == 200 - report["written"] > 0
    assert len(report["errors"]) == 20
    assert all(row["message"].startswith(OOM) for row in report["errors"])


def test_fail_fast_stops_at_the_first_refusal(operator: Operator, full: ServerProcess):
    """The server is not asked for the rest, and the source is not read to its end."""
    operator.entries(20_000, "m:")
    ended = operator.ran("warm", "./entries.jsonl", "--fail-fast")
    report = ended.report
    assert (ended.code, report["stopped"], report["written"]) == (1, "fail_fast", 0)
    assert adds_up(report)
    assert 20_000 > report["failed"] > 0
    assert f"rejected_calls={report['failed']}," in full.info("commandstats")["cmdstat_set"]
    assert keys_of(full) == {b"n:0", b"n:1", b"n:2"}


def test_best_effort_lets_a_deploy_go_on(operator: Operator):
    """0 with a warning; the report keeps the true code."""
    ended = operator.ran("warm", "./entries.jsonl", "--best-effort")
    assert (ended.code, ended.report["exit_code"]) == (0, 1)
    assert ended.warnings


def test_a_warm_goes_on_once_there_is_room(operator: Operator, full: ServerProcess):
    """What was refused is written by the next run; what an operator does against it helps."""
    assert operator.ran("warm", "./entries.jsonl").code == 1
    full.raw("CONFIG", "SET", "maxmemory", "0")
    assert operator.ran("warm", "./entries.jsonl").code == 0
    assert keys_of(full) == {b"n:%d" % i for i in range(5)}


def test_health_is_critical(operator: Operator, full: ServerProcess):
    """`memory` says so; a server that is full and may evict is meant to be: nothing critical."""
    ended = operator.ran("health")
    check = ended.check("memory")
    assert (ended.code, ended.report["status"], check["status"]) == (2, "critical", "critical")
    assert "noeviction" in check["message"]
    full.raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "100mb")
    used = int(full.info("memory")["used_memory"])
    full.raw("CONFIG", "SET", "maxmemory", used + 1000)
    until(lambda: operator.ran("health").check("memory")["status"] == "ok")
