"""Entries in CSV: a header `key,value[,ttl]`, the value as JSON text.

For what people make with a spreadsheet or a query; JSON Lines are twice as fast.
"""

import csv
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import lru_cache
from io import StringIO
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

import msgspec

from cachectl.config.settings import UNSET, Unset
from cachectl.errors import InputError
from cachectl.models import Batch, Entries, Entry, Problem
from cachectl.sources.fields import LineError, filled, parse, time_to_live, utf8
from cachectl.sources.reading import Lines, line_groups, named
from cachectl.values import check_json

MAX_FIELD: Final = 64 * 1024 * 1024
"""The longest CSV field in characters: a quote left open must not swallow a file into memory."""

_QUOTES = "(a value with commas or quotes stands in quotes, its own quotes doubled)"
_SPACE = " \t\r\n"
_check = msgspec.json.Decoder(msgspec.Raw).decode


class _Records(NamedTuple):
    """The lines on which records start, and their fields."""

    lines: Sequence[int]
    rows: list[list[str]]


async def table_batches(
    source: str, *, stdin: BinaryIO, max_entries: int, max_bytes: int
) -> AsyncGenerator[Batch, None]:
    """Yield the entries of a CSV file in order, and its bad records as problems.

    Raises `InputError` while iterating when the file cannot be read or has no header with the
    columns `key` and `value`, or when it cannot be told where the next record begins; what came
    before it has been yielded by then.
    """
    table = _Table(source, max_entries)
    groups = line_groups(source, stdin=stdin, max_lines=max_entries, max_bytes=max_bytes)
    async with aclosing(groups):
        async for lines in groups:
            table.feed(lines)
            del lines  # neither is held while the other, or the next, is at work: they may be large
            while table.ready:
                yield table.ready.popleft()
            table.check()
    table.finish()
    while table.ready:
        yield table.ready.popleft()
    table.check()


class _Table:
    """Makes batches of groups of lines; a record that they do not end waits for its other lines."""

    def __init__(self, source: str, max_entries: int) -> None:
        self.ready: deque[Batch] = deque()
        self._source = source
        self._max_entries = max_entries
        self._columns: _Columns | None = None
        self._error: InputError | None = None
        # What is in no record yet: where it begins, its text and size, and how much was tried in vain.
        self._line = 1
        self._open: list[str] = []
        self._size = 0
        self._tried = 0

    def feed(self, lines: Lines) -> None:
        """Read the records that end with `lines`, up to an error, that `check` raises."""
        if lines.problem is not None:
            self._error = InputError(f"{named(self._source)}: line {lines.first}: {lines.problem}")
            return
        # What is not UTF-8 comes through as it is, and is found in the field where it stands.
        text = b"\n".join([*lines.texts, b""]).decode("utf-8", "surrogateescape")
        self._open.append(text)
        self._size += len(text)
        if self._size >= 2 * self._tried:  # a long record read anew for each group would take ages
            self._read(self._records(last=False))

    def finish(self) -> None:
        """Read the rest: a record that is not complete now is an error, and so is no header."""
        self._read(self._records(last=True))
        if self._columns is None and self._error is None:
            self._columns = _header(1, [], self._source)

    def check(self) -> None:
        """Raise what ended the reading."""
        if self._error is not None:
            raise self._error

    def _read(self, records: _Records) -> None:
        lines, rows = records
        if self._columns is None and rows:
            self._columns = _header(lines[0], rows[0], self._source)
            lines, rows = lines[1:], rows[1:]
        for start in range(0, len(rows), self._max_entries):
            part = slice(start, start + self._max_entries)
            if self._columns is not None:
                found = _Records(lines[part], rows[part])
                self.ready.append(_batch(self._source, self._columns, found))

    def _records(self, *, last: bool) -> _Records:
        """Return the records that are complete; what follows them is kept."""
        text = "".join(self._open)
        csv.field_size_limit(MAX_FIELD)
        rows = _one_a_line(text)
        if rows is not None:
            self._open, self._size, self._tried = [], 0, 0
            start, self._line = self._line, self._line + len(rows)
            return _Records(range(start, self._line), rows)
        lines: list[int] = []
        rows = []
        reader = csv.reader(chain(StringIO(text), () if last else _pause()), strict=True)
        done = 0
        try:
            for fields in reader:
                if fields:
                    lines.append(self._line + done)
                    rows.append(fields)
                done = reader.line_num
        except _Pause:
            pass
        except csv.Error as error:
            self._error = self._invalid(str(error), self._line + done)
        rest = text.split("\n", done)[-1]
        self._open, self._size, self._tried = [rest], len(rest), len(rest)
        self._line += done
        return _Records(lines, rows)

    def _invalid(self, error: str, line: int) -> InputError:
        reason = error.partition(" - ")[0]
        where = f"{named(self._source)}: line {line}"
        if reason.startswith("field larger"):
            msg = f"{where}: a field is longer than {MAX_FIELD} characters"
            return InputError(msg, "close the quote, or use JSON Lines for long values")
        # where the next record begins cannot be told: the inside of a value could become one
        return InputError(f"{where}: invalid CSV: {reason}", _QUOTES.strip("()"))


