"""What the lines of entries and of requests share: strict JSON, and the fields of a line."""

import json
import re
from binascii import a2b_base64
from typing import Any, Final, NoReturn, TypeGuard

from cachectl.keys import make_key, to_bytes
from cachectl.units import MAX_DURATION

MAX_EXPIRES_AT = 100_000_000_000
"""The latest `expires_at`, in the year 5138: what is later was meant as milliseconds."""

KEY_FIELDS: Final = ("key", "key_base64", "namespace", "params")


class LineError(ValueError):
    """What is wrong with one line; the text is ours and repeats nothing of the line's values."""


def parse(text: str) -> Any:
    """Return the JSON value of `text`, numbers as Python's `json` reads them; raise `LineError`."""
    try:
        if text.startswith("{"):  # nearly always: then there is no space to be looked for
            value, end = _DECODER.raw_decode(text)
            if end == len(text):
                return value
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = f"invalid JSON at column {error.colno}: {error.msg}"
    except RecursionError:
        reason = "invalid JSON: it is nested too deeply"
    except LineError:
        raise
    except ValueError:  # sys.set_int_max_str_digits
        reason = "invalid JSON: a number has too many digits"
    raise LineError(reason)


def parse_object(line: bytes) -> tuple[dict[str, Any], str]:
    """Return the fields of the JSON object in `line`, and the line as text; raise `LineError`."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        msg = f"invalid UTF-8 at byte {error.start + 1}"
        raise LineError(msg) from None
    fields = parse(text)
    if not isinstance(fields, dict):
        msg = "expected a JSON object"
        raise LineError(msg)
    return fields, text


def field_text(text: str, name: str) -> str:
    """Return the text of the value of field `name`, as it stands in the JSON object `text`.

    `text` is valid JSON and has the field; of several with that name the last counts.
    """
    found = ""
    at = text.index("{") + 1
    while True:
        field, at = _DECODER.raw_decode(text, _after_space(text, at))
        start = _after_space(text, _after_space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        if field == name:
            found = text[start:end]
        at = _after_space(text, end)
        if text[at] == "}":
            return found
        at += 1


def key_of(fields: dict[str, Any], namespace: str | None = None) -> bytes:
    """Return the key that `fields` names; raise `LineError`.

    By `key`, `key_base64`, or `params` with the line's own `namespace` or else the given one.
    """
    ways = [name for name in KEY_FIELDS if name in fields]
    if len(ways) > 1 and ways != ["namespace", "params"]:
        msg = f"both {ways[0]} and {ways[1]}"
        raise LineError(msg)
    if "key" in fields:
        return text_field(fields, "key")
    if "key_base64" in fields:
        return base64_field(fields, "key_base64")
    if "params" not in fields:
        msg = "namespace without params" if ways else "no key"
        raise LineError(msg)
    if "namespace" in fields:
        return _made_key(text_field(fields, "namespace").decode(), fields["params"]).encode()
    if namespace is None:
        msg = "params without a namespace, neither in the line nor for all of them (-n NAMESPACE)"
        raise LineError(msg)
    return to_bytes(_made_key(namespace, fields["params"]))


def text_field(fields: dict[str, Any], name: str) -> bytes:
    """Return the UTF-8 of a field that is text and not empty; raise `LineError`."""
    text = fields[name]
    if not isinstance(text, str):
        msg = f"{name} must be text"
        raise LineError(msg)
    return filled(utf8(text, name), name)


def base64_field(fields: dict[str, Any], name: str, *, empty: bool = False) -> bytes:
    """Return the bytes of a field that is base64, not empty unless allowed; raise `LineError`."""
    text = fields[name]
    if not isinstance(text, str):
        msg = f"{name} must be text"
        raise LineError(msg)
    try:
        data = a2b_base64(text, strict_mode=True)
    except ValueError:
        msg = f"{name} is not base64"
        raise LineError(msg) from None
    return data if empty else filled(data, name)


def time_to_live(ttl: object) -> float | None:
    """Return a TTL in seconds, `None` for persistent; raise `LineError`."""
    if ttl is None:
        return None
    if not _is_number(ttl) or not ttl > 0:
        msg = "ttl must be a number of seconds greater than 0, or null"
        raise LineError(msg)
    if ttl > MAX_DURATION:
        msg = "ttl must be at most 100 years"
        raise LineError(msg)
    return float(ttl)


def expiry(expires_at: object) -> float | None:
    """Return an `expires_at` as Unix time, past or future, `None` for never; raise `LineError`."""
    if expires_at is None:
        return None
    if not _is_number(expires_at) or not -MAX_EXPIRES_AT <= expires_at <= MAX_EXPIRES_AT:
        msg = "expires_at must be a Unix time in seconds, or null"
        raise LineError(msg)
    return float(expires_at)


def utf8(text: str, name: str) -> bytes:
    """Return `text` in UTF-8; raise `LineError` for what has none (halves of surrogate pairs)."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        msg = f"{name} is not valid Unicode"
        raise LineError(msg) from None


def filled(data: bytes, name: str) -> bytes:
    """Return `data` unless it is empty; raise `LineError`."""
    if not data:
        msg = f"{name} is empty"
        raise LineError(msg)
    return data


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _made_key(namespace: str, params: object) -> str:
    if not isinstance(params, dict):
        msg = "params must be an object"
        raise LineError(msg)
    try:
        return make_key(namespace, **params)
    except RecursionError:
        msg = "params are nested too deeply"
        raise LineError(msg) from None


def _refuse_constant(_name: str) -> NoReturn:
    msg = "invalid JSON: NaN and Infinity are not JSON"
    raise LineError(msg)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_SPACE = re.compile(r"[ \t\r\n]*")
