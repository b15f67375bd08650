"""Walks a settings file beside the description of the settings, and keeps every problem it meets.

A problem names file, line and path, gives the nearest key that there is, and never shows a value.
"""

import re
from collections.abc import Iterator
from collections.abc import Mapping as Environment
from typing import Any, Final, Literal, NamedTuple

from cachectl.config.fields import Either, Field, Section, Table, Words
from cachectl.config.kinds import URL, Kind, Many
from cachectl.config.nodes import Mapping, Node, Scalar, Sequence
from cachectl.config.url import parse_url
from cachectl.errors import ConfigError

Path = tuple[str, ...]

_PLAIN_NUMBER: Final = r"(0|[1-9][0-9]*)(\.[0-9]+)?"
_VARIABLE: Final = r"\$?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-[^{}]*)?\}|)"
_YAML_WORDS: Final = {
    "int": "a number", "float": "a number", "bool": "true or false", "timestamp": "a date",
}  # fmt: skip


class Problem(NamedTuple):
    """One thing that is wrong.

    `weight` says when it matters: `key` always, `value` unless it is in a job that is not used,
    `late` (it depends on the environment) only when the profile or job is used. `unset`: a variable
    is not set.
    """

    path: Path
    weight: Literal["key", "value", "late"]
    error: ConfigError
    unset: bool = False


