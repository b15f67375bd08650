"""Entries -> lines, and what `entry_batches` reads back from them."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cachectl.models import Entry
from cachectl.sources import lines_out
from cachectl.sources.fields import MAX_EXPIRES_AT
from cachectl.sources.lines import entry_batches
from cachectl.sources.lines_out import LONG, entry_lines, long_line
from tests.sources.collecting import collected

TEXTS = some.text(some.characters(codec="utf-8"))
NUMBERS = some.integers() | some.floats(allow_nan=False, allow_infinity=False)
ANY_JSON = some.recursive(
    some.none() | some.booleans() | NUMBERS | TEXTS,
    lambda inner: some.lists(inner) | some.dictionaries(TEXTS, inner),
)
KEYS = some.binary(min_size=1) | TEXTS.filter(bool).map(str.encode)
VALUES = some.one_of(
    some.binary(),
    ANY_JSON.map(lambda value: json.dumps(value).encode()),
    ANY_JSON.map(lambda value: json.dumps(value, ensure_ascii=False, indent=1).encode()),
    some.sampled_from([b"", b" 1", b"1\t", b'"\x7f"', '"\u2028"'.encode(), b"1e999", b"-0.0"]),
    some.integers(0, 6000).map(lambda digits: b"9" * digits),
)
ENDS = some.none() | some.integers(-(10**11), 10**14).map(lambda ms: ms / 1000)


def read(lines: bytes) -> list[tuple[bytes, bytes, Any, float | None, bool]]:
    """Return what a warm reads, without the numbers of lines."""
    batches = collected(entry_batches("-", stdin=io.BytesIO(lines)))
    assert [problem for batch in batches for problem in batch.problems] == []
    entries = [Entry(*entry) for batch in batches for entry in batch.entries]
    return [(it.key, it.value, it.ttl, it.expires_at, it.dump) for it in entries]


def told(line: bytes) -> dict[str, Any]:
    assert line.endswith(b"\n")
    fields: dict[str, Any] = json.loads(line)
    return fields


@given(
    rows=some.lists(some.tuples(KEYS, VALUES, ENDS), min_size=1),
    dump=some.booleans(),
    alone=some.booleans(),
)
def test_what_is_written_is_read_back_as_the_same_entries(
    rows: list[tuple[bytes, bytes, float | None]], dump: bool, alone: bool
):
    """Key, value, dump or not, and the life: byte for byte, together and in parts."""
    rows = [(key, value or b"x" if dump else value, end) for key, value, end in rows]
    keys, values, ends = zip(*rows, strict=True)
    if alone:
        parts = [long_line(*row, dump=dump) for row in rows]
        lines = b"".join(b"".join(part) for part in parts if part is not None)
    else:
        lines = entry_lines(keys, values, ends, dump=dump)
    assert lines.count(b"\n") == len(rows)
    found = read(lines)
    assert [entry[:2] for entry in found] == [row[:2] for row in rows]
    assert [entry[4] for entry in found] == [dump] * len(rows)
    for (_, _, ttl, expires_at, _), (_, _, end) in zip(found, rows, strict=True):
        if end is None:
            assert (ttl, expires_at) == (None, None)
        else:
            assert expires_at == pytest.approx(min(end, MAX_EXPIRES_AT), abs=0.0006)


@pytest.mark.parametrize(
    "value",
    [
        b"1", b'"a"', b"null", b'{"a": [1, 2.50, 1e400]}', b"12345678901234567890123.10",
        b"9" * 5000, '"\u2028 \u00fc \U0001f600"'.encode(), b'"\\u2028"', b'{"a":1,"a":2}',
        b"[" * 300 + b"]" * 300,
    ],
)  # fmt: skip
def test_one_line_of_json_stands_as_it_is(value: bytes):
    """Spaces, digits and escapes within it are not touched."""
    line = entry_lines([b"k"], [value], [None])
    assert line == b'{"key":"k","value":%b,"ttl":null}\n' % value
    assert read(line)[0][1] == value


@pytest.mark.parametrize(
    "value",
    [
        b"", b"text", b"01", b"1 2", b" 1", b"1 ", b"{\n}", b"1\r", b'"\xff"', b'"\xed\xa0\x80"',
        b"\x80\x04\x95.", b"NaN", b"[" * 100_000 + b"]" * 100_000, b"[" * 900 + b"]" * 900,
    ],
)  # fmt: skip
def test_what_would_not_come_back_the_same_stands_in_base64(value: bytes):
    """No JSON, several lines, space around it, no UTF-8, or nested deeper than can be read."""
    line = entry_lines([b"k"], [value], [None])
    assert told(line).keys() == {"key", "value_base64", "ttl"}
    assert read(line)[0][1] == value


def test_one_value_in_base64_leaves_its_neighbours_as_they_are():
    lines = entry_lines([b"a", b"b", b"c"], [b"1", b"\xff", b"[2]"], [None, None, 1.5])
    assert [told(line + b"\n") for line in lines.splitlines()] == [
        {"key": "a", "value": 1, "ttl": None},
        {"key": "b", "value_base64": "/w==", "ttl": None},
        {"key": "c", "value": [2], "expires_at": 1.5},
    ]


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (b'a"b', {"key": 'a"b'}), (b"a\\b", {"key": "a\\b"}), (b"a\nb", {"key": "a\nb"}),
        ("\U0001f600\u2028".encode(), {"key": "\U0001f600\u2028"}), (b"\x00\x1b", {"key": "\x00\x1b"}),
        (b"\xff", {"key_base64": "/w=="}), (b"\xed\xa0\x80", {"key_base64": "7aCA"}),
    ],
)  # fmt: skip
def test_any_key_has_its_name_on_one_line(key: bytes, field: dict[str, str]):
    line = entry_lines([key, b"plain"], [b"1", b"2"], [1.0, 1.0])
    assert line.count(b"\n") == 2
    assert told(line.split(b"\n")[0] + b"\n") == {**field, "value": 1, "expires_at": 1.0}
    assert [entry[0] for entry in read(line)] == [key, b"plain"]


def test_a_life_of_thousands_of_years_is_one_that_warm_reads():
    assert read(entry_lines([b"k"], [b"1"], [9e15]))[0][3] == MAX_EXPIRES_AT


@pytest.mark.parametrize("value", [b'"' + b"x" * 5_000_000 + b'"', b"\xff" * 5_000_000])
def test_a_long_value_comes_in_parts(value: bytes):
    """No second copy of it is made, and joined it is the same line."""
    parts = long_line(b"k", value, None)
    assert parts is not None
    sizes = [part if part is value else bytes(part) for part in parts]
    assert all(part is value or len(part) <= 2 * LONG for part in sizes)
    assert b"".join(sizes) == entry_lines([b"k"], [value], [None])


def test_a_line_that_warm_would_not_read_is_none(monkeypatch: pytest.MonkeyPatch):
    """A value of 400 MB in base64 is longer than the longest line."""
    monkeypatch.setattr(lines_out, "MAX_LINE", 62)
    assert long_line(b"k", b"1" * 30, None) is not None
    assert long_line(b"k", b"1" * 31, None) is None
    assert long_line(b"k", b"\xff" * 30, None) is None
