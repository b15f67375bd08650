"""From a server of the settings to a greeted connection, and every way in which that fails."""

import asyncio
import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from cachectl.config.secrets import Credentials, Secret
from cachectl.config.settings import Tls
from cachectl.config.url import Address
from cachectl.errors import (
    CachectlError,
    ConfigError,
    DeniedError,
    LoginError,
    LostError,
    NotReadyError,
    ServerError,
    SilenceError,
    UnreachableError,
    UsageError,
)
from cachectl.store import connect
from cachectl.store.errors import AddressError, TlsError
from cachectl.store.store import Store
from tests.conftest import FreshServer
from tests.plans import Chunk, Step, held
from tests.proxies import Proxy
from tests.servers import ServerProcess, binaries, free_port
from tests.store.stores import PATIENT, first_page, run, store_on, timed, unix, until
from tests.tls import Certificates, make_certificates

CANARY = "canary-7b1"


async def get(store: Store) -> bytes | None:
    """Ask for one key."""
    return await store.get(b"k")


def failure(target: Any, kind: type[CachectlError], **settings: Any) -> CachectlError:
    """Return the error of a get; it came at once and holds no secret."""
    start = monotonic()
    with pytest.raises(kind) as caught:
        run(target, get, **settings)
    assert monotonic() - start < 0.5
    assert CANARY not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.__cause__ is None
    return caught.value


def test_nobody_listens() -> None:
    """A closed port is answered at once, with the server's name and a question."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    error = failure(url, UnreachableError)
    assert (error.message, error.exit_code) == (f"{url}: connection refused", 3)
    assert error.hint == "is the server running?"


def test_a_stream_to_a_closed_port_sends_nothing() -> None:
    """A batch is told apart: nothing of it was sent."""
    url = f"redis://127.0.0.1:{free_port()}/0"

    async def work(store: Store) -> None:
        seconds, outcomes = await timed(store.unlink([b"a", b"b"]))
        assert seconds < 0.5
        assert not isinstance(outcomes, Exception)
        assert [reply.name for reply in outcomes.replies] == ["UNSENT", "UNSENT"]
        assert type(outcomes.error) is UnreachableError

    run(url, work)


def test_a_name_that_nobody_knows() -> None:
    """DNS says no: once, at once."""
    error = failure("redis://no-such-host.invalid:6379/0", AddressError)
    assert "host name is not known" in error.message
    assert error.exit_code == 3


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """The path is named."""
    error = failure(f"unix:{tmp_path}/none.sock", AddressError)
    assert "no such socket" in error.message
    assert str(tmp_path) in error.message


def test_a_socket_that_may_not_be_used(tmp_path: Path) -> None:
    """A file that is no socket is refused in the system's words."""
    (tmp_path / "file").write_text("")
    error = failure(f"unix:{tmp_path}/file", UnreachableError)
    assert str(tmp_path) in error.message


