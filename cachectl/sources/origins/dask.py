"""A callable that is called on the machines of a Dask cluster, which have cachectl and its module."""

import asyncio
import concurrent.futures
import logging
import warnings
from functools import cache, partial
from threading import Thread
from typing import Any, Self

from cachectl.errors import CachectlError, DependencyError
from cachectl.models import Request
from cachectl.sources.origins.call import answer
from cachectl.sources.origins.failure import Failure, OriginError, OriginGoneError
from cachectl.sources.origins.load import load_callable
from cachectl.sources.threads import Answer, Outcome, Threads, answered, attempt, deliver
from cachectl.units import format_duration
from cachectl.values import safe

CLOSE = 2.0
"""Seconds to take leave of the scheduler."""
LOST = Failure("the Dask scheduler was lost", again=True)


class DaskOrigin:
    """Computes values by a scheduler's workers; `timeout` includes a call's wait for one of them."""

    def __init__(self, client: Any, spec: str, directory: str, *, timeout: float) -> None:
        """Take a connected client; `directory` comes first on the workers' `sys.path`."""
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._call = partial(call_by_name, spec, directory)
        self._timeout = timeout

    @classmethod
    async def connected(cls, workers: str, spec: str, directory: str, *, timeout: float) -> Self:
        """Return the origin; raise `OriginGoneError` for a scheduler that does not answer in time.

        `workers` is `dask://HOST:PORT`.
        """
        address = workers.removeprefix("dask://")
        connect = partial(client_class(), f"tcp://{address}", timeout=timeout, set_as_default=False)
        end = asyncio.get_running_loop().time() + timeout + 1
        made = await Threads().outcome(connect, end)
        if made is None or made.error is not None:
            msg = f"the Dask scheduler {safe(address)} did not answer within {format_duration(timeout)}"
            raise OriginGoneError(msg, "is it running? the origin's timeout is what it is given")
        return cls(made.value, spec, directory, timeout=timeout)

    async def compute(self, request: Request) -> bytes:
        """Return the value as the JSON text that `CacheClient` stores; raises `OriginError`."""
        made = await self._made(request.params or {})
        if isinstance(made, Failure):
            raise OriginError(made)
        return made

    async def _made(self, params: dict[str, Any]) -> bytes | Failure:
        if self._client.status != "running":  # it would be waited for until the deadline
            return LOST
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()

        def done(future: "concurrent.futures.Future[Any]") -> None:
            outcome = attempt(partial(future.result, 0))
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver, answer, outcome)

        submitted = attempt(partial(self._executor.submit, self._call, params))
        future = submitted.value
        if future is None:
            return _made(submitted)
        future.add_done_callback(done)
        outcome = None
        try:
            outcome = await answered(answer, loop.time() + self._timeout)
        finally:
            if outcome is None:  # asks the scheduler, which may be gone
                Thread(target=future.cancel, daemon=True).start()
        return self._too_long() if outcome is None else _made(outcome)

    def _too_long(self) -> Failure:
        within = format_duration(self._timeout)
        return Failure(f"no Dask worker had computed it within {within}", again=True)

    async def close(self) -> None:
        """Take leave of the scheduler, for a moment at most."""
        end = asyncio.get_running_loop().time() + CLOSE
        await Threads().outcome(partial(self._client.close, timeout=CLOSE), end)


def call_by_name(spec: str, directory: str, params: dict[str, Any]) -> bytes | Failure:
    """Make one call, on a worker."""
    try:
        return answer(_loaded(spec, directory), params)
    except CachectlError as error:
        return Failure(error.message)


_loaded = cache(load_callable)


def _made(outcome: Outcome) -> bytes | Failure:
    """Return what the worker made, or why Dask brought nothing back."""
    if outcome.error is None:
        return outcome.value  # type: ignore[no-any-return]
    name = type(outcome.error).__name__
    if isinstance(outcome.error, concurrent.futures.CancelledError):
        return LOST
    if name == "KilledWorker":
        return Failure("the Dask workers that made the call died, one after the other")
    return Failure(f"Dask made no call: {name} (are its versions those of here?)")


def client_class() -> Any:
    """Return the class of clients, with the library's own words on stderr turned off.

    Raises `DependencyError` where it is not installed.
    """
    try:
        from distributed import Client
        from distributed.versions import VersionMismatchWarning
    except ImportError:
        msg = "workers: dask://… needs distributed, which is not installed"
        raise DependencyError(msg, "pip install 'cachectl[dask]'") from None
    warnings.simplefilter("ignore", VersionMismatchWarning)  # a call that fails for it says so
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] in {"distributed", "tornado"}:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return Client