def _one_a_line(text: str) -> list[list[str]] | None:
    """Return the records of text where each line is one, as in most files; else None."""
    try:
        rows = list(csv.reader(StringIO(text), strict=True))
    except csv.Error:  # why is told when the records are read one by one
        return None
    # a record of several lines makes them fewer, and a blank line is an empty one
    return rows if len(rows) == text.count("\n") and all(rows) else None


class _Pause(Exception):  # noqa: N818 no error: the end of what is at hand
    """Tells `csv.reader` nothing of an end, so that it leaves an open record unjudged."""


def _pause() -> Iterator[str]:
    raise _Pause
    yield ""


class _Columns(NamedTuple):
    """How many columns there are, and which is which."""

    width: int
    key: int
    value: int
    ttl: int | None


def _header(line: int, fields: list[str], source: str) -> _Columns:
    names = [name.strip() for name in fields]
    if sorted(names) not in (["key", "value"], ["key", "ttl", "value"]):
        # another column would be lost without a word: expires_at, TTL
        msg = f"{named(source)}: line {line}: the header is not key,value or key,value,ttl"
        raise InputError(msg, "the first line of a CSV file is key,value or key,value,ttl")
    ttl = names.index("ttl") if "ttl" in names else None
    return _Columns(len(names), names.index("key"), names.index("value"), ttl)


def _batch(source: str, columns: _Columns, records: _Records) -> Batch:
    entries = _read_together(columns, records)
    if entries is not None:
        return Batch(source, entries, [])
    found = [_entry(*record, columns, source) for record in zip(*records, strict=True)]
    good = [entry for entry in found if isinstance(entry, Entry)]
    return Batch(source, Entries.of(good), [bad for bad in found if isinstance(bad, Problem)])


def _read_together(columns: _Columns, records: _Records) -> Entries | None:
    """Return the entries of good records, read column by column; `None` unless all are good."""
    lines, rows = records
    if set(map(len, rows)) != {columns.width}:
        return None
    cells = list(zip(*rows, strict=True))
    try:
        keys = [text.encode() for text in cells[columns.key]]
        values = [text.strip(_SPACE).encode() for text in cells[columns.value]]
        deque(map(_check, values), maxlen=0)
        ttls = [UNSET] * len(keys) if columns.ttl is None else list(map(_ttl, cells[columns.ttl]))
    except (UnicodeEncodeError, msgspec.DecodeError, RecursionError, LineError):
        return None
    if not all(keys):
        return None
    return Entries(keys, values, ttls, [None] * len(keys), [False] * len(keys), lines)


def _entry(line: int, fields: list[str], columns: _Columns, source: str) -> Entry | Problem:
    key = None
    try:
        if len(fields) != columns.width:
            msg = f"expected {columns.width} columns, found {len(fields)} {_QUOTES}"
            raise LineError(msg)  # noqa: TRY301 one way out for all that is wrong
        key = filled(utf8(fields[columns.key], "key"), "key")
        value = _value(fields[columns.value])
        ttl = UNSET if columns.ttl is None else _ttl(fields[columns.ttl])
    except LineError as error:
        return Problem(str(error), source, line, key)
    return Entry(key, value, ttl, line=line)


def _value(text: str) -> bytes:
    value = utf8(text.strip(_SPACE), "value")
    try:
        _check(value)
    except (msgspec.DecodeError, RecursionError):
        _say_why(value)
    return value


def _say_why(value: bytes) -> None:
    """Raise `LineError`, unless Python's `json` reads what msgspec did not (half a surrogate)."""
    if not value:
        msg = "no value"
        raise LineError(msg)
    try:
        check_json(value)
    except ValueError as error:
        msg = f"the value is not JSON: {error}"
        raise LineError(msg) from None


@lru_cache(maxsize=1000)
def _ttl(text: str) -> float | Unset | None:
    if not text.strip(_SPACE):
        return UNSET
    try:
        ttl = parse(text)
    except LineError:
        ttl = text  # as wrong as any other text
    return time_to_live(ttl)