@pytest.fixture
def web() -> Iterator[int]:
    """Give the port of an HTTP server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("db", [0, 1])
def test_an_http_server_on_the_port(web: int, db: int) -> None:
    """Another protocol is named as such, whoever reads its first line."""
    error = failure(f"redis://127.0.0.1:{web}/{db}", UnreachableError)
    assert "does not speak the Redis protocol" in error.message


def logins(server: ServerProcess) -> int:
    """Return how many failed logins the server has logged."""
    log = server.raw("ACL", "LOG")
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in log]
    return sum(entry[b"count"] for entry in entries if entry[b"reason"] == b"auth")


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_a_wrong_password_is_one_login(any_server: ServerProcess, way: str) -> None:
    """One AUTH goes out, is not tried again, and the password shows nowhere."""
    url = any_server.url if way == "tcp" else unix(any_server)
    wrong = Credentials("default", Secret(CANARY))
    any_server.raw("ACL", "SETUSER", "default", ">right")
    with any_server.connect() as admin:
        admin.call("AUTH", "default", "right")
        error = failure(url, LoginError, credentials=wrong)
        assert "refused the user or the password" in error.message
        assert "password_file" in (error.hint or "")
        admin.call("ACL", "SETUSER", "default", "nopass")
    assert logins(any_server) == 1


def test_a_password_that_is_needed_and_missing(any_server: ServerProcess) -> None:
    """Without one, the error is the same: it names the server and where to set it."""
    any_server.raw("ACL", "SETUSER", "default", "resetpass", ">right")
    error = failure(any_server, LoginError)
    assert any_server.url in error.message
    assert "password" in (error.hint or "")
    right = Credentials(None, Secret("right"))
    assert run(any_server, get, credentials=right) is None


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_a_user_and_a_password(any_server: ServerProcess, way: str) -> None:
    """One login for a connection; on a Unix socket too."""
    url = any_server.url if way == "tcp" else unix(any_server)
    any_server.raw("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+hello", "+auth")
    any_server.raw("SET", "k", "1")
    any_server.raw("CONFIG", "RESETSTAT")
    credentials = Credentials("reader", Secret("secret"))
    assert run(url, get, credentials=credentials) == b"1"
    assert "calls=1," in any_server.info("commandstats")["cmdstat_auth"]


def test_a_server_whose_auth_has_another_name(fresh_server: FreshServer) -> None:
    """ "unknown command AUTH with args" repeats the password; the error does not."""
    server = fresh_server("--rename-command", "AUTH", "LOGIN", tcp=True)
    for db in (0, 1):
        url = server.url[:-1] + str(db)
        error = failure(url, ServerError, credentials=Credentials("u", Secret(CANARY)))
        assert "unknown command" in error.message


def test_a_password_from_a_slow_command_is_no_silence(server: ServerProcess) -> None:
    """What `password_command` takes is not the server's time, and it runs once for ten callers."""
    log = server.directory / "asked"
    script = f"echo x >> {log}; sleep 0.4; echo secret"
    server.raw("ACL", "SETUSER", "default", "resetpass", ">secret")
    credentials = Credentials(None, password_command=("sh", "-c", script))
    hurried = PATIENT._replace(answer=0.3, connect=0.3, total=0.3)

    async def work(store: Store) -> None:
        await asyncio.gather(*(store.get(b"k") for _ in range(10)))
        (outcome,) = (await store.exist([b"k"])).replies
        assert outcome == 0

    with Proxy(server, latency=0.005) as proxy:
        run(proxy, work, hurried, credentials=credentials)
    assert log.read_text() == "x\n"


def test_a_database_that_is_not_there(any_server: ServerProcess) -> None:
    """SELECT's refusal names the server."""
    error = failure(any_server.url[:-1] + "99", ServerError)
    assert "DB index is out of range" in error.message
    assert any_server.url[:-1] in error.message


def test_a_database_that_may_not_be_selected(any_server: ServerProcess) -> None:
    """NOPERM at SELECT: the hint allows SELECT, not the command that was wanted."""
    any_server.raw("ACL", "SETUSER", "default", "-select")
    hint = "allow it on the server: ACL SETUSER default +select"
    assert failure(any_server.url[:-1] + "3", DeniedError).hint == hint

    async def work(store: Store) -> None:
        outcomes = await store.exist([b"k"])
        assert isinstance(outcomes.error, DeniedError)
        with pytest.raises(DeniedError) as caught:
            await first_page(store)
        assert outcomes.error.hint == caught.value.hint == hint

    run(any_server.url[:-1] + "3", work)


def test_a_server_without_hello_and_info(
    any_server: ServerProcess, fresh_server: FreshServer
) -> None:
    """Then nothing is known of mode, role and run, and everything works."""
    server = fresh_server("--rename-command", "HELLO", "HI", version=any_server.version, tcp=True)
    server.raw("ACL", "SETUSER", "default", "-info")

    async def work(store: Store) -> None:
        assert await store.set(b"k", b"1")
        await store.writable()
        assert await store.identity() == (None,)
        assert [page.keys async for page in store.pages()] == [[b"k"]]
        (vitals,) = await store.vitals(1)
        assert vitals.greeting["role"] is None
        assert isinstance(vitals.info, DeniedError)

    run(server, work)


