"""The kinds of single values in a settings file: what YAML may take them for, parsing, showing."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from cachectl import units
from cachectl.config.secrets import Secret
from cachectl.config.settings import Moment
from cachectl.config.url import (
    DEFAULT_PORT,
    SENTINEL_PORT,
    SERVICE,
    node_text,
    parse_node,
    parse_url,
)

_VARIABLE: Final = r"\$\{"
_TEXT: Final = frozenset({"str"})
_NUMBER: Final = frozenset({"str", "int", "float"})


class Kind(NamedTuple):
    """What a single value must be.

    `tags` is what YAML may take it for, `parse` turns its text into the value or raises
    `ValueError` with what was expected, `json` is its JSON Schema, and `show` makes text for people
    of a value.
    """

    expects: str
    parse: Callable[[str], Any]
    json: Mapping[str, Any]
    show: Callable[[Any], str] = str
    tags: frozenset[str] = _TEXT
    nullable: bool = False
    path: bool = False


class Many(NamedTuple):
    """A list of values. With `alone` a single one needs no list; `word` stands for itself.

    With `unique` none may stand there twice.
    """

    item: Kind
    alone: bool = False
    word: str | None = None
    unique: bool = False


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        msg = "expected true or false"
        raise ValueError(msg)
    return text.lower() == "true"


def _whole(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        msg = "expected a whole number from 1"
        raise ValueError(msg)
    return int(text)


def _ttl(text: str) -> float | None:
    return None if text == "none" else units.positive_duration(text)


def _only(text: str) -> str:
    word, colon, duration = text.partition(":")
    if text not in {"missing", "all"} and (word != "expiring" or not colon):
        msg = "expected missing, all or expiring:DURATION"
        raise ValueError(msg)
    if colon:
        units.positive_duration(duration)
    return text


def _call(text: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", text):
        msg = "expected package.module:callable"
        raise ValueError(msg)
    return text


def _text(text: str) -> str:
    if not text or "\0" in text:
        msg = "expected a text that is not empty and has no NUL"
        raise ValueError(msg)
    return text


def share_or_size(text: str) -> float | int:
    """Return a share, 0 to 1, as a float, or a size in bytes as a whole number."""
    try:
        return units.share(text)
    except ValueError:
        pass
    try:
        return units.size(text)
    except ValueError:
        msg = "expected a share like 80%, or a size like 2GB"
        raise ValueError(msg) from None


def _status(text: str) -> int:
    if not re.fullmatch(r"[1-5][0-9]{2}", text):
        msg = "expected a status like 200"
        raise ValueError(msg)
    return int(text)


def _moment(text: str) -> Moment:
    from datetime import UTC, datetime

    try:
        return Moment(ago=units.duration(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        datetime.fromtimestamp(seconds, UTC)  # in the first and last hours there is none
    except ValueError:
        msg = "expected a duration like 24h (ago), or a time like 2026-01-31T12:00:00Z"
        raise ValueError(msg) from None
    return Moment(at=seconds)


def workers_of(text: str) -> str:
    """Return where a plain function runs: threads, processes, or a Dask scheduler's address."""
    if text not in {"threads", "processes"} and not re.fullmatch(r"dask://[^/\s]+", text):
        msg = "expected threads, processes or dask://HOST:PORT"
        raise ValueError(msg)
    return text


def _service(text: str) -> str:
    if not re.fullmatch(SERVICE, text):
        msg = "expected a name of letters, digits, '.', '-' and '_'"
        raise ValueError(msg)
    return text


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        msg = "expected a whole number"
        raise ValueError(msg)
    return int(text)


def _node_of(port: int) -> Kind:
    return Kind(f"HOST:{port}", lambda text: parse_node(text, port), _STRING, node_text)


def _word_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            msg = f"expected {', '.join(words[:-1])} or {words[-1]}"
            raise ValueError(msg)
        return text

    return parse


def _http(text: str) -> str:
    from urllib.parse import urlsplit

    parts, port = urlsplit(""), None
    with suppress(ValueError):  # its words repeat user and password, and a port may be no number
        parts, port = urlsplit(text), urlsplit(text).port
    whole = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and port != 0
    if not whole or parts.fragment or "@" in parts.netloc or "\0" in text:
        msg = "expected a service like https://app.example.com, without user, query and fragment"
        raise ValueError(msg)
    return text.rstrip("/")


def _path_of_url(text: str) -> str:
    if not text.startswith("/"):
        msg = "expected a path that begins with /"
        raise ValueError(msg)
    return text


def _show_moment(value: Moment | None) -> str:
    if value is None or value.at is None:
        return show_duration(value.ago if value else None)
    from datetime import UTC, datetime

    return datetime.fromtimestamp(value.at, UTC).isoformat().replace("+00:00", "Z")


def _show_limit(value: float | None) -> str:
    return f"{value}B" if isinstance(value, int) else _show_share(value)


def _show_flag(value: object) -> str:
    return str(value).lower()


