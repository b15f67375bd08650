"""Damage to bytes that were right: cut, doubled, flipped, and what nobody expects put between."""

import gzip
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from scripts.fuzzing.runs import Broken

CANARY: Final = "Zw7qXk9vJ4hT"
"""A password; no piece of it may be seen in an error."""

TOKENS: Final = (
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b", b"\n",
    b"\r", b"\r\n", b"\n\n \n", b"\t", b"\x1b[31m", b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x80\xae",
    b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b"\\x0", b"{", b"}", b"[", b"]", b":", b",", b"#",
    b"%", b"@", b"0", b"-1", b"1e999", b"NaN", b"-Infinity", b"0123", b"1_0", b"\xd9\xa3",
    b"9" * 20, b"9" * 400, b"9" * 5000, b"0" * 5000, b"null", b"true", b"{}", b"[]", b'{"a":' * 300,
    b"[" * 3000, b" " * 300, b"x" * 5000, b"${", b"${X}", b"%00", b"%zz", b"\xc2\xa0",
    b"\xe2\x84\x80",
)  # fmt: skip


def damaged(data: bytes, random: Random, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Return `data` with none to six damages; one of four is left as it is."""
    if random.random() < 1 / 4:
        return data
    for _ in range(random.choice([1, 1, 1, 2, 3, 6])):
        data = random.choice(_DAMAGES)(data, random, tokens)
    return data


def cases_of_gzip(data: bytes, random: Random) -> tuple[bytes, bool]:
    """Return `data` in one or two members of gzip, and whether they are whole."""
    at = random.choice([0, random.randint(0, len(data))])
    packed = b"".join(gzip.compress(part, 1, mtime=0) for part in (data[:at], data[at:]))
    if random.random() < 1 / 2:
        return packed + b"\0" * random.choice([0, 0, 3]), True
    return random.choice([_cut, _flipped, _doubled])(packed, random, TOKENS), False


def shows(text: str) -> bool:
    """Whether a piece of the canary stands in a text."""
    return any(CANARY[at : at + 4] in text for at in range(len(CANARY) - 3))


def hidden(*texts: str | None) -> None:
    """Raise `Broken` if a piece of the canary shows in a text that people see."""
    for text in filter(None, texts):
        if shows(text):
            msg = f"a piece of the password shows: {text[:300]!r}"
            raise Broken(msg)


def demand(holds: object, what: str) -> None:
    """Raise `Broken` with `what` unless it holds."""
    if not holds:
        raise Broken(what)


def _part(data: bytes, random: Random) -> slice:
    start = random.randint(0, len(data))
    return slice(start, min(len(data), start + random.choice([1, 2, 8, 40, 1000])))


def _cut(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    return data[: random.randint(0, len(data))]


def _without(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    part = _part(data, random)
    return data[: part.start] + data[part.stop :]


def _doubled(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    part = _part(data, random)
    return data[: part.stop] + data[part] * random.choice([1, 1, 30]) + data[part.stop :]


def _moved(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + data[_part(data, random)] + data[at:]


def _flipped(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _put_between(data: bytes, random: Random, tokens: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(tokens) + data[at:]


def _put_in_place(data: bytes, random: Random, tokens: Sequence[bytes]) -> bytes:
    part = _part(data, random)
    return data[: part.start] + random.choice(tokens) + data[part.stop :]


def _lines_mixed(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one] = random.choice([b"", b" ", b"\t", lines[other]]) + random.choice(
        [lines[one], lines[one].lstrip(), b""]
    )
    return b"\n".join(lines)


def _from_windows(data: bytes, random: Random, _tokens: Sequence[bytes]) -> bytes:
    ended = data.replace(b"\n", b"\r\n")
    text = data.decode("utf-8", "replace")
    others = [
        ended,
        b"\xef\xbb\xbf" + data,
        text.encode("utf-16"),
        text.encode("latin-1", "replace"),
    ]
    return random.choice([ended, ended, *others])


_DAMAGES: Final[tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...]] = (
    _cut, _without, _doubled, _moved, _flipped, _flipped, _put_between, _put_between, _put_in_place,
    _put_in_place, _lines_mixed, _lines_mixed, _from_windows,
)  # fmt: skip
