import base64
import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.settings import UNSET
from cachectl.errors import InputError
from cachectl.keys import make_key
from cachectl.models import Batch, Entry
from cachectl.sources import reading
from cachectl.sources.lines import (
    _batch,
    _read_one_by_one,
    _read_together,
    entry_batches,
)
from cachectl.sources.reading import Lines
from tests.sources.collecting import collect_into, collected, count_entries

CANARY = "c4n4ry"


def batches(data: bytes, **limits: int) -> list[Batch]:
    found = collected(entry_batches("-", stdin=io.BytesIO(data), **limits))
    assert CANARY not in str([batch.problems for batch in found])
    assert all(batch.source == "-" for batch in found)
    return found


def entries(data: bytes, **limits: int) -> list[Entry]:
    found = batches(data, **limits)
    assert [problem for batch in found for problem in batch.problems] == []
    return [entry for batch in found for entry in batch.entries]


def problem(line: bytes) -> tuple[str, bytes | None]:
    """Return what is wrong with a line, and the key it has: it stands between two good ones."""
    good = b'{"key":"good","value":1}\n'
    found_in = batches(good + line + b"\n" + good)
    assert [entry.line for batch in found_in for entry in batch.entries] == [1, 3]
    (found,) = [problem for batch in found_in for problem in batch.problems]
    assert (found.source, found.line) == ("-", 2)
    return found.message, found.key


def test_an_entry_has_what_its_line_has() -> None:
    assert entries(b'{"key":"natal:\xc3\xa9","value":{"a": [1,  2.50]} ,"ttl":60}') == [
        Entry("natal:é".encode(), b'{"a": [1,  2.50]}', 60.0, None, line=1)
    ]


@pytest.mark.parametrize(
    ("field", "ttl", "expires_at"),
    [
        (b"", UNSET, None),
        (b',"ttl":null', None, None),
        (b',"ttl":0.5', 0.5, None),
        (b',"ttl":1e2', 100.0, None),
        (b',"ttl":3153600000', 3153600000.0, None),
        (b',"expires_at":null', None, None),
        (b',"expires_at":1700000000.25', UNSET, 1700000000.25),
        (b',"expires_at":5', UNSET, 5.0),
        (b',"expires_at":-5', UNSET, -5.0),
    ],
)
@pytest.mark.parametrize("way", [b'"key":"k"', b'"key_base64":"aw=="'])
def test_lifetimes(field: bytes, ttl: object, expires_at: float | None, way: bytes) -> None:
    """Both readers, the fast one and the slow one, know the same lifetimes."""
    (entry,) = entries(b"{" + way + b',"value":1' + field + b"}")
    assert entry == Entry(b"k", b"1", ttl, expires_at, False, 1)  # type: ignore[arg-type]


def test_ways_to_name_the_key() -> None:
    params = b'{"z": 1, "lat": 48.0, "namespace": "n", "big": 123456789012345678901}'
    lines = [
        b'{"key":"a:b","value":1}',
        b'{"key_base64":"' + base64.b64encode(b"\xff\x00") + b'","value":1}',
        b'{"namespace":"natal","params":' + params + b',"value":1}',
        b'{"namespace":"z\xc3\xbc:rich","params":{},"value":1}',
    ]
    assert [entry.key for entry in entries(b"\n".join(lines))] == [
        b"a:b",
        b"\xff\x00",
        make_key("natal", **json.loads(params)).encode(),
        make_key("zü:rich").encode(),
    ]


