"""Files and stdin -> numbered lines, in constant memory: gzip, byte-order mark, line ends.

Everything is read unbuffered. A thread that is blocked in a `BufferedReader` holds its lock, and an
interpreter that exits meanwhile aborts on it ("could not acquire lock … at interpreter shutdown").
"""

import asyncio
import os
import stat
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractContextManager, aclosing, closing, nullcontext, suppress
from functools import partial
from io import BytesIO
from itertools import accumulate, chain
from typing import Any, BinaryIO, Final, Generic, NamedTuple, TypeVar

from cachectl.errors import InputError
from cachectl.keys import MAX_KEY
from cachectl.sources.feed import in_thread
from cachectl.values import safe

STDIN: Final = "-"
BLOCK: Final = 256 * 1024
"""Bytes asked for at a time: a thousand lines, and still in the processor's cache."""
AHEAD: Final = 4
"""Blocks that are read ahead in a thread, which gets its turn only now and then."""
MAX_LINE: Final = MAX_KEY
"""The longest line in bytes, so that neither its key nor its value is more than a server takes."""
MAX_BYTES: Final = 1_000_000
"""Lines that are handled together have at most so many bytes, unless one line alone has more."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


Cut = TypeVar("Cut")
"""What a source is cut into."""


class Lines(NamedTuple):
    r"""Lines that follow each other, without their `\n`; the first is number `first` of the source.

    With `problem`, line `first` was not kept and `texts` is empty. Whoever gets them owns `texts`.
    """

    first: int
    texts: list[bytes]
    problem: str | None = None


class Block(NamedTuple):
    r"""Whole lines as one piece, each closed by its `\n`; the first is number `first` of the source.

    With `problem`, line `first` was not kept and `data` is empty.
    """

    first: int
    data: bytes
    problem: str | None = None


def line_groups(
    source: str, *, stdin: BinaryIO, max_lines: int, max_bytes: int = MAX_BYTES
) -> AsyncGenerator[Lines, None]:
    """Yield the lines of `source` (a path, or `-` for stdin) as soon as they are read.

    What may keep one waiting (stdin, a named pipe) is read in a thread, and gzip is inflated there;
    nothing else is done there: two threads that both run Python fight for the interpreter's lock, and
    the loop loses. Nothing may have been read from `stdin` through its buffer before. Raises
    `InputError` when the source cannot be read, or not to its end; what came before has been yielded
    by then.
    """
    return _cut(source, stdin, _Cutter(max_lines, max_bytes))


def line_blocks(source: str, *, stdin: BinaryIO) -> AsyncGenerator[Block, None]:
    """Yield the lines of `source` as `line_groups` does, but in the pieces in which they are read.

    So they can be searched together. A blank line is a line.
    """
    return _cut(source, stdin, _Joiner())


async def _cut(source: str, stdin: BinaryIO, cutter: "_Pieces[Cut]") -> AsyncGenerator["Cut", None]:
    read = _pieces(source, stdin)
    feed = _in_turns(read) if _is_plain_file(source) else in_thread(read, AHEAD)
    async with aclosing(feed) as pieces:
        while isinstance(piece := await _next(pieces, source, cutter), bytes):
            cutter.feed(piece)
            while cutter.ready:
                yield cutter.ready.popleft()  # nothing of it is held here: it may be large
    if piece is not None:
        raise piece
    cutter.finish()
    while cutter.ready:
        yield cutter.ready.popleft()


def _is_plain_file(source: str) -> bool:
    """Whether a source is a file on the disk that is read as it is."""
    try:
        if source == STDIN or not stat.S_ISREG(os.stat(source).st_mode):
            return False
        with open(source, "rb", buffering=0) as file:
            return file.read(len(_GZIP)) != _GZIP
    except (OSError, ValueError):
        return False


async def _in_turns(pieces: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces; between two of them the loop gets its turn."""
    with closing(pieces):
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)


def named(source: str) -> str:
    """Return a source's name for messages, as the operator wrote it."""
    return "- (stdin)" if source == STDIN else safe(source)


