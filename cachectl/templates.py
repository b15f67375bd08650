r"""Templates of routes: text with placeholders, and the pattern of a path that names some of them.

    page:{target}          the path and the query as they were asked
    {path}                 the path without the query
    {query.lat:float}      a query parameter, decoded and converted to str, int, float or bool
    {id:int}               what the path pattern calls {id}
    {{ and }}              the braces themselves

Pure, so that wrong settings are found before anything is read.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

TYPES: Final = ("str", "int", "float", "bool")
BUILT_IN: Final = ("target", "path")
QUERY: Final = "query."

_PIECE = r"\{\{|\}\}|\{([^{}]*)\}|[{}]"
_PLACEHOLDER = r"(query\.[^:]+|[A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?"


class TemplateError(ValueError):
    """What is wrong with a template or a path pattern, in one line."""


class Placeholder(NamedTuple):
    """What is put into a text: `target`, `path`, `query.NAME` or a name of the path pattern."""

    name: str
    type: str | None = None


Template = tuple[str | Placeholder, ...]
"""The pieces of a template in their order; no text stands beside another."""


def parse_template(text: str, names: tuple[str, ...] = ()) -> Template:
    """Return the pieces of a template, which may use the `names` of a path pattern.

    Raises `TemplateError`.
    """
    pieces: list[str | Placeholder] = []
    for piece in _pieces(text):
        if isinstance(piece, Placeholder):
            _check(piece, names)
        elif pieces and isinstance(pieces[-1], str):
            pieces[-1] += piece
            continue
        pieces.append(piece)
    return tuple(pieces)


def parse_path(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a path pattern as a regular expression, and the names of its placeholders.

    `{id}` is one segment or a part of one, `{rest:path}` may be several. Raises `TemplateError`.
    """
    if not text.startswith("/") or "?" in text:
        msg = "a path pattern begins with / and has no query"
        raise TemplateError(msg)
    names: list[str] = []
    source = ""
    for piece in _pieces(text):
        if isinstance(piece, str):
            source += re.escape(piece)
            continue
        _check_name(piece, names)
        names.append(piece.name)
        source += f"(?P<{piece.name}>{'.*' if piece.type == 'path' else '[^/]+'})"
    return source, tuple(names)


def route_problem(path: str | None, key: str | None, params: Mapping[str, str]) -> str | None:
    """Return what is wrong with the parts of a route, or None."""
    if bool(key) == bool(params):
        return "it needs either key or params"
    part = "path"
    try:
        names = parse_path(path)[1] if path is not None else ()
        for name, text in params.items() if not key else (("", key),):
            part = f"params.{name}" if name else "key"
            parse_template(text, names)
    except TemplateError as error:
        return f"{part}: {error}"
    return None


def _pieces(text: str) -> Iterator[str | Placeholder]:
    """Yield text and placeholders in turn; a doubled brace is a brace."""
    at = 0
    for found in re.finditer(_PIECE, text):
        if found.start() > at:
            yield text[at : found.start()]
        at = found.end()
        yield found[0][0] if found[0] in {"{{", "}}"} else _placeholder(found[1])
    if at < len(text):
        yield text[at:]


def _placeholder(text: str | None) -> Placeholder:
    if text is None:
        msg = "a brace without its other one (the brace itself is written twice)"
        raise TemplateError(msg)
    match = re.fullmatch(_PLACEHOLDER, text)
    if match is None:
        msg = "a placeholder is {NAME} or {NAME:TYPE}, as in {target}, {query.lat:float}, {id:int}"
        raise TemplateError(msg)
    return Placeholder(match[1], match[2])


def _check(piece: Placeholder, names: tuple[str, ...]) -> None:
    if piece.name not in (*BUILT_IN, *names) and not piece.name.startswith(QUERY):
        known = ", ".join(f"{{{name}}}" for name in (*BUILT_IN, "query.NAME", *names))
        msg = f"unknown placeholder {{{piece.name}}} (there are {known})"
        raise TemplateError(msg)
    if piece.type not in (None, *TYPES):
        msg = f"unknown type {piece.type} (there are {', '.join(TYPES)})"
        raise TemplateError(msg)


def _check_name(piece: Placeholder, names: list[str]) -> None:
    if piece.name in BUILT_IN or "." in piece.name:
        msg = (
            f"{{{piece.name}}} is no name for a part of the path: it stands for the request itself"
        )
        raise TemplateError(msg)
    if piece.name in names:
        msg = f"{{{piece.name}}} is there twice"
        raise TemplateError(msg)
    if piece.type not in (None, "path"):
        msg = f"unknown type {piece.type} (a part of the path is {{NAME}} or {{NAME:path}})"
        raise TemplateError(msg)
