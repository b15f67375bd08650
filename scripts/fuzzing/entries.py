"""Sources of entries: none is lost without a word, and each is what Python's `json` or `csv` reads.

A source is read as a file or as stdin, as it is or in gzip, in blocks and batches of any size.
"""

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from io import BytesIO, StringIO
from random import Random
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, Final, NamedTuple
from unittest.mock import patch

from cachectl.errors import InputError
from cachectl.models import Batch, Entry
from cachectl.sources import reading
from cachectl.sources.lines import entry_batches
from cachectl.values import check_json
from scripts.fuzzing.junk import TOKENS, cases_of_gzip, damaged, demand

_LINES: Final = (
    '{"key": "a:1", "value": 1}',
    '{"key":"a:2","value":{"b":[1,2.5,"\xfc\u20ac\U0001f600",null]},"ttl":60}',
    '{"value": "x", "key": "k\\n", "ttl": null}',
    '{"key": "t", "value": true, "expires_at": 1900000000.5}',
    '{"key_base64": "/wA=", "value_base64": "AAEC"}',
    '{"key": "d", "dump": "AAEC", "expires_at": null}',
    '{"namespace": "n", "params": {"a": 1, "b": "x"}, "value": []}', '{"key": "", "value": 1}',
    "{}", "[]", "nonsense", '{"key": "a", "value": 1, "value": 2}', '{"key": "a"}',
    '{"key": "a", "value": 1, "ttl": -1}', "", " ", "\r", '{"key": "\\ud800", "value": 1}',
    '{"key": "s", "value": "\\ud83d\\ude00\\ud800"}', '{"key": 5, "value": 1}',
    '{"key": "big", "value": 123456789012345678901234567890}', '{"key": "e", "value": 1e400}',
    '{"key": "n", "value": NaN}', '{"key": "x", "value": 1, "more": {"value": 2}}',
    ' {"key" : "w" , "value" : [ ] } ',
)  # fmt: skip
_ROWS: Final = (
    "a:1,1", 'a:2,"{""b"": [1, 2]}"', 'a:3,"[1,\n 2]"', "a:4,true,60", "a:5,null,", '"a,6","""x"""',
    ",1", "a,", "", "a,{,5", "a,1,2,3", "a", " ", '"a\r\nb",1', "a:7,\xfc",
    'a:8,"""\xfc\u20ac""",1h', 'a"b,1', '"a"b,1', "a:9, 5 ,null",
)  # fmt: skip
_HEADERS: Final = (
    "key,value",
    "key,value,ttl",
    "ttl, value ,key",
    "value,key",
    "key,value,TTL",
    "key,value,expires_at",
    "a,b",
)


class Given(NamedTuple):
    """A source, and how it is read. `text`: what it holds; None if that cannot be told any more."""

    data: bytes
    text: bytes | None
    suffix: str
    is_stdin: bool
    block: int
    longest: int
    max_lines: int
    max_bytes: int


class Read(NamedTuple):
    """What came of a source, and the error that ended it."""

    batches: list[Any]
    error: InputError | None


def make(random: Random) -> Given:
    """Return JSON Lines or CSV, right or not."""
    if random.random() < 1 / 3:
        lines = [
            random.choice(_HEADERS[:3] * 4 + _HEADERS),
            *random.choices(_ROWS, k=random.randint(0, 12)),
        ]
        return drawn(random, lines, (".csv",))
    return drawn(random, random.choices(_LINES, k=random.randint(0, 12)), (".jsonl", ".json", ""))


def drawn(random: Random, lines: list[str], suffixes: tuple[str, ...]) -> Given:
    """Return a source of these lines, right or not."""
    ends = random.choice(["\n", "\n", "\n", "\r\n"])
    text = damaged(ends.join([*lines, *random.choice([[""], []])]).encode(), random, TOKENS)
    suffix = random.choice(suffixes)
    data, whole = text, True
    if random.random() < 1 / 4:
        data, whole = cases_of_gzip(text, random)
    elif text.startswith(b"\x1f\x8b"):
        whole = False
    return Given(
        data,
        text if whole else None,
        suffix,
        is_stdin=not suffix and random.random() < 1 / 2,
        block=random.choice([1, 17, 80, 80, 300, 300, 256 * 1024]),
        longest=random.choice([40, 300, reading.MAX_LINE, reading.MAX_LINE]),
        max_lines=random.choice([1, 2, 5, 2000]),
        max_bytes=random.choice([10, 100, 1_000_000]),
    )


