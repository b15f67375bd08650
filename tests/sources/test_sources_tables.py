import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachectl.config.settings import UNSET
from cachectl.errors import InputError
from cachectl.models import Batch
from cachectl.sources import reading, tables
from cachectl.sources.lines import entry_batches
from tests.sources.collecting import collected


def batches(path: Path, data: bytes, **limits: int) -> list[Batch]:
    path = path / "entries.csv"
    path.write_bytes(data)
    found = collected(entry_batches(str(path), stdin=io.BytesIO(), **limits))
    assert "c4n4ry" not in str([batch.problems for batch in found])
    return found


def problems(path: Path, data: bytes) -> list[tuple[int | None, str, bytes | None]]:
    found = batches(path, data)
    return [(p.line, p.message, p.key) for batch in found for p in batch.problems]


def refusal(path: Path, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        batches(path, data)
    assert "c4n4ry" not in caught.value.message
    return caught.value.message.removeprefix(f"{path}/entries.csv: ")


def test_columns_in_any_order(tmp_path: Path) -> None:
    data = (
        b"\xef\xbb\xbfttl, value ,key\r\n"
        b'60,"{""a"": 1}",natal:1\r\n'
        b"\r\n"
        b',"[1,\n 2] ",natal:2\r\n'
        b"null,1,natal:3\r\n"
        b' 0.5 ,"""\xc3\xa9""","a,b"'
    )
    found = batches(tmp_path, data)
    assert [tuple(entry) for batch in found for entry in batch.entries] == [
        (b"natal:1", b'{"a": 1}', 60.0, None, False, 2),
        (b"natal:2", b"[1,\n 2]", UNSET, None, False, 4),
        (b"natal:3", b"1", None, None, False, 6),
        (b"a,b", '"é"'.encode(), 0.5, None, False, 7),
    ]
    assert [problem for batch in found for problem in batch.problems] == []


def test_gzip_and_capitals(tmp_path: Path) -> None:
    path = tmp_path / "ENTRIES.CSV.GZ"
    path.write_bytes(gzip.compress(b"key,value\nk,1\n"))
    (batch,) = collected(entry_batches(str(path), stdin=io.BytesIO()))
    assert [(entry.key, entry.ttl) for entry in batch.entries] == [(b"k", UNSET)]


def test_bad_records(tmp_path: Path) -> None:
    data = b"\n".join(
        [
            b"key,value,ttl",
            b',"""c4n4ry""",',
            b"k,c4n4ry,",
            b"k,,",
            b'k,"""c4n4ry',
            b'""",',
            b"k,1,0",
            b"k,1,soon",
            b"k,1,NaN",
            b"k,[c4n4ry,1],",
            b"k,1",
            b"\xff,1,",
            b'k,"""\xffc4n4ry""",',
            b'k,"' + b"[" * 100_000 + b'",',
            rb'k,"""\ud83d""",',
        ]
    )
    quotes = "(a value with commas or quotes stands in quotes, its own quotes doubled)"
    columns = f"expected 3 columns, found {{}} {quotes}"
    assert problems(tmp_path, data) == [
        (2, "key is empty", None),
        (3, "the value is not JSON: Expecting value at line 1, column 1", b"k"),
        (4, "no value", b"k"),
        (5, "the value is not JSON: Invalid control character at at line 1, column 8", b"k"),
        (7, "ttl must be a number of seconds greater than 0, or null", b"k"),
        (8, "ttl must be a number of seconds greater than 0, or null", b"k"),
        (9, "ttl must be a number of seconds greater than 0, or null", b"k"),
        (10, columns.format(4), None),
        (11, columns.format(2), None),
        (12, "key is not valid Unicode", None),
        (13, "value is not valid Unicode", b"k"),
        (14, "the value is not JSON: it is nested too deeply", b"k"),
    ]
    good = [entry for batch in batches(tmp_path, data) for entry in batch.entries]
    assert [(entry.line, entry.value) for entry in good] == [(15, rb'"\ud83d"')]


@pytest.mark.parametrize(
    "record",
    [
        b'k,{"c4n4ry":1,"b":2}\n',
        b'k,"1"c4n4ry\n',
        b'k,"{""note"": "x\nadmin,1\n"}"\n',
        b'k,"1\nc4n4ry,2\n',
    ],
)
def test_a_broken_quote_ends_the_reading(tmp_path: Path, record: bytes) -> None:
    """Where the next record begins cannot be told: the inside of a value would become an entry."""
    message = refusal(tmp_path, b"key,value\n" + record + b"later,1\n")
    assert message.startswith("line 2: invalid CSV: ")
    assert "c4n4ry" not in message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"key",
        b"Key,Value\n",
        b"key,key,value\n",
        b"key,value,TTL\n",
        b"key,value,expires_at\n",
        b'{"key":1}\n',
    ],
)
def test_without_a_header_nothing_is_read(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, data) == "line 1: the header is not key,value or key,value,ttl"


def test_a_quote_left_open_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_FIELD", 1000)
    data = b'key,value\nk,1\nk,"c4n4ry\n' + b"k,c4n4ry\n" * 1000
    assert refusal(tmp_path, data) == "line 3: a field is longer than 1000 characters"


def test_a_line_that_is_too_long_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 1000)
    message = refusal(tmp_path, b"key,value\nk," + b"1" * 400_000 + b"\n")
    assert message == "line 2: the line is longer than 1000 bytes"


def test_batches_are_limited_by_lines_and_by_bytes(tmp_path: Path) -> None:
    """The header is a line too."""
    data = b"key,value\n" + b"k,123456789\n" * 7
    assert [len(b.entries) for b in batches(tmp_path, data, max_entries=3)] == [2, 3, 2]
    assert [len(b.entries) for b in batches(tmp_path, data, max_bytes=24)] == [1, 2, 2, 2]
    assert [len(b.entries) for b in batches(tmp_path, data)] == [7]


KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS, st.text() | st.integers() | st.none()), min_size=1, max_size=5))
def test_what_a_writer_quotes_is_read(tmp_path: Path, rows: list[tuple[str, object]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [f"{quoted(key)},{quoted(json.dumps(value))}" for key, value in rows]
    found = batches(tmp_path, "\n".join(["key,value", *lines]).encode())
    read = [(e.key.decode(), json.loads(e.value)) for batch in found for e in batch.entries]
    assert read == rows
