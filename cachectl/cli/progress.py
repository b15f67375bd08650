"""How far long work is: a bar on a terminal, a line every ten seconds in a log, or nothing."""

import os
import sys
from collections import deque
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from cachectl.cli.session import Session
from cachectl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cachectl.models import Observer, Progress

LOG_PAUSE = 10.0
"""Seconds between two lines of progress in a log."""
LOG_TICK = 0.5
"""Seconds from one look at the clock to the next while there is no news."""
DRAW_PAUSE = 0.1
"""Seconds between two drawings of a bar: news may come a thousand times a second."""
BARS = ((100, 20), (40, 10), (0, 0))
"""The columns of a bar, for terminals of at least so many columns."""
SLOW = 10
"""A rate below it is told with a decimal."""
SEPARATOR = ", "


class Meter:
    """The rate of the last seconds: what was skipped at once, or a pause long ago, says nothing.

    It counts from the first news on.
    """

    SPAN = 20.0
    EVERY = 0.5
    LEAST = 0.1
    """Seconds: over less than this, any rate can come out."""

    def __init__(self) -> None:
        """Start with no news."""
        self._recent: deque[tuple[float, int]] = deque()
        self._last: tuple[float, int] | None = None

    def note(self, now: float, done: int) -> None:
        """Take in how much is done now."""
        self._last = now, done
        if not self._recent or now - self._recent[-1][0] >= self.EVERY:
            self._recent.append((now, done))
        while len(self._recent) > 1 and now - self._recent[1][0] >= self.SPAN:
            self._recent.popleft()

    @property
    def rate(self) -> float | None:
        """How much is done in a second; None where that cannot be told yet."""
        if self._last is None:
            return None
        (since, before), (now, done) = self._recent[0], self._last
        return max(done - before, 0) / (now - since) if now - since >= self.LEAST else None


@contextmanager
def progress(session: Session) -> "Iterator[Observer]":
    """Give an observer that shows what it is told on stderr, as fits whoever looks on."""
    if session.said.quiet:
        yield lambda _progress: None
    elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar() as observe:
            yield observe
    else:
        with _log(session) as observe:
            yield observe


@contextmanager
def _log(session: Session) -> "Iterator[Observer]":
    """Give an observer that writes a line when it is time, whether there is news by then or not."""
    import asyncio

    meter = Meter()
    told: Progress | None = None
    last = monotonic()

    def say_if_due() -> None:
        nonlocal last
        now = monotonic()
        if told is not None:
            meter.note(now, told.done)
        if now - last >= LOG_PAUSE:
            last = now
            command = session.said.command
            session.say(f"{command}: nothing yet" if told is None else line(told, meter.rate))

    def observe(news: "Progress") -> None:
        nonlocal told
        told = news
        say_if_due()

    async def tick() -> None:
        while True:
            await asyncio.sleep(LOG_TICK)
            say_if_due()

    ticking = asyncio.create_task(tick())
    try:
        yield observe
    finally:
        ticking.cancel()


def line(told: "Progress", rate: float | None, width: int | None = None) -> str:
    """Return one line that says how far work is; the least worthy is left out beyond `width` columns."""
    parts = [(worth, text) for worth, text in _parts(told, rate) if text]
    for least in sorted((worth for worth, _ in parts), reverse=True):
        text = f"{told.doing}: " + SEPARATOR.join(text for _, text in parts)
        if width is None or len(text) <= width or not least:
            return text
        parts = [part for part in parts if part[0] != least]
    return told.doing


def _parts(told: "Progress", rate: float | None) -> "Iterator[tuple[int, str]]":
    """Yield what there is to say, in its order, each with its worth: 0 is what is never left out."""
    # rounded down: 100 % is when all is done
    share = f" of {told.total} ({100 * told.done // told.total}%)" if told.total else ""
    yield 0, f"{told.done}{share}"
    if rate is not None:
        yield 4, f"{rate:.{int(0 < rate < SLOW)}f}/s"
    left = (told.total - told.done) / rate if rate and told.total else 0
    yield 2, f"{format_duration(max(round(left), 1))} left" if left > 0 else ""
    if told.hit_rate is not None:
        yield 3, f"hit rate {told.hit_rate * 100:.1f} % so far"
    yield 1, f"{told.failed} failed" if told.failed else ""
    held_back = round(told.held_back, 1)
    yield 5, f"held back {format_duration(held_back)}" if held_back else ""


@contextmanager
def _bar() -> "Iterator[Observer]":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    width = next(bar for columns, bar in BARS if console.width >= columns)
    text = TextColumn("{task.fields[line]}", markup=False)
    bar = Bar(*([BarColumn(bar_width=width)] if width else []), text, console=console)
    task = bar.add_task("", total=None, line="")
    meter = Meter()
    last: Progress | None = None
    drawn = 0.0

    def draw(told: "Progress") -> None:
        bar.start()  # at the first news: work that cannot begin shows no bar
        fitting = line(told, meter.rate, console.width - width - 1)
        bar.update(task, completed=told.done, total=told.total, line=fitting)

    def observe(told: "Progress") -> None:
        nonlocal last, drawn
        last, now = told, monotonic()
        meter.note(now, told.done)
        if now - drawn >= DRAW_PAUSE:
            drawn = now
            draw(told)

    try:
        yield observe
    finally:
        if last is not None:
            draw(last)
        bar.stop()
