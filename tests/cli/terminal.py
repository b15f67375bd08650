"""cachectl as a person sees it: on a terminal of 60 columns."""

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Terminal:
    """cachectl on a pseudo-terminal: type, and read what is shown."""

    def __init__(self, words: list[str], cwd: Path, **variables: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 60, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cachectl", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **variables},
        )
        os.close(slave)
        self.shown = ""

    def expect(self, text: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self._master], [], [], left)[0]:
                self.shown += os.read(self._master, 65536).decode()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        end = time.monotonic() + 20
        while select.select([self._master], [], [], max(end - time.monotonic(), 0))[0]:
            try:
                read = os.read(self._master, 65536)
            except OSError:  # the other side has closed
                break
            self.shown += read.decode()
        os.close(self._master)
        return self._process.wait(20)