@pytest.mark.parametrize("db", [0, 1])
def test_no_room_for_another_client(fresh_server: FreshServer, db: int) -> None:
    """ "max number of clients" is a server that is not ready: waited for, then told."""
    server = fresh_server("--maxclients", "1", tcp=True)
    url = server.url[:-1] + str(db)
    with server.connect() as admin:
        admin.call("PING")
        with pytest.raises((NotReadyError, LostError)) as caught:
            run(url, get, PATIENT._replace(total=0.3))
        assert caught.value.exit_code == 3
        assert url in caught.value.message or "max number of clients" in caught.value.message


def test_protected_mode_is_told(fresh_server: FreshServer) -> None:
    """-DENIED at the door is passed on, not taken for an old server."""

    class Door(threading.Thread):
        def __init__(self) -> None:
            super().__init__(daemon=True)
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]

        def run(self) -> None:
            while True:
                try:
                    client, _ = self.listener.accept()
                except OSError:
                    return
                with client:
                    client.sendall(b"-DENIED Redis is running in protected mode\r\n")
                    client.recv(1000)

    door = Door()
    door.start()
    with closing(door.listener):
        error = failure(f"redis://127.0.0.1:{door.port}/0", UnreachableError)
        door.listener.shutdown(socket.SHUT_RDWR)
    assert "protected mode" in error.message


def test_a_node_of_no_cluster_yet_is_told(
    any_server: ServerProcess, fresh_server: FreshServer
) -> None:
    """By its socket a cluster cannot be reached (2); one that was never made serves no slots (3)."""
    port = free_port()
    while port > 55535:  # its port for the other nodes is 10,000 higher
        port = free_port()
    config = ("--cluster-enabled", "yes", "--port", str(port))
    server = fresh_server(*config, version=any_server.version)
    error = failure(unix(server), UsageError)
    assert error.exit_code == 2
    assert "cluster" in error.message
    url, patience = f"redis://127.0.0.1:{port}/0", PATIENT._replace(total=2.0)
    with pytest.raises(UnreachableError, match="serves slots") as caught:  # it may be made yet
        run(url, get, patience)
    assert caught.value.exit_code == 3


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Make an authority and certificates for localhost."""
    return make_certificates(tmp_path)


def test_tls_with_our_authority(server: ServerProcess, certificates: Certificates) -> None:
    """The server's certificate and name are verified against `ca_file`."""
    server.raw("SET", "k", "1")
    with Proxy(server, tls=certificates.server_context()) as proxy:
        assert run(proxy, get, tls=Tls(ca_file=str(certificates.ca_file))) == b"1"


def test_tls_with_an_unknown_authority(server: ServerProcess, certificates: Certificates) -> None:
    """The system's authorities do not know ours: refused at once, once."""
    with Proxy(server, tls=certificates.server_context()) as proxy:
        error = failure(proxy, TlsError)
        assert "certificate was not accepted" in error.message
        assert "tls.ca_file" in (error.hint or "")