def test_ways_to_bring_the_value() -> None:
    lines = [
        b'{"key":"k","value":null}',
        b'{"key":"k","value_base64":"/wA="}',
        b'{"key":"k","value_base64":""}',
        b'{"key":"k","dump":"AAE=","expires_at":7}',
    ]
    assert [entry[1:] for entry in entries(b"\n".join(lines))] == [
        (b"null", UNSET, None, False, 1),
        (b"\xff\x00", UNSET, None, False, 2),
        (b"", UNSET, None, False, 3),
        (b"\x00\x01", UNSET, 7.0, True, 4),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    value=JSON,
    indent=st.sampled_from([None, 1, "\t"]),
    ensure_ascii=st.booleans(),
    slow=st.booleans(),
    last=st.booleans(),
)
def test_values_pass_through_byte_for_byte(
    value: Any, indent: Any, *, ensure_ascii: bool, slow: bool, last: bool
) -> None:
    """However a value is written, its bytes are what stood in the file, without outer space."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=True, indent=indent)
    text = text.replace("\n", " ").replace("Infinity", "1e999")
    if not ensure_ascii:
        text = text.encode("utf-8", "replace").decode()
    before = '{"namespace":"n","params":{"a":1}' if slow else '{"key":"k"'
    after = ' , "more": {"value": 1} }' if last else "}"
    (entry,) = entries(f'{before}, "value" : \t{text}{after}\r'.encode())
    assert entry.value == text.strip().encode()


def test_half_a_surrogate_pair_is_a_value() -> None:
    """JavaScript and Python write such text, and the server keeps it: it is loaded as it is."""
    line = rb'{"value": "\ud83d", "key":"k", "x": [ {"value": 2} ], "ttl": 5 }'
    assert entries(line) == [Entry(b"k", rb'"\ud83d"', 5.0, None, line=1)]


def test_of_equal_fields_the_last_counts() -> None:
    assert entries(rb'{"key":"k","value":1,"value":"\ud83d"}')[0].value == rb'"\ud83d"'
    assert entries(b'{"key":"k","value":1,"value":2}')[0].value == b"2"


def test_deep_values() -> None:
    assert entries(b'{"key":"k","value":' + b"[" * 500 + b"]" * 500 + b"}")
    message, key = problem(b'{"key":"k","value":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    assert message == "invalid JSON: it is nested too deeply"
    assert key is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"value":"c4n4ry"}', "no key"),
        (b'{"key":"","value":"c4n4ry"}', "key is empty"),
        (b'{"key":null,"value":"c4n4ry"}', "key must be text"),
        (b'{"key":4,"value":"c4n4ry"}', "key must be text"),
        (rb'{"key":"\ud83d","value":"c4n4ry"}', "key is not valid Unicode"),
        (b'{"key_base64":"","value":"c4n4ry"}', "key_base64 is empty"),
        (b'{"key_base64":4,"value":"c4n4ry"}', "key_base64 must be text"),
        (b'{"key_base64":"a","value":"c4n4ry"}', "key_base64 is not base64"),
        ('{"key_base64":"aé==","value":"c4n4ry"}'.encode(), "key_base64 is not base64"),
        (b'{"key":"k","key_base64":"aw==","value":1}', "both key and key_base64"),
        (b'{"key":"k","namespace":"n","value":1}', "both key and namespace"),
        (b'{"key":"k","params":{},"value":1}', "both key and params"),
        (b'{"namespace":"n","value":1}', "namespace without params"),
        (b'{"namespace":"","params":{},"value":1}', "namespace is empty"),
        (b'{"namespace":1,"params":{},"value":1}', "namespace must be text"),
        (b'{"namespace":"n","params":["c4n4ry"],"value":1}', "params must be an object"),
        (
            b'{"params":{},"value":1}',
            "params without a namespace, neither in the line nor for all of them (-n NAMESPACE)",
        ),
    ],
)
def test_lines_without_a_key(line: bytes, message: str) -> None:
    assert problem(line) == (message, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (b'"ttl":"c4n4ry"', "no value"),
        (b'"value":"c4n4ry","dump":"AA=="', "both value and dump"),
        (b'"value":"c4n4ry","value_base64":"AA=="', "both value and value_base64"),
        (b'"value_base64":"AA==","dump":"AA=="', "both value_base64 and dump"),
        (b'"value_base64":"c4n4ry"', "value_base64 is not base64"),
        (b'"value_base64":["c4n4ry"]', "value_base64 must be text"),
        (b'"dump":""', "dump is empty"),
        *(
            (
                b'"value":"c4n4ry","ttl":' + ttl,
                "ttl must be a number of seconds greater than 0, or null",
            )
            for ttl in (b"0", b"0.0", b"-1", b'"c4n4ry"', b"true", b"false", b"[]")
        ),
        *(
            (b'"value":"c4n4ry","ttl":' + ttl, "ttl must be at most 100 years")
            for ttl in (b"3153600001", b"1e999", b"9" * 40)
        ),
        *(
            (
                b'"value":"c4n4ry","expires_at":' + at,
                "expires_at must be a Unix time in seconds, or null",
            )
            for at in (b"1700000000000", b"1e999", b"-1e999", b'"c4n4ry"', b"true")
        ),
        (b'"value":"c4n4ry","ttl":1,"expires_at":1', "both ttl and expires_at"),
        (b'"value":"c4n4ry","ttl":null,"expires_at":null', "both ttl and expires_at"),
    ],
)
def test_bad_fields_name_the_key(fields: bytes, message: str) -> None:
    assert problem(b'{"key":"k",' + fields + b"}") == (message, b"k")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"c4n4ry", "invalid JSON at column 1: Expecting value"),
        (b"\0\0\0\0", "invalid JSON at column 1: Expecting value"),
        (
            b'{"key":"k","value":"c4n4ry}',
            "invalid JSON at column 20: Unterminated string starting at",
        ),
        (b'{"key":"k","value":c4n4ry}', "invalid JSON at column 20: Expecting value"),
        (b'{"key":"k","value":"c4n4ry"}}', "invalid JSON at column 29: Extra data"),
        (b'{"key":"k","value":01}', "invalid JSON at column 21: Expecting ',' delimiter"),
        (b'{"key":"k","value":NaN}', "invalid JSON: NaN and Infinity are not JSON"),
        (b'{"key":"k","value":-Infinity}', "invalid JSON: NaN and Infinity are not JSON"),
        (b'{"key":"k","value":"c4n4ry\xff"}', "invalid UTF-8 at byte 27"),
        (b'{"key":"k","value":{"c4n4ry\xed\xa0\x80":1}}', "invalid UTF-8 at byte 28"),
        (b'{"key":"k\xff","value":"c4n4ry"}', "invalid UTF-8 at byte 10"),
        (b'{"key":"k","value":1,"c4n4ry\xe1":1}', "invalid UTF-8 at byte 29"),
        (
            b'{"key":"k","value":"c4n4ry\x01"}',
            "invalid JSON at column 27: Invalid control character at",
        ),
        (b'["c4n4ry"]', "expected a JSON object"),
        (b'"c4n4ry"', "expected a JSON object"),
        (b'{"key":1,"value":' + b"1" * 5000 + b"}", "invalid JSON: a number has too many digits"),
    ],
)
def test_lines_that_are_no_json_objects(line: bytes, message: str) -> None:
    assert problem(line) == (message, None)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reader(line: bytes) -> None:
    """Whatever a value holds, the line is an entry with JSON in UTF-8, or a problem."""
    line = line.replace(b"\n", b"")
    for batch in batches(b'{"key":"k","value":' + line + b"}"):
        assert len(batch.entries) + len(batch.problems) == 1
        for entry in batch.entries:
            json.loads(entry.value.decode())


GOOD = st.sampled_from(
    [
        b'{"key":"k","value":1}',
        b'{"key":"a","value":{"b":[{}]},"ttl":60}',
        b'{"value":"}","key":"{","ttl":null}',
        b'{"key":"b","value":"\xc3\xa9","expires_at":5}',
        b'{"key":"b","value":{},"more":{}}',
    ]
)
ODD = st.sampled_from(
    [
        b"",
        b" ",
        b"{}",
        b"}",
        b"{",
        b"\r",
        b'{"key":"k","value":{',
        b"}}",
        b'{"key":"k","value":[{}',
        b"{}]}",
        b'{"key":"k","value":"}',
        b'{"}',
        b'{"key":"k","value":1} {"key":"l","value":2}',
        b'{"key":"k","value":1}{"key":"l","value":2}',
        b'{"key":"k","value":1}\r',
        b'{"key":"k","value":1,"ttl":1,"expires_at":1}',
        b'{"key":"k","value":"\xff"}',
        b'{"key":"k","value":1,"more":"\xff"}',
        b'{"key_base64":"aw==","value":1}',
        rb'{"key":"k","value":"\ud83d"}',
        b'{"key":"k","value":1,"more":{',
    ]
)


@given(st.lists(GOOD | ODD | st.binary(max_size=8), max_size=8) | st.lists(GOOD, max_size=9))
def test_lines_read_together_are_what_they_are_alone(lines: list[bytes]) -> None:
    """No line is taken for a part of another, however they come together."""
    group = Lines(7, [line.replace(b"\n", b"") for line in lines])
    assert _batch("-", group) == _read_one_by_one("-", group)


def test_good_lines_are_read_together() -> None:
    group = Lines(7, [b'{"key":"k","value":{"a":{}}}'] * 3)
    assert _read_together(group) == [
        Entry(b"k", b'{"a":{}}', UNSET, None, line=line) for line in (7, 8, 9)
    ]


TWO = b'{"key":"k","value":1}{"key":"l","value":2}\n'


@pytest.mark.parametrize(
    ("data", "good", "bad"),
    [
        (TWO + b'{"key":"m",\n"value":3}\n', [], [1, 2, 3]),
        (TWO + b'{"key":"m","value":\n{"a":1}}\n', [], [1, 2, 3]),
        (TWO + b'{"key":"m","value":{"a":1}\n}\n', [], [1, 2, 3]),
        (b'{"key":"m",\n"value":3}\n', [], [1, 2]),
        (TWO, [], [1]),
        (TWO + b"\n", [], [1]),
        (b"\n" + TWO, [], [2]),
        (TWO + b'\r\n{"key":"m","value":3}\r\n', [3], [1]),
    ],
)
def test_as_many_objects_as_lines_are_no_lines_of_objects(
    data: bytes, good: list[int], bad: list[int]
) -> None:
    """One line too many with two, one object too many over two lines: their number alone is no proof."""
    found = batches(data)
    assert [entry.line for batch in found for entry in batch.entries] == good
    assert [problem.line for batch in found for problem in batch.problems] == bad


def test_blank_lines_count_and_are_no_problem() -> None:
    data = b'\xef\xbb\xbf\r\n{"key":"a","value":1}\r\n \t \n\n{"key":"b","value":2}'
    assert [(entry.key, entry.line) for entry in entries(data)] == [(b"a", 2), (b"b", 5)]
    assert batches(b"\n\n \n") == []


def test_batches_are_limited_by_lines_and_by_bytes() -> None:
    data = b'{"key":"k","value":"%s"}\n' % (b"x" * 76)
    assert [len(b.entries) for b in batches(data * 1001, max_entries=500)] == [500, 500, 1]
    assert [len(b.entries) for b in batches(data * 7, max_entries=3)] == [3, 3, 1]
    assert [len(b.entries) for b in batches(data * 7, max_bytes=300)] == [3, 3, 1]


def test_a_binary_file_has_no_more_problems_at_a_time_than_a_batch_has_lines() -> None:
    found = batches(b"\x00\xff\n" * 2200)
    assert [len(batch.problems) for batch in found] == [2000, 200]


def test_a_line_that_is_too_long_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 100)
    (found,) = (
        p for b in batches(b'{"key":"k","value":"%s"}' % (b"c4n4ry" * 99)) for p in b.problems
    )
    assert (found.message, found.line) == ("the line is longer than 100 bytes", 1)


def test_gzip_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "entries.txt"
    path.write_bytes(gzip.compress(b'{"key":"k","value":1}\n'))
    (batch,) = collected(entry_batches(str(path), stdin=io.BytesIO()))
    assert (list(batch.entries), batch.problems) == ([Entry(b"k", b"1", UNSET, None, line=1)], [])


def test_cut_gzip_comes_out_before_its_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"key":"k","value":1}\n{"key":"c4n4ry"')[:-4])
    found: list[Batch] = []
    with pytest.raises(InputError) as caught:
        collect_into(found, entry_batches(str(path), stdin=io.BytesIO()))
    assert [[entry.key for entry in batch.entries] for batch in found] == [[b"k"]]
    assert caught.value.message == f"{path}: the gzip data is cut off in line 2"
    assert caught.value.exit_code == 2


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / str(count)
        path.write_bytes(b'{"key":"k","value":"%s"}\n' % (b"x" * 200) * count)
        tracemalloc.start()
        assert count_entries(entry_batches(str(path), stdin=io.BytesIO())) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(100_000) < 1.2 * peak(20_000)


def test_one_large_value_costs_little_more_than_twice_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 20_000_000
    path.write_bytes(b'{"key":"k","value":"%s"}\n{"key":"k","value":1}\n' % (b"x" * size))
    tracemalloc.start()
    assert count_entries(entry_batches(str(path), stdin=io.BytesIO())) == 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * size
