"""The cluster, the sentinels and the TLS server of the tests do what they say."""

import socket
import ssl

import pytest

from tests.clusters import SLOTS, Cluster
from tests.sentinels import SentinelTrio
from tests.servers import ReplyError, pack
from tests.tls import TlsServer

KEYS = {b"k%d" % index for index in range(300)}


def test_a_cluster_begins_with_three_primaries(cluster: Cluster) -> None:
    """Each of the first three owns its third of the slots and has a replica."""
    assert cluster.primaries() == cluster.servers[:3]
    assert [node.slots() for node in cluster.primaries()] == [frozenset(part) for part in SLOTS]
    assert [cluster.replica_of(node) for node in cluster.primaries()] == cluster.replicas()
    assert (len(cluster.nodes), cluster.dbsize()) == (6, 0)


@pytest.mark.parametrize("force", [False, True])
def test_a_failover_changes_the_primary_and_keeps_the_data(cluster: Cluster, force: bool) -> None:
    """Every node knows the new primary when it returns."""
    cluster.fill("k", len(KEYS))
    old = cluster.owner_of(0)
    new = cluster.failover(cluster.replica_of(old), force=force)
    assert cluster.owner_of(0) is new
    assert cluster.replica_of(new) is old
    assert cluster.keys() == KEYS


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(cluster: Cluster) -> None:
    """The promoted replica has what was written."""
    cluster.fill("k", len(KEYS))
    old = cluster.node_for("k1")
    cluster.kill(old)
    cluster.settle()
    assert cluster.keys() == KEYS
    new = cluster.node_for("k1")
    cluster.revive(old)
    assert cluster.replica_of(new) is old
    assert old.raw("DBSIZE") == new.raw("DBSIZE")


def test_a_move_takes_a_slot_and_its_keys_along(cluster: Cluster) -> None:
    """Half way, moved keys are asked for with ASK; then the target owns all."""
    slot = cluster.slot_of("{tag}")
    for index in range(10):
        cluster.raw("{tag}", "SET", f"{{tag}}{index}", "1")
    source = cluster.owner_of(slot)
    target = next(node for node in cluster.primaries() if node is not source)
    cluster.begin_move(slot, target)
    assert cluster.move_keys(slot, target, 4) == 4
    with pytest.raises(ReplyError, match=f"ASK {slot} {target.address}"):
        source.raw("GET", "{tag}none")
    assert (source.raw("DBSIZE"), target.raw("DBSIZE")) == (6, 4)
    cluster.move_keys(slot, target)
    cluster.end_move(slot, target)
    assert cluster.owner_of(slot) is target
    assert target.raw("DBSIZE") == cluster.dbsize() == 10


def test_reset_gives_a_cluster_back_as_it_was(cluster: Cluster) -> None:
    """Roles, slots, open slots, users, settings and data, by the same processes."""
    first = [node.pid for node in cluster.servers]
    one, other, _ = cluster.primaries()
    cluster.fill("k", len(KEYS))
    cluster.move_slot(5, other)
    cluster.begin_move(6, other)
    cluster.failover(cluster.replica_of(one))
    other.raw("ACL", "SETUSER", "reader", "on", "nopass")
    other.raw("CONFIG", "SET", "maxmemory", "50mb")
    cluster.reset()
    test_a_cluster_begins_with_three_primaries(cluster)
    assert not any(node.moving() for node in cluster.servers)
    assert len(other.raw("ACL", "LIST")) == 1
    assert other.raw("CONFIG", "GET", "maxmemory")[1] == b"0"
    assert [node.pid for node in cluster.servers] == first


def test_reset_starts_a_cluster_anew_when_it_must(cluster: Cluster) -> None:
    """A dead node, and one that lets nobody in."""
    cluster.servers[0].raw("ACL", "SETUSER", "default", "off")
    cluster.kill(cluster.servers[4])
    cluster.reset()
    test_a_cluster_begins_with_three_primaries(cluster)


def test_sentinels_promote_a_replica(sentinels: SentinelTrio) -> None:
    """On demand: all agree on the new primary, the old one follows it, the data is there."""
    old = sentinels.primary()
    old.fill("k", len(KEYS))
    new = sentinels.failover()
    assert sentinels.primary() is new is not old
    assert old in sentinels.replicas()
    assert set(new.raw("KEYS", "*")) == KEYS
    sentinels.reset()
    assert sentinels.primary() is sentinels.servers[0]
    assert sentinels.servers[0].raw("DBSIZE") == 0


def test_sentinels_replace_a_killed_primary(sentinels: SentinelTrio) -> None:
    """By themselves; the old one comes back as a replica."""
    old = sentinels.kill_primary()
    assert not old.running
    assert sentinels.primary() is not old
    sentinels.revive(old)
    assert old.replicates == sentinels.primary().address


def test_sentinels_ask_for_a_password() -> None:
    """Clients need it, and the sentinels among each other have it."""
    with SentinelTrio(password="canary-s") as trio:
        with (
            socket.create_connection(("127.0.0.1", trio.sentinels[0].port)) as client,
            client.makefile("rb") as reader,
        ):
            client.sendall(pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", trio.service))
            assert reader.readline().startswith(b"-NOAUTH")
        assert trio.primary() is trio.servers[0]
        assert trio.sentinels[0].raw("SENTINEL", "CKQUORUM", trio.service).startswith(b"OK 3")


def hello(server: TlsServer, context: ssl.SSLContext) -> bytes:
    """Log in over TLS and return the first line of the answer."""
    with (
        socket.create_connection(("127.0.0.1", server.tls_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
        client.makefile("rb") as reader,
    ):
        client.sendall(pack("AUTH", server.user, server.password))
        return reader.readline()


def test_a_tls_server_knows_its_user(tls_server: TlsServer) -> None:
    """Over a verified connection, with a client's certificate only when asked for."""
    context = ssl.create_default_context(cafile=tls_server.ca_file)
    assert hello(tls_server, context) == b"+OK\r\n"
    tls_server.demand_client_certificates()
    with pytest.raises(OSError, match=r"(?i)certificate|reset|eof"):
        assert not hello(tls_server, context)
    files = tls_server.certificates
    context.load_cert_chain(files.client_cert_file, files.client_key_file)
    assert hello(tls_server, context) == b"+OK\r\n"
