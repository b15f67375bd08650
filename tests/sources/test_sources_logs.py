import gzip
import io
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.settings import AccessLog, LogFields, Moment, Route
from cachectl.errors import InputError, UsageError
from cachectl.models import Request, RequestBatch
from cachectl.sources import logs, reading
from cachectl.sources.logs import log_batches
from tests.sources.collecting import collected

REAL = Path(__file__).parents[2].parent / "shared/data/access.log"
TARGET = Route(key="page:{target}")


def batches(data: bytes, namespace: str | None = None, **settings: Any) -> list[RequestBatch]:
    log = AccessLog(("-",), settings.pop("route", TARGET), **settings)
    return collected(log_batches("-", log, namespace=namespace, stdin=io.BytesIO(data)))


def told(data: bytes, **settings: Any) -> tuple[dict[str, int], tuple[int, int, int]]:
    """Return the counts by key, and how many lines were bad, unrouted and filtered."""
    found = batches(data, **settings)
    counts: Counter[str] = Counter()
    for batch in found:
        for request in batch.requests:
            counts[request.key.decode(errors="surrogateescape")] += request.count
    sums = [sum(b[n] for b in found) for n in (3, 4, 5)]  # type: ignore[misc]
    return dict(counts), (sums[0], sums[1], sums[2])


def line(
    request: bytes = b"GET /a HTTP/1.1", status: int = 200, size: bytes = b"5", second: int = 3
) -> bytes:
    time = b"17/May/2015:10:05:%02d +0000" % second
    return b'10.0.0.1 - ann [%s] "%s" %d %s' % (time, request, status, size)


def test_requests_are_counted_with_what_is_known_first() -> None:
    data = [line(size=b"-"), line(b"GET /b?c=1 HTTP/2.0"), line(), line(size=b"900")]
    (batch,) = batches(b"\r\n".join(data) + b' "http://from/" "A \\"browser\\""')
    assert batch.requests == [
        Request(b"page:/a", None, 3, 1, "/a", 5),
        Request(b"page:/b?c=1", None, 1, 2, "/b?c=1", 5),
    ]


@pytest.mark.parametrize(
    ("request_line", "key"),
    [
        (b"GET /", "page:/"),
        (b"GET /a b HTTP/1.1", "page:/a b"),
        (rb"GET /a\"b\\c\x22\xE9\n HTTP/1.1", 'page:/a"b\\c"\udce9\\n'),
        (b"GET /\xff\xc3\xa9 HTTP/1.1", "page:/\udcff\u00e9"),
        (b"GET http://other/p?q HTTP/1.1", "page:/p?q"),
        (b"GET http://other HTTP/1.1", "page:/"),
        (b"GET //a//b HTTP/1.1", "page://a//b"),
    ],
)
def test_targets_are_what_was_asked(request_line: bytes, key: str) -> None:
    assert told(line(request_line)) == ({key: 1}, (0, 0, 0))


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        (line(b"-", 408, b"-"), (0, 0, 1)),
        (line(rb"\x16\x03\x01", 400), (0, 0, 1)),
        (line(b"HEAD /a HTTP/1.1"), (0, 0, 1)),
        (line(status=404), (0, 0, 1)),
        (line(b"GET * HTTP/1.1"), (0, 1, 0)),
        (line(b"GET other:443 HTTP/1.1"), (0, 1, 0)),
        (line(rb"GET /a\x0ab HTTP/1.1"), (0, 1, 0)),
        (line(b"GET  HTTP/1.1"), (1, 0, 0)),
        (line(size=b"x"), (1, 0, 0)),
        (line(size=b"9" * 16), (1, 0, 0)),
        (b"c4n4ry", (1, 0, 0)),
        (b" \t", (0, 0, 0)),
    ],
)
def test_lines_that_are_no_requests(text: bytes, sums: tuple[int, int, int]) -> None:
    good = line() + b"\n"
    assert told(good * 20 + text + b"\n" + good) == ({"page:/a": 21}, sums)