def first_line(source: str) -> bytes | None:
    """Return the first line of a file that is not blank; None for stdin and what cannot be read."""
    head = b""
    if source != STDIN and os.path.isfile(source):
        unreadable = suppress(InputError, OSError, EOFError, zlib.error)
        with unreadable, closing(_pieces(source, BytesIO())) as pieces:
            for piece in pieces:
                head = (head + piece).lstrip()
                if b"\n" in head or len(head) > MAX_BYTES:
                    break
    return head.partition(b"\n")[0] or None


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but white space."""
    return not line.strip()


class _Pieces(Generic[Cut]):
    """Cuts pieces into whole lines, which lie in `ready`; `line` is the number of the next."""

    def __init__(self) -> None:
        self.ready: deque[Cut] = deque()
        self.line = 1
        # The beginning of a line, joined once it is whole; of one that is too long only its size.
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Cut the lines that `piece` completes, and keep what follows the last of them."""
        raise NotImplementedError

    def finish(self) -> None:
        """Cut the last line if no line end closed it."""
        raise NotImplementedError

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        self._parts.append(part)
        if self._size > MAX_LINE:
            self._parts.clear()

    def _taken(self) -> bytes:
        """Return what is held, which is held no more. Of a line as long as memory, two are the most."""
        text = b"".join(self._parts)
        self._parts, self._size = [], 0
        return text


class _Joiner(_Pieces[Block]):
    """Cuts blocks of whole lines."""

    def feed(self, piece: bytes) -> None:
        """Cut off what follows the last line end; the rest, with what was held, is a block."""
        first, end = piece.find(b"\n") + 1, piece.rfind(b"\n") + 1
        if not end:
            self._add(piece)
            return
        if self._size + first - 1 > MAX_LINE:
            self._drop()
        else:
            first = 0
        self._parts.append(piece[first:end])
        self._take()
        self._add(piece[end:])

    def finish(self) -> None:
        """Close the last line as all others are."""
        if self._size > MAX_LINE:
            self._drop()
        elif self._size:
            self._parts.append(b"\n")
            self._take()

    def _take(self) -> None:
        if data := self._taken():
            self.ready.append(Block(self.line, data))
            self.line += data.count(b"\n")

    def _drop(self) -> None:
        self._taken()
        self.ready.append(Block(self.line, b"", _too_long()))
        self.line += 1


class _Cutter(_Pieces[Lines]):
    """Cuts groups of lines within limits."""

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        super().__init__()
        self._max_lines = max_lines
        self._max_bytes = max_bytes

    def feed(self, piece: bytes) -> None:
        """Cut the lines that `piece` completes, and keep what follows the last of them."""
        texts = piece.split(b"\n")
        last = texts.pop()
        if texts:
            self._add(texts[0])
            if self._size > min(MAX_LINE, self._max_bytes):
                self._take_line()
            else:
                texts[0] = b"".join(self._parts)
            self._group(texts if self._parts else texts[1:])
            self._parts, self._size = [], 0
        self._add(last)

    def finish(self) -> None:
        """Cut the last line."""
        if self._size:
            self._take_line()

    def _group(self, texts: list[bytes]) -> None:
        start = 0
        while start < len(texts):
            group = texts[start : start + self._max_lines]
            if sum(map(len, group)) > self._max_bytes:
                sizes = list(accumulate(map(len, group)))
                group = group[: max(1, bisect_right(sizes, self._max_bytes))]
            self.ready.append(Lines(self.line, group))
            self.line += len(group)
            start += len(group)

    def _take_line(self) -> None:
        """Cut the one line that is held."""
        if self._size > MAX_LINE:
            self._taken()
            self.ready.append(Lines(self.line, [], _too_long()))
        else:
            self.ready.append(Lines(self.line, [self._taken()]))
        self.line += 1


def _too_long() -> str:
    return f"the line is longer than {MAX_LINE} bytes"


async def _next(
    pieces: AsyncGenerator[bytes, None], source: str, cutter: "_Pieces[Any]"
) -> bytes | InputError | None:
    """Return the next piece, `None` at the end, or why there is no more."""
    try:
        return await anext(pieces, None)
    except InputError as error:
        return error
    except EOFError:
        reason = f"the gzip data is cut off in line {cutter.line}"
    except zlib.error:
        reason = f"the gzip data is corrupt in line {cutter.line}"
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
