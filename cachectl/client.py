"""The cache as applications see it: a server that is down, slow or wrong costs them nothing.

Everything is the strict `Store`'s work; here its errors become None, False and one warning.
"""

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf
from time import monotonic, perf_counter
from typing import Any, Final, Self, TypeVar

from cachectl.config.settings import (
    UNSET,
    CacheSettings,
    ClientSettings,
    NamespaceSettings,
    Server,
    Unset,
)
from cachectl.config.ttl import default_ttl
from cachectl.errors import BusyError, CachectlError, LostError, ServerError, SilenceError
from cachectl.keys import to_bytes
from cachectl.metrics import Counters, Metrics
from cachectl.models import Entry
from cachectl.patience import Breaker, Troubles
from cachectl.store.open import open_store
from cachectl.store.stream import UNSENT, Outcomes
from cachectl.store.tries import Patience
from cachectl.values import from_json, to_json

logger = logging.getLogger("cachectl")

BREAKER_THRESHOLD = 5
"""After so many failed attempts in a row, of all callers together, the server is bypassed."""
BREAKER_PAUSE = 0.5
"""Seconds between two looks, in the background, at a server that is bypassed."""
HICCUP = 0.25
"""Seconds that a server may be silent before it is bypassed, however many callers wait."""
CALM = {"down": 1.0}
OTHERWISE_CALM = 60.0
"""Seconds without a kind of trouble, by kind, after which it is over and would be news again."""
BATCH = 500
"""Keys of a `get_many` or `set_many` in one round trip."""
T = TypeVar("T")
_MISSING: Final = object()