def test_the_first_bad_lines_are_told_by_their_numbers() -> None:
    data = b"\n".join([line()] * 100 + [b"c4n4ry", b"", line()] + [b"c4n4ry"] * 30)
    found = batches(b"\xef\xbb\xbf" + data)
    problems = [problem for batch in found for problem in batch.problems]
    assert [problem.line for problem in problems] == [101, *range(104, 123)]
    assert {problem.source for problem in problems} == {"-"}
    assert sum(batch.bad for batch in found) == 31
    assert "c4n4ry" not in str(problems)


def test_a_log_of_bad_lines_only_is_none() -> None:
    with pytest.raises(
        InputError, match=r"- \(stdin\): not one of 2 lines .* \(read as common"
    ) as e:
        batches(b"c4n4ry\n\nc4n4ry")
    assert "combined and json" in str(e.value.hint)
    with pytest.raises(InputError, match="read as json, line 1: no field method"):
        batches(b'{"verb":"c4n4ry"}')
    assert told(b"\n \n") == ({}, (0, 0, 0))
    assert told(line(status=500)) == ({}, (0, 0, 1))


ODD = [
    line(b"POST /a HTTP/1.1"),
    line(status=404),
    line(rb"GET /x\x41 HTTP/1.1", size=b"-"),
    line(b"GET /c d HTTP/1.1"),
    line(b"GET /"),
    line(b"-", 408),
    b"",
    b"bad",
    b'] "GET / HTTP/1.1" 200 5',
    line()[:-3],
    line().replace(b"ann", b'"ann'),
    line() + b' "-" "[x] \\"y"\r',
    line(second=7),
    line().replace(b"May", b"Mai"),
]
LINES = st.lists(
    st.sampled_from([*ODD, *[line(b"GET /%d HTTP/1.1" % n) for n in range(9)]]), max_size=60
)


@given(LINES, st.integers(3, 400), st.integers(1, 5), st.booleans())
def test_counts_do_not_depend_on_where_blocks_end(
    lines: list[bytes], block: int, many: int, timed: bool
) -> None:
    """However lines come together, they are counted as each is alone, and bad ones have their number."""
    data = line() + b"\n" + b"\n".join(lines)
    until = Moment(at=1431857106.0) if timed else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", block)
        patch.setattr(logs, "MANY", many)
        patch.setattr(logs, "BATCH", many)
        found = told(data, until=until)
        numbers = [p.line for b in batches(data, until=until) for p in b.problems]
    alone = [told(line() + b"\n" + one, until=until) for one in lines]
    total: Counter[str] = Counter({"page:/a": 1 - len(lines)})
    for counts, _ in alone:
        total.update(counts)
    assert found[0] == dict(total)
    assert found[1] == tuple(sum(one[1][n] for one in alone) for n in range(3))
    bad = [number for number, (_, sums) in enumerate(alone, 2) if sums[0]]
    assert numbers == bad[:20]


def test_times() -> None:
    data = b"\n".join(line(second=second) for second in range(10))
    since, until = Moment(at=1431857102.0), Moment(at=1431857105.0)
    assert told(data, since=since, until=until) == ({"page:/a": 3}, (0, 0, 7))
    assert told(data, since=Moment(ago=3600))[1] == (0, 0, 10)
    assert told(data, since=Moment(ago=1e10))[0] == {"page:/a": 10}
    odd = data + b"\n" + line().replace(b"/May/", b"/Mai/")
    assert told(odd, since=since) == ({"page:/a": 8}, (1, 0, 2))
    east = line().replace(b"10:05:03 +0000", b"11:35:03 +0130")
    assert told(east, since=since, until=until)[0] == {"page:/a": 1}


