"""The strict door to a cache: bytes in and out, one topology behind it, only our errors.

Nobody above this room sees a node, a slot, a driver's type or the server's -1 and -2.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Any, Final, Literal, NamedTuple, Self

from cachectl.errors import (
    BusyError,
    CachectlError,
    DeniedError,
    LostError,
    ReadOnlyServerError,
    ServerError,
    UnreachableError,
)
from cachectl.errors import WrongTypeError as WrongType
from cachectl.store.connect import Connector
from cachectl.store.hints import explained
from cachectl.store.info import identity, parse_info
from cachectl.store.pool import Pool
from cachectl.store.scan import Page, pages
from cachectl.store.settle import (
    Found,
    Since,
    doubt_refusals,
    refused_again,
    settle,
    settle_batch,
)
from cachectl.store.stream import Outcomes, Unanswered, stream
from cachectl.store.topology import Standalone
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Greeting
from cachectl.store.writing import (
    CHANGES,
    Write,
    key_facts,
    milliseconds,
    seconds_left,
    write_command,
    written,
)

__all__ = ["KEEP", "Keep", "Store", "Vitals", "Write"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cachectl.models import KeyInfo

PAGE = 250
"""SCAN's COUNT: about so many keys a page. Small pages keep other clients' latency low."""


class Keep:
    """The type of `KEEP`."""


KEEP: Final = Keep()
"""A TTL that stays as the key has it."""


class Vitals(NamedTuple):
    """What one node tells of itself: its address, the seconds its pings took, its INFO and role.

    `ping` and `info` hold our error instead where the server refused.
    """

    node: str
    greeting: dict[str, str | None]
    ping: list[float] | CachectlError
    info: dict[str, str] | CachectlError


class Store:
    """A cache, strictly: every method raises our errors and never invents an answer.

    Opens its first connection when it is first used. Raises `UnreachableError` and its kinds when the
    server cannot be reached or was lost (`maybe_applied` tells of a write that was never answered), and
    `ServerError` and its kinds when it refused.
    """

    def __init__(self, connector: Connector, patience: Patience, pool_size: int = 10) -> None:
        """Take what makes connections, what is borne, and how many connections there may be."""
        self._topology = Standalone(Pool(connector, pool_size))
        self._patience = patience
        self._connector = connector

    async def __aenter__(self) -> Self:
        """Return the store; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._topology.close()

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None when it is not there."""
        value: bytes | None
        try:
            value = await self._call(key, b"GET", key)
        except WrongType as error:
            try:
                kind = await self._call(key, b"TYPE", key)
            except ServerError:
                raise error from None
            if kind == b"none":  # gone meanwhile
                return None
            msg = f"the key holds a {kind.decode()}, not a string"
            raise WrongType(msg, error.hint) from None
        return value

    async def ping(self) -> None:
        """Raise one of our errors unless every primary answers, and is not busy or out of service."""
        for node in self._topology.primaries():
            async with node.lend(self._patience.connect) as wire:
                reply = await wire.call(b"PING", silence=self._patience.answer)
            if isinstance(reply, UnreachableError | BusyError):
                raise explained(reply, b"PING", self._connector.user)

    async def ttl(self, key: bytes) -> float | None | Literal[False]:
        """Return the seconds that `key` has left, None (never expires) or False (not there)."""
        return seconds_left(await self._call(key, b"PTTL", key))

    async def set(
        self,
        key: bytes,
        value: bytes,
        ttl: float | Keep | None = None,
        only: Literal["missing", "existing"] | None = None,
    ) -> bool:
        """Write one value; return False when `only` kept it from being written.

        `ttl` is in seconds, None for a key that never expires. Should the answer to `only="missing"`
        get lost, it is looked up: the value and the TTL that stand there tell whose they are; where
        they do not, it raises `UnreachableError` with `maybe_applied`.
        """
        command = [b"SET", key, value]
        if isinstance(ttl, Keep):
            command.append(b"KEEPTTL")
        elif ttl is not None:
            command += [b"PX", b"%d" % milliseconds(ttl)]
        if only is not None:
            command.append(b"NX" if only == "missing" else b"XX")
        if only != "missing":
            return await self._call(key, *command) is not None
        write = Write(key, value, None if isinstance(ttl, Keep) else ttl)
        return await self._set_missing(write, command)

    async def _set_missing(self, write: Write, command: Sequence[bytes]) -> bool:
        since, key = Since(), write.key
        tries = await self._topology.node_for(key).tries(self._patience)

        async def send() -> object:
            return await self._call(key, *command, idempotent=False, tries=tries)

        async def look() -> Found:
            commands = [(b"GET", key), (b"PTTL", key)]
            return since.judge(write, *await self._answers(commands, [key, key], tries))

        try:
            return await send() is not None
        except UnreachableError as error:
            if not error.maybe_applied:
                raise
            return await settle(look, send, error)

    async def unlink(self, keys: Sequence[bytes]) -> Outcomes:
        """Remove keys, one command a key; a reply is 1 when the key was there and 0 when not."""
        return await self.run([(b"UNLINK", key) for key in keys], list(keys))

    async def exist(self, keys: Sequence[bytes]) -> Outcomes:
        """Look whether keys are there; a reply is 1 or 0."""
        return await self.run([(b"EXISTS", key) for key in keys], list(keys))

    async def get_many(self, keys: Sequence[bytes]) -> Outcomes:
        """Read values; a reply is bytes, or None for a key that is not there."""
        return await self.run([(b"GET", key) for key in keys], list(keys))

    async def ttls(self, keys: Sequence[bytes]) -> Outcomes:
        """Look how long keys live; a reply is seconds, None (never expires) or False (not there)."""
        outcomes = await self.run([(b"PTTL", key) for key in keys], list(keys))
        outcomes.replies = [seconds_left(r) if isinstance(r, int) else r for r in outcomes.replies]
        return outcomes

    async def write(self, writes: Sequence[Write], *, only_missing: bool = False) -> Outcomes:
        """Write entries; a reply is True when written and False when `only_missing` kept it.

        A SET NX that was sent again after a cut is looked up: whether its value and TTL stand there.
        Where that does not tell, it is UNKNOWN.
        """
        since = Since()
        commands = [write_command(write, only_missing=only_missing) for write in writes]
        keys = [write.key for write in writes]
        outcomes = await self.run(commands, keys, last_wins=not only_missing)
        outcomes.replies = [written(reply) for reply in outcomes.replies]
        doubtful = [p for p in sorted(outcomes.resent) if outcomes.replies[p] is False]
        if only_missing and doubtful:
            looks = [(word, keys[p]) for p in doubtful for word in (b"GET", b"PTTL")]
            found = (await self.run(looks, [key for _, key in looks])).replies
            pairs = zip(doubtful, found[::2], found[1::2], strict=True)
            judged = [(p, since.judge(writes[p], value, pttl)) for p, value, pttl in pairs]
            settle_batch(writes, outcomes, judged)
        return outcomes

    async def describe(self, key: bytes) -> "KeyInfo | None":
        """Return what `inspect` shows of a key, or None when it is not there."""
        # inspect alone needs it: the reports it brings cost `get` 8 ms
        from cachectl.store.describe import describe

        async def run(commands: list[tuple[bytes, ...]]) -> list[Any]:
            return await self._answers(commands, [key] * len(commands))

        async def bounded(*command: bytes, limit: int) -> Any:
            return await self._call(key, *command, limit=limit)

        return await describe(key, self._topology.node_for(key).connector.where, run, bounded)

    async def facts(self, keys: Sequence[bytes]) -> list[tuple[Any, Any, Any]]:
        """Return type, TTL and memory of each key: text, seconds or None, bytes.

        In place of a fact that the server refuses to tell stands our error; a key that vanished has
        the type `none`.
        """
        commands = [
            command
            for key in keys
            for command in ((b"TYPE", key), (b"PTTL", key), (b"MEMORY", b"USAGE", key))
        ]
        replies = await self._answers(commands, [key for key in keys for _ in range(3)])
        return [
            key_facts(*three)
            for three in zip(replies[::3], replies[1::3], replies[2::3], strict=True)
        ]

    async def pages(
        self, match: bytes | None = None, count: int = PAGE
    ) -> AsyncGenerator[Page, None]:
        """Yield pages of the keys that match a SCAN pattern, over all primaries.

        Every key that stood all the while is in it. Use it within `contextlib.aclosing`. Raises
        `UnreachableError` when no cycle could be finished unbroken.
        """
        for node in self._topology.primaries():
            async with aclosing(pages(node, self._patience, match, count)) as found:
                try:
                    async for page in found:
                        yield page
                except CachectlError as error:
                    explained(error, b"SCAN", self._connector.user)
                    raise

    async def writable(self) -> None:
        """Raise `ReadOnlyServerError` when a primary is none: a replica that takes no writes."""
        for node in self._topology.primaries():
            try:
                told = Greeting.told(await self._ask(node, b"HELLO", b"2"))
            except ServerError:
                continue
            if told.role in {"replica", "slave"}:
                raise await self._read_only(node)

    async def identity(self) -> tuple[str | None, ...]:
        """Return what tells these servers and their data from others; None where it is denied.

        Each primary's run, and its replication id: one that took over another's data keeps its run.
        So does one whose databases were swapped: there the count of SWAPDB follows.
        """
        return tuple([await self._identity(node) for node in self._topology.primaries()])

    async def _identity(self, node: Pool) -> str | None:
        try:
            info = parse_info(await self._ask(node, b"INFO", b"everything"))
        except DeniedError:
            return None
        return identity(info)

    async def vitals(self, pings: int = 5) -> list[Vitals]:
        """Ask every node how it is; raises our errors for one that cannot be asked at all."""
        return [await self._vitals(node, pings) for node in self._topology.primaries()]

    async def _vitals(self, node: Pool, pings: int) -> Vitals:
        tries = await node.tries(self._patience)
        async with node.lend(tries.connect) as wire:
            took: list[float] = []
            refused: CachectlError | None = None
            for _ in range(pings):
                start = perf_counter()
                reply = await wire.call(b"PING", silence=tries.answer)
                took.append(perf_counter() - start)
                refused = reply if isinstance(reply, CachectlError) else None
            info = await wire.call(b"INFO", b"everything", silence=tries.answer)
            return Vitals(
                node.connector.where,
                wire.greeting._asdict(),
                refused or took,
                info if isinstance(info, CachectlError) else parse_info(info),
            )

    async def run(
        self,
        commands: Sequence[tuple[bytes, ...]],
        keys: list[bytes],
        tries: Tries | None = None,
        *,
        last_wins: bool = False,
    ) -> Outcomes:
        """Send idempotent commands, each to the node of its key; errors stand in the outcomes.

        `last_wins`: of several writes of a key, the last one stands whatever was sent again.
        """
        outcomes = Outcomes(len(commands), keys if last_wins else None)
        for node, places in self._topology.split(keys):
            bears = tries or await node.tries(self._patience)
            await stream(node, bears, commands, outcomes, places)
        for place, reply in enumerate(outcomes.replies):
            if isinstance(reply, CachectlError):
                explained(reply, commands[place][0], self._connector.user)
        if outcomes.error is not None:
            explained(outcomes.error, b"", self._connector.user)
        doubt_refusals(commands, outcomes)
        return outcomes

    async def _answers(
        self,
        commands: Sequence[tuple[bytes, ...]],
        keys: list[bytes],
        tries: Tries | None = None,
    ) -> list[Any]:
        """Do as `run`, and raise unless the server has answered everything, if only with errors."""
        outcomes = await self.run(commands, keys, tries)
        if outcomes.error is not None:
            raise outcomes.error
        if any(isinstance(reply, Unanswered) for reply in outcomes.replies):
            msg = f"{self._connector.where}: every connection broke before it had answered"
            raise LostError(msg)
        return outcomes.replies

    async def _call(self, key: bytes, *command: bytes, **how: Any) -> Any:
        """Send one command to the node of `key`, as `_ask` does."""
        return await self._ask(self._topology.node_for(key), *command, **how)

    async def _ask(
        self,
        node: Pool,
        *command: bytes,
        idempotent: bool = True,
        limit: int | None = None,
        tries: Tries | None = None,
    ) -> Any:
        """Send one command to a node, again where that helps; return its reply or raise its error."""
        tries = tries or await node.tries(self._patience)
        in_doubt = False
        while True:
            try:
                wire = await node.borrow(tries.connect)
                try:
                    if limit is None:
                        reply = await wire.call(*command, silence=tries.answer)
                    else:
                        reply = await wire.bounded_call(*command, silence=tries.answer, limit=limit)
                except UnreachableError as error:
                    error.maybe_applied = in_doubt = True
                    raise
                finally:
                    node.give_back(wire)
            except UnreachableError as error:
                reply = error
            if not isinstance(reply, CachectlError):
                return reply
            if not await tries.again(reply, idempotent=idempotent, known=node.connected):
                reply = tries.reason or reply
                break
        if isinstance(reply, UnreachableError):
            reply.maybe_applied = in_doubt
        if isinstance(reply, ReadOnlyServerError):
            reply = await self._read_only(node)
        explained(reply, command[0], self._connector.user)
        if in_doubt and isinstance(reply, ServerError) and command[0] in CHANGES:
            raise refused_again(reply)
        raise reply

    async def _read_only(self, node: Pool) -> ReadOnlyServerError:
        """Return the error for a replica; it names the primary where the server tells."""
        hint = "write to its primary"
        try:
            role = await self._ask(node, b"ROLE")
        except CachectlError:
            role = None
        if isinstance(role, list) and role[0] == b"slave":
            hint += f": {role[1].decode('utf-8', 'replace')}:{role[2]}"
        where = node.connector.where
        return ReadOnlyServerError(f"READONLY {where} is a replica and takes no writes", hint)
