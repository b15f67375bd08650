"""What a call of somebody else's code gives: a value as JSON text, or a failure in one line."""

import asyncio
import inspect
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from cachectl.sources.origins.failure import Failure
from cachectl.sources.threads import Outcome, attempt
from cachectl.values import safe, to_json

MAX_REASON = 200
"""How many characters of an exception's own text a message repeats."""


def answer(call: Callable[..., Any], params: dict[str, Any]) -> bytes | Failure:
    """Return what `call(**params)` gives, to its end: in a process where nothing else waits."""
    made = attempt(partial(call, **params))
    if inspect.isawaitable(made.value):
        made = attempt(partial(asyncio.run, _awaited(made.value)))
    return of_outcome(made)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def of_outcome(outcome: Outcome) -> bytes | Failure:
    """Return the value as the JSON text that `CacheClient` stores, or why there is none."""
    if outcome.error is not None:
        return _complaint(outcome.error)
    try:
        return to_json(outcome.value)
    except UnicodeEncodeError:
        reason = "half of a surrogate pair"
    except Exception as error:  # noqa: BLE001 a type of somebody else's may raise anything
        match = re.fullmatch(r"Object of type (.+) is not JSON serializable", str(error))
        reason = match[1] if match else text_of(error)
    return Failure(f"the origin returned something that is not JSON ({reason})")


def _complaint(error: BaseException) -> Failure:
    trace = error.__traceback__
    if trace is not None and trace.tb_frame.f_code is attempt.__code__:
        trace = trace.tb_next
    if isinstance(error, TypeError) and trace is None:
        # Raised by the call itself: not one line of the callable has run.
        return Failure(f"the parameters do not fit: {text_of(error)}", of_request=True)
    # Its text may hold a value, or the secret of a database: where it was raised says enough.
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    again = isinstance(error, OSError)  # what it asks cannot be reached, or took too long
    if trace is None:
        return Failure(f"the origin raised {name}", again)
    place = os.path.basename(trace.tb_frame.f_code.co_filename)
    return Failure(f"the origin raised {name} at {safe(place)}:{trace.tb_lineno}", again)


def text_of(error: BaseException) -> str:
    """Return what an exception says, on one line that is not too long."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 somebody else's __str__
        return ""
    return safe(text if len(text) <= MAX_REASON else text[:MAX_REASON] + "…")
