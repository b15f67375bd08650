"""Entries in CSV: a header `key,value[,ttl]`, the value as JSON text.

For what people make with a spreadsheet or a query; JSON Lines are five times as fast.
"""

import csv
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import msgspec

from cachectl.config.settings import UNSET, Unset
from cachectl.errors import InputError
from cachectl.models import Batch, Entry, Problem
from cachectl.sources.fields import LineError, filled, parse, time_to_live, utf8
from cachectl.sources.reading import line_groups, named
from cachectl.values import check_json

MAX_FIELD: Final = 64 * 1024 * 1024
"""The longest CSV field in characters: a quote left open must not swallow a file into memory."""

_QUOTES = "(a value with commas or quotes stands in quotes, its own quotes doubled)"
_SPACE = " \t\r\n"
_check = msgspec.json.Decoder(msgspec.Raw).decode


class _Record(NamedTuple):
    """One record: the line it starts on, and its fields."""

    line: int
    fields: list[str]


def table_batches(
    source: str, *, stdin: BinaryIO, max_entries: int, max_bytes: int
) -> Iterator[Batch]:
    """Yield the entries of a CSV file in order, and its bad records as problems.

    Raises `InputError` while iterating when the file cannot be read or has no header with the
    columns `key` and `value`, or when it cannot be told where the next record begins.
    """
    records = _records(source, stdin)
    columns = _header(records, source)
    batch, size = Batch(source, [], []), 0
    for record in records:
        found = _entry(record, columns, source)
        if isinstance(found, Entry):
            batch.entries.append(found)
            size += len(found.key) + len(found.value)
        else:
            batch.problems.append(found)
        if size >= max_bytes or len(batch.entries) + len(batch.problems) >= max_entries:
            yield batch
            batch, size = Batch(source, [], []), 0
    if batch.entries or batch.problems:
        yield batch


class _Columns(NamedTuple):
    """How many columns there are, and which is which."""

    width: int
    key: int
    value: int
    ttl: int | None


def _header(records: Iterator[_Record], source: str) -> _Columns:
    first = next(records, _Record(1, []))
    names = [name.strip() for name in first.fields]
    if sorted(names) not in (["key", "value"], ["key", "ttl", "value"]):
        # another column would be lost without a word: expires_at, TTL
        msg = f"{named(source)}: line {first.line}: the header is not key,value or key,value,ttl"
        raise InputError(msg, "the first line of a CSV file is key,value or key,value,ttl")
    ttl = names.index("ttl") if "ttl" in names else None
    return _Columns(len(names), names.index("key"), names.index("value"), ttl)


def _entry(record: _Record, columns: _Columns, source: str) -> Entry | Problem:
    key = None
    line, fields = record
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


def _ttl(text: str) -> float | Unset | None:
    if not text.strip(_SPACE):
        return UNSET
    try:
        ttl = parse(text)
    except LineError:
        ttl = text  # as wrong as any other text
    return time_to_live(ttl)


def _records(source: str, stdin: BinaryIO) -> Iterator[_Record]:
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(_texts(source, stdin), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error).partition(" - ")[0]
            if reason.startswith("field larger"):
                msg = f"{named(source)}: line {line}: a field is longer than {MAX_FIELD} characters"
                hint = "close the quote, or use JSON Lines for long values"
                raise InputError(msg, hint) from None
            # where the next record begins cannot be told: the inside of a value could become one
            msg = f"{named(source)}: line {line}: invalid CSV: {reason}"
            raise InputError(msg, _QUOTES.strip("()")) from None
        else:
            if fields:
                yield _Record(line, fields)


def _texts(source: str, stdin: BinaryIO) -> Iterator[str]:
    for lines in line_groups(source, stdin=stdin, max_lines=1000):
        if lines.problem is not None:
            msg = f"{named(source)}: line {lines.first}: {lines.problem}"
            raise InputError(msg)
        for text in lines.texts:
            # What is not UTF-8 comes through as it is, and is found in the field where it stands.
            yield text.decode("utf-8", "surrogateescape") + "\n"
