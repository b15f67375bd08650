"""Sentinel's primary: found, followed, and not believed when another has taken its place."""

import asyncio

import pytest

from cachectl.config.secrets import Credentials, Secret
from cachectl.config.settings import ClientSettings, Sentinel, Server
from cachectl.config.url import Address
from cachectl.errors import CachectlError, ConfigError, LoginError, NotReadyError
from cachectl.store.open import open_store
from cachectl.store.store import Store
from cachectl.store.tries import Patience
from cachectl.store.wire import Wire
from tests.conftest import SentinelsOf
from tests.members import holds
from tests.sentinels import SentinelTrio
from tests.servers import DEFAULT_VERSION, ServerProcess, free_port
from tests.store.stores import PATIENT, until, worked

BEARS = PATIENT._replace(answer=20.0, total=20.0)


def address(trio: SentinelTrio, service: str = "main") -> Address:
    nodes = [node.rpartition(":") for node in trio.nodes]
    return Address("sentinel", nodes=tuple((h, int(p)) for h, _, p in nodes), service=service)


def store_at(found: Address, login: Credentials | None = None, patience: Patience = BEARS) -> Store:
    sentinel = Sentinel(login or Credentials())
    server = Server(
        None, "a test", found, Credentials(), sentinel=sentinel, client=ClientSettings()
    )
    return open_store(server, patience, start_embedded=False)


def test_a_late_answer_of_a_replaced_primary_is_not_believed(sentinels: SentinelTrio) -> None:
    """A write that it takes once it wakes would be discarded: it is written to the new one."""

    async def work(store: Store) -> None:
        await store.set(b"k", b"1")
        old = sentinels.primary()
        old.sigstop()
        late = asyncio.create_task(store.set(b"late", b"2"))
        while sentinels.primary() is old:  # noqa: ASYNC110 another process decides
            await asyncio.sleep(0.05)
        old.sigcont()
        assert await late is True
        assert sentinels.primary().raw("GET", "late") == b"2"

    worked(lambda: store_at(address(sentinels)), work)


def test_the_primary_is_not_named_while_it_is_being_replaced(sentinels: SentinelTrio) -> None:
    """What proves that it is still the same waits until the failover is over."""

    async def work(store: Store) -> None:
        before = await store.identity()
        leader = sentinels.sentinels[0]
        await until(lambda: holds(lambda: leader.raw("SENTINEL", "FAILOVER", "main") == b"OK"))
        after = await store.identity()
        assert b"failover_in_progress" not in leader.raw("SENTINEL", "MASTER", "main")[9]
        assert after != before

    worked(lambda: store_at(address(sentinels)), work)
    sentinels.settle()


@pytest.mark.parametrize("case", ["service", "password", "server", "nobody"])
def test_what_is_wrong_with_the_sentinels_is_said(
    sentinels_of: SentinelsOf, server: ServerProcess, case: str
) -> None:
    """The setting that is to be mended is named: 2, or 3 for a login and for nobody at all."""
    trio = sentinels_of(DEFAULT_VERSION, "secret")
    login = Credentials(None, Secret("secret"))
    kind: type[CachectlError] = ConfigError
    found, words = address(trio), ""
    if case == "service":
        found, words = address(trio, "mian"), "watches no service 'mian'"
    elif case == "password":
        login, kind, words = Credentials(None, Secret("wrong")), LoginError, "sentinel.password"
    elif case == "server":
        assert server.port is not None
        found, login, words = (
            Address("sentinel", nodes=(("127.0.0.1", server.port),), service="main"),
            Credentials(),
            "is no Sentinel",
        )
    else:
        nodes = (("127.0.0.1", free_port()), ("127.0.0.1", free_port()))
        found = Address("sentinel", nodes=nodes, service="main")
        kind, words = CachectlError, "none of 2 Sentinels answers"

    async def work(store: Store) -> None:
        with pytest.raises(kind) as caught:
            await store.get(b"k")
        assert words in f"{caught.value.message} {caught.value.hint}"
        assert caught.value.exit_code == (2 if kind is ConfigError else 3)

    worked(lambda: store_at(found, login, PATIENT._replace(total=0.5)), work)


def test_a_primary_that_has_become_a_replica_is_left(server: ServerProcess) -> None:
    """Where another may have taken over, READONLY is "not now", and the connection is given up."""

    async def main() -> None:
        there = Address("unix", path=str(server.socket))
        wire = Wire(*await asyncio.open_unix_connection(str(server.socket)), there)
        wire.follows = True
        assert await wire.call(b"SET", b"k", b"1", silence=5.0) == b"OK"
        assert wire.clean
        server.raw("REPLICAOF", "127.0.0.1", "1")
        assert isinstance(await wire.call(b"SET", b"k", b"2", silence=5.0), NotReadyError)
        assert not wire.clean
        await wire.close()

    asyncio.run(main())
    server.raw("REPLICAOF", "NO", "ONE")
    assert server.raw("GET", "k") == b"1"
