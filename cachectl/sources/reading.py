"""Files and stdin -> numbered lines, in constant memory: gzip, byte-order mark, line ends.

Everything is read unbuffered. A thread that is blocked in a `BufferedReader` holds its lock, and an
interpreter that exits meanwhile aborts on it ("could not acquire lock … at interpreter shutdown").
"""

import os
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple

from cachectl.errors import InputError
from cachectl.keys import MAX_KEY
from cachectl.sources.feed import in_thread
from cachectl.values import safe

STDIN: Final = "-"
BLOCK: Final = 128 * 1024
"""Bytes asked for at a time: some hundred lines, and still in the processor's cache."""
AHEAD: Final = 8
"""Pieces that are read ahead: while the loop is at work, the thread may not get its turn."""
MAX_LINE: Final = MAX_KEY
"""The longest line in bytes, so that neither its key nor its value is more than a server takes."""
MAX_BYTES: Final = 1_000_000
"""Lines that are handled together have at most so many bytes, unless one line alone has more."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Lines(NamedTuple):
    r"""Lines that follow each other: `region` is their bytes, without the last `\n`.

    The first is number `first` of the source, and they are `number`. With `problem`, line `first` was
    not kept and `region` is empty.
    """

    first: int
    region: bytes
    number: int = 1
    problem: str | None = None

    @property
    def texts(self) -> list[bytes]:
        """The lines one by one: a copy, for whom the region as a whole will not do."""
        return self.region.split(b"\n") if self.problem is None else []


async def line_groups(
    source: str, *, stdin: BinaryIO, max_lines: int, max_bytes: int = MAX_BYTES
) -> AsyncGenerator[Lines, None]:
    """Yield the lines of `source` (a path, or `-` for stdin) as soon as they are read.

    Only reading and inflating go on in a thread, and most of it without the interpreter's lock: two
    threads that both run Python fight for it, and the loop loses. Nothing may have been read from
    `stdin` through its buffer before. Raises `InputError` when the source cannot be read, or not to
    its end; what came before has been yielded by then.
    """
    cutter = _Cutter(max_lines, max_bytes)
    async with aclosing(in_thread(_pieces(source, stdin), AHEAD)) as pieces:
        while isinstance(piece := await _next(pieces, source, cutter), bytes):
            # A full piece means that more is at hand: so the last lines wait for a full group.
            cutter.feed(piece, more=len(piece) == BLOCK)
            while cutter.ready:
                yield cutter.ready.popleft()  # nothing of it is held here: it may be large
    if piece is None:
        cutter.finish()
    else:
        cutter.take()
    while cutter.ready:
        yield cutter.ready.popleft()
    if piece is not None:
        raise piece


def named(source: str) -> str:
    """Return a source's name for messages, as the operator wrote it."""
    return "- (stdin)" if source == STDIN else safe(source)


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but white space."""
    return not line.strip()


class _Cutter:
    """Cuts pieces into groups of whole lines, as large as they may be; they lie in `ready`."""

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        self.ready: deque[Lines] = deque()
        self.line = 1  # the number of the first line that is not in a group
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        # What is in no group yet: so many whole lines that wait, and the beginning of the next, whose
        # parts are joined once. Of a line that is too long only the size is held.
        self._waiting = 0
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def open_line(self) -> int:
        """The number of the line that is not complete."""
        return self.line + self._waiting

    def feed(self, piece: bytes, *, more: bool) -> None:
        """Cut the groups that are complete with `piece`, and unless `more` follows, the rest."""
        end = piece.find(b"\n")
        if self._size + (end if end >= 0 else len(piece)) > min(self._max_bytes, MAX_LINE):
            self.take()  # what waits is a group without a line as long as this
        if end >= 0 and self._size + end > min(self._max_bytes, MAX_LINE):
            self._add(piece[:end])
            self._take_line()
            piece = piece[end + 1 :]
        self._waiting += piece.count(b"\n")
        self._add(piece)
        self.take(more=more)

    def take(self, *, more: bool = False) -> None:
        """Cut the whole lines that wait; if `more` follow, those that fill no group wait on."""
        if not self._waiting:
            return
        text = b"".join(self._parts)
        start, stop = 0, text.rfind(b"\n") + 1
        while self._waiting:
            end, number = self._group(text, start, stop)
            if more and number == self._waiting < self._max_lines:
                break
            self.ready.append(Lines(self.line, text[start:end], number))
            self.line += number
            self._waiting -= number
            start = end + 1
        self._parts = [text[start:]]
        self._size = len(text) - start

    def finish(self) -> None:
        """Cut what is left; the last line needs no line end."""
        self.take()
        if self._size:
            self._take_line()

    def _group(self, text: bytes, start: int, stop: int) -> tuple[int, int]:
        """Return where the group at `start` ends, and its number of lines."""
        number, end = self._waiting, stop - 1
        if number > self._max_lines:
            end = _line_end(text, self._max_lines, number, start, stop)
            number = self._max_lines
        if end - start <= self._max_bytes:
            return end, number
        end = text.rfind(b"\n", start, start + self._max_bytes + 1)
        if end < 0:
            end = text.find(b"\n", start)
        return end, text.count(b"\n", start, end) + 1

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        self._parts.append(part)
        if self._size > MAX_LINE and not self._waiting:
            self._parts.clear()

    def _take_line(self) -> None:
        """Cut the one line that is held. Of a line as long as memory, two copies are the most."""
        if self._size > MAX_LINE:
            problem = f"the line is longer than {MAX_LINE} bytes"
            self.ready.append(Lines(self.line, b"", 1, problem))
        else:
            self.ready.append(Lines(self.line, b"".join(self._parts)))
        self._parts.clear()
        self._size = 0
        self.line += 1


def _line_end(text: bytes, number: int, total: int, start: int, stop: int) -> int:
    """Return where the `number`-th of the `total` lines in `text[start:stop]` ends.

    The first look is a little before the place where it ends if all are of one size, for then not
    much is left to be counted.
    """
    share = (stop - start) * number // total
    middle = start + share - share // 16
    while number > 1:
        before = total - text.count(b"\n", middle, stop)
        if before < number:
            start, number, total = middle, number - before, total - before
        else:
            stop, total = middle, before
        middle = (start + stop) // 2
    return text.find(b"\n", start)


async def _next(
    pieces: AsyncGenerator[bytes, None], source: str, cutter: _Cutter
) -> bytes | InputError | None:
    """Return the next piece, `None` at the end, or why there is no more."""
    try:
        return await anext(pieces, None)
    except InputError as error:
        return error
    except EOFError:
        reason = f"the gzip data is cut off in line {cutter.open_line}"
    except zlib.error:
        reason = f"the gzip data is corrupt in line {cutter.open_line}"
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
