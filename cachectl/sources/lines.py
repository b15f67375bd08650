"""Entries: JSON Lines and CSV, gzip or not, files and stdin -> batches."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, BinaryIO

import msgspec

from cachectl.config.settings import UNSET, Unset
from cachectl.models import Batch, Entry, Problem
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
    source: str, *, stdin: BinaryIO, max_entries: int = 500, max_bytes: int = MAX_BYTES
) -> Iterator[Batch]:
    """Yield the entries of `source` in order, and its bad lines as problems.

    `source` is a path, or `-` for stdin; `.csv` and `.csv.gz` are CSV, all else is JSON Lines, and
    gzip is known by its first bytes. A batch is at most `max_entries` lines of `max_bytes` bytes
    together (or one longer line). Raises `InputError` while iterating when the source cannot be
    read, or not to its end; what came before it has been yielded by then.
    """
    if source != STDIN and source.lower().endswith((".csv", ".csv.gz")):
        return table_batches(source, stdin=stdin, max_entries=max_entries, max_bytes=max_bytes)
    groups = line_groups(source, stdin=stdin, max_lines=max_entries, max_bytes=max_bytes)
    # `map` keeps no batch while the next is awaited, as a loop variable would.
    return filter(_holds_something, map(partial(_batch, source), groups))


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


def _holds_something(batch: Batch) -> bool:
    return bool(batch.entries or batch.problems)


def _batch(source: str, lines: Lines) -> Batch:
    """Read the lines, and let go of them."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    if lines.problem is not None:
        problems.append(Problem(lines.problem, source, lines.first))
    # The hot loop of a load. `tuple.__new__`: the constructor of a NamedTuple is a Python function.
    new, keep = tuple.__new__, entries.append
    for number, text in enumerate(lines.texts, lines.first):
        try:
            line = _decode(text)
            value = bytes(line.value)
            if not value.isascii():
                value.decode()  # msgspec does not check what it passes through as Raw
            plain = line.ttl is _ABSENT or line.expires_at is None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            plain = False
        if plain:
            ttl, expires_at = line.ttl, line.expires_at
            keep(new(Entry, (line.key.encode(), value, ttl, expires_at, False, number)))
        elif not is_blank(text):
            _read_slowly(text, number, Batch(source, entries, problems))
    lines.texts.clear()
    return Batch(source, entries, problems)


def _read_slowly(text: bytes, number: int, batch: Batch) -> None:
    """Read any line, at a tenth of the speed, and say in our words what is wrong with it."""
    key = None
    try:
        fields, line = parse_object(text)
        key = key_of(fields)
        value = _value(fields, line)
        ttl, expires_at = _lifetime(fields)
    except LineError as error:
        batch.problems.append(Problem(str(error), batch.source, number, key))
    else:
        batch.entries.append(Entry(key, value, ttl, expires_at, "dump" in fields, number))


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
