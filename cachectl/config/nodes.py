"""A settings file as nodes that know their lines.

Built from YAML's events rather than from the loaded data, which has lost the lines and taken `no`
for False, and rather than by `yaml.compose`, which a file of 200,000 brackets makes crash. No error
shows a piece of the file: the line that does not parse may be the one with the password.
"""

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cachectl.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from yaml import Event

MAX_FILE: Final = 1024 * 1024
"""How many bytes a settings file may have."""

MAX_DEPTH: Final = 20
"""How deep a settings file may nest; the settings themselves need 5."""

_TOO_DEEP: Final = f"nests deeper than {MAX_DEPTH} levels"
_NO_ALIAS: Final = "write the value at both places; a text that begins with '*' or '&' wants quotes"
_SAFE_QUOTE: Final = r"'(?:<[a-z ]+>|[:,\]}?-])'"


class Scalar(NamedTuple):
    """A single value as it is written; `tag` is what YAML takes it for (`str`, `int`, `null` …)."""

    text: str
    tag: str
    line: int


class Sequence(NamedTuple):
    """A list."""

    items: "list[Node]"
    line: int


class Mapping(NamedTuple):
    """Keys and their values in the order of the file; a key may come twice."""

    pairs: "list[tuple[Scalar, Node]]"
    line: int


Node = Scalar | Sequence | Mapping


class File(NamedTuple):
    """What was read: the text, and whether it is the user's own and no one else can write it."""

    text: str
    private: bool


def read_file(path: "str | os.PathLike[str]", shown: str) -> File:
    """Return the text of a settings file, at most 1 MiB of UTF-8. Raises `ConfigError`."""
    import os

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
            # Asked of the open file, so that no other can be put in its place in between.
            status = os.fstat(file.fileno())
    except IsADirectoryError:
        msg = f"{shown}: is a directory, not a settings file"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{shown}: the settings file cannot be read: {error.strerror}"
        raise ConfigError(msg) from None
    if len(data) > MAX_FILE:
        msg = f"{shown}: is larger than 1 MiB, which is no settings file"
        raise ConfigError(msg)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"{shown}:{line}: is not text in UTF-8"
        raise ConfigError(msg) from None
    return File(text, private=status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def parse(text: str, shown: str) -> Node | None:
    """Return the one document of a YAML text as nodes, or None if it is empty.

    Raises `ConfigError` with file and line for what is not YAML, and for aliases, merge keys and
    tags, which settings do without.
    """
    import yaml

    # The one in C is ten times as fast; a wheel without it has the same class in Python.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return _Builder(loader.get_event, loader.resolve, shown).document()
    except yaml.reader.ReaderError:
        raise ConfigError(_unprintable(text, shown)) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, shown) from None
    finally:
        loader.dispose()


class _Builder:
    """Makes nodes of a stream of events."""

    def __init__(self, next_event: "Callable[[], Any]", resolve: Any, shown: str) -> None:
        self._next = next_event
        self._resolve = resolve
        self._shown = shown

    def document(self) -> Node | None:
        """Return the only document of the stream."""
        import yaml

        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), 0)
        self._next()
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error(event, "a second document begins", "settings are one document")
        return None if isinstance(root, Scalar) and root.tag == "null" else root

    def _node(self, event: "Event", depth: int) -> Node:
        import yaml

        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, "aliases are not supported", _NO_ALIAS)
        if depth > MAX_DEPTH:
            raise self._error(event, _TOO_DEEP)
        tag = self._tag(event)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, tag, line)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := self._next(), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Sequence(items, line)
        pairs = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            pairs.append((self._key(event, depth + 1), self._node(self._next(), depth + 1)))
        return Mapping(pairs, line)

    def _key(self, event: "Event", depth: int) -> Scalar:
        key = self._node(event, depth)
        if not isinstance(key, Scalar) or not key.text:
            raise self._error(event, "a key must be a single word")
        if key.tag == "merge":
            raise self._error(event, "merge keys ('<<') are not supported", _NO_ALIAS)
        return key

    def _tag(self, event: Any) -> str:
        import yaml

        if event.tag not in {None, "!"}:
            if event.tag != "tag:yaml.org,2002:str":
                raise self._error(event, "tags ('!…') are not supported", "quote the text")
            return "str"
        if not isinstance(event, yaml.ScalarEvent):
            return ""
        found: str = self._resolve(yaml.ScalarNode, event.value, event.implicit)
        return found.removeprefix("tag:yaml.org,2002:")

    def _error(self, event: "Event", message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{self._shown}:{_line(event)}: {message}", hint)


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _unprintable(text: str, shown: str) -> str:
    allowed = r"[\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*"
    match = re.match(allowed, text)
    line = text.count("\n", 0, match.end() if match else 0) + 1
    return f"{shown}:{line}: holds a control character; a settings file is text"


def _syntax_error(error: Any, text: str, shown: str) -> ConfigError:
    """Return YAML's complaint with its line, and without whatever it quotes from that line."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = re.sub(
        rf"({_SAFE_QUOTE})|'[^']*'|\"[^\"]*\"", lambda m: m[1] or "…", error.problem or "not YAML"
    )
    hint = "a text with ': ', ' #' or one that begins with * & ! % @ wants quotes"
    lines = text.splitlines()[line - 1 : line]
    if lines and re.match(r" *\t", lines[0]):
        problem, hint = "a tab indents this line", "YAML is indented with spaces"
    if error.problem == "exceeded maximum nesting depth":  # PyYAML 6.0.4 reads ahead, up to 1,000
        return ConfigError(f"{shown}:{line}: {_TOO_DEEP}")
    return ConfigError(f"{shown}:{line}: {problem}", hint)
