"""`--lock`: one warm of a name at a time, by a lease on the server that whoever warms asks for.

It is advisory: it keeps warms with the same lock apart, and nobody else. The key
`cachectl:lock:NAME` holds JSON: `holder` (who, for people), `since` (Unix time), `token` (random). A
user needs `+get +set +pexpire ~cachectl:lock:*` for it.
"""

import asyncio
import getpass
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import localtime, monotonic, strftime, time
from typing import NamedTuple

from cachectl.errors import CachectlError, ServerError
from cachectl.errors import WrongTypeError as WrongType
from cachectl.keys import to_bytes
from cachectl.models import Problem
from cachectl.operations.warm.plan import Lock
from cachectl.operations.warm.tally import Tally
from cachectl.patience import backoff
from cachectl.store.store import Store
from cachectl.units import format_duration

LEASE = 30.0
"""Seconds after which the lock of a warm that was killed is free."""
RENEW = 10.0
"""Seconds from one renewal to the next."""
AGAIN = 1.0
"""Seconds after which a renewal that failed is tried again."""
MARGIN = 5.0
"""Seconds before its end from which on a lease is left to run out: soon it may be another's."""
RELEASE = 1.0
"""Seconds that giving the lock back may take."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0
"""Seconds between two looks at a lock that is waited for: the first ones, and later."""
LONGEST_VALUE = 1000
"""Bytes of a lock's value that are read; ours are some hundred."""


@asynccontextmanager
async def leased(
    store: Store, lock: Lock | None, tally: Tally, say: Callable[[str], None]
) -> AsyncIterator[bool]:
    """Hold the lock for the length of a block; yield False when it is not to be had: then do nothing.

    The tally is halted, as "locked", when another holds the lock, and when it is lost in the middle.
    `say` is told who is waited for. Raises what keeps the lock from being asked for.
    """
    if lock is None:
        yield True
        return
    lease = Lease(store, lock.name)
    if not await _taken(lease, lock.wait, tally, say):
        yield False
        return
    renewing = asyncio.create_task(_renewed(lease, tally))
    try:
        yield True
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})
        if not renewing.cancelled():
            renewing.result()
        await _released(lease, tally)


class Holder(NamedTuple):
    """Who holds a lock, and since when (Unix time); None where the value is not one of ours."""

    who: str | None = None
    since: float = 0.0

    @classmethod
    def of(cls, value: bytes) -> "Holder":
        """Return whom a lock's value names."""
        try:
            told = json.loads(value[:LONGEST_VALUE])
            who, since = told["holder"], told["since"]
            strftime("%c", localtime(since))  # a time that there is
        except (ValueError, TypeError, LookupError, ArithmeticError, OSError, RecursionError):
            return cls()
        return cls(who, since) if isinstance(who, str) else cls()

    def __str__(self) -> str:
        """Return who it is, since when, and how long that is."""
        if self.who is None:
            return "an unknown holder"
        passed = format_duration(max(0, round(time() - self.since)))
        return f"{self.who} since {strftime('%H:%M:%S', localtime(self.since))} ({passed})"


class Lease:
    """The lock of a name, ours for as long as it is renewed."""

    def __init__(self, store: Store, name: str) -> None:
        """Ask for nothing yet."""
        self.name = name
        self._store = store
        self._key = to_bytes(f"cachectl:lock:{name}")
        self._value = json.dumps(
            {"holder": _ourselves(), "since": time(), "token": secrets.token_hex(16)}
        ).encode()
        self._end = 0.0

    @property
    def left(self) -> float:
        """Seconds for which it is surely ours."""
        return self._end - monotonic()

    async def take(self) -> Holder | None:
        """Take the lock and return None, or return who holds it."""
        while True:
            start = monotonic()
            if await self._store.set(self._key, self._value, LEASE, only="missing"):
                self._end = start + LEASE
                await self._prove()
                return None
            holder = await self._holder()
            if holder is not None:  # else it was given back meanwhile
                return holder

    async def _prove(self) -> None:
        """Raise at once what would keep us from renewing the lock later, and let go of it."""
        try:
            await self.renew()
        except ServerError:
            await self._store.set(self._key, self._value, 0.001, only="existing")
            raise

    async def renew(self) -> str | None:
        """Make the lease last anew, and return None, or return how it was lost."""
        start = monotonic()
        # the second look: it may have run out, and be another's, right after the first
        if await self._is_ours() and await self._extend(LEASE) and await self._is_ours():
            self._end = start + LEASE
            return None
        self._end = 0.0
        holder = await self._holder()
        return "it was deleted, or ran out" if holder is None else f"it is held by {holder}"

    async def release(self) -> None:
        """Let the lease run out now, unless it is not surely ours."""
        if self.left > MARGIN and await self._is_ours():
            await self._extend(0.001)

    async def _extend(self, seconds: float) -> bool:
        return await self._store.expire(self._key, seconds)

    async def _is_ours(self) -> bool:
        return await self._read() == self._value

    async def _holder(self) -> Holder | None:
        value = await self._read()
        return None if value is None else Holder.of(value)

    async def _read(self) -> bytes | None:
        """Return what the lock holds, nothing where it is no string."""
        try:
            return await self._store.get(self._key)
        except WrongType:
            return b""


def _ourselves() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


async def _taken(lease: Lease, wait: float, tally: Tally, say: Callable[[str], None]) -> bool:
    """Take the lock, if need be after waiting; halt the tally when it stays another's."""
    end = monotonic() + wait
    pauses = backoff(FIRST_PAUSE, LONGEST_PAUSE)
    told = None
    while holder := await lease.take():
        left = end - monotonic()
        if left <= 0:
            more = f"after {format_duration(wait)}" if wait else "wait for it: --lock-wait 2m"
            tally.halt("locked", f"the lock of {lease.name} is held by {holder}; {more}")
            return False
        if holder != told:
            told = holder
            say(f"waiting for the lock of {lease.name}, held by {holder}")
        await tally.stop.wait_for(min(next(pauses), left))
        if tally.stop.is_set():
            return False
    return True


async def _renewed(lease: Lease, tally: Tally) -> None:
    """Renew the lease until it is lost, or this is cancelled.

    A server that is away for a while does no harm: the lease goes on meanwhile.
    """
    pause, why = RENEW, None
    while lease.left > 0:
        await asyncio.sleep(min(pause, lease.left))
        try:
            async with asyncio.timeout(max(lease.left, 0.0)):
                why = await lease.renew()
            pause = RENEW
        except TimeoutError:
            why = why or "it ran out while the server did not answer"
        except CachectlError as error:
            pause, why = AGAIN, f"it ran out and was not renewed: {error.message}"
    why = why or "it ran out"
    tally.halt("locked", f"the lock of {lease.name} was lost: {why}; another warm may be running")


async def _released(lease: Lease, tally: Tally) -> None:
    """Give the lock back, or note that it stays for a while."""
    try:
        async with asyncio.timeout(RELEASE):
            await lease.release()
    except (CachectlError, TimeoutError):
        left = format_duration(max(1, round(lease.left)))
        msg = f"the lock of {lease.name} could not be given back: it runs out in {left}"
        tally.note(Problem(msg))
