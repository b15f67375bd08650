"""Routes: what was asked for -> the key under which the application caches the answer.

Query parameters are read as `urllib.parse.parse_qsl` reads them, with `+` as a space; a parameter
without a value is an empty text, and of several with one name the first counts.
"""

import json
import re
from collections.abc import Callable
from math import isfinite
from typing import Any
from urllib.parse import unquote_to_bytes

from cachectl.config.settings import Route
from cachectl.errors import UsageError
from cachectl.keys import make_key, to_bytes
from cachectl.templates import (
    QUERY,
    Placeholder,
    Template,
    parse_path,
    parse_template,
    route_problem,
)

Routed = tuple[bytes, dict[str, Any] | None]
"""A key, and the parameters that it was made of."""
Router = Callable[[bytes], Routed | None]
"""Tells for a target where its answer is cached; None: the route does not take it."""

_Parts = dict[str, bytes]
_Value = Callable[[_Parts], Any]

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_FLAGS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)


def compiled(route: Route, namespace: str | None) -> Router:
    """Return what applies a route; keys of parameters are made in `namespace`.

    A target is the path and the query as they were asked, see `origin_form`. Raises `UsageError`.
    """
    problem = route_problem(route.path, route.key, route.params)
    if problem is not None:
        msg = f"the route cannot be used: {problem}"
        raise UsageError(msg, 'as in key: "page:{target}"')
    pattern, names = parse_path(route.path) if route.path is not None else (None, ())
    split = _splitter(pattern)
    if route.key:
        return _by_key(split, parse_template(route.key, names))
    if namespace is None:
        msg = "the route makes keys of params, and there is no namespace for them"
        raise UsageError(msg, "set namespace in the job, or --namespace")
    values = {name: _value(parse_template(text, names)) for name, text in route.params.items()}
    return _by_params(split, values, namespace)


def origin_form(target: bytes) -> bytes | None:
    """Return the path and query of a request target; None for one that has none.

    A server takes `http://host/path` as `/path` (RFC 9112, 3.2.2); `*` and `host:port` name no
    resource, and nothing that is cached is asked for with control characters.
    """
    if not target.startswith(b"/"):
        match = _ABSOLUTE.match(target)
        if match is None:
            return None
        target = target[match.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    return None if _CONTROL.search(target) else target


def _splitter(pattern: str | None) -> Callable[[bytes], _Parts | None]:
    """Return what gives the parts of a target by the names that templates use."""
    match = re.compile(to_bytes(pattern), re.DOTALL).fullmatch if pattern is not None else None

    def split(target: bytes) -> _Parts | None:
        path, _, query = target.partition(b"?")
        parts = {"target": target, "path": path}
        if match is not None:
            found = match(path)
            if found is None:
                return None
            parts |= {name: unquote_to_bytes(text) for name, text in found.groupdict().items()}
        for pair in query.split(b"&") if query else ():
            name, _, text = pair.replace(b"+", b" ").partition(b"=")
            parts.setdefault(QUERY + unquote_to_bytes(name).decode(errors="replace"), text)
        return parts

    return split


def _by_key(split: Callable[[bytes], _Parts | None], template: Template) -> Router:
    pieces = [_bytes_of(piece) for piece in template]

    def route(target: bytes) -> Routed | None:
        parts = split(target)
        try:
            key = b"".join([piece(parts) for piece in pieces]) if parts is not None else b""
        except (KeyError, ValueError):
            return None
        return (key, None) if key else None

    return route


def _by_params(
    split: Callable[[bytes], _Parts | None], values: dict[str, _Value], namespace: str
) -> Router:
    def route(target: bytes) -> Routed | None:
        parts = split(target)
        if parts is None:
            return None
        try:
            params = {name: value(parts) for name, value in values.items()}
        except (KeyError, ValueError):
            return None
        return to_bytes(make_key(namespace, **params)), params

    return route


def _value(template: Template) -> _Value:
    """Return what makes the value of a parameter: typed if the template is one placeholder."""
    if len(template) == 1 and isinstance(template[0], Placeholder):
        read, convert = _reader(template[0].name), _TYPES[template[0].type or "str"]
        return lambda parts: convert(read(parts).decode())
    pieces = [_bytes_of(piece) for piece in template]
    return lambda parts: b"".join([piece(parts) for piece in pieces]).decode()


def _bytes_of(piece: str | Placeholder) -> Callable[[_Parts], bytes]:
    """Return what gives a piece as bytes; what has a type stands as in JSON: 042 is 42."""
    if isinstance(piece, str):
        text = to_bytes(piece)
        return lambda _: text
    read = _reader(piece.name)
    if piece.type in (None, "str"):
        return read
    convert = _TYPES[piece.type or "str"]
    return lambda parts: json.dumps(convert(read(parts).decode())).encode()


def _reader(name: str) -> Callable[[_Parts], bytes]:
    """Return what gives the decoded bytes of a part; it raises `KeyError` for one that is missing."""
    if name.startswith(QUERY):
        return lambda parts: unquote_to_bytes(parts[name])
    return lambda parts: parts[name]


def _int(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError
    return int(text)


def _float(text: str) -> float:
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text):
        raise ValueError
    number = float(text)
    if not isfinite(number):
        raise ValueError
    return number


def _bool(text: str) -> bool:
    return _FLAGS[text.lower()]


_TYPES: dict[str, Callable[[str], Any]] = {"str": str, "int": _int, "float": _float, "bool": _bool}
