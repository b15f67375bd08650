"""Values: JSON that is checked, read, written and shown without harm."""

import json
import re
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.values import check_json, from_json, key_field, safe, to_json, value_field

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)  # fmt: skip

NOT_JSON: list[tuple[bytes, str]] = [
    (b"", "Expecting value at line 1, column 1"),
    (b"secret", "Expecting value at line 1, column 1"),
    (b"{'secret': 1}", "at line 1, column 2"),
    (b'{"secret": 1} x', "Extra data at line 1, column 15"),
    (b'"secret', "Unterminated string"),
    (b'"\x01"', "Invalid control character"),
    (b'[1,\n "secret\\x"]', "at line 2, column"),
    (b"NaN", "NaN and Infinity are not JSON"),
    (b'{"secret": -Infinity}', "NaN and Infinity are not JSON"),
    (b'"secret \xff"', "it is not UTF-8 (byte 8)"),
    (b"\xef\xbb\xbf1", "BOM"),
    (b"1\x00", "Extra data"),
    (b"[" * 200_000, "it is nested too deeply"),
]


@pytest.mark.parametrize(("value", "reason"), NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json_is_told_without_repeating_it(value: bytes, reason: str) -> None:
    """The reason says where; the value may be a secret."""
    with pytest.raises(ValueError, match=re.escape(reason)) as raised:
        check_json(value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "value", [b"0", b" [1, 2]\n", b'"\xc3\xbc"', b"null", b"1e999", b"9" * 5000, b'"\\ud800"']
)
def test_json_is_json(value: bytes) -> None:
    """Numbers beyond Python's and any escape are JSON too."""
    check_json(value)


@given(JSON)
def test_what_is_written_is_read(value: object) -> None:
    """`to_json` writes one line of JSON in UTF-8 that every reader here takes."""
    raw = to_json(value)
    assert b"\n" not in raw
    assert from_json(raw) == value
    check_json(raw)
    assert value_field(raw) == {"value": value}


@given(st.binary())
def test_any_value_has_a_field(value: bytes) -> None:
    """Parsed or as base64: what stands in JSON output can be written, and tells the value."""
    field = value_field(value)
    json.dumps(field, allow_nan=False, ensure_ascii=False).encode()
    if "value" in field:
        assert json.loads(value) == field["value"]
    else:
        assert b64decode(field["value_base64"]) == value


@pytest.mark.parametrize(
    "value",
    [b"[1,\n2]", b"1\r", b"NaN", b"1e999", b'"\\ud800"', b"\xff", b"9" * 5000, b"[" * 200_000, b""],
    ids=range(9),
)
def test_what_one_line_of_json_cannot_hold_is_base64(value: bytes) -> None:
    """Also JSON that Python could not write again as JSON."""
    assert b64decode(value_field(value)["value_base64"]) == value


@given(st.binary())
def test_any_key_has_a_field(key: bytes) -> None:
    """Text where it is UTF-8, else base64."""
    field = key_field(key)
    if "key" in field:
        assert field["key"].encode() == key
    else:
        assert b64decode(field["key_base64"]) == key


@given(st.text() | st.binary())
def test_safe_text_is_one_printable_line(outside: str | bytes) -> None:
    """No control character, no newline, no surrogate: nothing that steers a terminal."""
    shown = safe(outside)
    assert shown.isprintable()
    assert shown.splitlines() in ([], [shown])
    shown.encode()
    if isinstance(outside, str) and outside.isprintable():
        assert shown == outside


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eabc\u2028", "\\u202eabc\\u2028"),
        ("\u200b\ufeff", "\\u200b\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        (b"\xff\xfe\x00", "\\xff\\xfe\\x00"),
        ("Zürich 🜁 C:\\x", "Zürich 🜁 C:\\x"),
        (b"", ""),
    ],
)
def test_safe_shows_what_it_was(outside: str | bytes, shown: str) -> None:
    """Escapes are those that Python and many others read; a backslash stays."""
    assert safe(outside) == shown