class CacheClient:
    """A JSON cache on Redis or Valkey with graceful degradation, for one event loop.

    Values are anything that JSON knows; times are seconds. Nothing that the server does or fails to do
    is raised: a call that cannot be answered gives None, False or 0, within three attempts of 100 ms
    (500 ms to connect). After a run of failures the server is bypassed, until a look at it in the
    background, twice a second while there are calls, finds it well. One warning is logged a trouble,
    not one a call. Metrics are kept when `prometheus_client` is installed.

    What a caller does wrong is raised, always: `TypeError` for a value that JSON does not know,
    `ValueError` for one that JSON cannot hold (NaN), a TTL that is not positive, a key that UTF-8 has
    no bytes for.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        enabled: bool = True,  # noqa: FBT001, FBT002 the signature that applications call
        *,
        ttl: float | None = 86400,
        namespaces: Mapping[str, NamespaceSettings] | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        """Take the server's URL; nothing is opened before the first call.

        `ttl` is the default in seconds (`None`: persistent). `ENABLE_CACHE=false` in the environment
        disables the client whatever `enabled` says: it misses and skips writes. Raises `ConfigError`
        for a URL that is none, `UsageError` when `ENABLE_CACHE` is neither true nor false, `ValueError`
        for a TTL that is not positive.
        """
        from cachectl.config.load import resolve

        for given in (ttl, *(settings.ttl for settings in (namespaces or {}).values())):
            _check_ttl(given)
        server = resolve(None, profile=None, url=redis_url, env=os.environ)
        self._setup(
            server._replace(
                client=settings or ClientSettings(),
                cache=CacheSettings(enabled and server.cache.enabled, ttl),
                namespaces=dict(namespaces or {}),
            )
        )

    @classmethod
    def from_config(cls, path: str | os.PathLike[str], profile: str | None = None) -> Self:
        """Return a client for a profile (else the default one) of a settings file.

        The profile's `client`, `cache` and `namespaces` hold, and `ENABLE_CACHE`. Raises `ConfigError`
        with file, line and path for settings that are wrong, or for `password_prompt`, which only the
        command line can answer; `UsageError` for an unknown profile.
        """
        from cachectl.config.load import load, resolve

        settings = load(os.fspath(path), os.environ)
        server = resolve(settings, profile=profile, url=None, env=os.environ)
        for warning in server.warnings:
            logger.warning("%s", warning)
        client = cls.__new__(cls)
        client._setup(server)  # noqa: SLF001 its own class
        return client

    def _setup(self, server: Server) -> None:
        self._server = server
        borne = server.client
        patience = Patience(
            borne.timeout,
            borne.connect_timeout,
            borne.attempts,
            borne.backoff,
            worth_it=self._worth_another_try,
        )
        self._store = open_store(
            server, patience, start_embedded=True, connections=server.client.pool_size
        )
        self._enabled = server.cache.enabled
        self._closed = False
        self._breaker = Breaker(BREAKER_THRESHOLD, BREAKER_PAUSE, monotonic)
        self._troubles = Troubles(CALM, OTHERWISE_CALM, monotonic)
        self._metrics = Metrics(server.namespaces)
        self._computing: dict[str, asyncio.Task[Any]] = {}
        self._ended = 0  # computations, of any key
        self._look: asyncio.Task[bool] | None = None

    async def __aenter__(self) -> Self:
        """Return the client; nothing is opened yet. Raises `RuntimeError` when it was closed."""
        if self._closed:
            msg = "this client was closed: make a new one"
            raise RuntimeError(msg)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection, for good: from now on the client misses and skips writes.

        What `get_or_compute` is computing goes on, and its callers get their value.
        """
        self._closed = True
        if self._look is not None:
            self._look.cancel()
            await asyncio.gather(self._look, return_exceptions=True)
        await self._store.close()

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the cached value, or `default`: missing, expired, not JSON, or no server in time.

        A stored JSON `null` is None too, and counts as a hit.
        """
        name = to_bytes(key)
        if not self._usable(key):
            return default
        metrics = self._metrics.of(key)
        start = perf_counter()
        try:
            raw = await self._store.get(name)
        except CachectlError as error:
            metrics.observe(perf_counter() - start)
            metrics.error()
            self._failed(error)
            return default
        metrics.observe(perf_counter() - start)
        self._answered()
        if raw is None:
            metrics.miss()
            return default
        return self._read(raw, metrics, default)

    def _read(self, raw: bytes, metrics: Counters, default: Any) -> Any:
        try:
            value = from_json(raw)
        except ValueError:
            metrics.error()
            self._warn("not_json", "a cached value is not JSON and counts as an error")
            return default
        metrics.hit()
        return value

    async def set(
        self,
        key: str,
        value: Any,
        ttl: float | None | Unset = UNSET,
    ) -> bool:
        """Cache a value; return whether the server took it.

        `ttl` is in seconds, `None` is persistent, unset is the namespace's or the client's default.
        Raises `TypeError` or `ValueError` for a value that is not JSON or a TTL that is not positive.
        """
        name, raw, seconds = to_bytes(key), to_json(value), self._ttl(key, ttl)
        if not self._usable(key):
            return False
        metrics = self._metrics.of(key)
        start = perf_counter()
        try:
            await self._store.set(name, raw, seconds)
        except CachectlError as error:
            metrics.observe(perf_counter() - start)
            metrics.error()
            self._failed(error)
            return False
        metrics.observe(perf_counter() - start)
        self._answered()
        return True

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that are cached, by key; a stored `null` is None."""
        wanted = list(dict.fromkeys(keys))
        replies = await self._in_batches([to_bytes(key) for key in wanted], self._store.get_many)
        found: dict[str, Any] = {}
        for key, reply in zip(wanted, replies, strict=False):
            metrics = self._metrics.of(key)
            if reply is None:
                metrics.miss()
            elif not isinstance(reply, bytes):
                metrics.error()
            elif (value := self._read(reply, metrics, _MISSING)) is not _MISSING:
                found[key] = value
        return found

    async def set_many(self, values: Mapping[str, Any], ttl: float | None | Unset = UNSET) -> int:
        """Cache many values; return how many the server took. `ttl` and errors as in `set`."""
        writes = [
            Entry(to_bytes(key), to_json(value), self._ttl(key, ttl))
            for key, value in values.items()
        ]
        replies = await self._in_batches(writes, self._store.write)
        for key, reply in zip(values, replies, strict=False):
            if reply is not True:
                self._metrics.of(key).error()
        return replies.count(True)

    async def delete(self, *keys: str) -> int:
        """Remove keys; return how many were there, 0 when the server cannot be asked."""
        wanted = list(dict.fromkeys(keys))
        replies = await self._in_batches([to_bytes(key) for key in wanted], self._store.unlink)
        for key, reply in zip(wanted, replies, strict=False):
            if not isinstance(reply, int):
                self._metrics.of(key).error()
        return sum(reply for reply in replies if isinstance(reply, int))

    async def _in_batches(
        self, items: list[T], send: Callable[[list[T]], Awaitable[Outcomes]]
    ) -> list[Any]:
        """Return the replies in order, UNSENT in the place of those that were not asked for.

        A client that is switched off gives none at all.
        """
        replies: list[Any] = [UNSENT] * len(items) if self._enabled and not self._closed else []
        for start in range(0, len(items), BATCH):
            if not self._usable():
                break
            outcomes = await send(items[start : start + BATCH])
            replies[start : start + BATCH] = outcomes.replies
            if outcomes.error is not None:
                self._failed(outcomes.error)
                break
            self._answered()
            for reply in outcomes.replies:
                if isinstance(reply, CachectlError):
                    self._refused(reply)
        return replies

    async def get_or_compute(
        self,
        key: str,
        compute: Callable[[], Any],
        ttl: float | None | Unset = UNSET,
    ) -> Any:
        """Return the cached value, else compute it once for all who ask meanwhile, and cache it.

        `compute` takes nothing and returns the value or an awaitable of it; what it raises is raised
        to every caller that waits for it. A caller that is cancelled leaves the others undisturbed. A
        value that JSON does not know is returned and not cached, with a warning; None is cached too.
        Raises `ValueError` for a TTL that is not positive.
        """
        _check_ttl(ttl)
        ended = self._ended
        value = await self.get(key, _MISSING)
        if value is _MISSING and self._ended != ended and key not in self._computing:
            value = await self.get(key, _MISSING)  # it may have been computed since that was sent
        if value is not _MISSING:
            return value
        task = self._computing.get(key)
        if task is None:
            task = asyncio.create_task(self._compute(key, compute, ttl))
            self._computing[key] = task
            task.add_done_callback(lambda done: self._computed(key, done))
        return await asyncio.shield(task)

    async def _compute(
        self,
        key: str,
        compute: Callable[[], Any],
        ttl: float | None | Unset,
    ) -> Any:
        value = compute()
        if inspect.isawaitable(value):
            value = await value
        try:
            await self.set(key, value, ttl)
        except (TypeError, ValueError) as error:
            self._warn("not_cached", f"a computed value is not cached: {type(error).__name__}")
            self._metrics.of(key).error()
        return value

    def _computed(self, key: str, task: asyncio.Task[Any]) -> None:
        del self._computing[key]
        self._ended += 1
        if not task.cancelled():
            task.exception()  # seen: whoever still waits raises it

    async def health_check(self) -> bool:
        """Return whether the server answers now. Asks even while it is bypassed or disabled."""
        if self._closed:
            return False
        try:
            await self._store.ping()
        except CachectlError as error:
            self._failed(error)
            return False
        self._answered()
        return True

    def _ttl(self, key: str, ttl: float | None | Unset) -> float | None:
        if isinstance(ttl, Unset):
            return default_ttl(key, self._server.namespaces, self._server.cache.ttl)
        _check_ttl(ttl)
        return ttl

    def _usable(self, key: str | None = None) -> bool:
        """Whether to ask the server; while it is bypassed, look at it in the background instead.

        A call for `key` that is kept from a server that is down counts as one of its errors.
        """
        if not self._enabled or self._closed:
            return False
        if self._breaker.closed:
            return True
        if key is not None:
            self._metrics.of(key).error()
        if self._breaker.allows() and (self._look is None or self._look.done()):
            self._look = asyncio.create_task(self.health_check())
        return False

    def _worth_another_try(self) -> bool:
        self._breaker.failed(HICCUP)
        return self._breaker.closed

    def _answered(self) -> None:
        if self._troubles and "down" in self._troubles.over():
            logger.info("the cache %s answers again", self._server.address.text)
        self._breaker.succeeded()

    def _failed(self, error: CachectlError) -> None:
        """Count a failure of the whole server, or tell of a command that it refused."""
        if isinstance(error, ServerError) and not isinstance(error, BusyError):
            self._breaker.succeeded()
            self._refused(error)
        else:
            hiccup = isinstance(error, SilenceError | LostError)
            self._breaker.failed(HICCUP if hiccup else 0)
            self._warn("down", f"no answer from the cache, going on without it: {error.message}")

    def _refused(self, error: CachectlError) -> None:
        self._warn(error.code, f"the cache refused a command: {error.message}")

    def _warn(self, kind: str, message: str) -> None:
        """Log one warning a kind of trouble, not one a call."""
        if self._troubles.begins(kind):
            logger.warning("%s", message)


def _check_ttl(ttl: float | None | Unset) -> None:
    if not (ttl is None or isinstance(ttl, Unset) or 0 < ttl < inf):
        msg = "ttl must be more than 0 seconds, or None for a value that never expires"
        raise ValueError(msg)
