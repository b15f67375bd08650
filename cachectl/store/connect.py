"""A server of the settings -> greeted wires: TLS, credentials, Unix socket, HELLO."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final, Protocol

import redis.asyncio.connection as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cachectl.config.settings import Server
from cachectl.config.url import Address
from cachectl.errors import (
    DeniedError,
    LoginError,
    LostError,
    NotReadyError,
    SilenceError,
    UnreachableError,
)
from cachectl.store.access import Access
from cachectl.store.errors import from_driver, hung_up, not_let_in
from cachectl.store.wire import Greeting, Wire
from cachectl.units import format_duration

REPLICA: Final = frozenset({"replica", "slave"})
"""The role of a replica as HELLO tells it: Valkey's word and Redis's."""

UNSENT = 128 * 1024
"""Bytes that the kernel keeps unsent at most: more, and a slow line that moves looks silent."""


class Finder(Protocol):
    """Where to connect to: the embedded server may have to be started, a primary to be asked for.

    `follows` tells that after a failover it is another server; `known` is where it was found last, and
    None when in doubt; `last` is what it is called all the same, None for what the settings name.
    """

    follows: bool

    @property
    def known(self) -> Address | None:
        """Return the address without asking anybody."""

    @property
    def last(self) -> Address | None:
        """Return the address that it had last."""

    def doubt(self) -> None:
        """Ask again before the next connection."""

    async def find(self, silence: float) -> Address:
        """Return the address within `silence` seconds, or raise one of our errors."""

    async def taking_over(self, silence: float) -> str | None:
        """Return in a sentence who is to replace it, if it is about to be replaced."""

    async def settle(self, silence: float) -> None:
        """Raise `NotReadyError` while it is being replaced by another."""


class _Fixed:
    """An address that is what the settings say."""

    follows = False

    def __init__(self, address: Address) -> None:
        self.known = self.last = address

    def doubt(self) -> None:
        pass

    async def find(self, _silence: float) -> Address:
        return self.known

    async def taking_over(self, _silence: float) -> None:
        pass

    async def settle(self, _silence: float) -> None:
        pass


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
    """Makes wires to one server."""

    def __init__(
        self, server: Server, finder: Finder | None = None, access: Access | None = None
    ) -> None:
        """Take the server; `finder` tells where it is, unless its address does."""
        self.server = server
        self.access = access or Access(server)
        self._finder = finder or _Fixed(server.address)
        self.found = False
        """Whether somebody has told where it is: then there is one, which can be waited for."""

    @property
    def user(self) -> str:
        """The user as the server's access rules call it."""
        return self.access.user

    @property
    def address(self) -> Address:
        """Where it was found last, else what the settings name."""
        return self._finder.last or self.server.address

    @property
    def where(self) -> str:
        """The server as people know it."""
        return self.address.text

    def doubt(self) -> None:
        """Ask again where it is before the next connection: another may have taken over."""
        self._finder.doubt()

    async def find(self, silence: float) -> Address:
        """Return where the server is now; raises as `connect` does."""
        known = self._finder.known
        if known is not None:
            return known
        try:
            async with asyncio.timeout(silence):
                return await self._finder.find(silence)
        except TimeoutError:
            raise self._silent(None, silence) from None

    async def taking_over(self, silence: float) -> str | None:
        """Return in a sentence who is to replace the server, if it is about to be replaced."""
        return await self._finder.taking_over(silence)

    async def settle(self, silence: float) -> None:
        """Raise `NotReadyError` while the server is being replaced by another."""
        await self._finder.settle(silence)

    async def connect(self, silence: float) -> Wire:
        """Return a greeted wire; raise one of our errors within `silence` seconds.

        Raises `LoginError` for a wrong password, `UnreachableError` and its kinds for all that keeps a
        connection from standing.
        """
        login = await self.access.login()
        address = None
        try:
            async with asyncio.timeout(silence):
                address = await self._finder.find(silence)
                self.found = self._finder.follows
                return await self._greeted(await self._logged_in(address, login), silence)
        except TimeoutError:
            raise self._silent(address, silence) from None
        except Exception as error:  # noqa: BLE001 what is not known is raised again
            ours = from_driver(error, self._named(address))
            if isinstance(ours, DeniedError) and ours.hint is None:
                ours.hint = f"allow it on the server: ACL SETUSER {self.user} +select"
            raise ours from None

    def _silent(self, address: Address | None, silence: float) -> SilenceError:
        msg = f"{self._named(address)} has not answered for {format_duration(silence)}"
        hint = "connecting got no answer: is the server stopped, or the way to it blocked?"
        if address is not None and address.tls:
            hint = "the TLS handshake got no answer: does the port speak TLS?"
        return SilenceError(msg, hint)

    def _named(self, address: Address | None) -> str:
        """Return an address as people know it: the embedded server's socket says them nothing."""
        found = address if self._finder.follows else None
        return (found or self.server.address).text

    async def _logged_in(self, address: Address, login: dict[str, str | None]) -> Wire:
        connection = self._driver_connection(address, login)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            wire = take_over(connection, address)
        except BaseException:
            abandon(connection)
            raise
        wire.follows, wire.where = self._finder.follows, self._named(address)
        return wire

    async def _greeted(self, wire: Wire, silence: float) -> Wire:
        try:
            wire.greeting = await _greet(wire, silence)
            self._check(wire)
        except BaseException:
            wire.drop()
            raise
        return wire

    def _check(self, wire: Wire) -> None:
        """Raise when a replica stands in a primary's place."""
        if wire.follows and wire.greeting.role in REPLICA:
            msg = f"{wire.where} is a replica: another primary is being chosen, or was just now"
            raise NotReadyError(msg)

    def _driver_connection(
        self, address: Address, login: dict[str, str | None]
    ) -> driver.AbstractConnection:
        options: dict[str, Any] = {
            "db": address.db,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            # deadlines are ours: the driver's swallow cancellations on Python 3.11
            "socket_timeout": None,
            "socket_connect_timeout": None,
            # CLIENT SETINFO leaves a line in ACL LOG for a user who may not
            "driver_info": None,
            **login,
        }
        if address.kind != "tcp":
            return _UnixConnection(path=address.path, **options)
        options |= {"host": address.host, "port": address.port}
        if not address.tls:
            return driver.Connection(**options)
        name = self.server.tls.server_name
        return _TlsConnection(context=self.access.context(), server_name=name, **options)


def take_over(connection: driver.AbstractConnection, address: Address) -> Wire:
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
    return Wire(reader, writer, address)


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
