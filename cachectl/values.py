"""Values and outside text: is it JSON, how it stands in JSON output, how it is shown safely."""

import json
from base64 import b64encode
from typing import Any

# made once: `json.dumps` would make one for each value
_COMPACT = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def to_json(value: object) -> bytes:
    """Return `value` as the JSON text in UTF-8 that `CacheClient` stores.

    Raises `TypeError` or `ValueError` for what is not JSON: NaN and infinities, lone surrogates, what
    holds itself or is nested too deeply.
    """
    try:
        text = _COMPACT.encode(value)
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None
    return text.encode()


def from_json(raw: bytes) -> Any:
    """Return what a cached value holds; raise `ValueError` for one that is not JSON in UTF-8.

    NaN and infinities are read, which other programs may have written.
    """
    try:
        return json.loads(raw.decode())
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None


def check_json(value: bytes) -> None:
    """Raise `ValueError`, with a reason that does not repeat the value, unless it is JSON in UTF-8."""
    try:
        # parse_int: Python makes no int of more than 4,300 digits, and JSON has no such bound
        json.loads(value.decode("utf-8"), parse_constant=_reject_constant, parse_int=float)
    except UnicodeDecodeError as error:
        msg = f"it is not UTF-8 (byte {error.start})"
        raise ValueError(msg) from None
    except json.JSONDecodeError as error:
        msg = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ValueError(msg) from None
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None


def _reject_constant(_name: str) -> None:
    msg = "NaN and Infinity are not JSON"
    raise ValueError(msg)


def parse_one_line(value: bytes) -> Any:
    """Return the parsed JSON of `value`; raise `ValueError` unless it is one line of JSON.

    So does JSON that cannot be written again: numbers beyond a float, lone surrogates.
    """
    if b"\n" in value or b"\r" in value:
        msg = "more than one line"
        raise ValueError(msg)
    check_json(value)
    parsed = from_json(value)
    to_json(parsed)
    return parsed


def key_field(key: bytes) -> dict[str, str]:
    """Return `{"key": text}`, or `{"key_base64": …}` for a key that is not UTF-8."""
    return _text_or_base64("key", key)


def namespace_field(namespace: bytes | None) -> dict[str, str | None]:
    """Return `{"namespace": text}`, `namespace_base64` if it is not UTF-8, null for none."""
    return {"namespace": None} if namespace is None else {**_text_or_base64("namespace", namespace)}


def value_field(value: bytes) -> dict[str, Any]:
    """Return `{"value": parsed}`, or `{"value_base64": …}` when it is not one line of JSON."""
    try:
        return {"value": parse_one_line(value)}
    except ValueError:
        return {"value_base64": b64encode(value).decode("ascii")}


def _text_or_base64(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(data).decode("ascii")}


def safe(outside: bytes | str) -> str:
    r"""Return text from outside with everything that could steer a terminal shown escaped.

    Control characters, lone surrogates, bytes that are no UTF-8, and the marks that reorder a line
    appear as ``\n``, ``\x1b``, ``\u202e``; a backslash stays as it is. One line comes out.
    """
    text = outside.decode("utf-8", "surrogateescape") if isinstance(outside, bytes) else outside
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004 what surrogateescape makes of a byte
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
