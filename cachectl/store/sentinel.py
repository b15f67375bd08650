"""Sentinel: who is the primary of a service now."""

import asyncio
from functools import partial

from cachectl.config.secrets import Credentials
from cachectl.config.settings import Sentinel, Server, Tls
from cachectl.config.url import Address
from cachectl.errors import CachectlError, ConfigError, LoginError, NotReadyError, ServerError
from cachectl.store.connect import Connector
from cachectl.store.race import first_answer

MOMENT = 0.5
"""Seconds that all Sentinels are asked for, when one that is away must not hold up the others."""


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

    @property
    def last(self) -> Address | None:
        """The primary, unless it is in doubt: then it is called by its Sentinels."""
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
            host, port = await self._ask(b"GET-MASTER-ADDR-BY-NAME", silence)
            self._found = Address(
                "tcp", host.decode(), int(port), db=self._address.db, tls=self._address.tls
            )
        return self._found

    async def settle(self, silence: float) -> None:
        """Raise `NotReadyError` while a failover is under way, of which its leader alone may know.

        Until it is over the old primary may acknowledge what the new one will never have.
        """
        moment = min(silence, MOMENT)
        asking = [self._say(sentinel, b"MASTER", moment) for sentinel in self._sentinels]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        states = [_state(answer[0]) for answer in answers if not isinstance(answer, BaseException)]
        if any(b"failover_in_progress" in _flags(state) for state in states):
            msg = f"a failover of '{self._address.service}' is under way"
            raise NotReadyError(msg)

    async def taking_over(self, silence: float) -> str | None:
        """Return what the Sentinels are about: a primary that they take for down will be replaced."""
        try:
            state = _state(await self._ask(b"MASTER", silence))
        except CachectlError:
            return None
        if not _flags(state) & {b"s_down", b"o_down", b"failover_in_progress"}:
            return None
        replicas = state.get(b"num-slaves", b"0").decode()
        if replicas == "0":
            return None
        return f"the Sentinels take it for down: one of its {replicas} replicas is to take over"

    async def _ask(self, question: bytes, silence: float) -> list[bytes]:
        """Return what the first Sentinel to answer says of the service."""
        reply, sentinel = await first_answer(
            [partial(self._say, sentinel, question, silence) for sentinel in self._sentinels],
            "Sentinels",
        )
        # the one that answered is asked first from now on
        self._sentinels.sort(key=lambda one: one is not sentinel)
        return reply

    async def _say(
        self, sentinel: Connector, question: bytes, silence: float
    ) -> tuple[list[bytes], Connector]:
        service = self._address.service
        try:
            wire = await sentinel.connect(silence)
        except LoginError as error:
            error.hint = "check sentinel.username and sentinel.password of the profile"
            raise
        try:
            reply = await wire.call(b"SENTINEL", question, service.encode(), silence=silence)
        finally:
            wire.drop()
        unknown = isinstance(reply, ServerError) and "No such master" in reply.message
        if reply is None or unknown:
            msg = f"{sentinel.where}: the Sentinel watches no service '{service}'"
            raise ConfigError(msg, "check sentinel.service of the profile")
        if isinstance(reply, ServerError) and "unknown command" in reply.message:
            msg = f"{sentinel.where} is no Sentinel"
            raise ConfigError(msg, "name a server by its url; a Sentinel's port is 26379, mostly")
        if isinstance(reply, CachectlError):
            raise reply
        return reply, sentinel


def _state(told: list[bytes]) -> dict[bytes, bytes]:
    """Return the fields that SENTINEL MASTER tells."""
    return dict(zip(told[::2], told[1::2], strict=False))


def _flags(state: dict[bytes, bytes]) -> set[bytes]:
    return set(state.get(b"flags", b"").split(b","))


def _sentinel(server: Server, host: str, port: int) -> Server:
    """Return a Sentinel as a server of its own: it has its own users, and no databases."""
    told = server.sentinel or Sentinel(Credentials())
    return server._replace(
        address=Address("tcp", host, port, tls=told.tls is not None),
        credentials=told.credentials,
        tls=told.tls or Tls(),
        sentinel=None,
    )
