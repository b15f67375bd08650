"""How far long work is: a bar on a terminal, a line every ten seconds in a log, or nothing."""

import os
import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from cachectl.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cachectl.models import Observer, Progress

LOG_PAUSE = 10.0
"""Seconds between two lines of progress in a log."""


@contextmanager
def progress(session: Session) -> "Iterator[Observer]":
    """Give an observer that shows what it is told on stderr, as fits whoever looks on."""
    if session.said.quiet:
        yield lambda _progress: None
    elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar() as observe:
            yield observe
    else:
        yield _log(session)


def _log(session: Session) -> "Observer":
    last = start = monotonic()

    def observe(told: "Progress") -> None:
        nonlocal last
        now = monotonic()
        if now - last >= LOG_PAUSE:
            last = now
            session.say(_line(told, now - start))

    return observe


def _line(told: "Progress", seconds: float) -> str:
    total = f" of {told.total} ({told.done / told.total:.0%})" if told.total else ""
    failed = f", {told.failed} failed" if told.failed else ""
    return f"{told.doing}: {told.done}{total}, {told.done / seconds:.0f}/s{failed}"


@contextmanager
def _bar() -> "Iterator[Observer]":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    start = monotonic()
    bar = Bar(*columns, console=Console(stderr=True))
    task = bar.add_task("", total=None, rate="")

    def observe(told: "Progress") -> None:
        bar.start()  # at the first news: work that cannot begin shows no bar
        rate = f"{told.done / max(monotonic() - start, 1e-6):.0f}/s"
        if told.failed:
            rate += f", {told.failed} failed"
        bar.update(task, description=told.doing, completed=told.done, total=told.total, rate=rate)

    try:
        yield observe
    finally:
        bar.stop()
