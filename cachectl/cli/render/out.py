"""stdout as it is: a terminal for people, or a pipe for programs."""

import sys
from collections.abc import Iterable


def is_terminal() -> bool:
    """Whether a person reads along."""
    return sys.stdout.isatty()


def write(data: bytes) -> None:
    """Write bytes exactly, at once."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def lines(texts: Iterable[str]) -> None:
    """Write lines of text in one go; characters that the encoding lacks are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    write("".join(f"{text}\n" for text in texts).encode(encoding, "backslashreplace"))
