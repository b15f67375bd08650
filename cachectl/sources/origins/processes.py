"""A callable that keeps a core busy: called in processes of its own, one call a process at a time.

A process pool of the library loses all calls under way when one process dies, and cannot end a call
that hangs; here both concern one call and one process.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from cachectl.models import Request
from cachectl.sources.origins.failure import Failure, OriginError
from cachectl.sources.origins.local import EXHAUSTED, too_long
from cachectl.sources.threads import Threads

START = 60.0
"""Seconds that a process may take to import the callable."""
END = 0.5
"""Seconds that all processes are given to end by themselves."""


class ProcessesOrigin:
    """Computes values in as many processes as there are calls at once, or cores if these are fewer."""

    def __init__(self, spec: str, directory: str, *, concurrency: int, timeout: float) -> None:
        """Start no process yet; `directory` comes first on their `sys.path`."""
        self._start = partial(_Process, spec, directory)
        self._timeout = timeout
        self._free = asyncio.Semaphore(min(concurrency, os.cpu_count() or 1))
        self._threads = Threads()
        self._idle: list[_Process] = []

    async def compute(self, request: Request) -> bytes:
        """Return the value as the JSON text that `CacheClient` stores; raises `OriginError`.

        A process that dies fails its one call, one that hangs is killed at its deadline.
        """
        if self._threads.exhausted():
            raise OriginError(EXHAUSTED)
        async with self._free:
            process = self._idle.pop() if self._idle else self._begun()
            made: bytes | Failure | None = None
            try:
                made = await self._made(process, request.params or {})
            finally:
                if made is None or process.ended or not process.ready:
                    process.kill()
                else:
                    self._idle.append(process)
        made = too_long(self._timeout) if made is None else made
        if isinstance(made, Failure):
            raise OriginError(made)
        return made

    async def close(self) -> None:
        """End the processes: those that do not end soon are killed."""
        self._threads.close()
        for process in self._idle:
            process.leave()
        end = monotonic() + END
        while self._idle:
            self._idle.pop().end(max(end - monotonic(), 0.0))

    def _begun(self) -> "_Process":
        try:
            return self._start()
        except OSError as error:
            reason = (error.strerror or "no room for it").lower()
            msg = f"the origin's process cannot be started: {reason}"
            raise OriginError(Failure(msg, again=True)) from None

    async def _made(self, process: "_Process", params: dict[str, Any]) -> bytes | Failure | None:
        """Return what the process answers, None when it did not in time."""
        now = asyncio.get_running_loop().time
        if not process.ready:
            started = await self._threads.outcome(process.listen, now() + START)
            if started is None:
                return Failure("the origin's process did not start in time")
            if started.value is not None:
                return started.value  # type: ignore[no-any-return]
            process.ready = True
        asked = await self._threads.outcome(partial(process.ask, params), now() + self._timeout)
        return None if asked is None else asked.value


class _Process:
    """A child that runs `worker.work`; it is in a session of its own, so that Ctrl-C is not its."""

    def __init__(self, spec: str, directory: str) -> None:
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from cachectl.sources.origins.worker import work;"
            f" work({theirs.fileno()}, {spec!r}, {directory!r})"
        )
        with ours, theirs:
            self._child = subprocess.Popen(  # noqa: S603 our own interpreter
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout is the report's
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            self._line: Connection[Any, Any] = Connection(ours.detach())
        self.ready = False
        self.ended = False

    def ask(self, params: dict[str, Any]) -> bytes | Failure:
        """Make one call."""
        try:
            self._line.send(params)
        except OSError:  # it has died meanwhile: its answer says so
            pass
        except Exception as error:  # noqa: BLE001 what cannot be pickled: too deep
            msg = f"the parameters cannot be sent to a process: {type(error).__name__}"
            return Failure(msg, of_request=True)
        return self.listen()  # type: ignore[no-any-return]

    def listen(self) -> Any:
        """Return what it says next, or the failure that it died."""
        try:
            return self._line.recv()
        except (EOFError, OSError):
            self.ended = True
            return Failure(f"the origin's process {self._death()}")
        except Exception as error:  # noqa: BLE001 what it cannot be read by
            self.ended = True
            return Failure(f"the origin's process sent what cannot be read: {type(error).__name__}")

    def _death(self) -> str:
        try:
            code = self._child.wait(END)
        except subprocess.TimeoutExpired:
            return "closed its line"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    def leave(self) -> None:
        """Let it see that it is not needed any more."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._line.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    def end(self, patience: float) -> None:
        """Wait so long for its end, then kill it."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(patience)
        self.kill()

    def kill(self) -> None:
        """End it now, and what it has started; a thread that waits for its answer goes on."""
        if self._child.poll() is None:  # not reaped yet: the group is surely its own
            with suppress(OSError):
                os.killpg(self._child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(END)
        self.leave()
