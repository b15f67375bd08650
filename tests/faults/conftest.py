"""Fixtures of the faults: an operator whose servers want a password."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import Cluster
from tests.conftest import FreshServer
from tests.faults.faulting import LOGIN, On, Operator, admit
from tests.sentinels import SentinelTrio
from tests.servers import DEFAULT_VERSION, ServerProcess

OperatorAt = Callable[..., Operator]


@pytest.fixture(autouse=True)
def commands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands without coverage in them: it is slower, and writes on a disk that is full."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(server: ServerProcess) -> ServerProcess:
    """Give the shared server, with the operator's user."""
    admit(server)
    return server


@pytest.fixture
def cluster(cluster: Cluster) -> Cluster:
    """Give the shared cluster, with the operator's user on every node."""
    for server in cluster.servers:
        admit(server)
    return cluster


@pytest.fixture
def sentinels(sentinels: SentinelTrio) -> SentinelTrio:
    """Give the shared servers and their sentinels, with the operator's user on every server."""
    for server in sentinels.servers:
        admit(server)
    return sentinels


@pytest.fixture
def fresh_server(fresh_server: FreshServer) -> FreshServer:
    """Start servers of the test's own that know the operator's user, also when started again."""

    def start(*config: str, version: str = DEFAULT_VERSION, tcp: bool = False) -> ServerProcess:
        return fresh_server(*LOGIN, *config, version=version, tcp=tcp)

    return start


@pytest.fixture
def operator_at(workdir: Path) -> Iterator[OperatorAt]:
    """Give an operator at a server, a proxy or a URL: `operator_at(server, protected=True)`.

    Each has a directory of its own. Keyword arguments are settings of the profile; for a Sentinel or
    a cluster: `operator_at(None, cluster=["127.0.0.1:7000"])`.
    """
    operators: list[Operator] = []

    def at(on: On | None, **profile: Any) -> Operator:
        directory = workdir / f"operator-{len(operators)}"
        directory.mkdir()
        operators.append(Operator(directory, on, **profile))
        return operators[-1]

    yield at
    for operator in operators:
        operator.close()
