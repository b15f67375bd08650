"""Sentinel: who is the primary of a service now."""

from collections.abc import Awaitable, Callable

from cachectl.config.secrets import Credentials
from cachectl.config.settings import Sentinel, Server, Tls
from cachectl.config.url import Address
from cachectl.errors import CachectlError, ConfigError
from cachectl.store.connect import Connector
from cachectl.store.race import first_answer


class Sentinels:
    """Finds the primary of a service by asking its Sentinels, and asks again after any doubt."""

    follows = True

    def __init__(self, server: Server) -> None:
        """Take a server whose address names Sentinels and a service; nobody is asked yet."""
        self._address = server.address
        self._found: Address | None = None
        nodes = server.address.nodes
        self._sentinels = [Connector(_sentinel(server, host, port)) for host, port in nodes]

    @property
    def known(self) -> Address | None:
        """The primary as it was told last; None when in doubt."""
        return self._found

    def doubt(self) -> None:
        """Ask again before the next connection."""
        self._found = None

    async def find(self, silence: float) -> Address:
        """Return where the primary is.

        Raises `UnreachableError` when no Sentinel answers within `silence` seconds, `ConfigError` when
        they know no such service.
        """
        if self._found is None:
            asking = [self._asking(sentinel, silence) for sentinel in self._sentinels]
            self._found = await first_answer(asking)
        return self._found

    def _asking(self, sentinel: Connector, silence: float) -> Callable[[], Awaitable[Address]]:
        async def ask() -> Address:
            found = await _primary(sentinel, self._address.service, silence)
            # the one that answered is asked first from now on
            self._sentinels.sort(key=lambda one: one is not sentinel)
            return self._address._replace(kind="tcp", host=found[0], port=found[1], nodes=())

        return ask


async def _primary(sentinel: Connector, service: str, silence: float) -> tuple[str, int]:
    """Return what one Sentinel says; raise our error for a service that it does not know."""
    wire = await sentinel.connect(silence)
    try:
        words = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.encode())
        reply = await wire.call(*words, silence=silence)
    finally:
        wire.drop()
    if isinstance(reply, CachectlError):
        raise reply
    if reply is None:
        msg = f"{sentinel.where}: the Sentinel watches no service '{service}'"
        raise ConfigError(msg, "check sentinel.service of the profile")
    host, port = reply
    return host.decode(), int(port)


def _sentinel(server: Server, host: str, port: int) -> Server:
    """Return a Sentinel as a server of its own: it has its own users, and no databases."""
    told = server.sentinel or Sentinel(Credentials())
    return server._replace(
        address=Address("tcp", host, port, tls=told.tls is not None),
        credentials=told.credentials,
        tls=told.tls or Tls(),
        sentinel=None,
    )
