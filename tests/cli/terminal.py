"""cachectl as a person sees it: on a terminal of 60 columns."""

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
CACHECTL = (sys.executable, "-m", "cachectl")
LEADER = ("sh", "-c", ': <>"$0"; exec "$@"')
"""The terminal that the leader of a session opens first controls it."""


class Terminal:
    """cachectl on a pseudo-terminal, its controlling one: type, and read what is shown."""

    def __init__(
        self,
        words: Sequence[str],
        cwd: Path,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        /,
        program: Sequence[str] = CACHECTL,
        **variables: str,
    ) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 60, 0, 0))
        self.process = subprocess.Popen(
            [*LEADER, os.ttyname(slave), *program, *words],
            stdin=stdin or slave,
            stdout=stdout or slave,
            stderr=slave,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **variables},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    @property
    def echoes(self) -> bool:
        """Whether what is typed is seen."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def expect(self, text: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.shown!r}"
            if select.select([self._master], [], [], left)[0]:
                self.shown += os.read(self._master, 65536).decode()

    def type(self, text: str | bytes) -> None:
        os.write(self._master, text if isinstance(text, bytes) else text.encode())

    def end(self) -> int:
        """Read to the end, and return the exit code; `echoed` is whether it left the echo on."""
        end = time.monotonic() + 20
        while select.select([self._master], [], [], max(end - time.monotonic(), 0))[0]:
            try:
                read = os.read(self._master, 65536)
            except OSError:  # the other side has closed
                break
            self.shown += read.decode()
        self.echoed = self.echoes
        os.close(self._master)
        return self.process.wait(20)
