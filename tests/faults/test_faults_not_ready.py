"""The server is there and says "not now": that is borne for the timeout, then told in its words."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from cachectl.store.scan import CYCLES
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    READS,
    WRITES,
    Ended,
    Operator,
    adds_up,
    executed,
    fill,
    keys_of,
    until,
    value,
)
from tests.operations.operating import busy
from tests.plans import Chunk, Step
from tests.proxies import Proxy
from tests.servers import ReplyError, ServerProcess, free_port

BEARS = 0.6
OPTION = ("--timeout", f"{BEARS:g}s")
SLOW = 3.5
"""Seconds until which a command that bears so much has ended on a busy machine."""
THREE = {b"n:0", b"n:1", b"n:2"}
WAITS = ("get", "set", "delete", "warm", "flush", "scan", "stats", "export", "inspect")


class State(NamedTuple):
    """A server that does not serve now: what it says, and how commands end; `writes`: only those."""

    server: ServerProcess
    says: str
    code: str
    exit_code: int
    walks_say: str
    keys: Callable[[], set[bytes]]
    writes: bool = False


Enter = Callable[[pytest.FixtureRequest], AbstractContextManager[State]]


def refused(server: ServerProcess, *words: object) -> str:
    """Return what the server says to a command, or nothing when it obeys or is away."""
    try:
        server.raw(*words)
    except ReplyError as error:
        return str(error)
    except OSError:
        pass
    return ""


@contextmanager
def a_script_runs(request: pytest.FixtureRequest) -> Iterator[State]:
    server: ServerProcess = request.getfixturevalue("server")
    fill(server, "n:", 3)
    server.raw("CONFIG", "RESETSTAT")
    with busy(server):
        yield State(server, "BUSY ", "busy", 4, "BUSY ", lambda: THREE)
    assert keys_of(server) == THREE
    assert not {"set", "unlink", "del"} & executed(server).keys()


@contextmanager
def it_cannot_save(request: pytest.FixtureRequest) -> Iterator[State]:
    server: ServerProcess = request.getfixturevalue("server")
    fill(server, "n:", 3)
    unwritable = server.directory / "dump.rdb"
    unwritable.mkdir()
    server.raw("CONFIG", "SET", "save", "3600 1")
    server.raw("SET", "n:0", value())  # there is something to save
    server.raw("CONFIG", "RESETSTAT")
    server.raw("BGSAVE")
    until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err")
    yield State(server, "MISCONF ", "busy", 4, "MISCONF ", lambda: keys_of(server), writes=True)
    unwritable.rmdir()
    server.raw("CONFIG", "SET", "save", "")


@contextmanager
def its_primary_is_down(request: pytest.FixtureRequest) -> Iterator[State]:
    server: ServerProcess = request.getfixturevalue("server")
    fill(server, "n:", 3)
    server.raw("CONFIG", "SET", "replica-serve-stale-data", "no")
    server.raw("REPLICAOF", "127.0.0.1", "1")
    yield State(server, "MASTERDOWN ", "not_ready", 3, "MASTERDOWN ", lambda: THREE)
    server.raw("REPLICAOF", "NO", "ONE")
    assert keys_of(server) == THREE


@contextmanager
def slots_are_not_covered(request: pytest.FixtureRequest) -> Iterator[State]:
    """A cluster of one node, to which half of the slots are given, and are taken again."""
    server = request.getfixturevalue("fresh_server")(
        "--cluster-enabled", "yes", "--cluster-port", str(free_port()), tcp=True
    )
    server.raw("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: b"cluster_state:ok" in server.raw("CLUSTER", "INFO"))
    for key in sorted(THREE):
        server.raw("SET", key, value())
    server.raw("CLUSTER", "DELSLOTSRANGE", 8000, 16383)
    until(lambda: refused(server, "GET", "n:1").startswith("CLUSTERDOWN"))
    by_key = "CLUSTERDOWN "
    by_walk = "8384 slots of the cluster are served by no primary"
    yield State(server, by_key, "not_ready", 3, by_walk, lambda: keys_of(server))
    assert keys_of(server) == THREE


@contextmanager
def it_loads(request: pytest.FixtureRequest) -> Iterator[State]:
    with loading(request, seconds=60) as (server, _):
        yield State(server, "LOADING ", "not_ready", 3, "LOADING ", lambda: THREE)
        server.kill9()


@contextmanager
def loading(
    request: pytest.FixtureRequest, seconds: float
) -> Iterator[tuple[ServerProcess, threading.Thread]]:
    """Give a server that was started again and takes so long to load its three keys and others."""
    server: ServerProcess = request.getfixturevalue("fresh_server")(tcp=True)
    fill(server, "n:", 3)
    server.fill("other:", 20_000, "x" * 100)
    server.raw("SAVE")
    server.kill9()
    delay = str(int(seconds * 1e6 / 20_003))
    server.config += ("--key-load-delay", delay, "--loading-process-events-interval-bytes", "1024")
    thread = threading.Thread(target=begin, args=(server,))
    thread.start()
    try:
        until(lambda: refused(server, "GET", "n:1").startswith("LOADING"))
        yield server, thread
    finally:
        thread.join()


def begin(server: ServerProcess) -> None:
    with suppress(RuntimeError):  # the test has killed it meanwhile
        server.start()


STATES: tuple[Enter, ...] = (
    a_script_runs,
    it_cannot_save,
    its_primary_is_down,
    slots_are_not_covered,
    it_loads,
)


@pytest.fixture(params=STATES, ids=lambda enter: enter.__name__)
def state(request: pytest.FixtureRequest) -> Iterator[State]:
    enter: Enter = request.param
    with enter(request) as state:
        yield state


@pytest.fixture
def operator(state: State, operator_at: OperatorAt) -> Operator:
    operator = operator_at(state.server)
    operator.entries(5)
    return operator


@pytest.mark.parametrize("name", READS)
def test_reading(operator: Operator, state: State, name: str):
    """It is waited for until the timeout, then 3 or 4; where only writes are refused, it works."""
    ended = operator.ran(*READS[name], *OPTION)
    if state.writes:
        assert ended.code == 0, ended.err
        return
    assert ended.out == b""
    check_told(ended, state, state.says if name in {"get", "inspect"} else state.walks_say)
    assert not (operator.directory / "out.jsonl").exists()


@pytest.mark.parametrize("name", WRITES)
def test_writing(operator: Operator, state: State, name: str):
    """Nothing is written or removed; `warm` and `delete` report what failed, for what reason."""
    ended = operator.ran(*WRITES[name], *OPTION)
    if state.says.startswith("MASTERDOWN"):  # a replica takes no writes, whatever it holds
        assert (ended.code, ended.error["code"]) == (4, "read_only_replica")
        return
    if name == "warm":
        report = ended.report
        assert (ended.code, report["exit_code"]) == (state.exit_code, state.exit_code)
        assert adds_up(report)
        assert (report["written"], report["unknown"]) == (0, 0)
        assert report["stopped"] is not None
        assert state.says in str(report["errors"])
    elif name == "delete" and ended.out:
        assert ended.report["deleted"] == ended.report["missing"] == 0
        assert state.says in str(ended.report["errors"])
        check_told(ended, state, state.says)
    else:
        assert ended.out == b""
        check_told(ended, state, state.walks_say if name == "flush" else state.says)
    assert BEARS * 0.5 < ended.seconds < SLOW, "neither at once nor for ever"
    assert state.keys() == THREE


def check_told(ended: Ended, state: State, says: str) -> None:
    assert (ended.code, ended.error["code"]) == (state.exit_code, state.code), ended
    assert says in ended.error["message"]
    assert "cachectl health" in ended.error["hint"]
    assert BEARS * 0.5 < ended.seconds < SLOW, "neither at once nor for ever"


def test_health_is_critical(operator: Operator, state: State):
    """At once, and in the server's words."""
    ended = operator.ran_within(SLOW, "health")
    assert (ended.code, ended.report["status"]) == (2, "critical")
    critical = [row["message"] for row in ended.report["checks"] if row["status"] == "critical"]
    word = state.says.strip()
    assert any(word in told or "slots" in told or "loading" in told for told in critical), critical


