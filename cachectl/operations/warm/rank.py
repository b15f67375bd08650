"""Requests by key, ranked by how often they are asked."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import BinaryIO, NamedTuple

from cachectl.errors import InputError
from cachectl.models import MAX_ERRORS, Problem, Request, RequestBatch
from cachectl.sources.requests import request_batches


class Ranked(NamedTuple):
    """Requests by key, most asked first, where each came from, and the lines that were bad.

    `bad` counts these lines, `problems` holds the first of them.
    """

    requests: list[Request]
    sources: dict[bytes, str]
    bad: int
    problems: list[Problem]


async def rank(sources: Sequence[str], namespace: str | None, stdin: BinaryIO) -> Ranked:
    """Read all requests and return them by key, most asked first; equals stay in their order.

    Raises `InputError` for a source that cannot be read.
    """
    found: dict[bytes, Request] = {}
    names: dict[bytes, str] = {}
    problems: list[Problem] = []
    bad = 0
    async for batch in _batches(sources, namespace, stdin):
        bad += len(batch.problems)
        problems += batch.problems[: MAX_ERRORS - len(problems)]
        for request in batch.requests:
            _add(found, request)
            names.setdefault(request.key, batch.source)
    requests = sorted(found.values(), key=lambda request: -request.count)
    return Ranked(requests, names, bad, problems)


async def _batches(
    sources: Sequence[str], namespace: str | None, stdin: BinaryIO
) -> AsyncGenerator[RequestBatch, None]:
    """Yield the requests of all sources."""
    for source in sources:
        async with aclosing(request_batches(source, namespace=namespace, stdin=stdin)) as batches:
            async for batch in batches:
                yield batch


def _add(found: dict[bytes, Request], request: Request) -> None:
    before = found.setdefault(request.key, request)
    if before is not request:
        params = request.params if before.params is None else before.params
        found[request.key] = before._replace(params=params, count=before.count + request.count)


async def read_sample(
    sources: Sequence[str], namespace: str | None, stdin: BinaryIO
) -> list[Request]:
    """Return the requests of a sample; raise `InputError` for the first bad line.

    A sample is what the proof stands on: one that is not wholly read proves something else.
    """
    ranked = await rank(sources, namespace, stdin)
    if ranked.problems:
        first = ranked.problems[0]
        msg = f"{first.source}:{first.line}: {first.message}"
        raise InputError(msg, "every line of a sample for --verify must be a request")
    return ranked.requests
