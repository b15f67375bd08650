"""Nobody listens, unknown names, TLS that does not match, wrong passwords: 3 at once, nothing done."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    PASSWORD,
    USER,
    VALUE,
    Ended,
    Operator,
    admit,
    executed,
    fill,
    keys_of,
    refusals,
    value,
)
from tests.plans import Chunk, Step
from tests.proxies import Proxy
from tests.servers import ServerProcess, free_port, pack
from tests.tls import TlsServer

AT_ONCE = 4.0
"""Less than the five seconds of silence that are borne unless said otherwise."""
WORK = {"get", "set", "mget", "unlink", "scan", "pttl", "strlen", "type", "eval", "exists"}


class Fault(NamedTuple):
    """A server that cannot be used, and how that is told. `server` is the one behind it, if any."""

    operator: Operator
    address: str
    code: str
    says: str
    hint: str
    server: ServerProcess | None = None
    logins: int = 0
    line: Proxy | None = None
    connections: int = 1

    def check_state(self) -> None:
        """Nothing was asked of the server but what a login is."""
        assert not (self.operator.directory / "out.jsonl").exists()
        assert self.line is None or self.line.connections == self.connections
        if self.server is not None:
            assert not WORK & executed(self.server).keys()
            assert sum(refusals(self.server).values()) == self.logins
            assert keys_of(self.server) == {b"n:0", b"n:1"}
            assert self.server.raw("GET", "n:1") == value()


Make = Callable[[pytest.FixtureRequest, OperatorAt], Fault]


def nobody_listens(_request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    url = f"redis://127.0.0.1:{free_port()}/0"
    return Fault(operator_at(url), url, "unreachable", "connection refused", "running?")


def no_such_host(_request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    url = "redis://cache.invalid:7000/0"
    return Fault(operator_at(url), url, "address", "host name is not known", "check the host")


def wrong_password(request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    server = prepared(request.getfixturevalue("server"))
    operator = operator_at(server, password=f"not-{PASSWORD}")
    return Fault(
        operator, server.url, "authentication", "refused the user", "password_file", server, 1
    )


def over_tls(request: pytest.FixtureRequest, operator_at: OperatorAt, **tls: Any) -> Fault:
    server, line = (request.getfixturevalue(name) for name in ("tls_server", "tls_line"))
    admit(server)
    prepared(server)
    url = f"rediss://127.0.0.1:{line.port}/0"
    says = ("tls", "certificate was not accepted", "tls.ca_file")
    return Fault(operator_at(url, tls=tls), url, *says, server, line=line)


def wrong_authority(request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    return over_tls(request, operator_at)


def wrong_name(request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    ca_file = str(request.getfixturevalue("tls_server").ca_file)
    return over_tls(request, operator_at, ca_file=ca_file, server_name="cache.example.com")


def plain_on_a_tls_port(request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    server, line = (request.getfixturevalue(name) for name in ("tls_server", "tls_line"))
    admit(server)
    prepared(server)
    says = ("connection_lost", "closed", "rediss://")  # which a server on its way down does, too
    return Fault(operator_at(line), line.url, *says, server, line=line, connections=3)


FAULTS: tuple[Make, ...] = (
    nobody_listens,
    no_such_host,
    wrong_password,
    wrong_authority,
    wrong_name,
    plain_on_a_tls_port,
)


def prepared(server: ServerProcess) -> ServerProcess:
    """Fill it with two keys, and let it forget what it has counted."""
    fill(server, "n:", 2)
    server.raw("CONFIG", "RESETSTAT")
    return server


@pytest.fixture
def tls_line(tls_server: TlsServer) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", tls_server.tls_port)) as line:
        yield line


@pytest.fixture(params=FAULTS, ids=lambda make: make.__name__)
def fault(request: pytest.FixtureRequest, operator_at: OperatorAt) -> Fault:
    made: Fault = request.param(request, operator_at)
    made.operator.entries(5)
    return made


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_done_and_3_at_once(fault: Fault, name: str):
    """It names the server, the setting that led there, and what to do; no login is tried again."""
    ended = fault.operator.ran(*COMMANDS[name])
    assert (ended.code, ended.out) == (3, b""), ended
    assert ended.seconds < AT_ONCE
    error = ended.error
    assert error["code"] == fault.code
    assert fault.address in error["message"]
    assert fault.says in error["message"]
    assert "server from profiles.faulty of cachectl.yaml" in error["message"]
    assert fault.hint in error["hint"]
    fault.check_state()


def test_health_is_critical_and_says_which_step_failed(fault: Fault):
    ended = fault.operator.ran("health")
    check_critical(ended, fault.address, fault.says, fault.hint)
    assert ended.seconds < AT_ONCE
    fault.check_state()


def check_critical(ended: Ended, *says: str) -> None:
    """One check, and 2 as monitoring plugins answer; stderr has nothing to add."""
    assert (ended.code, ended.report["status"], ended.err) == (2, "critical", b"")
    (check,) = ended.report["checks"]
    assert (check["name"], check["status"]) == ("reachable", "critical")
    for words in says:
        assert words in check["message"]


@pytest.mark.parametrize("name", ["get", "warm", "health"])
def test_tls_to_a_plain_port_is_borne_for_the_timeout(
    operator_at: OperatorAt, server: ServerProcess, name: str
):
    """A plain server waits for more: it is the silence that ends it, and the hint knows why."""
    prepared(server)
    operator = operator_at(server.url.replace("redis://", "rediss://"))
    operator.entries(5)
    ended = operator.ran(*COMMANDS.get(name, (name,)), "--timeout", "300ms")
    if name == "health":
        check_critical(ended, server.url.removeprefix("redis"), "does the port speak TLS?")
    else:
        assert (ended.code, ended.out, ended.error["code"]) == (3, b"", "timeout")
        assert "does the port speak TLS?" in ended.error["hint"]
    assert not WORK & executed(server).keys()
    assert keys_of(server) == {b"n:0", b"n:1"}


@pytest.mark.parametrize("name", ["get", "warm", "health"])
def test_a_port_of_something_else_is_told(
    operator_at: OperatorAt, server: ServerProcess, name: str
):
    """What answers is no Redis: an HTTP server's words are not shown, and it gets no command."""
    sent: list[bytes] = []

    def http(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up":
            sent.append(chunk.data)
            yield b"PING\r\n"
        else:
            yield f"HTTP/1.1 400 {VALUE}\r\n\r\n".encode()

    with Proxy(server, http) as proxy:
        operator = operator_at(proxy)
        operator.entries(5)
        ended = operator.ran(*COMMANDS.get(name, (name,)))
    if name == "health":
        check_critical(ended, proxy.url, "does not speak the Redis protocol")
    else:
        assert (ended.code, ended.out) == (3, b"")
        assert "does not speak the Redis protocol" in ended.error["message"]
        assert "right port" in ended.error["hint"]
    assert all(data == pack("AUTH", USER, PASSWORD) for data in sent)
    assert proxy.connections == 1, "each try would show it the password"
    assert keys_of(server) == set()
