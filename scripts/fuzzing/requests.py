"""Lists of requests, keys or JSON Lines: none is lost without a word."""

from random import Random
from typing import Final

from cachectl.sources.requests import request_batches
from scripts.fuzzing.entries import Given, drawn, expect_lines, lines_of, read, told_of
from scripts.fuzzing.junk import demand

_LINES: Final = (
    '{"key": "a:1"}', '{"key": "a:2", "count": 5}', '{"params": {"lat": 1.50, "b": [null, true]}}',
    "{}", '"a"', "17", '{"namespace": "n", "params": {"self": 1, "namespace": 2}}',
    '{"key_base64": "/wA=", "count": 9007199254740993}', '{"params": {"x": NaN}}',
    '{"params": {"x": 1e999, "y": "\\ud800"}}', '{"params": []}', '{"key": "a", "count": 1.0}',
    "natal:1", "  spaces are kept ", "", " ", "\r", "b\xfccher", "[1, 2]",
    '{"key": "a", "count": true}', "{x", "null",
    'h - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5',
)  # fmt: skip


def make(random: Random) -> Given:
    """Return requests, right or not."""
    lines = random.choices(_LINES, k=random.randint(0, 12))
    return drawn(random, lines, (".jsonl", ".keys", ".txt", "", ""))


def judge(given: Given) -> bool:
    """Read it, and count its lines."""
    found = read(given, lambda source, stdin: request_batches(
        source, namespace="n", stdin=stdin, max_requests=given.max_lines
    ))  # fmt: skip
    batches = found.batches
    requests = [request for batch in batches for request in batch.requests]
    problems = [problem for batch in batches for problem in batch.problems]
    demand(sum(batch.bad for batch in batches) == len(problems), "bad lines are not counted")
    numbers = told_of(requests, problems)
    if given.text is None or (found.error and "it is an access log" in found.error.message):
        return False
    expect_lines(given, numbers, found.error)
    if given.suffix in {".keys", ".txt"}:
        lines = lines_of(given.text)
        for request in requests:
            demand(request.key == lines[request.line].removesuffix(b"\r"), f"a key is {request}")
    return not problems and found.error is None
