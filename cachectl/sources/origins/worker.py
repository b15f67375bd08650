"""A process of its own that makes the calls of an origin, one at a time, while its parent lives."""

import os
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from time import sleep
from typing import Any

from cachectl.errors import CachectlError
from cachectl.sources.origins.call import answer
from cachectl.sources.origins.failure import Failure
from cachectl.sources.origins.load import load_callable

LAST = 1.0
"""Seconds that a call may still take once the parent has gone."""


def work(descriptor: int, spec: str, directory: str) -> None:
    """Import the callable, say so (None) or why not, and answer params with values until the end."""
    os.set_inheritable(descriptor, False)  # noqa: FBT003 else what the callable starts holds it open
    parent: Connection[Any, Any] = Connection(descriptor)
    calls: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    Thread(target=_listen, args=(parent, calls), daemon=True).start()
    with suppress(OSError):  # the parent has gone
        try:
            call = load_callable(spec, directory)
        except CachectlError as error:
            parent.send(Failure(error.message))
            return
        parent.send(None)
        while (params := calls.get()) is not None:
            parent.send(answer(call, params))


def _listen(parent: "Connection[Any, Any]", calls: SimpleQueue[dict[str, Any] | None]) -> None:
    """Take calls from the parent; should it end, however that comes, end as well."""
    with suppress(EOFError, OSError):
        while True:
            calls.put(parent.recv())
    calls.put(None)
    sleep(LAST)
    os._exit(1)
