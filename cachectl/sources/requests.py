"""Requests: what applications will ask for, from JSON Lines in files and on stdin -> batches."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, BinaryIO

from cachectl.models import Problem, Request, RequestBatch
from cachectl.sources.fields import LineError, key_of, parse_object
from cachectl.sources.reading import Lines, is_blank, line_groups

MAX_COUNT = 2**53
"""The greatest `count`: whole numbers in JSON are exact up to here everywhere."""


async def request_batches(
    source: str, *, namespace: str | None, stdin: BinaryIO, max_requests: int = 1000
) -> AsyncGenerator[RequestBatch, None]:
    """Yield the requests of `source` in order, and its bad lines as problems.

    `source` is a path, or `-` for stdin, of JSON Lines, gzip or not; `namespace` is for lines that
    bring `params` alone. Python's `json` reads them, so that a key is what an application computes
    with the same parameters. Raises `InputError` while iterating when the source cannot be read,
    or not to its end; what came before it has been yielded by then.
    """
    async with aclosing(line_groups(source, stdin=stdin, max_lines=max_requests)) as groups:
        async for lines in groups:
            batch = _batch(source, namespace, lines)
            if batch.requests or batch.problems:
                yield batch


def _batch(source: str, namespace: str | None, lines: Lines) -> RequestBatch:
    requests: list[Request] = []
    problems: list[Problem] = []
    if lines.problem is not None:
        problems.append(Problem(lines.problem, source, lines.first))
    for number, text in enumerate(lines.texts, lines.first):
        key = None
        try:
            fields, _ = parse_object(text)
            key = key_of(fields, namespace)
            count = _count(fields)
        except LineError as error:
            if not is_blank(text):
                problems.append(Problem(str(error), source, number, key))
        else:
            requests.append(Request(key, fields.get("params"), count, number))
    return RequestBatch(source, requests, problems)


def _count(fields: dict[str, Any]) -> int:
    count = fields.get("count", 1)
    if type(count) is not int or not 1 <= count <= MAX_COUNT:
        msg = "count must be a whole number from 1 to 2^53"
        raise LineError(msg)
    return count
