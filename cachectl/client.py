"""The cache as applications see it: a server that is down, slow or wrong costs them nothing.

Everything is the strict `Store`'s work; here its errors become None, False and one warning.
"""

import asyncio
import inspect
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, perf_counter
from typing import Any, Self, TypeVar

from cachectl.config.settings import (
    UNSET,
    CacheSettings,
    ClientSettings,
    NamespaceSettings,
    Server,
    Unset,
)
from cachectl.config.ttl import default_ttl
from cachectl.errors import BusyError, CachectlError, UnreachableError
from cachectl.keys import to_bytes
from cachectl.metrics import Metrics
from cachectl.patience import Breaker
from cachectl.store.open import open_store
from cachectl.store.store import Write
from cachectl.store.stream import Outcomes, Unanswered
from cachectl.store.tries import Patience
from cachectl.values import to_json

logger = logging.getLogger("cachectl")

BREAKER_THRESHOLD = 5
"""After so many failed calls in a row the server is bypassed."""
BREAKER_PAUSE = 0.5
"""Seconds between two looks, in the background, at a server that is bypassed."""
BATCH = 500
"""Keys of a `get_many` or `set_many` in one round trip."""
T = TypeVar("T")
_DOWN = (UnreachableError, BusyError)


class CacheClient:
    """A JSON cache on Redis or Valkey with graceful degradation, for one event loop.

    Values are anything that JSON knows. A stored JSON `null` cannot be told from a miss by `get`; it
    counts as a hit. Metrics are kept when `prometheus_client` is installed.
    """

    def __init__(
        self,
        redis_url: str = "redis://localhost:6379/0",
        enabled: bool = True,  # noqa: FBT001, FBT002
        *,
        ttl: float | None = 86400,
        namespaces: Mapping[str, NamespaceSettings] | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        """Take the server's URL; nothing is opened before the first call.

        `ttl` is the default in seconds (`None`: persistent). `ENABLE_CACHE=false` in the environment
        disables the client whatever `enabled` says. Raises `ConfigError` for a URL that is none.
        """
        from cachectl.config.load import resolve

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

        Raises `ConfigError` with file, line and path for settings that are wrong.
        """
        from cachectl.config.load import load, resolve

        settings = load(os.fspath(path), os.environ)
        client = cls.__new__(cls)
        client._setup(resolve(settings, profile=profile, url=None, env=os.environ))  # noqa: SLF001
        return client

    def _setup(self, server: Server) -> None:
        self._server = server
        borne = server.client
        patience = Patience(borne.timeout, borne.connect_timeout, borne.attempts, borne.backoff)
        self._store = open_store(server, patience, start_embedded=True)
        self._enabled = server.cache.enabled
        self._breaker = Breaker(BREAKER_THRESHOLD, BREAKER_PAUSE, monotonic)
        self._metrics = Metrics(server.namespaces)
        self._computing: dict[str, asyncio.Task[Any]] = {}
        self._probe: asyncio.Task[None] | None = None
        self._warned: set[str] = set()

    async def __aenter__(self) -> Self:
        """Return the client; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """End what runs in the background and close every connection."""
        tasks = [*self._computing.values(), *([self._probe] if self._probe else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._store.close()

    async def get(self, key: str) -> Any | None:
        """Return the cached value, or None: missing, expired, not JSON, or no server in time."""
        if not self._usable():
            return None
        metrics = self._metrics.of(key)
        start = perf_counter()
        try:
            raw = await self._store.get(to_bytes(key))
            value = None if raw is None else json.loads(raw)
        except CachectlError as error:
            self._failed(error)
        except ValueError:
            self._warn("not_json", "a cached value is not JSON and counts as an error")
        else:
            self._answered()
            metrics.observe(perf_counter() - start)
            (metrics.miss if raw is None else metrics.hit)()
            return value
        metrics.observe(perf_counter() - start)
        metrics.error()
        return None

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
        raw, seconds = to_json(value), self._ttl(key, ttl)
        if not self._usable():
            return False
        metrics = self._metrics.of(key)
        start = perf_counter()
        try:
            await self._store.set(to_bytes(key), raw, seconds)
        except CachectlError as error:
            self._failed(error)
            metrics.error()
            return False
        finally:
            metrics.observe(perf_counter() - start)
        self._answered()
        return True

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that are cached."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Any] = {}
        for batch in _batches(wanted):
            if not self._usable():
                break
            outcomes = await self._store.get_many([to_bytes(key) for key in batch])
            self._judge(outcomes)
            for key, reply in zip(batch, outcomes.replies, strict=True):
                self._take(key, reply, found)
        return found

    def _take(self, key: str, reply: Any, found: dict[str, Any]) -> None:
        metrics = self._metrics.of(key)
        if reply is None:
            metrics.miss()
        elif isinstance(reply, bytes):
            try:
                found[key] = json.loads(reply)
                metrics.hit()
            except ValueError:
                self._warn("not_json", "a cached value is not JSON and counts as an error")
                metrics.error()
        else:
            self._refused(reply)
            metrics.error()

    async def set_many(self, values: Mapping[str, Any], ttl: float | None | Unset = UNSET) -> int:
        """Cache many values; return how many the server took. `ttl` and errors as in `set`."""
        writes = [
            Write(to_bytes(key), to_json(value), self._ttl(key, ttl))
            for key, value in values.items()
        ]
        written = 0
        for batch in _batches(writes):
            if not self._usable():
                break
            outcomes = await self._store.write(batch)
            self._judge(outcomes)
            for reply in outcomes.replies:
                if reply is True:
                    written += 1
                else:
                    self._refused(reply)
        return written

    async def delete(self, *keys: str) -> int:
        """Remove keys; return how many were there, 0 when the server cannot be asked."""
        removed = 0
        for batch in _batches(list(dict.fromkeys(keys))):
            if not self._usable():
                break
            outcomes = await self._store.unlink([to_bytes(key) for key in batch])
            self._judge(outcomes)
            for reply in outcomes.replies:
                if isinstance(reply, int):
                    removed += reply
                else:
                    self._refused(reply)
        return removed

    async def get_or_compute(
        self,
        key: str,
        compute: Callable[[], Any],
        ttl: float | None | Unset = UNSET,
    ) -> Any:
        """Return the cached value, else compute it once for all who ask meanwhile, and cache it.

        `compute` takes nothing and returns the value or an awaitable of it; what it raises is raised
        to every caller that waits for it. A caller that is cancelled leaves the others undisturbed.
        """
        value = await self.get(key)
        if value is not None:
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
        if not task.cancelled():
            task.exception()  # seen: whoever still waits raises it

    async def health_check(self) -> bool:
        """Return whether the server answers now. Asks even while it is bypassed."""
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
        if ttl is not None and not ttl > 0:
            msg = "ttl must be more than 0 seconds, or None for a value that never expires"
            raise ValueError(msg)
        return ttl

    def _usable(self) -> bool:
        """Whether to ask the server; while it is bypassed, look at it in the background instead."""
        if not self._enabled:
            return False
        if self._breaker.closed:
            return True
        if self._breaker.allows() and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._look())
        return False

    async def _look(self) -> None:
        await self.health_check()

    def _answered(self) -> None:
        if self._warned:
            if "down" in self._warned:
                logger.info("the cache %s answers again", self._server.address.text)
            self._warned.clear()
        self._breaker.succeeded()

    def _failed(self, error: CachectlError) -> None:
        if isinstance(error, _DOWN):
            self._breaker.failed()
            self._warn("down", f"no answer from the cache, going on without it: {error.message}")
        else:
            self._breaker.succeeded()
            self._warn(error.code, f"the cache refused a command: {error.message}")

    def _judge(self, outcomes: Outcomes) -> None:
        if outcomes.error is not None:
            self._failed(outcomes.error)
        else:
            self._answered()

    def _refused(self, reply: object) -> None:
        if isinstance(reply, CachectlError):
            self._warn(reply.code, f"the cache refused a command: {reply.message}")
        elif isinstance(reply, Unanswered):
            self._warn("down", "no answer from the cache, going on without it")

    def _warn(self, kind: str, message: str) -> None:
        """Log one warning a kind of trouble, not one a call."""
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("%s", message)


def _batches(items: list[T]) -> Iterable[list[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
