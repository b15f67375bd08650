"""Files and stdin -> numbered lines, in constant memory: gzip, byte-order mark, line ends.

Everything is read unbuffered. A thread that is blocked in a `BufferedReader` holds its lock, and an
interpreter that exits meanwhile aborts on it ("could not acquire lock … at interpreter shutdown").
"""

import os
import zlib
from bisect import bisect_right
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from itertools import accumulate, chain
from typing import Any, BinaryIO, Final, NamedTuple

from cachectl.errors import InputError
from cachectl.keys import MAX_KEY
from cachectl.values import safe

STDIN: Final = "-"
BLOCK: Final = 128 * 1024
"""Bytes asked for at a time: some hundred lines, and still in the processor's cache."""
MAX_LINE: Final = MAX_KEY
"""The longest line in bytes, so that neither its key nor its value is more than a server takes."""
MAX_BYTES: Final = 1_000_000
"""Lines that are handled together have at most so many bytes, unless one line alone has more."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Lines(NamedTuple):
    r"""Lines that follow each other, without their `\n`; the first is number `first` of the source.

    With `problem`, line `first` was not kept and `texts` is empty. Whoever gets them owns `texts`.
    """

    first: int
    texts: list[bytes]
    problem: str | None = None


def line_groups(
    source: str, *, stdin: BinaryIO, max_lines: int, max_bytes: int = MAX_BYTES
) -> Iterator[Lines]:
    """Yield the lines of `source` (a path, or `-` for stdin) as soon as they are read.

    Nothing may have been read from `stdin` through its buffer before. Raises `InputError` when the
    source cannot be read, or not to its end; what came before has been yielded by then.
    """
    splitter, groups = _Splitter(), _Groups(max_lines, max_bytes)
    with closing(_pieces(source, stdin)) as pieces:
        while isinstance(piece := _next(pieces, source, splitter), bytes):
            # A full piece means that more is at hand: so the last lines wait for a full group.
            more = len(piece) == BLOCK
            for lines in splitter.feed(piece):
                yield from groups.add(lines, more=more)
    yield from groups.take()
    if piece is not None:
        raise piece
    for lines in splitter.finish():
        yield from groups.add(lines, more=False)


def named(source: str) -> str:
    """Return a source's name for messages, as the operator wrote it."""
    return "- (stdin)" if source == STDIN else safe(source)


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but white space."""
    return not line.strip()


class _Splitter:
    """Cuts pieces into lines; `number` is the line that comes next."""

    def __init__(self) -> None:
        self.number = 1
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, piece: bytes) -> Iterator[Lines]:
        """Yield the lines that `piece` completes, and keep what follows the last of them."""
        end = piece.find(b"\n")
        if self._held + (end if end >= 0 else len(piece)) > MAX_LINE:
            self._parts.clear()
            self._held = MAX_LINE + 1
            if end < 0:
                return
            yield self._too_long()
            piece = piece[end + 1 :]
        cut = piece.rfind(b"\n")
        if cut >= 0:
            self._parts.append(piece[:cut])
            piece = piece[cut + 1 :]
            yield self._lines()
        self._parts.append(piece)
        self._held += len(piece)

    def finish(self) -> Iterator[Lines]:
        """Yield the last line if no line end closed it."""
        if self._held > MAX_LINE:
            yield self._too_long()
        elif self._held:
            yield self._lines()

    def _lines(self) -> Lines:
        # Step by step and nothing kept: of a line as long as the memory, two copies are the most.
        region = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        lines = Lines(self.number, region.split(b"\n"))
        self.number += len(lines.texts)
        return lines

    def _too_long(self) -> Lines:
        self._held = 0
        self.number += 1
        return Lines(self.number - 1, [], f"the line is longer than {MAX_LINE} bytes")


class _Groups:
    """Makes groups of lines that are as large as they may be."""

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._first = 1
        self._texts: list[bytes] = []

    def add(self, lines: Lines, *, more: bool) -> Iterator[Lines]:
        """Yield the groups that are complete with `lines`, and unless `more` follow, the rest."""
        if lines.problem is not None:
            yield from self.take()
            yield lines
            return
        if not self._texts:
            self._first = lines.first
        self._texts += lines.texts
        lines.texts.clear()
        yield from self.take(more=more)

    def take(self, *, more: bool = False) -> Iterator[Lines]:
        """Yield what is held in groups; if `more` follow, a group that is not full waits."""
        texts = self._texts
        while texts:
            sizes = list(accumulate(map(len, texts[: self._max_lines])))
            count = max(1, bisect_right(sizes, self._max_bytes))
            full = count == self._max_lines or sizes[-1] >= self._max_bytes
            if more and not full:
                return
            group = Lines(self._first, texts[:count])
            self._first += count
            del texts[:count]
            yield group


def _next(pieces: Iterator[bytes], source: str, splitter: _Splitter) -> bytes | InputError | None:
    """Return the next piece, `None` at the end, or why there is no more."""
    try:
        return next(pieces, None)
    except InputError as error:
        return error
    except EOFError:
        reason = f"the gzip data is cut off in line {splitter.number}"
    except zlib.error:
        reason = f"the gzip data is corrupt in line {splitter.number}"
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    except ValueError:  # a closed stdin, a NUL in the path
        reason = "it cannot be read"
    return InputError(f"{named(source)}: {reason}")


def _pieces(source: str, stdin: BinaryIO) -> Generator[bytes, None, None]:
    with _opened(source, stdin) as file:
        pieces: Iterator[bytes] = iter(partial(_read, file), b"")
        head = _head(pieces)
        if head.startswith(_GZIP):
            pieces = _inflated(chain([head], pieces))
            head = _head(pieces)
        if head.startswith(_UTF_16):
            msg = f"{named(source)}: it is UTF-16"
            raise InputError(msg, "save it as UTF-8")
        yield head.removeprefix(_BOM)
        yield from pieces


def _opened(source: str, stdin: BinaryIO) -> AbstractContextManager[Any]:
    if source == STDIN:
        return nullcontext(getattr(stdin, "raw", stdin))
    return open(source, "rb", buffering=0)


def _read(file: BinaryIO) -> bytes:
    piece: bytes | None = file.read(BLOCK)
    while piece is None:
        # Another process that shares this stdin made it non-blocking: "nothing yet" is no end.
        os.set_blocking(file.fileno(), True)
        piece = file.read(BLOCK)
    return piece


def _head(pieces: Iterator[bytes]) -> bytes:
    head = b""
    while len(head) < len(_BOM) and (piece := next(pieces, b"")):
        head += piece
    return head


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip members in a row hold, at most `BLOCK` bytes at a time.

    Raises `EOFError` if the last member is cut off, `zlib.error` if one is corrupt.
    """
    member = zlib.decompressobj(wbits=31)
    for piece in pieces:
        rest = piece
        while rest:
            if member.eof:
                rest = rest.lstrip(b"\0")  # padding after a member, as gzip itself allows
                if not rest:
                    break
                member = zlib.decompressobj(wbits=31)
            if text := member.decompress(rest, BLOCK):
                yield text
            rest = member.unused_data if member.eof else member.unconsumed_tail
    if text := member.flush():
        yield text
    if not member.eof:
        raise EOFError
