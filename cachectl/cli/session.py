"""From settings to an operation on a store: the only loop; signals become `stop`."""

import gc
import json
import os
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import typer

from cachectl.cli.ending import INTERRUPTED, show_error_line, wants_json
from cachectl.cli.globals import Globals
from cachectl.cli.options import Push
from cachectl.config.load import defaults, find, load
from cachectl.config.resolve import resolve
from cachectl.config.settings import Server, Settings
from cachectl.errors import RefusedError, SilenceError, UnreachableError, UsageError
from cachectl.values import safe

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from cachectl.operations.stop import Stop
    from cachectl.store.embedded import Embedded
    from cachectl.store.store import Store

T = TypeVar("T")
_WRITE = {"set", "delete"}
"""Commands that change single keys: an answer that got lost leaves open what they did."""


class Session:
    """One command on one server: what was said, the settings, and the server they lead to."""

    def __init__(self, ctx: typer.Context, push: Push | None = None) -> None:
        """Read the settings and choose the server; raises `UsageError` and `ConfigError`."""
        self._push = (push or Push()).check()
        self.said: Globals = ctx.find_root().obj
        deadline = self.said.deadline
        self._end = None if deadline is None else monotonic() + deadline
        if os.environ.get("CACHECTL_OUTPUT", "text") not in {"", "text", "json"}:
            msg = "CACHECTL_OUTPUT is neither text nor json"
            raise UsageError(msg)
        self.as_json = wants_json(self.said)
        self.settings = read_settings(self.said)
        self.server = self._resolved()
        self.signal: int | None = None
        for warning in self.server.warnings:
            self.warn(warning)
        self.tell(f"server {self.server.address.text}, from {self.server.setting}")

    def _resolved(self) -> Server:
        server = resolve(
            self.settings, profile=self.said.profile, url=self.said.url, env=os.environ
        )
        if self.said.timeout is None:
            return server
        timeout = self.said.timeout
        connect = min(server.cli.connect_timeout, timeout)
        return server._replace(cli=server.cli._replace(timeout=timeout, connect_timeout=connect))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that every report begins with."""
        return {
            "command": self.said.command,
            "profile": self.server.profile,
            "server": self.server.address.text,
        }

    def refuse_read_only(self) -> None:
        """Raise `RefusedError` when nothing may be written here."""
        if self.server.read_only_by is not None:
            guard = self.server.read_only_by
            msg = f"{self.server.address.text} is the server of the profile {guard}, which is read_only"
            raise RefusedError(msg, f"write to another server, or change read_only of {guard}")

    def tell(self, line: str) -> None:
        """Say something on stderr to who asked for more (`--verbose`)."""
        if self.said.verbose:
            self._show("note", line)

    def say(self, line: str) -> None:
        """Say something on stderr, unless `--quiet`."""
        if not self.said.quiet:
            self._show("note", line)

    def warn(self, line: str) -> None:
        """Warn on stderr, even with `--quiet`."""
        self._show("warning", line)

    def insist(self, line: str) -> None:
        """Say something on stderr that is to be read before anything is removed."""
        self._show("note", line)

    @property
    def over(self) -> bool:
        """Whether a signal or the deadline has ended the command: nothing more is begun."""
        return self.signal is not None or (self._end is not None and monotonic() >= self._end)

    def _show(self, kind: str, line: str) -> None:
        """Print a line on stderr; with JSON output that too is one object a line."""
        if self.as_json:
            show_error_line(json.dumps({kind: line}, ensure_ascii=False))
        else:
            show_error_line(f"{kind}: {safe(line)}" if kind == "warning" else safe(line))

    def run(
        self, operation: "Callable[[Store], Awaitable[T]]", *, start_embedded: bool = False
    ) -> T:
        """Run an operation that changes nothing half: a signal or the deadline ends it at once."""
        self._ask()

        async def begin(_stop: "Stop") -> T:
            async with self._store(start_embedded=start_embedded) as store, store.watched():
                return await operation(store)

        return self._run(begin, stoppable=False)

    def run_stoppable(
        self, operation: "Callable[[Store, Stop], Awaitable[T]]", *, start_embedded: bool = False
    ) -> T:
        """Run an operation that stops cleanly and reports; a second signal ends it at once."""
        self._ask()

        async def begin(stop: "Stop") -> T:
            async with self._store(start_embedded=start_embedded) as store, store.watched():
                return await operation(store, stop)

        return self._run(begin, stoppable=True)

    def run_without_server(self, operation: "Callable[[], Awaitable[T]]") -> T:
        """Run an operation that asks no server; a signal or the deadline ends it at once."""
        return self._run(lambda _stop: operation(), stoppable=False)

    def run_embedded(self, operation: "Callable[[Embedded], Awaitable[T]]") -> T:
        """Run an operation on the embedded server itself; raise `UsageError` for another server."""
        from cachectl.store.embedded import Embedded

        address = self.server.address
        chosen = self.server.said_by != "default"
        if address.kind != "embedded" and chosen:
            msg = f"{address.text} ({self.server.setting}) is no embedded server"
            raise UsageError(msg, "name one: --url embedded: or --url embedded:DIRECTORY")
        embedded = Embedded(address.path if address.kind == "embedded" else "", os.environ)
        return self._run(lambda _stop: operation(embedded), stoppable=False)

    def _ask(self) -> None:
        """Have the passwords typed that the profile wants typed: once, before there is a loop."""
        if self.server.asks:
            from cachectl.cli.prompt import answered

            self.server = answered(self.server)

    def _store(self, *, start_embedded: bool) -> "Store":
        from cachectl.store.open import open_store
        from cachectl.store.pace import Pace, sizes
        from cachectl.store.tries import Patience

        cli = self.server.cli
        connect = min(cli.connect_timeout, cli.timeout)
        patience = Patience(cli.timeout, connect, cli.attempts, 0.05, cli.timeout)
        pace, rate, max_latency = self._push
        return open_store(
            self.server,
            patience,
            start_embedded=start_embedded,
            announce=self.say,
            pace=Pace(sizes(pace, self.server.credentials.username), rate, max_latency),
        )

    def _run(self, begin: "Callable[[Stop], Awaitable[T]]", *, stoppable: bool) -> T:
        import asyncio

        from cachectl.operations.loop import run
        from cachectl.operations.stop import Stop

        async def main() -> T:
            stop = Stop()
            work = asyncio.ensure_future(begin(stop))
            self._watch(work, stop, stoppable=stoppable)
            return await work

        if not gc.isenabled():  # all is imported that will be (`__main__`)
            gc.freeze()
            gc.enable()
        try:
            return run(main())
        except asyncio.CancelledError:
            raise self._cut_short() from None
        except UnreachableError as error:
            error.message += f", server from {self.server.setting}"
            if error.maybe_applied and self.said.command in _WRITE:
                error.message += "; whether it was applied is unknown"
            raise

    def _watch(self, work: "asyncio.Future[T]", stop: "Stop", *, stoppable: bool) -> None:
        """Let signals and the deadline stop the work, cleanly where it can be."""
        import asyncio
        import signal

        loop = asyncio.get_running_loop()

        def end(number: int | None) -> None:
            again = number is not None and stop.hurried.is_set()
            self.signal = number or self.signal
            stop.set("interrupted" if number else "deadline")
            if again or not stoppable:
                work.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end, number)
        if self._end is not None:
            loop.call_later(max(self._end - monotonic(), 0.0), end, None)

    def _cut_short(self) -> BaseException:
        if self.signal is None:
            msg = f"the deadline of {self.said.deadline:g}s passed before the server had answered"
            return SilenceError(msg, "a longer --deadline gives it more time")
        show_error_line("interrupted")
        return typer.Exit(128 + self.signal)

    def exit_code(self, code: int, stopped: str | None) -> int:
        """Return the exit code of a report: a signal's own when it ended the work, or its proof."""
        if stopped is not None and self.signal:
            return 128 + self.signal
        return INTERRUPTED if stopped == "interrupted" else code


def read_settings(said: Globals) -> Settings:
    """Return the settings of the file that is named or found, or those that hold without one."""
    found = find(said.config, os.environ, Path.cwd())
    return defaults() if found is None else load(found, os.environ)


def stdin_is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def stdin_bytes() -> BinaryIO:
    """Return stdin as bytes; raise `UsageError` when it was closed (`<&-`)."""
    if sys.stdin is None:
        msg = "stdin is closed"
        raise UsageError(msg, "give it a file or a pipe")
    return sys.stdin.buffer
