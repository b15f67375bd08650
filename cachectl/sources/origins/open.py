"""One door: settings -> an origin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cachectl.config.settings import Origin as Settings
from cachectl.errors import DependencyError, UsageError
from cachectl.sources.origins.limits import Caller, Origin
from cachectl.sources.origins.load import load_callable
from cachectl.sources.origins.local import LocalOrigin, is_async
from cachectl.sources.origins.processes import ProcessesOrigin
from cachectl.values import safe


@asynccontextmanager
async def open_origin(settings: Settings, directory: str) -> AsyncIterator[Origin]:
    """Give the origin that the settings name; its callable is imported from `directory` first.

    Raises `UsageError` for one that cannot be, `OriginGoneError` for a Dask scheduler that does not
    answer. A service is not asked yet.
    """
    caller = await _caller(settings, directory)
    try:
        yield Origin(caller, settings)
    finally:
        await caller.close()


def check_origin(settings: Settings, directory: str) -> None:
    """Raise `UsageError` for an origin that cannot be, for want of a package too; asks nobody."""
    if settings.call is None:
        try:
            import aiohttp  # noqa: F401
        except ImportError:
            msg = "an origin over HTTP needs aiohttp, which is not installed"
            raise DependencyError(msg, "pip install 'cachectl[http]'") from None
        return
    if settings.workers.startswith("dask://"):
        from cachectl.sources.origins.dask import client_class

        client_class()
    if is_async(load_callable(settings.call, directory)) and settings.workers != "threads":
        msg = f"{safe(settings.call)} is a coroutine function: workers are for plain functions"
        raise UsageError(msg, "drop workers: many coroutines run at once as it is")


async def _caller(settings: Settings, directory: str) -> Caller:
    check_origin(settings, directory)
    call, timeout, workers = settings.call, settings.timeout, settings.workers
    if call is None:
        from cachectl.sources.origins.http import HttpOrigin  # aiohttp is an extra

        return HttpOrigin(settings)
    if workers == "threads":
        return LocalOrigin(
            load_callable(call, directory), concurrency=settings.concurrency, timeout=timeout
        )
    if workers == "processes":
        concurrency = settings.concurrency
        return ProcessesOrigin(call, directory, concurrency=concurrency, timeout=timeout)
    from cachectl.sources.origins.dask import DaskOrigin

    return await DaskOrigin.connected(workers, call, directory, timeout=timeout)