@pytest.mark.parametrize("name", WAITS)
def test_a_script_that_ends_within_the_timeout(
    operator_at: OperatorAt, server: ServerProcess, name: str
):
    """The command waits for it, and does all that it would have done at once."""
    fill(server, "n:", 3)
    operator = operator_at(server)
    operator.entries(5)
    with busy(server):
        run = operator.started(*COMMANDS[name], "--timeout", "20s")
        until(lambda: connected(server) or run.over)
        assert not run.over, run.err
    ended = run.ended()
    assert ended.code == 0, ended.err
    after = {"delete": THREE - {b"n:1"}, "flush": set(), "warm": {b"n:%d" % i for i in range(5)}}
    assert keys_of(server) == after.get(name, THREE)
    if name == "warm":
        assert (ended.report["written"], ended.report["failed"]) == (5, 0)


def test_a_script_under_which_the_server_falls_silent(
    operator_at: OperatorAt, server: ServerProcess
):
    """Its words say more than that nothing came after them: 4, as if it had repeated them."""
    fill(server, "n:", 2)

    def stops(chunk: Chunk) -> Iterator[Step]:
        if b"-BUSY" in chunk.data:
            server.sigstop()
        yield chunk.data

    with busy(server), Proxy(server, stops) as proxy:
        ended = operator_at(proxy).ran("get", "n:1", *OPTION)
        server.sigcont()
    assert (ended.code, ended.error["code"]) == (4, "busy"), ended
    assert "BUSY " in ended.error["message"]