def judge(given: Given) -> bool:
    """Read it, and hold it against what Python reads."""
    found = read(given, lambda source, stdin: entry_batches(
        source, stdin=stdin, max_entries=given.max_lines, max_bytes=given.max_bytes
    ))  # fmt: skip
    batches: list[Batch] = found.batches
    entries = [entry for batch in batches for entry in batch.entries]
    problems = [problem for batch in batches for problem in batch.problems]
    numbers = told_of(entries, problems)
    if given.text is not None and given.suffix == ".csv":
        _compare_rows(given, entries, numbers, found.error)
    elif given.text is not None:
        expect_lines(given, numbers, found.error)
        lines = lines_of(given.text)
        for entry in entries:
            _compare_line(lines[entry.line], entry)
        for problem in problems:
            demand(_is_bad(lines[problem.line or 0], given), f"a good line is a {problem}")
    return not problems and found.error is None


def read(given: Given, opened: Callable[[str, BinaryIO], AsyncIterator[Any]]) -> Read:
    """Read a source to its end or to our error."""
    batches: list[Any] = []

    async def collect(source: str) -> None:
        async with asyncio.timeout(10):
            async for batch in opened(source, BytesIO(given.data)):
                batches.append(batch)  # noqa: PERF401 what came before an error is kept

    with (
        NamedTemporaryFile(suffix=given.suffix) as file,
        patch.object(reading, "BLOCK", given.block),
        patch.object(reading, "MAX_LINE", given.longest),
    ):
        file.write(given.data)
        file.flush()
        try:
            asyncio.run(collect(reading.STDIN if given.is_stdin else file.name))
        except InputError as error:
            said = f"{error.message}{error.hint or ''}"
            demand(said.isprintable(), f"an error is more than a line: {said!r}")
            return Read(batches, error)
    return Read(batches, None)


def told_of(*found: list[Any]) -> list[int]:
    """Return the lines that are told of, each of which is so once and in its order."""
    for some in found:
        lines = [one.line for one in some]
        demand(lines == sorted(lines), f"the lines are told of as {lines}")
    numbers = sorted(one.line for some in found for one in some)
    demand(len(set(numbers)) == len(numbers), f"a line is told of twice: {numbers}")
    return numbers


def expect_lines(given: Given, numbers: list[int], error: InputError | None) -> None:
    """Raise `Broken` unless every line that is not blank is told of."""
    text = given.text or b""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        demand(error and not numbers, "UTF-16 is read")
        return
    lines = lines_of(text)
    told = [number for number, line in lines.items() if line.strip() or number in numbers]
    demand(error is None, f"the reading ended with {error!r}")
    demand(numbers == told, f"told of are the lines {numbers} instead of {told}")


def lines_of(text: bytes) -> dict[int, bytes]:
    """Return all lines by their numbers."""
    return dict(enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1))


def _compare_line(line: bytes, entry: Entry) -> None:
    fields = json.loads(line.decode(), parse_int=str)
    if "value" in fields:
        value = json.loads(entry.value.decode(), parse_int=str)
        demand(repr(value) == repr(fields["value"]), f"{line!r} is read as {entry}")
    if "key" in fields:
        demand(entry.key == fields["key"].encode(), f"{line!r} is read as {entry}")


def _is_bad(line: bytes, given: Given) -> bool:
    """Whether a line is more, or other, than a key and a value."""
    try:
        check_json(line)  # which knows no NaN
        fields = json.loads(line.decode())
        is_plain = isinstance(fields, dict) and set(fields) == {"key", "value"}
        is_good = is_plain and fields["key"].encode()
    except (ValueError, AttributeError, RecursionError):
        return True
    return not is_good or len(line) > given.longest


def _compare_rows(
    given: Given, entries: list[Entry], numbers: list[int], error: InputError | None
) -> None:
    text = (given.text or b"").removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    lines, rows, whole = _rows(text if text.endswith("\n") else f"{text}\n")
    names = [name.strip() for name in rows[0]] if rows else []
    if sorted(names) not in (["key", "value"], ["key", "ttl", "value"]):
        demand(error and not numbers, f"a table without a header is read: {numbers}, {error!r}")
        return
    too_long = error is not None and "longer than" in error.message
    demand(too_long or whole == (error is None), f"the reading ended with {error!r}")
    told = lines[1 : len(numbers) + 1] if too_long else lines[1:]
    demand(numbers == told, f"told of are the lines {numbers} instead of {told}")
    by_line = dict(zip(lines, rows, strict=True))
    for entry in entries:
        key, value = (by_line[entry.line][names.index(name)] for name in ("key", "value"))
        right = (key.encode(), value.strip(" \t\r\n").encode())
        demand((entry.key, entry.value) == right, f"{right} is read as {entry}")


def _rows(text: str) -> tuple[list[int], list[list[str]], bool]:
    """Return where records start, the records, and whether they are all."""
    reader = csv.reader(StringIO(text), strict=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    done = 0
    with suppress(csv.Error):
        for row in reader:
            if row:
                lines.append(done + 1)
                rows.append(row)
            done = reader.line_num
        return lines, rows, True
    return lines, rows, False
