"""Applications: users of `CacheClient`, each with its own keys, who note what was acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from time import monotonic
from typing import Any, Final

from cachectl import CacheClient
from scripts.soaking.ledger import Ledger, Write, body

USERS: Final = 50
CLIENTS: Final = 5
KEYS: Final = 4
TTLS: Final = (None, 3600.0, 3600.0, 2.0)
REST: Final = 0.05
"""Seconds between two calls of a user, on the average."""
IMPATIENT: Final = 0.01
MISSING: Final = object()
Act = Callable[[], Awaitable[None]]


class User:
    """One user, who does one thing after the other."""

    def __init__(self, number: int, cache: CacheClient, ledger: Ledger, random: Random) -> None:
        """Take the client, which is shared with other users."""
        self._cache = cache
        self._ledger = ledger
        self._random = random
        self._names = [f"user{number}:{key}" for key in range(KEYS)]
        self._acts: dict[Act, int] = {
            self._get: 40,
            self._set: 30,
            self._compute: 10,
            self._several: 8,
            self._delete: 6,
            self._lose_patience: 6,
        }

    async def work(self, over: asyncio.Event) -> None:
        """Work until it is over."""
        while not over.is_set():
            (act,) = self._random.choices(list(self._acts), list(self._acts.values()))
            await act()
            await asyncio.sleep(self._random.expovariate(1 / REST))

    @property
    def _name(self) -> str:
        return self._random.choice(self._names)

    async def _get(self) -> None:
        name, begun = self._name, monotonic()
        self._saw(name, await self._cache.get(name, MISSING), begun)

    def _saw(self, name: str, value: Any, begun: float) -> None:
        """Hold a value against the ledger; one that is missing may be a server that is away."""
        self._ledger.took(begun)
        if value is not MISSING:
            self._ledger.read(name, value, begun)

    async def _set(self) -> None:
        await self._write(self._name)

    async def _write(self, name: str) -> None:
        version, begun, ttl = self._ledger.issue(name), monotonic(), self._random.choice(TTLS)
        taken = False
        try:
            taken = await self._cache.set(name, body(name, version), ttl)
        finally:
            self._enter(name, version, begun, ttl, taken=taken)

    def _enter(
        self, name: str, version: int, begun: float, ttl: float | None = None, *, taken: bool
    ) -> None:
        write = Write(version, removes=False, ttl=ttl, begun=begun, ended=monotonic())
        self._ledger.enter(name, write, acknowledged=taken)

    async def _compute(self) -> None:
        """Get a value or let it be computed: whether that was cached nobody tells."""
        name, begun = self._name, monotonic()
        computed: list[int] = []

        def compute() -> Any:
            computed.append(self._ledger.issue(name))
            return body(name, computed[0])

        value = await self._cache.get_or_compute(name, compute, 3600)
        for version in computed:
            self._enter(name, version, begun, 3600, taken=False)
        self._ledger.read(name, value, begun)

    async def _several(self) -> None:
        """Write all of one's keys, and read them."""
        issued = {name: self._ledger.issue(name) for name in self._names}
        begun = monotonic()
        values = {name: body(name, version) for name, version in issued.items()}
        taken = await self._cache.set_many(values, None)
        for name, version in issued.items():
            self._enter(name, version, begun, taken=taken == len(issued))
        begun = monotonic()
        for name, value in (await self._cache.get_many(self._names)).items():
            self._ledger.read(name, value, begun)

    async def _delete(self) -> None:
        """Remove a key: only a count of 1 tells that it was asked for."""
        name = self._name
        version, begun = self._ledger.issue(name), monotonic()
        count = await self._cache.delete(name)
        write = Write(version, removes=True, ttl=None, begun=begun, ended=monotonic())
        self._ledger.enter(name, write, acknowledged=count == 1)

    async def _lose_patience(self) -> None:
        """Give up in the middle of a call: its connection must not answer the next one."""
        call = self._random.choice((self._get, self._set))
        try:
            async with asyncio.timeout(self._random.uniform(0, IMPATIENT)):
                await call()
        except TimeoutError:
            self._ledger.counts["given up"] += 1
