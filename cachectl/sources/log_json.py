"""Lines of access logs in JSON, one object a line -> what was asked for."""

from collections.abc import Callable
from typing import Any

import msgspec

from cachectl.config.settings import AccessLog
from cachectl.keys import to_bytes
from cachectl.sources.fields import LineError, parse
from cachectl.sources.log_lines import FILTERED, Asked, Bad
from cachectl.sources.reading import Block, is_blank
from cachectl.sources.times import Window

_MAX_DIGITS = 15
_decode = msgspec.json.decode
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_Field = Callable[[dict[str, Any]], Any]


class JsonReader:
    """Reads lines of JSON by the names of their fields."""

    def __init__(self, log: AccessLog, window: Window, bad: Bad) -> None:
        """Take the lines that `log` wants and whose time lies in the window."""
        self._names = log.fields
        self._method, self._target, self._status, self._time, self._size = map(_field, log.fields)
        self._methods = frozenset(log.method)
        self._statuses = frozenset(log.status)
        self._window = window
        self._bad = bad

    def read(self, block: Block) -> list[Asked]:
        """Return what each line of a block asks for, in their order."""
        found: list[Asked] = []
        for number, line in enumerate(block.data.split(b"\n")[:-1], block.first):
            try:
                found.append(self.alone(line))
            except LineError as error:
                if not is_blank(line):
                    self._bad.add(number, str(error))
                found.append((None, b""))
        return found

    def alone(self, line: bytes) -> Asked:
        """Return what a line asks for; raise `LineError`."""
        fields = _object(line)
        method, target = self._method(fields), self._target(fields)
        if not isinstance(method, str):
            raise _wrong(self._names.method, method, "text")
        if not isinstance(target, str) or not target:
            raise _wrong(self._names.target, target, "text that is not empty")
        status = _whole(self._status(fields))
        if status is None:
            raise _wrong(self._names.status, self._status(fields), "a whole number")
        asked = method in self._methods and status in self._statuses
        if not (self._is_in_time(fields) and asked):
            return FILTERED, b""
        try:
            return to_bytes(target), b"%d" % size if (size := _whole(self._size(fields))) else b""
        except UnicodeEncodeError:
            msg = f"{self._names.target} is not valid Unicode"
            raise LineError(msg) from None

    def _is_in_time(self, fields: dict[str, Any]) -> bool:
        if self._window.open:
            return True
        time = self._time(fields)
        if isinstance(time, int | float) and not isinstance(time, bool):
            return self._window.holds(time)
        if not isinstance(time, str):
            raise _wrong(self._names.time, time, "a number or text")
        return self._window[time.encode(errors="replace")]


def _field(name: str) -> _Field:
    """Return what gives a field: the one of just that name, else the one where its points lead."""
    steps = name.split(".")
    if len(steps) == 1:
        return lambda fields: fields.get(name)

    def get(fields: dict[str, Any]) -> Any:
        if name in fields:
            return fields[name]
        at: Any = fields
        for step in steps:
            at = at.get(step) if isinstance(at, dict) else None
        return at

    return get


def _object(line: bytes) -> dict[str, Any]:
    try:
        fields = _decode(line)
    except _ERRORS:
        # bytes that are not UTF-8 are kept, and what is wrong is said in our words
        fields = parse(line.decode(errors="surrogateescape"))
    if not isinstance(fields, dict):
        msg = "expected a JSON object"
        raise LineError(msg)
    return fields


def _whole(value: object) -> int | None:
    """Return a whole number, which may stand as text or with a fraction of nothing; else None."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return int(value) if 0 <= value < 10**_MAX_DIGITS else None
    return None


def _wrong(name: str, found: object, wanted: str) -> LineError:
    return LineError(f"no field {name}" if found is None else f"{name} must be {wanted}")
