"""Where values are computed: a Python callable, named `package.module:callable`."""

import asyncio
import inspect
import os
import re
import sys
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from functools import partial
from importlib import import_module, invalidate_caches
from typing import Any

from cachectl.errors import CachectlError, UsageError
from cachectl.sources.threads import (
    MAX_LEFT_BEHIND,
    Answer,
    Outcome,
    Threads,
    answered,
    attempt,
    deliver,
)
from cachectl.units import format_duration
from cachectl.values import safe, to_json

MAX_REASON = 200
"""How many characters of an exception's own text a message repeats."""


class OriginError(CachectlError):
    """The origin gave no value for one request: it raised, took too long, or returned no JSON."""

    code = "origin"
    exit_code = 1


def load_callable(spec: str, directory: str) -> Callable[..., Any]:
    """Return the callable that `spec` (`package.module:callable`) names.

    It is imported with `directory` first on `sys.path`. Raises `UsageError` that says in one line
    which part of `spec` is wrong, or why the import failed.
    """
    module, _, path = spec.partition(":")
    if not all(name.isidentifier() for name in (*module.split("."), *path.split("."))):
        msg = f"{safe(spec)} names no origin"
        raise UsageError(msg, "an origin is named package.module:callable")
    found: Any = _imported(module, directory)
    at = module
    for name in path.split("."):
        found = _attribute(found, name, at)
        at = f"{at}.{name}"
    if not callable(found):
        msg = f"{at} is not callable, it is of type {type(found).__name__}"
        raise UsageError(msg)
    return found  # type: ignore[no-any-return]


class CallableOrigin:
    """Computes values as `call(**params)`; `call` is a function, or a coroutine function.

    At most `concurrency` calls run at once, each for at most `timeout` seconds. A call that hangs
    is left behind at its deadline: a coroutine is cancelled, a thread runs on and counts no more.
    """

    def __init__(
        self, call: Callable[..., Any], *, concurrency: int = 20, timeout: float = 30.0
    ) -> None:
        """Call nothing yet, start no thread yet."""
        self._call = call
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._threads = Threads()
        self._is_async = any(map(inspect.iscoroutinefunction, (call, type(call).__call__)))

    async def compute(self, params: dict[str, Any]) -> bytes:
        """Return the value for `params` as the JSON text that `CacheClient` stores.

        Raises `OriginError`, whose message is one line.
        """
        async with self._slots:
            value = await self._value(params)
        return _as_json(value)

    def close(self) -> None:
        """Let the idle threads end."""
        self._threads.close()

    async def _value(self, params: dict[str, Any]) -> Any:
        if self._threads.exhausted():
            msg = f"{MAX_LEFT_BEHIND} calls of the origin hang; it is not called any more"
            raise OriginError(msg)
        call = partial(self._call, **params)
        deadline = asyncio.get_running_loop().time() + self._timeout
        # What a plain function returns may have to be awaited as well (a wrapper, a partial).
        made = attempt(call) if self._is_async else await self._threads.outcome(call, deadline)
        value = self._checked(made)
        if inspect.isawaitable(value):
            value = self._checked(await _awaited(value, deadline))
        return value

    def _checked(self, outcome: Outcome | None) -> Any:
        if outcome is None:
            msg = f"the origin took longer than {format_duration(self._timeout)}"
            raise OriginError(msg)
        if outcome.error is not None:
            raise OriginError(_complaint(outcome.error)) from outcome.error
        return outcome.value


async def _awaited(awaitable: Awaitable[Any], deadline: float) -> Outcome | None:
    """Return the outcome of `awaitable`, or `None` when it was cancelled at its deadline.

    In a task of its own, that may take its time over the cancellation, or ignore it.
    """
    answer: Answer = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(_settle(awaitable, answer))
    try:
        return await answered(answer, deadline)
    finally:
        task.cancel()


async def _settle(awaitable: Awaitable[Any], answer: Answer) -> None:
    try:
        outcome = Outcome(await awaitable)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 not ours
        # A SystemExit would leave through the loop. Cancelled by us, nobody waits for the answer.
        outcome = Outcome(error=error)
    deliver(answer, outcome)


def _complaint(error: BaseException) -> str:
    trace = error.__traceback__
    if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
        # Raised by the call itself: not one line of the callable has run.
        return f"the parameters do not fit: {_text(error)}"
    # Its text may hold a value, or the secret of a database: where it was raised says enough.
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    if trace is None:
        return f"the origin raised {name}"
    place = os.path.basename(trace.tb_frame.f_code.co_filename)
    return f"the origin raised {name} at {safe(place)}:{trace.tb_lineno}"


def _as_json(value: object) -> bytes:
    try:
        return to_json(value)
    except UnicodeEncodeError:
        reason = "half of a surrogate pair"
    except Exception as error:  # noqa: BLE001 a type of somebody else's may raise anything
        match = re.fullmatch(r"Object of type (.+) is not JSON serializable", str(error))
        reason = match[1] if match else _text(error)
    msg = f"the origin returned something that is not JSON ({reason})"
    raise OriginError(msg)


def _imported(module: str, directory: str) -> object:
    directory = os.path.abspath(directory)
    if directory in sys.path:
        sys.path.remove(directory)
    sys.path.insert(0, directory)
    invalidate_caches()
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            msg = f"no module named {error.name} in {safe(directory)} or where Python looks"
            raise UsageError(msg) from None
        reason = _named(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 somebody else's module
        reason = _named(error)
    msg = f"importing {module} failed: {reason}"
    raise UsageError(msg)


def _attribute(holder: object, name: str, at: str) -> object:
    try:
        return getattr(holder, name)
    except AttributeError:
        near = get_close_matches(name, dir(holder), 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        msg = f"{at} has no {name}{meant}"
        raise UsageError(msg) from None


def _named(error: BaseException) -> str:
    text = _text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 somebody else's __str__
        return ""
    return safe(text if len(text) <= MAX_REASON else text[:MAX_REASON] + "…")
