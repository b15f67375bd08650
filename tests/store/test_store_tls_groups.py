"""A cluster and a Sentinel that speak TLS only, and want a certificate of their client."""

import time
from pathlib import Path

import pytest

from cachectl.config.secrets import Credentials
from cachectl.config.settings import ClientSettings, Sentinel, Server, Tls
from cachectl.config.url import Address
from cachectl.models import Entry
from cachectl.store.errors import TlsError
from cachectl.store.open import open_store
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.members import free_port_pair
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, worked
from tests.tls import Certificates, make_certificates, tls_version

RANGES = ((0, 5460), (5461, 10922), (10923, 16383))

version = tls_version()
pytestmark = pytest.mark.skipif(version is None, reason="no server at hand was built with TLS")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Make an authority, and certificates for 127.0.0.1 and for a client."""
    return make_certificates(tmp_path)


def settings(certificates: Certificates, port: int) -> list[str]:
    files = {"cert": certificates.cert_file, "key": certificates.key_file}
    named = [word for name, file in files.items() for word in (f"--tls-{name}-file", str(file))]
    authority = ("--tls-ca-cert-file", str(certificates.ca_file), "--tls-auth-clients", "yes")
    return [*named, *authority, "--tls-replication", "yes", "--tls-port", str(port)]


def told(certificates: Certificates) -> Tls:
    return Tls(
        str(certificates.ca_file),
        str(certificates.client_cert_file),
        str(certificates.client_key_file),
    )


def use(address: Address, tls: Tls, sentinel: Sentinel | None = None) -> None:
    server = Server(None, "a test", address, Credentials(), tls, sentinel, client=ClientSettings())
    worked(lambda: open_store(server, PATIENT, start_embedded=False), used)


@pytest.fixture
def cluster(fresh_server: FreshServer, certificates: Certificates) -> list[int]:
    """Start three primaries that speak TLS to everybody; give their ports."""
    ports = [free_port_pair() for _ in RANGES]
    more = ("--cluster-enabled", "yes", "--tls-cluster", "yes")
    assert version is not None
    nodes: list[ServerProcess] = [
        fresh_server(*settings(certificates, port), *more, version=version) for port in ports
    ]
    for node, slots in zip(nodes, RANGES, strict=True):
        node.raw("CLUSTER", "ADDSLOTSRANGE", *slots)
        node.raw("CLUSTER", "MEET", "127.0.0.1", ports[0])
    end = time.monotonic() + 20
    while not all(b"cluster_state:ok" in node.raw("CLUSTER", "INFO") for node in nodes):
        assert time.monotonic() < end
        time.sleep(0.05)
    return ports


async def used(store: Store) -> None:
    await store.ping()
    entries = [Entry(b"n:%d" % i, b"%d" % i, 60.0) for i in range(300)]
    assert (await store.write(entries)).replies == [True] * 300
    keys = [entry.key for entry in entries]
    assert (await store.get_many(keys)).replies == [entry.value for entry in entries]


def test_each_node_of_a_cluster_is_verified(cluster: list[int], certificates: Certificates) -> None:
    """The nodes that are found out are spoken to as the named one is; a wrong authority is refused."""
    address = Address("cluster", tls=True, nodes=(("127.0.0.1", cluster[0]),))
    use(address, told(certificates))
    with pytest.raises(TlsError):
        use(address, Tls())


class Watcher(ServerProcess):
    """A Sentinel that speaks TLS."""

    def __init__(self, certificates: Certificates, port: int, watched: int) -> None:
        """Write the file that it keeps its knowledge in."""
        assert version is not None
        super().__init__(version=version)
        words = settings(certificates, port)
        pairs = zip(words[::2], words[1::2], strict=True)
        lines = [f"{name[2:]} {text}" for name, text in pairs]
        lines += ["port 0", f"unixsocket {self.socket}", f"dir {self.directory}"]
        self._file = self.directory / "sentinel.conf"
        self._file.write_text(
            "\n".join([*lines, f"sentinel monitor main 127.0.0.1 {watched} 1", ""])
        )

    @property
    def command(self) -> list[str]:
        """The program as a Sentinel."""
        return [str(self.binary), str(self._file), "--sentinel"]


def test_sentinels_and_servers_are_verified_each_by_their_own(
    fresh_server: FreshServer, certificates: Certificates
) -> None:
    """Both speak TLS, each by its own settings; neither borrows the other's."""
    port, asked = free_port_pair(), free_port_pair()
    assert version is not None
    fresh_server(*settings(certificates, port), version=version)
    address = Address("sentinel", tls=True, nodes=(("127.0.0.1", asked),), service="main")
    tls = told(certificates)
    with Watcher(certificates, asked, port):
        use(address, tls, Sentinel(Credentials(), tls))
        for servers, sentinels in ((tls, Tls()), (Tls(), tls)):
            with pytest.raises(TlsError):
                use(address, servers, Sentinel(Credentials(), sentinels))
