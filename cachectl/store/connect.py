"""A server of the settings -> greeted wires: TLS, credentials, Unix socket, HELLO."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import redis.asyncio.connection as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cachectl.config.secrets import Credentials, read
from cachectl.config.settings import Server, Tls
from cachectl.errors import CachectlError, ConfigError, SilenceError, UsageError
from cachectl.store.errors import from_driver
from cachectl.store.wire import Greeting, Wire
from cachectl.units import format_duration

Find = Callable[[], Awaitable[str]]
"""Gives the path of the Unix socket to connect to; starts the embedded server where that is wanted."""


class _TlsConnection(driver.Connection):
    """A connection with our own SSLContext.

    The driver's adds its `ca_file` to the system's authorities and takes no server name.
    """

    def __init__(self, *, context: ssl.SSLContext, server_name: str | None, **kwargs: Any) -> None:
        self._tls = {"ssl": context, "server_hostname": server_name}
        super().__init__(**kwargs)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), **self._tls}


class _UnixConnection(driver.UnixDomainSocketConnection):
    """A connection that greets once: the driver's logs in twice on a Unix socket."""

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(path=self.path)


class Connector:
    """Makes wires to one server. Credentials are read once, when the first wire is made."""

    def __init__(self, server: Server, find_socket: Find | None = None) -> None:
        """Take the server; `find_socket` is asked for the socket's path of an embedded one."""
        self.server = server
        self.where = server.address.text
        self._find_socket = find_socket
        self._context: ssl.SSLContext | None = None
        self._login: dict[str, str | None] | None = None

    async def connect(self, silence: float) -> Wire:
        """Return a greeted wire; raise one of our errors within `silence` seconds.

        Raises `LoginError` for a wrong password, `UnreachableError` and its kinds for all that keeps a
        connection from standing, `UsageError` for a server that greets as a cluster.
        """
        try:
            async with asyncio.timeout(silence):
                wire = await self._logged_in()
                wire.greeting = await _greet(wire, silence)
        except CachectlError:
            raise
        except TimeoutError:
            msg = f"{self.where} has not answered for {format_duration(silence)}"
            hint = "connecting got no answer: is the server stopped, or the way to it blocked?"
            raise SilenceError(msg, hint) from None
        except Exception as error:  # noqa: BLE001
            raise from_driver(error, self.where) from None
        if wire.greeting.mode == "cluster":
            wire.drop()
            msg = f"{self.where} is a node of a cluster, which is not supported yet"
            raise UsageError(msg, "name a standalone server")
        return wire

    async def _logged_in(self) -> Wire:
        connection = await self._driver_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            return take_over(connection, self.where)
        except BaseException:
            abandon(connection)
            raise

    async def _driver_connection(self) -> driver.AbstractConnection:
        address = self.server.address
        if self._login is None:
            self._login = await asyncio.to_thread(_login, self.server.credentials)
        options: dict[str, Any] = {
            "db": address.db,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            # deadlines are ours: the driver's swallow cancellations on Python 3.11
            "socket_timeout": None,
            "socket_connect_timeout": None,
            # CLIENT SETINFO leaves a line in ACL LOG for a user who may not
            "driver_info": None,
            **self._login,
        }
        if address.kind == "tcp":
            options |= {"host": address.host, "port": address.port}
            if not address.tls:
                return driver.Connection(**options)
            if self._context is None:
                self._context = tls_context(self.server.tls)
            name = self.server.tls.server_name
            return _TlsConnection(context=self._context, server_name=name, **options)
        path = await self._find_socket() if self._find_socket else address.path
        return _UnixConnection(path=path, **options)


def take_over(connection: driver.AbstractConnection, where: str) -> Wire:
    """Return a wire on the streams of a connected driver connection, which lets go of them.

    Here and in `abandon` the driver's private names are touched; a test fails with the driver's name
    when they change.
    """
    reader, writer = connection._reader, connection._writer  # noqa: SLF001
    connection._reader = connection._writer = None  # noqa: SLF001
    if reader is None or writer is None:
        msg = "redis-py gave a connected connection without streams"
        raise RuntimeError(msg)
    return Wire(reader, writer, where)


def abandon(connection: driver.AbstractConnection) -> None:
    """Close a driver connection at once; a cancelled handshake leaves its socket open otherwise."""
    if connection._writer is not None:  # noqa: SLF001
        connection._writer.transport.abort()  # noqa: SLF001
    connection._reader = connection._writer = None  # noqa: SLF001


async def _greet(wire: Wire, silence: float) -> Greeting:
    reply = await wire.call(b"HELLO", b"2", silence=silence)
    if isinstance(reply, CachectlError):
        if isinstance(reply, UsageError) or reply.exit_code == 3:  # noqa: PLR2004
            wire.drop()
            raise reply
        return Greeting()  # Redis before 6 does not know HELLO
    told = {reply[i]: reply[i + 1] for i in range(0, len(reply) - 1, 2)}
    texts = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else None
        for value in (told.get(name) for name in (b"server", b"version", b"mode", b"role"))
    ]
    return Greeting(*texts)


def _login(credentials: Credentials) -> dict[str, str | None]:
    username, password = read(credentials)
    return {"username": username, "password": password.reveal() if password else None}


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the context that verifies as `tls` says; raise `ConfigError` for unusable files."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        msg = f"tls.ca_file cannot be used: {_reason(error)}"
        raise ConfigError(msg, "it wants certificates in PEM form") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        except (OSError, ssl.SSLError) as error:
            msg = f"tls.cert_file and tls.key_file cannot be used: {_reason(error)}"
            raise ConfigError(msg, "they want a certificate and its key in PEM form") from None
    return context


def _reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or error.strerror or "not readable").lower()