def rejected(server: ServerProcess, command: str) -> int:
    """Return how often a server has refused a command before it was executed."""
    told = server.info("commandstats").get(f"cmdstat_{command}", "rejected_calls=0,")
    return int(told.partition("rejected_calls=")[2].partition(",")[0])


def connected(server: ServerProcess) -> bool:
    """Whether somebody is connected to the server's port: a busy one does not tell, the kernel does."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{server.port:04X}") and row[3] == "01" for row in rows)


def test_a_loading_server_is_waited_for(request: pytest.FixtureRequest, operator_at: OperatorAt):
    """It serves within the timeout: the commands that came too early find everything."""
    with loading(request, seconds=1.5) as (server, _):
        operator = operator_at(server)
        operator.entries(5)
        runs = {
            name: operator.started(*COMMANDS[name], "--timeout", "20s")
            for name in ("get", "scan", "stats", "warm")
        }
        ended = {name: run.ended() for name, run in runs.items()}
    assert {name: one.code for name, one in ended.items()} == dict.fromkeys(runs, 0)
    assert {row["key"].encode() for row in ended["scan"].lines} >= THREE
    assert ended["stats"].report["keys"] >= 3
    assert ended["warm"].report["written"] == 5
    assert server.raw("GET", "n:2") == value(2)


def test_a_flush_waits_while_nothing_can_be_saved(
    request: pytest.FixtureRequest, operator_at: OperatorAt
):
    """SCAN is answered all the while: what counts is that nothing but "not now" comes for UNLINK."""
    with it_cannot_save(request) as state:
        run = operator_at(state.server).started("flush", "n", "--yes", "--timeout", "20s")
        until(lambda: rejected(state.server, "unlink") > CYCLES)
        assert not run.over, run.err
        state.server.raw("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        ended = run.ended()
        assert (ended.code, ended.report["deleted"], ended.report["remaining"]) == (0, 3, 0)
        assert ended.report["deleted_exact"] is True
        assert keys_of(state.server) == set()


def test_health_waits_until_it_serves(request: pytest.FixtureRequest, operator_at: OperatorAt):
    """`--wait` is what the hint says."""
    with loading(request, seconds=1.5) as (server, _):
        ended = operator_at(server).ran("health", "--wait", "20s")
        assert (ended.code, ended.check("loading")["status"]) == (0, "ok")
        assert server.raw("PING") == b"PONG"
