"""A server of the settings -> greeted wires: TLS, credentials, Unix socket, HELLO."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import redis.asyncio.connection as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cachectl.config.secrets import Credentials, read
from cachectl.config.settings import Server, Tls
from cachectl.errors import (
    ConfigError,
    DeniedError,
    LoginError,
    LostError,
    SilenceError,
    UnreachableError,
    UsageError,
)
from cachectl.store.errors import from_driver, hung_up, not_let_in
from cachectl.store.wire import Greeting, Wire
from cachectl.units import format_duration

UNSENT = 128 * 1024
"""Bytes that the kernel keeps unsent at most: more, and a slow line that moves looks silent."""

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
        self._reading = asyncio.Lock()

    @property
    def user(self) -> str:
        """The user as the server's access rules call it."""
        return self.server.credentials.username or "default"

    async def read_login(self) -> None:
        """Read user and password, once; a `password_command` takes its time, not the server's."""
        credentials = self.server.credentials
        if not credentials.password_command:
            self._login = self._login or _login(credentials)
            return
        async with self._reading:
            self._login = self._login or await _aside(lambda: _login(credentials))

    async def connect(self, silence: float) -> Wire:
        """Return a greeted wire; raise one of our errors within `silence` seconds.

        Raises `LoginError` for a wrong password, `UnreachableError` and its kinds for all that keeps a
        connection from standing, `UsageError` for a server that greets as a cluster.
        """
        await self.read_login()
        try:
            async with asyncio.timeout(silence):
                return await self._greeted(await self._logged_in(), silence)
        except TimeoutError:
            msg = f"{self.where} has not answered for {format_duration(silence)}"
            hint = "connecting got no answer: is the server stopped, or the way to it blocked?"
            if self.server.address.tls:
                hint = "the TLS handshake got no answer: does the port speak TLS?"
            raise SilenceError(msg, hint) from None
        except Exception as error:  # noqa: BLE001 what is not known is raised again
            ours = from_driver(error, self.where)
            if isinstance(ours, DeniedError):
                ours.hint = f"allow it on the server: ACL SETUSER {self.user} +select"
            raise ours from None

    async def _logged_in(self) -> Wire:
        connection = await self._driver_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            return take_over(connection, self.where)
        except BaseException:
            abandon(connection)
            raise

    async def _greeted(self, wire: Wire, silence: float) -> Wire:
        try:
            wire.greeting = await _greet(wire, silence)
        except BaseException:
            wire.drop()
            raise
        if wire.greeting.mode == "cluster":
            wire.drop()
            msg = f"{self.where} is a node of a cluster, which is not supported yet"
            raise UsageError(msg, "name a standalone server")
        return wire

    async def _driver_connection(self) -> driver.AbstractConnection:
        address = self.server.address
        options: dict[str, Any] = {
            "db": address.db,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            # deadlines are ours: the driver's swallow cancellations on Python 3.11
            "socket_timeout": None,
            "socket_connect_timeout": None,
            # CLIENT SETINFO leaves a line in ACL LOG for a user who may not
            "driver_info": None,
            **(self._login or {}),
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
    reader, writer = connection._reader, connection._writer  # noqa: SLF001 the driver's, a test watches it
    connection._reader = connection._writer = None  # noqa: SLF001 the driver's, a test watches it
    if reader is None or writer is None:
        msg = "redis-py gave a connected connection without streams"
        raise RuntimeError(msg)
    end = writer.get_extra_info("socket")
    if end.family != socket.AF_UNIX and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    return Wire(reader, writer, where)


def abandon(connection: driver.AbstractConnection) -> None:
    """Close a driver connection at once; a cancelled handshake leaves its socket open otherwise."""
    if connection._writer is not None:  # noqa: SLF001 the driver's, a test watches it
        connection._writer.transport.abort()  # noqa: SLF001 the driver's, a test watches it
    connection._reader = connection._writer = None  # noqa: SLF001 the driver's, a test watches it


async def _greet(wire: Wire, silence: float) -> Greeting:
    """Return what HELLO tells; nothing where it is not known (Redis before 6) or denied."""
    try:
        reply = await wire.call(b"HELLO", b"2", silence=silence)
    except LostError:
        raise hung_up(wire.where) from None
    if isinstance(reply, LoginError):
        raise not_let_in(wire.where)
    if isinstance(reply, UnreachableError):
        raise reply
    return Greeting.told(reply)


async def _aside(read: Callable[[], dict[str, str | None]]) -> dict[str, str | None]:
    """Return what `read` returns, from a thread that nobody waits for.

    `asyncio.to_thread`'s would keep the process from ending while a `password_command` hangs.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dict[str, str | None]] = loop.create_future()

    def deliver(outcome: dict[str, str | None] | Exception) -> None:
        if answer.done():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    def work() -> None:
        outcome: dict[str, str | None] | Exception
        try:
            outcome = read()
        except Exception as error:  # noqa: BLE001 it is raised to who asked
            outcome = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=work, daemon=True).start()
    return await answer


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