class Reader:
    """Reads nodes into plain values; what was given is in `lines`, what was wrong in `problems`."""

    def __init__(self, shown: str, folder: str, env: Environment[str, str]) -> None:
        """Show the file as `shown`, take relative paths from `folder` and `${NAME}` from `env`."""
        self.problems: list[Problem] = []
        self.lines: dict[Path, int] = {}
        self.expanded: set[Path] = set()
        self._shown = shown
        self.folder = "" if folder == "." else folder
        self._env = env

    def fail(
        self, path: Path, message: str, hint: str | None = None, *, weight: Any = "value"
    ) -> None:
        """Keep a problem with the setting at `path`, which was given."""
        error = ConfigError(f"{self._shown}:{self.lines.get(path, 1)}: {message}", hint)
        self.problems.append(Problem(path, weight, error))

    def section(self, node: Node | None, section: Section, path: Path = ()) -> dict[str, Any]:
        """Return the values of the keys that were given and are right."""
        values = {}
        for name, child in self._pairs(node, path):
            field = section.fields.get(name)
            if field is None:
                self._unknown(name, section, path)
                continue
            value = self._field(child, field, (*path, name))
            if value is not _WRONG:
                values[name] = value
        for name, field in section.fields.items():
            if field.required and (*path, name) not in self.lines:
                self.fail(path, f"{dotted((*path, name))} is missing", f"add it: {field.doc}")
        if section.one_of:
            self._one_of(section.one_of, path)
        return values

    def _one_of(self, names: Path, path: Path) -> None:
        given = [name for name in names if (*path, name) in self.lines]
        these = f"{', '.join(names[:-1])} or {names[-1]}"
        if not given:
            self.fail(path, f"{dotted(path)}: needs {these}", "add one of them")
        for name in given[1:]:
            here = (*path, name)
            self.fail(here, f"{dotted(here)}: {given[0]} is given too", f"keep one: {these}")

    def _field(self, node: Node, field: Field, path: Path) -> Any:
        kind = field.kind
        if isinstance(kind, Section):
            return self.section(node, kind, path)
        if isinstance(kind, Table):
            return self._table(node, kind, path)
        if isinstance(kind, Either):
            if isinstance(node, Mapping):
                return self.section(node, kind.section, path)
            kind = kind.many
        if isinstance(kind, Many):
            return self._many(node, kind, path)
        if isinstance(kind, Words):
            return self._words(node, kind, path)
        return self._single(node, kind, path)

    def _table(self, node: Node, table: Table, path: Path) -> dict[str, Any]:
        values = {}
        for name, child in self._pairs(node, path):
            here = (*path, name)
            if not re.fullmatch(table.name, name):
                hint = f"did you mean {name.rstrip(':*')!r}?" if name.rstrip(":*") != name else None
                message = f"{dotted(here)}: a {table.what} has {table.expects}"
                self.fail(here, message, hint, weight="key")
                continue
            values[name] = self.section(child, table.each, here)
        return values

    def _words(self, node: Node, words: Words, path: Path) -> Any:
        values = {
            name: self._single(child, words.each, (*path, name))
            for name, child in self._pairs(node, path)
        }
        return _WRONG if _WRONG in values.values() else values

    def _pairs(self, node: Node | None, path: Path) -> Iterator[tuple[str, Node]]:
        if node is None or (isinstance(node, Scalar) and node.tag == "null"):
            return
        if not isinstance(node, Mapping):
            found = "a list" if isinstance(node, Sequence) else "a single value"
            where = f"{dotted(path)} must be" if path else "a settings file holds"
            self.lines.setdefault(path, node.line)
            self.fail(path, f"{where} keys with values, not {found}", weight="key")
            return
        for key, child in node.pairs:
            here = (*path, key.text)
            if here in self.lines:
                first = self.lines[here]
                self.lines[here] = key.line
                message = f"{dotted(here)} is given twice, first on line {first}"
                self.fail(here, message, weight="key")
                continue
            self.lines[here] = key.line
            yield key.text, child

    def _unknown(self, name: str, section: Section, path: Path) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name, section.fields, 1)
        known = ", ".join(section.fields) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {known}"
        self.fail((*path, name), f"unknown key '{dotted((*path, name))}'", hint, weight="key")

    def _many(self, node: Node, kind: Many, path: Path) -> Any:
        if kind.alone and isinstance(node, Scalar):
            if kind.word is not None and node.text == kind.word:
                return kind.word
            value = self._scalar(node, kind.item, path)
            return value if value is _WRONG else (value,)
        if isinstance(node, Mapping) and kind.alone:
            self.section(node, Section({}), path)
            return _WRONG
        if not isinstance(node, Sequence) or not node.items:
            expects = f"{kind.item.expects} or a list" if kind.alone else "a list"
            self.fail(path, f"{dotted(path)}: expected {expects} that is not empty")
            return _WRONG
        values: list[Any] = []
        for number, item in enumerate(node.items, 1):
            here = (*path, str(number))
            self.lines[here] = item.line
            value = self._single(item, kind.item, here)
            if kind.unique and value is not _WRONG and value in values:
                weight = "late" if here in self.expanded else "value"
                first = values.index(value) + 1
                value = self._wrong(here, f"is the same as number {first}", "drop it", weight)
            values.append(value)
        return _WRONG if _WRONG in values else tuple(values)

    def _single(self, node: Node, kind: Kind, path: Path) -> Any:
        if isinstance(node, Scalar):
            return self._scalar(node, kind, path)
        found = "a list" if isinstance(node, Sequence) else "keys with values"
        return self._wrong(path, f"expected {kind.expects}, not {found}")

    def _scalar(self, node: Scalar, kind: Kind, path: Path) -> Any:
        if node.tag == "null" and kind.nullable:
            return None
        if node.tag not in kind.tags or (
            node.tag in {"int", "float"} and not re.fullmatch(_PLAIN_NUMBER, node.text)
        ):
            return self._wrong(path, *_wrong_tag(node, kind))
        if node.tag != "str" or "${" not in node.text:
            return self._parse(node.text, kind, path, "value")
        self.expanded.add(path)
        before = len(self.problems)
        text = self._expand(node.text, path)
        if len(self.problems) == before:
            return self._parse(text, kind, path, "late")
        return _address_at_least(text) if kind is URL else _WRONG

    def _parse(self, text: str, kind: Kind, path: Path, weight: str) -> Any:
        try:
            value = kind.parse(text)
        except ValueError as error:
            return self._wrong(path, str(error), weight=weight)
        except ConfigError as error:
            return self._wrong(path, error.message, error.hint, weight=weight)
        return self._absolute(value) if kind.path else value

    def _wrong(
        self, path: Path, message: str, hint: str | None = None, weight: str = "value"
    ) -> Any:
        self.fail(path, f"{dotted(path)}: {message}", hint, weight=weight)
        return _WRONG

    def _absolute(self, path: str) -> str:
        import os

        home = self._env.get("HOME")
        if path.startswith("~/") and home:
            return os.path.join(home, path[2:])
        return os.path.join(self.folder, path)

    def _expand(self, text: str, path: Path) -> str:
        """Return `text` with `${NAME}` and `${NAME:-default}` filled in; a problem is kept.

        `$${` stands for a literal `${`. What comes from the environment is not expanded again.
        """
        unset: list[str] = []

        def fill(match: re.Match[str]) -> str:
            if match[0].startswith("$$"):
                return match[0][1:]
            name, default = match[1], match[2]
            value = self._env.get(name or "", "")
            if not name or (default is None and name not in self._env):
                unset.append(name or "")
            return value or (default or "")[2:]

        filled = re.sub(_VARIABLE, fill, text)
        if "" in unset:
            hint = "write ${NAME} or ${NAME:-default}; a literal '${' is written '$${'"
            self._wrong(path, "a '${' is not followed by a name and '}'", hint)
        elif unset:
            name = dotted((unset[0],))
            hint = f"set it, or give a default: ${{{name}:-…}}"
            self._wrong(path, f"${{{name}}} is not set", hint, "late")
            self.problems[-1] = self.problems[-1]._replace(unset=True)
        return filled


def _address_at_least(text: str) -> Any:
    """Return what a URL says although a variable in it, such as the password, is not set.

    Its profile cannot be used then, but still protects the server that it names.
    """
    try:
        return parse_url(text)
    except ConfigError:
        return _WRONG


def dotted(path: Path) -> str:
    """Return a path as it is shown, `profiles.production.url`: one line of bounded length."""
    text = ".".join(path)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 120 else text[:119] + "…"  # noqa: PLR2004 a line's width


def _wrong_tag(node: Scalar, kind: Kind) -> tuple[str, str | None]:
    if node.tag == "null":
        return f"expected {kind.expects}, and nothing is given", None
    if kind.tags == frozenset({"str"}):
        found = _YAML_WORDS.get(node.tag, "something else")
        return f"expected {kind.expects}, and YAML reads this as {found}", "quote it"
    return f"expected {kind.expects}", "without quotes" if node.tag == "str" else None


_WRONG: Final = object()
