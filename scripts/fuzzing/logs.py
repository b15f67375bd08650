"""Access logs: every line is a request, unrouted, filtered or bad, as it is when it is read alone."""

from functools import partial
from random import Random
from typing import Any, Final, NamedTuple

from cachectl.config.settings import AccessLog, Moment, Route
from cachectl.sources.fields import LineError
from cachectl.sources.log_json import JsonReader
from cachectl.sources.log_lines import FILTERED, Bad, ClfReader
from cachectl.sources.logs import log_batches
from cachectl.sources.times import Window
from scripts.fuzzing import entries
from scripts.fuzzing.junk import demand

_CLF: Final = (
    'h - - [17/May/2015:10:05:03 +0000] "GET /a?x=1 HTTP/1.1" 200 5120', "nonsense", "", " ", "\r",
    'h - - [17/May/2015:10:05:03 +0000] "GET /a/42?x=2&x=3&y=%zz HTTP/1.1" 200 0 "http://f" "B \\" x"',
    '::1 - ann [18/May/2015:10:05:60 -0730] "GET /a\\x22\\\\b HTTP/1.0" 200 -',
    'h - - [x] "GET /a HTTP/1.1" 200 1',
    'h - - [17/May/2015:10:05:03 +0000] "POST /a HTTP/1.1" 404 7',
    'h - - [17/May/2015:10:05:03 +0000] "-" 400 0',
    'h - - [17/May/2015:10:05:03 +0000] "GET http://h/b?x=b%FCcher HTTP/1.1" 200 12 x',
    "h - - [31/Feb/2015:99:05:03 +9999]", 'h - - [2015-05-17T10:05:03Z] "GET * HTTP/1.1" 200 12',
    'h - - [1431857103.5] "GET /caf\xe9 x HTTP/1.1" 200 12',
    'h - - [17/May/2015:10:05:03 +0000] "GET  HTTP/1.1" 200 1',
    'h - - [17/May/2015:10:05:03 +0000] "GET /" 200 99999999999999999',
)  # fmt: skip
_JSON: Final = (
    '{"method": "GET", "target": "/a?x=1", "status": 200, "time": 1431857103, "size": 5}', "{}",
    "[]", "", " ",
    '{"method":"GET","target":"/a/42?x=1.5","status":"200", "time":"2015-05-17T10:05:03Z", "size":"12"}',
    '{"method": "POST", "target": "/a", "status": 404.0, "time": null, "size": 1e400}',
    '{"method": 1}', "x",
    '{"method": "GET", "target": "/\\ud800", "status": 200, "time": 1e999, "size": -1}',
    '{"method": "GET", "target": "/b\xfc", "status": 200, "time": 9999999999999999999, "size": true}',
    '{"method":"GET", "target":"","status":200.5, "time":"17/May/2015:10:05:03 +0000", "size":{}}',
)  # fmt: skip
_ROUTES: Final = (
    Route(key="page:{target}"), Route(path="/a/{id}", key="a:{id:int}"),
    Route(key="x:{query.x:float}"),
    Route(path="/{rest:path}", params={"x": "{query.x:int}", "rest": "{rest}"}),
    Route(params={"b": "{query.x:bool}"}), Route(key="{path}{{}}{query.y}"),
)  # fmt: skip
_TIMES: Final = (None, None, Moment(at=1431857103.0), Moment(at=1431900000.0))


class Given(NamedTuple):
    """A log and what is wanted of it."""

    data: bytes
    source: entries.Given
    log: AccessLog


def make(random: Random) -> Given:
    """Return a log, right or not."""
    some = random.choice([_CLF, _CLF, _JSON])
    lines = random.choices(some[: random.choice([2, len(some)])], k=random.choice([1, 5, 40]))
    source = entries.drawn(random, lines, ("",))
    log = AccessLog(
        route=random.choice(_ROUTES),
        format=random.choice([None, None, "common", "json"]),
        since=random.choice(_TIMES),
        until=random.choice(_TIMES),
    )
    return Given(source.data, source, log)


def judge(given: Given) -> bool:
    """Read it, and count its lines."""
    found = entries.read(given.source, lambda source, stdin: log_batches(
        source, given.log, namespace="n", stdin=stdin
    ))  # fmt: skip
    batches = found.batches
    bad = sum(batch.bad for batch in batches)
    if given.source.text is None or found.error is not None:
        return False
    filtered = sum(batch.filtered for batch in batches)
    asked = sum(batch.unrouted + sum(one.count for one in batch.requests) for batch in batches)
    alone = _read_alone(given, entries.lines_of(given.source.text))
    if alone is not None:
        counts = {"asked": asked, "filtered": filtered, "bad": bad}
        demand(counts == alone, f"the lines are counted as {counts} instead of {alone}")
    return not bad


def _read_alone(given: Given, lines: dict[int, bytes]) -> dict[str, int] | None:
    """Return how many lines are what, each of them read alone; None if some are too long for that."""
    filled = [line for line in lines.values() if line.strip()]
    if any(len(line) > given.source.longest for line in lines.values()):
        return None
    is_json = given.log.format == "json" or (given.log.format is None and _opens(filled))
    new: Any = partial(JsonReader if is_json else ClfReader, given.log, Window(given.log, 0.0))
    reader = new(Bad("-"))
    counts = {"asked": 0, "filtered": 0, "bad": 0}
    for line in filled:
        try:
            target, _ = reader.alone(line)
            counts["filtered" if target == FILTERED else "asked"] += 1
        except LineError:
            counts["bad"] += 1
    return counts


def _opens(filled: list[bytes]) -> bool:
    return bool(filled) and filled[0].lstrip().startswith(b"{")