def test_tls_with_another_authority(
    server: ServerProcess,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ca_file` takes the place of all others: also of the system's, which would vouch for it."""
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    server.raw("SET", "k", "1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    with Proxy(server, tls=certificates.server_context()) as proxy:
        assert run(proxy, get) == b"1"
        failure(proxy, TlsError, tls=Tls(ca_file=str(other.ca_file)))


def test_tls_files_that_cannot_be_used_are_named(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Also where a certificate stands alone, or its key wants a pass phrase: nobody is asked for it."""
    none, cert = str(tmp_path / "none.pem"), str(certificates.client_cert_file)
    key = load_pem_private_key(certificates.client_key_file.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    way = BestAvailableEncryption(b"pass phrase")
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, way))
    alone = "or tls.key_file beside it"
    for tls, files, hint in (
        (Tls(ca_file=none), none, "PEM"),
        (Tls(cert_file=none), none, alone),
        (Tls(cert_file=cert), cert, alone),
        (Tls(cert_file=cert, key_file=none), f"{cert}, {none}", "its key"),
        (Tls(cert_file=cert, key_file=str(locked)), f"{cert}, {locked}", "without a pass phrase"),
    ):
        error = failure("rediss://localhost:1/0", ConfigError, tls=tls)
        assert f"cannot be used: {files}: " in error.message
        assert hint in (error.hint or "")


def test_a_server_that_wants_a_certificate_of_ours(
    server: ServerProcess, certificates: Certificates
) -> None:
    """It hangs up on whoever shows none; that the port is a wrong one is not the first guess."""
    ca_file = str(certificates.ca_file)
    with Proxy(server, tls=certificates.server_context(client_certificate=True)) as proxy:
        error = failure(proxy, UnreachableError, tls=Tls(ca_file=ca_file))
        assert "tls.cert_file" in (error.hint or "") + error.message


def test_tls_with_another_name(server: ServerProcess, tmp_path: Path) -> None:
    """A certificate for elsewhere is refused, unless `server_name` says so, or nobody verifies."""
    server.raw("SET", "k", "1")
    certificates = make_certificates(tmp_path, "cache.example.com")
    ca_file = str(certificates.ca_file)
    with Proxy(server, tls=certificates.server_context()) as proxy:
        error = failure(proxy, TlsError, tls=Tls(ca_file=ca_file))
        assert "cache.example.com" in error.message or "mismatch" in error.message
        named = Tls(ca_file=ca_file, server_name="cache.example.com")
        assert run(proxy, get, tls=named) == b"1"
        assert run(proxy, get, tls=Tls(verify=False)) == b"1"


def test_tls_with_a_client_certificate(server: ServerProcess, certificates: Certificates) -> None:
    """A server that wants to know who calls is shown the certificate, else the line is cut."""
    server.raw("SET", "k", "1")
    context = certificates.server_context(client_certificate=True)
    ca_file = str(certificates.ca_file)
    with Proxy(server, tls=context) as proxy:
        client = Tls(
            ca_file,
            str(certificates.client_cert_file),
            str(certificates.client_key_file),
        )
        assert run(proxy, get, tls=client) == b"1"
        assert failure(proxy, UnreachableError, tls=Tls(ca_file)).exit_code == 3


def test_tls_files_that_cannot_be_used(certificates: Certificates) -> None:
    """Missing files, and files that hold something else, are errors of the settings."""
    url, own = "rediss://127.0.0.1:1/0", str(certificates.ca_file)
    for tls, setting in (
        (Tls(ca_file="/nowhere"), "tls.ca_file"),
        (Tls(ca_file=str(certificates.key_file)), "tls.ca_file"),
        (Tls(ca_file=own, cert_file="/nowhere"), "tls.cert_file"),
        (Tls(ca_file=own, cert_file=own, key_file=own), "tls.cert_file"),
    ):
        error = failure(url, ConfigError, tls=tls)
        assert setting in error.message
        assert error.exit_code == 2


def test_tls_to_a_plain_port(server: ServerProcess) -> None:
    """The server waits for the end of what it takes for a command; the hint knows better."""
    url = f"rediss://127.0.0.1:{server.port}/0"
    error = failure(url, SilenceError, patience=PATIENT._replace(connect=0.2, total=0.2))
    assert "does the port speak TLS" in (error.hint or "")


def test_plain_to_a_tls_port(server: ServerProcess, certificates: Certificates) -> None:
    """A port with TLS is guessed from how it hangs up."""
    with Proxy(server, tls=certificates.server_context()) as proxy:
        for db in (0, 1):
            error = failure(f"redis://127.0.0.1:{proxy.port}/{db}", UnreachableError)
            assert "rediss://" in (error.hint or "")


def test_a_handshake_that_gets_no_answer(server: ServerProcess) -> None:
    """Accepted and never answered: over after `connect`, whatever step it stands at."""
    patience = PATIENT._replace(connect=0.2, attempts=1)
    gate = threading.Event()
    for url in (server.url, server.url[:-1] + "1"):
        with Proxy(server, held(gate)) as proxy:
            target = f"redis://127.0.0.1:{proxy.port}{url[url.rindex('/') :]}"
            error = failure(target, SilenceError, patience=patience)
            assert "200ms" in error.message
        gate.set()
        gate.clear()


def test_a_cancelled_handshake_leaves_no_connection(server: ServerProcess) -> None:
    """Cancelled while it connects, logs in or greets: the socket is closed."""
    server.raw("ACL", "SETUSER", "default", ">secret")
    credentials = Credentials(None, Secret("secret"))
    gate = threading.Event()
    for after in (0, 5, 10):
        with Proxy(server, held(gate, after)) as proxy:

            async def main(proxy: Proxy = proxy, after: int = after) -> None:
                async with store_on(proxy.url[:-1] + "1", credentials=credentials) as store:
                    task = asyncio.create_task(store.get(b"k"))
                    await until(lambda: proxy.open == 1 and proxy.bytes["up"] > after)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    await until(lambda: proxy.open == 0)

            asyncio.run(main())
    gate.set()


def test_an_idle_connection_that_was_reset_is_not_lent(server: ServerProcess) -> None:
    """A reset is no end of file, and yet such a connection serves nobody: SET NX goes out once."""
    listener = socket.create_server(("127.0.0.1", 0))
    replies = {b"HELLO": b"*0\r\n", b"SET": b"+OK\r\n"}
    seen: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            client, _address = listener.accept()
            for _command in range(2):
                data = client.recv(1000)
                name = data.split(b"\r\n")[2]
                seen.append(name)
                client.sendall(replies[name])
            reset = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    async def work(store: Store) -> None:
        assert await store.set(b"a", b"1", only="missing")
        idle = store._topology.node_for(b"a")._idle
        await until(lambda: not idle[0].clean)
        assert await store.set(b"b", b"1", only="missing")

    with closing(listener):
        run(
            f"redis://127.0.0.1:{listener.getsockname()[1]}/0",
            work,
            PATIENT._replace(attempts=1),
        )
        thread.join()
    assert seen == [b"HELLO", b"SET"] * 2


def test_a_reply_too_many_spoils_the_connection(server: ServerProcess) -> None:
    """An extra reply in the same packet is noticed: the next caller gets a connection of their own."""
    server.raw("SET", "a", "of a")
    server.raw("SET", "b", "of b")

    def doubling(chunk: Chunk) -> Iterator[Step]:
        double = chunk.direction == "down" and chunk.data.startswith(b"$")
        yield chunk.data * 2 if double else chunk.data

    with Proxy(server, doubling) as proxy:

        async def work(store: Store) -> None:
            assert await store.get(b"a") == b"of a"
            assert await store.get(b"b") == b"of b"

        run(proxy, work)
        assert proxy.connections == 2


def test_the_private_names_of_the_driver() -> None:
    """redis-py and asyncio still have the attributes that connect.py and wire.py touch."""
    import redis.asyncio.connection as driver

    for kind in (driver.Connection, driver.UnixDomainSocketConnection):
        connection = kind()
        for name in ("_reader", "_writer"):
            assert hasattr(connection, name), f"redis-py: {kind.__name__}.{name} is gone"
        assert asyncio.iscoroutinefunction(kind._connect), f"redis-py: {kind.__name__}._connect"
    arguments = driver.Connection()._connection_arguments()
    assert set(arguments) == {"host", "port"}, "redis-py: Connection._connection_arguments"

    async def reader() -> asyncio.StreamReader:
        return asyncio.StreamReader()

    assert hasattr(asyncio.run(reader()), "_buffer"), "asyncio: StreamReader._buffer is gone"


def test_a_driver_without_streams_is_a_bug() -> None:
    """Should redis-py keep its streams elsewhere, it is named."""
    import redis.asyncio.connection as driver

    with pytest.raises(RuntimeError, match="redis-py"):
        connect.take_over(driver.Connection(), Address("unix", path="/x"))


def test_every_version_at_hand_is_tested() -> None:
    """The tests above ran on more than one server."""
    assert len(binaries()) >= 2
