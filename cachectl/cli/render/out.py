"""stdout as it is: a terminal for people, or a pipe for programs."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def is_terminal() -> bool:
    """Whether a person reads along."""
    return sys.stdout is not None and sys.stdout.isatty()


class ClosedPipeError(Exception):
    """Whoever read stdout has gone (`| head`). Not an OSError: Typer would make that exit 1."""


@contextmanager
def _to_a_reader() -> Iterator[None]:
    """Raise `ClosedPipeError` when nobody reads any more."""
    if sys.stdout is None:  # closed before we began: >&-
        raise ClosedPipeError
    try:
        yield
    except BrokenPipeError:
        leave()
        raise ClosedPipeError from None


def write(data: bytes) -> None:
    """Write bytes exactly, at once; raise `ClosedPipeError` when nobody reads any more."""
    with _to_a_reader():
        sys.stdout.flush()
    write_through(data)


def write_through(data: bytes) -> None:
    """Write bytes past Python's buffer: a thread that is blocked in that would hold up the end.

    All of them: a disk that is nearly full takes a part first, and says only then that it is full.
    """
    with _to_a_reader():
        raw = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        view = memoryview(data)
        while view:
            count = raw.write(view)
            if count is None:  # another process that shares this stdout made it non-blocking
                os.set_blocking(raw.fileno(), True)
            view = view[count or 0 :]


def leave() -> None:
    """Keep the interpreter from writing into a closed pipe or full disk once more at its exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return  # stdout is no file: nothing is written at exit


@contextmanager
def even_unread() -> Iterator[None]:
    """Go on although nobody reads the report: the exit code still tells what it was."""
    try:
        yield
    except ClosedPipeError:
        return


def lines(texts: Iterable[str]) -> None:
    """Write lines of text in one go; characters that the encoding lacks are escaped."""
    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"
    write("".join(f"{text}\n" for text in texts).encode(encoding, "backslashreplace"))