@pytest.mark.parametrize(
    "time",
    ["1431857103", '"1431857103.5"', '"2015-05-17T10:05:03Z"', '"17/May/2015:10:05:03 +0000"'],
)
def test_lines_of_json(time: str) -> None:
    """Names lead into objects, or are the name of one field; bytes are what was asked."""
    fields = LogFields("request.method", "request.uri", "status", "ts", "size")
    text = f'{{"request":{{"method":"GET","uri":"/a"}},"status":"200","size":7,"ts":{time}}}\n'
    data = (
        text.encode()
        + b'{"request.method":"GET","request.uri":"/\xff","status":200,"ts":1431857103}'
    )
    (batch,) = batches(data, fields=fields, since=Moment(at=1431857103.0))
    assert batch.requests == [
        Request(b"page:/a", None, 1, 1, "/a", 7),
        Request(b"page:/\xff", None, 1, 2, "/\udcff", None),
    ]
    assert told(data, fields=fields, until=Moment(at=1431857103.0)) == ({}, (0, 0, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"c4n4ry", "invalid JSON at column 1: Expecting value"),
        (b"[]", "expected a JSON object"),
        (b'{"target":"/","status":200}', "no field method"),
        (b'{"method":"GET","target":5,"status":200}', "target must be text that is not empty"),
        (b'{"method":"GET","target":"/","status":"ok"}', "status must be a whole number"),
        (rb'{"method":"GET","target":"/\ud83d","status":200}', "target is not valid Unicode"),
    ],
)
def test_bad_lines_of_json(text: bytes, message: str) -> None:
    good = b'{"method":"GET","target":"/a","status":200}\n'
    ((_, requests, (problem,), *_),) = batches(good + text)
    assert (len(requests), problem.line, problem.message) == (1, 2, message)
    with pytest.raises(InputError, match="read as json"):
        batches(text, format="json")


def test_a_wrong_route_is_found_before_anything_is_read() -> None:
    log = AccessLog(("no-such-file",), Route(key="{nothing}"))
    with pytest.raises(UsageError, match=r"unknown placeholder \{nothing\}"):
        collected(log_batches("no-such-file", log, namespace=None, stdin=io.BytesIO()))


def test_gzip_and_a_long_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log.gz"
    long = line(b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1")
    path.write_bytes(gzip.compress(b"\n".join([line(), long, b"[" * 1_000_000, line()])))
    (batch,) = collected(
        log_batches(str(path), AccessLog((), TARGET), namespace=None, stdin=io.BytesIO())
    )
    assert [(request.count, len(request.key)) for request in batch.requests] == [
        (2, 7),
        (1, 1_000_006),
    ]
    assert [problem.line for problem in batch.problems] == [3]


def test_too_long_a_line_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 50)
    monkeypatch.setattr(reading, "MAX_LINE", 120)
    found = batches(line() + b"\n" + b"x" * 200 + b"\n" + line() + b"\n" + b"x" * 200)
    assert [request.count for batch in found for request in batch.requests] == [2]
    problems = [(p.line, p.message) for batch in found for p in batch.problems]
    assert problems == [(number, "the line is longer than 120 bytes") for number in (2, 4)]


def test_unique_queries_do_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the key does not hold is forgotten by and by."""
    monkeypatch.setattr(logs, "MANY", 1000)
    path = tmp_path / "access.log"
    with path.open("wb") as file:
        for number in range(40_000):
            file.write(line(b"GET /a?token=%0200d HTTP/1.1" % number) + b"\n")
    log = AccessLog((), Route(key="{path}"))
    tracemalloc.start()
    found = collected(log_batches(str(path), log, namespace=None, stdin=io.BytesIO()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(request.count for batch in found for request in batch.requests) == 40_000
    assert peak < 6_000_000


@pytest.mark.skipif(not REAL.exists(), reason="the log of a real site is not at hand")
def test_a_real_log() -> None:
    """It agrees with a count by the spaces in its lines."""
    (batch,) = collected(
        log_batches(str(REAL), AccessLog((), TARGET), namespace=None, stdin=io.BytesIO())
    )
    words = [text.split(b" ") for text in REAL.read_bytes().splitlines()]
    wanted = Counter(b"page:" + w[6] for w in words if w[5] == b'"GET' and w[8] == b"200")
    assert {request.key: request.count for request in batch.requests} == wanted
    assert (len(wanted), wanted.total()) == (899, 4431)
    assert (batch.bad, batch.unrouted, batch.filtered) == (0, 0, 569)
