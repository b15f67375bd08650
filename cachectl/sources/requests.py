"""Requests: what applications will ask for, JSON Lines or keys in files and on stdin -> batches."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import filterfalse
from typing import Any, BinaryIO

from cachectl.config.settings import AccessLog
from cachectl.errors import InputError
from cachectl.models import Problem, Request, RequestBatch
from cachectl.sources.fields import KEY_FIELDS, LineError, key_of, parse_object
from cachectl.sources.log_lines import is_log_line
from cachectl.sources.reading import Lines, first_line, is_blank, line_groups, named

MAX_COUNT = 2**53
"""The greatest `count`: whole numbers in JSON are exact up to here everywhere."""


_JSON_NAMES = (".jsonl", ".json", ".ndjson")
_KEY_NAMES = (".txt", ".keys")


async def request_batches(
    source: str, *, namespace: str | None, stdin: BinaryIO, max_requests: int = 1000
) -> AsyncGenerator[RequestBatch, None]:
    """Yield the requests of `source` in order, and its bad lines as problems.

    `source` is a path, or `-` for stdin, of JSON Lines or of keys, one a line, gzip or not; its name
    tells which, or else its first line. `namespace` is for lines that bring `params` alone. Python's
    `json` reads them, so that a key is what an application computes with the same parameters. Raises
    `InputError` while iterating when the source cannot be read, or not to its end (what came before
    it has been yielded by then), or is an access log.
    """
    is_keys = _told_by_name(source)
    async with aclosing(line_groups(source, stdin=stdin, max_lines=max_requests)) as groups:
        async for lines in groups:
            if is_keys is None and (first := next(filterfalse(is_blank, lines.texts), None)):
                is_keys = _are_keys(source, first)
            batch = _keys(source, lines) if is_keys else _batch(source, namespace, lines)
            if batch.requests or batch.problems:
                yield batch


def lists_requests(source: str, log: AccessLog) -> bool:
    """Whether a file lists requests, rather than being a log as `log` is; its first line tells.

    What cannot be read twice, as stdin, is taken for a log.
    """
    first = first_line(source)
    if first is None or is_log_line(first):
        return False
    try:
        fields, _ = parse_object(first)
    except LineError:
        return _told_by_name(source) is True
    return log.fields.target.partition(".")[0] not in fields and any(
        name in fields for name in KEY_FIELDS
    )


def _told_by_name(source: str) -> bool | None:
    """Whether a source of this name holds keys; None: its first line tells."""
    name = source.lower().removesuffix(".gz")
    return True if name.endswith(_KEY_NAMES) else False if name.endswith(_JSON_NAMES) else None


def _are_keys(source: str, first: bytes) -> bool:
    """Whether the first line is a key: not JSON, also if it is cut; raise `InputError` for a log's."""
    if is_log_line(first):
        msg = f"{named(source)}: it is an access log"
        hint = (
            'read it by a job of the settings: requests: {log: FILE, route: {key: "page:{target}"}}'
        )
        raise InputError(msg, hint)
    if re.match(rb'\s*\{\s*"', first):
        return False
    try:
        parse_object(first)
    except LineError:
        return True
    return False


def _keys(source: str, lines: Lines) -> RequestBatch:
    """Return lines as keys, exact but for the end of a line that Windows wrote."""
    problems = [] if lines.problem is None else [Problem(lines.problem, source, lines.first)]
    requests = [
        Request(text.removesuffix(b"\r"), None, 1, number)
        for number, text in enumerate(lines.texts, lines.first)
        if not is_blank(text)
    ]
    return RequestBatch(source, requests, problems, bad=len(problems))


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
    return RequestBatch(source, requests, problems, bad=len(problems))


def _count(fields: dict[str, Any]) -> int:
    if "count" not in fields:
        return 1
    count = fields["count"]
    if type(count) is not int or not 1 <= count <= MAX_COUNT:
        msg = "count must be a whole number from 1 to 2^53"
        raise LineError(msg)
    return count
