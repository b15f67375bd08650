"""Requests by key, ranked by how often they are asked."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO

from cachectl.config.settings import AccessLog, Requests
from cachectl.errors import InputError
from cachectl.models import MAX_ERRORS, Problem, Request, RequestBatch
from cachectl.sources.logs import log_batches
from cachectl.sources.requests import request_batches


@dataclass(slots=True)
class Ranked:
    """Requests by key, most asked first, where each came from, and the lines that were not used.

    `bad` counts the lines that are no requests, `problems` holds the first of them. Of a log, which
    holds such lines in the best of times, `of_log` is true; `unrouted` are lines that no route takes,
    `filtered` those of another method, status or time.
    """

    requests: list[Request]
    of_log: bool = False
    sources: dict[bytes, str] = field(default_factory=dict)
    bad: int = 0
    unrouted: int = 0
    filtered: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many requests they are, repeated ones counted each time."""
        return sum(request.count for request in self.requests)


async def rank(sources: Requests, namespace: str | None, stdin: BinaryIO) -> Ranked:
    """Read all requests and return them by key, most asked first; equals stay in their order.

    Raises `InputError` for a source that cannot be read.
    """
    found: dict[bytes, Request] = {}
    ranked = Ranked([], isinstance(sources, AccessLog))
    async for batch in _batches(sources, namespace, stdin):
        ranked.bad += batch.bad
        ranked.unrouted += batch.unrouted
        ranked.filtered += batch.filtered
        ranked.problems += batch.problems[: MAX_ERRORS - len(ranked.problems)]
        for request in batch.requests:
            before = found.get(request.key)
            if before is None:
                found[request.key] = request
                ranked.sources[request.key] = batch.source
            else:
                found[request.key] = _both(before, request)
    ranked.requests = sorted(found.values(), key=lambda request: -request.count)
    return ranked


async def _batches(
    sources: Requests, namespace: str | None, stdin: BinaryIO
) -> AsyncGenerator[RequestBatch, None]:
    """Yield the requests of all sources."""
    if isinstance(sources, AccessLog):
        read = [log_batches(one, sources, namespace=namespace, stdin=stdin) for one in sources.log]
    else:
        read = [request_batches(one, namespace=namespace, stdin=stdin) for one in sources]
    for source in read:
        async with aclosing(source) as batches:
            async for batch in batches:
                yield batch


def _both(first: Request, second: Request) -> Request:
    """Return two requests of one key as one."""
    return first._replace(
        params=second.params if first.params is None else first.params,
        count=first.count + second.count,
        size=second.size if first.size is None else first.size,
    )


async def read_sample(sources: Requests, namespace: str | None, stdin: BinaryIO) -> Ranked:
    """Return the requests of a sample; raise `InputError` for the first bad line, unless of a log.

    A sample is what the proof stands on: one that is not wholly read proves something else.
    """
    ranked = await rank(sources, namespace, stdin)
    if ranked.problems and not ranked.of_log:
        first = ranked.problems[0]
        msg = f"{first.source}:{first.line}: {first.message}"
        raise InputError(msg, "every line of a sample for --verify must be a request")
    return ranked
