"""Stores on the servers of the tests, with the patience that a test wants."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from time import monotonic
from typing import Any, TypeVar

from cachectl.config.secrets import Credentials
from cachectl.config.settings import ClientSettings, Server, Tls
from cachectl.config.url import parse_url
from cachectl.models import Entry
from cachectl.store.open import open_store
from cachectl.store.scan import Page
from cachectl.store.store import Store
from cachectl.store.stream import Outcomes
from cachectl.store.tries import Patience
from tests.proxies import Proxy
from tests.servers import ServerProcess

T = TypeVar("T")
PATIENT = Patience(answer=5.0, connect=5.0, attempts=3, backoff=0.01, total=5.0)


def store_on(
    target: ServerProcess | Proxy | str,
    patience: Patience = PATIENT,
    *,
    pool_size: int = 10,
    credentials: Credentials | None = None,
    tls: Tls | None = None,
) -> Store:
    """Return a store on a server, a proxy or a URL."""
    url = parse_url(target if isinstance(target, str) else target.url)
    server = Server(
        profile=None,
        setting="the test",
        address=url.address,
        credentials=credentials or Credentials(url.username, url.password),
        tls=tls or Tls(),
        client=ClientSettings(pool_size=pool_size),
    )
    return open_store(server, patience, start_embedded=False, connections=pool_size)


def run(
    target: ServerProcess | Proxy | str,
    work: Callable[[Store], Coroutine[Any, Any, T]],
    patience: Patience = PATIENT,
    **settings: Any,
) -> T:
    """Open a store, do the work with it, close it."""
    return worked(lambda: store_on(target, patience, **settings), work)


def worked(open_one: Callable[[], Store], work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Open a store in a loop of its own, do the work with it, close it."""

    async def main() -> T:
        async with open_one() as store:
            return await work(store)

    return asyncio.run(main())


def unix(server: ServerProcess, db: int = 0) -> str:
    """Return the URL of a server's Unix socket."""
    return f"unix:{server.socket}?db={db}"


def entry(
    key: bytes,
    value: bytes,
    ttl: float | None = None,
    expires_at: float | None = None,
    *,
    dump: bool = False,
) -> Entry:
    """Return an entry that is persistent unless it is said otherwise."""
    return Entry(key, value, ttl, expires_at, dump)


def final(outcomes: Outcomes) -> list[Any]:
    """Return the replies of a stream that ended well."""
    assert outcomes.error is None, outcomes.error
    return outcomes.replies


async def first_of(walk: AsyncGenerator[T, None]) -> T:
    """Return the first page of a walk, which is left then."""
    async with aclosing(walk) as pages:
        return await anext(pages)


async def first_page(store: Store) -> Page:
    """Return the first page of a scan of everything."""
    return await first_of(store.pages())


async def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll until something holds."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it does not hold in time"
        await asyncio.sleep(0.002)


async def timed(work: Awaitable[T]) -> tuple[float, T | Exception]:
    """Return the seconds that something took, and its result or its error."""
    start = monotonic()
    try:
        result: T | Exception = await work
    except Exception as error:  # noqa: BLE001
        result = error
    return monotonic() - start, result
