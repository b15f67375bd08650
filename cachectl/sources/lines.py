"""Entries: JSON Lines and CSV, gzip or not, files and stdin -> batches."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import filterfalse
from typing import Annotated, Any, BinaryIO

import msgspec

from cachectl.config.settings import UNSET, Unset
from cachectl.models import Batch, Entries, Entry, Problem
from cachectl.sources.fields import (
    MAX_EXPIRES_AT,
    LineError,
    base64_field,
    expiry,
    field_text,
    key_of,
    parse_object,
    time_to_live,
)
from cachectl.sources.reading import MAX_BYTES, STDIN, Lines, is_blank, line_groups
from cachectl.sources.tables import table_batches
from cachectl.units import MAX_DURATION

VALUE_FIELDS = ("value", "value_base64", "dump")


def entry_batches(
    source: str, *, stdin: BinaryIO, max_entries: int = 2000, max_bytes: int = MAX_BYTES
) -> AsyncGenerator[Batch, None]:
    """Yield the entries of `source` in order, and its bad lines as problems.

    `source` is a path, or `-` for stdin; `.csv` and `.csv.gz` are CSV, all else is JSON Lines, and
    gzip is known by its first bytes. A batch is at most `max_entries` lines of `max_bytes` bytes
    together (or one longer line). Raises `InputError` while iterating when the source cannot be
    read, or not to its end; what came before it has been yielded by then.
    """
    if source != STDIN and source.lower().endswith((".csv", ".csv.gz")):
        return table_batches(source, stdin=stdin, max_entries=max_entries, max_bytes=max_bytes)
    groups = line_groups(source, stdin=stdin, max_lines=max_entries, max_bytes=max_bytes)
    return _line_batches(source, groups)


async def _line_batches(
    source: str, groups: AsyncGenerator[Lines, None]
) -> AsyncGenerator[Batch, None]:
    async with aclosing(groups):
        async for lines in groups:
            batch = _batch(source, lines)
            del lines  # neither is held while the other, or the next, is at work: they may be large
            if batch.entries or batch.problems:
                yield batch
            del batch


_ABSENT: Any = UNSET
_NONE: Any = None
_Never = Annotated[str, msgspec.Meta(min_length=1, max_length=0)]  # nothing fits: must be absent


class _PlainLine(msgspec.Struct, gc=False):
    """An entry as nearly all lines have it; every other is read by `_read_slowly`."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    value: msgspec.Raw
    ttl: Annotated[float, msgspec.Meta(gt=0, le=MAX_DURATION)] | None = _ABSENT
    expires_at: Annotated[float, msgspec.Meta(ge=-MAX_EXPIRES_AT, le=MAX_EXPIRES_AT)] = _NONE
    key_base64: _Never = ""
    namespace: _Never = ""
    params: _Never = ""
    value_base64: _Never = ""
    dump: _Never = ""


_decode = msgspec.json.Decoder(_PlainLine).decode
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _batch(source: str, lines: Lines) -> Batch:
    if lines.problem is not None:
        return Batch(source, Entries.of([]), [Problem(lines.problem, source, lines.first)])
    plain = _read_together(lines)
    return Batch(source, plain, []) if plain is not None else _read_one_by_one(source, lines)


def _read_together(lines: Lines) -> Entries | None:
    """Return the entries of plain lines, by columns; `None` unless all of them are plain."""
    # The hot loop of a load.
    try:
        found = list(map(_decode, lines.texts))
        values = [bytes(line.value) for line in found]
        for text in filterfalse(bytes.isascii, lines.texts):
            text.decode()  # msgspec does not check what it passes through as Raw, or passes over
    except _ERRORS:
        return None
    keys = [line.key.encode() for line in found]
    ttls = [line.ttl for line in found]
    ends: list[float | None] = [line.expires_at for line in found]
    if ends.count(None) < len(ends) and not all(map(_is_plain, found)):
        return None
    numbers = range(lines.first, lines.first + len(found))
    return Entries(keys, values, ttls, ends, [False] * len(found), numbers)


def _is_plain(line: _PlainLine) -> bool:
    return line.ttl is _ABSENT or line.expires_at is None


def _read_one_by_one(source: str, lines: Lines) -> Batch:
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, text in enumerate(lines.texts, lines.first):
        try:
            line = _decode(text)
            if not text.isascii():
                text.decode()
            plain = _is_plain(line)
        except _ERRORS:
            plain = False
        if plain:
            value = bytes(line.value)
            entries.append(Entry(line.key.encode(), value, line.ttl, line.expires_at, line=number))
        elif not is_blank(text):
            found = _read_slowly(text, number, source)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                entries.append(found)
    return Batch(source, Entries.of(entries), problems)


def _read_slowly(text: bytes, number: int, source: str) -> Entry | Problem:
    """Read any line, at a tenth of the speed, and say in our words what is wrong with it."""
    key = None
    try:
        fields, line = parse_object(text)
        key = key_of(fields)
        value = _value(fields, line)
        ttl, expires_at = _lifetime(fields)
    except LineError as error:
        return Problem(str(error), source, number, key)
    return Entry(key, value, ttl, expires_at, "dump" in fields, number)


def _value(fields: dict[str, Any], line: str) -> bytes:
    names = [name for name in VALUE_FIELDS if name in fields]
    if len(names) != 1:
        reason = f"both {names[0]} and {names[1]}" if names else "no value"
        raise LineError(reason)
    if names == ["value"]:
        return field_text(line, "value").encode()
    return base64_field(fields, names[0], empty=names == ["value_base64"])


def _lifetime(fields: dict[str, Any]) -> tuple[float | Unset | None, float | None]:
    if "expires_at" not in fields:
        return (time_to_live(fields["ttl"]) if "ttl" in fields else UNSET), None
    if "ttl" in fields:
        msg = "both ttl and expires_at"
        raise LineError(msg)
    expires_at = expiry(fields["expires_at"])
    return (None if expires_at is None else UNSET), expires_at
