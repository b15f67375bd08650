"""Fixtures: real servers, one set a pytest-xdist worker, and an environment of the test's own."""

import os
import shutil
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.clusters import Cluster
from tests.sentinels import SentinelTrio
from tests.servers import DEFAULT_VERSION, ServerProcess, binaries
from tests.tls import TlsServer, tls_version

ServerOf = Callable[[str], ServerProcess]
ClusterOf = Callable[[str], Cluster]
SentinelsOf = Callable[[str, str | None], SentinelTrio]


class FreshServer(Protocol):
    """Start a server of the test's own; it is ended with the test."""

    def __call__(
        self, *config: str, version: str = DEFAULT_VERSION, tcp: bool = False
    ) -> ServerProcess:
        """Return the running server."""


@pytest.fixture(scope="session")
def server_of() -> Iterator[ServerOf]:
    """Give the shared server of a version, started when it is first asked for."""
    running: dict[str, ServerProcess] = {}

    def server_of(version: str) -> ServerProcess:
        if version not in running:
            running[version] = ServerProcess(version=version, tcp=True)
        running[version].reset()
        return running[version]

    yield server_of
    for server in running.values():
        server.close()


@pytest.fixture
def server(server_of: ServerOf) -> ServerProcess:
    """Give the shared Valkey 9.1 as it was after its start: empty, default settings and users."""
    return server_of(DEFAULT_VERSION)


@pytest.fixture(params=list(binaries()))
def any_server(server_of: ServerOf, request: pytest.FixtureRequest) -> ServerProcess:
    """Give the shared server of each version at hand, one after the other."""
    return server_of(request.param)


@pytest.fixture
def fresh_server() -> Iterator[FreshServer]:
    """Start servers of the test's own: `fresh_server("--maxmemory", "5mb", tcp=True)`."""
    started: list[ServerProcess] = []

    def fresh_server(
        *config: str, version: str = DEFAULT_VERSION, tcp: bool = False
    ) -> ServerProcess:
        server = ServerProcess(*config, version=version, tcp=tcp)
        started.append(server)
        server.start()
        return server

    yield fresh_server
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def cluster_of() -> Iterator[ClusterOf]:
    """Give the shared cluster of a version, started when it is first asked for."""
    running: dict[str, Cluster] = {}

    def cluster_of(version: str) -> Cluster:
        if version not in running:
            running[version] = Cluster(version)
            running[version].start()
        running[version].reset()
        return running[version]

    yield cluster_of
    for cluster in running.values():
        cluster.close()


@pytest.fixture
def cluster(cluster_of: ClusterOf) -> Cluster:
    """Give the shared cluster of Valkey 9.1 as it was after its start."""
    return cluster_of(DEFAULT_VERSION)


@pytest.fixture(scope="session")
def sentinels_of() -> Iterator[SentinelsOf]:
    """Give the shared servers with their sentinels, by version and the sentinels' password."""
    running: dict[tuple[str, str | None], SentinelTrio] = {}

    def sentinels_of(version: str, password: str | None) -> SentinelTrio:
        key = (version, password)
        if key not in running:
            running[key] = SentinelTrio(version, password)
            running[key].start()
        running[key].reset()
        return running[key]

    yield sentinels_of
    for sentinels in running.values():
        sentinels.close()


@pytest.fixture
def sentinels(sentinels_of: SentinelsOf) -> SentinelTrio:
    """Give the shared servers and sentinels of Valkey 9.1 as they were after their start."""
    return sentinels_of(DEFAULT_VERSION, None)


@pytest.fixture(scope="session")
def started_tls_server() -> Iterator[TlsServer]:
    """Start the server that speaks TLS, or skip what needs it."""
    version = tls_version()
    if version is None:
        pytest.skip("no server with TLS at hand: apt-get install redis-server")
    server = TlsServer(version)
    yield server
    server.close()


@pytest.fixture
def tls_server(started_tls_server: TlsServer) -> TlsServer:
    """Give the shared server that speaks TLS, as it was after its start."""
    started_tls_server.reset()
    return started_tls_server


def pytest_xdist_auto_num_workers() -> int | None:
    """Start three workers for two cores: half of the time a test waits for a server that is silent."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist reads it
    return 3 * len(os.sched_getaffinity(0)) // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what needs six processes together on one worker, where tests are given out by group."""
    for item in items:
        for name in ("cluster_of", "sentinels_of"):
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(autouse=True)
def private_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep the user's own settings, variables and embedded server out of every test.

    Gives the directory that holds `home`, `config`, `data` and `run`; it is short because sockets
    lie in `run`. Embedded servers that a test left there are killed.
    """
    root = Path(tempfile.mkdtemp(prefix="cch-", dir="/tmp"))
    for name in os.environ:
        if name.startswith(("CACHECTL_", "XDG_")):
            monkeypatch.delenv(name)
    for name in ("REDIS_URL", "ENABLE_CACHE", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    places = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
    for variable, name in (places | {"XDG_RUNTIME_DIR": "run"}).items():
        (root / name).mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(root / name))
    yield root
    for path in (root / "run").rglob("*.sock"):
        kill_listener(path)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty directory the current one, and give it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kill_listener(path: Path) -> None:
    """Kill the process that listens on a test's own Unix socket, if any; the kernel names it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    os.kill(struct.unpack("3i", credentials)[0], signal.SIGKILL)