def show_duration(seconds: float | None) -> str:
    """Return a duration as it is written in a settings file, exactly; `null` for None."""
    if seconds is None:
        return "null"
    text = units.format_duration(seconds).replace(" ", "")
    return text if units.duration(text) == seconds else f"{seconds!r}s"


def _show_share(value: float | None) -> str:
    return "null" if value is None else f"{value * 100:.6g}%"


def _show_rate(value: float | None) -> str:
    return "null" if value is None else f"{value:.15g}/s"


def _text_or_number(pattern: str) -> dict[str, Any]:
    pattern = f"^({pattern})$|{_VARIABLE}"
    return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}]}


_DURATION = _text_or_number(r"[0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|[smhdw]))+")
_SHARE = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?%?$|{_VARIABLE}"},
    ]
}
_SIZE = rf"^[0-9]+(\.[0-9]+)?\s*([KMGTkmgt][Ii]?)?[Bb]?$|{_VARIABLE}"
_RATE = _text_or_number(r"[0-9]+(\.[0-9]+)?(/[smh])?")
_STRING = {"type": "string", "minLength": 1}


def or_null(json: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema that takes null as well."""
    return {"anyOf": [*json["anyOf"], {"type": "null"}]}


TEXT: Final = Kind("text", _text, _STRING)
PATH: Final = Kind("the path of a file", _text, _STRING, path=True)
URL: Final = Kind("the URL of a server", parse_url, _STRING)
SECRET: Final = Kind("text", Secret, {"type": "string"}, lambda _: "***")
FLAG: Final = Kind("true or false", _flag, {"type": "boolean"}, _show_flag, frozenset({"bool"}))
WHOLE: Final = Kind(
    "a whole number from 1", _whole, {"type": "integer", "minimum": 1}, str, frozenset({"int"})
)
DURATION: Final = Kind(
    "a duration like 90s or 250ms", units.duration, _DURATION, show_duration, _NUMBER
)
PATIENCE: Final = DURATION._replace(parse=units.positive_duration)
TTL: Final = Kind(
    "a duration like 15m or 7d, or null", _ttl,
    {"anyOf": [*_DURATION["anyOf"], {"type": "null"}, {"const": "none"}]},
    show_duration, _NUMBER, nullable=True,
)  # fmt: skip
SHARE: Final = Kind("a share like 50% or 0.5", units.share, _SHARE, _show_share, _NUMBER)
RATE: Final = Kind("a rate like 500/s", units.rate, _RATE, _show_rate, _NUMBER)
ONLY: Final = Kind(
    "missing, all or expiring:DURATION", _only,
    {"type": "string", "pattern": rf"^(missing|all|expiring:.+)$|{_VARIABLE}"},
)  # fmt: skip
CALL: Final = Kind(
    "package.module:callable", _call, {"type": "string", "pattern": rf"^[\w.]+:[\w.]+$|{_VARIABLE}"}
)
SIZE: Final = Kind(
    "a size like 256MB", units.size,
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE}]},
    lambda value: f"{value}B", _NUMBER,
)  # fmt: skip
SHARE_OR_SIZE: Final = Kind(
    "a share like 80%, or a size like 2GB", share_or_size,
    {"anyOf": [*_SHARE["anyOf"], {"type": "string", "pattern": _SIZE}]},
    _show_limit, _NUMBER,
)  # fmt: skip
STATUS: Final = Kind(
    "a status like 200", _status, {"type": "integer", "minimum": 100, "maximum": 599},
    str, frozenset({"int"}),
)  # fmt: skip
MOMENT: Final = Kind(
    "a duration like 24h (ago), or a time like 2026-01-31T12:00:00Z", _moment, {},
    _show_moment, _NUMBER | {"timestamp"},
)  # fmt: skip
WORKERS: Final = Kind(
    "threads, processes or dask://HOST:PORT", workers_of,
    {"type": "string", "pattern": rf"^(threads|processes|dask://[^/]+)$|{_VARIABLE}"},
)  # fmt: skip
FILLS: Final = Kind(
    "cachectl or application", _word_of("cachectl", "application"),
    {"type": "string", "pattern": rf"^(cachectl|application)$|{_VARIABLE}"},
)  # fmt: skip
FORMAT: Final = Kind(
    "common, combined or json", _word_of("common", "combined", "json"),
    {"type": "string", "pattern": rf"^(common|combined|json)$|{_VARIABLE}"},
)  # fmt: skip
HTTP: Final = Kind("a service like https://app.example.com", _http, _STRING)
URL_PATH: Final = Kind("a path that begins with /", _path_of_url, _STRING)
DATABASE: Final = Kind(
    "a whole number", _database, {"type": "integer", "minimum": 0}, str, frozenset({"int"})
)
SERVICE_NAME: Final = Kind(
    "a name of letters, digits, '.', '-' and '_'", _service,
    {"type": "string", "pattern": rf"^{SERVICE}$|{_VARIABLE}"},
)  # fmt: skip
SENTINELS: Final = Many(_node_of(SENTINEL_PORT), unique=True)
NODES: Final = Many(_node_of(DEFAULT_PORT), unique=True)
COMMAND: Final = Many(TEXT)
FILES: Final = Many(PATH, alone=True)
