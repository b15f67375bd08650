"""--max-latency, pushed over by a third process: how long until the other client is under it again.

The push alone has to stay under the limit, together with a warm that does not hold back it has to be
over: both are measured and shown, since otherwise the third figure means nothing. Part of `impact`.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread
from time import perf_counter, sleep
from typing import IO, NamedTuple

from scripts.benchmarks.felt import Answers, company, other_client
from scripts.benchmarks.processes import FULL, Place, cachectl, ended, program
from scripts.benchmarks.tables import markdown, milliseconds
from tests.servers import ServerProcess

LIMIT = 0.002
MAX_LATENCY = ("--max-latency", "2ms")
GOAL = 1.0  # seconds that the client may stay over the limit at a stretch
SHARE, WINDOW = 0.9, 0.2  # "recent": the p90 of the last 200 ms
LOOPS = (
    0.0011,
    0.0014,
    0.0017,
)  # seconds that the push holds the server up, the first that will do
PAUSE = 0.0006  # seconds of the push between two loops
BEFORE, PUSHED, AFTER = 3.0, 5.0, 1.0  # seconds
CHUNK = 1 << 20
ALONE, FREE = "push alone", "push and warm, `--pace full`"
BRAKED = "push and warm, `--pace full --max-latency 2ms`"
CONTENDERS = {ALONE: None, FREE: FULL, BRAKED: (*FULL, *MAX_LATENCY)}


class Pushed(NamedTuple):
    """Seconds: p90s, over the limit at a stretch and in all, and what the warm's report says."""

    before: float
    meanwhile: float
    stretch: float
    over: float
    held_back: float = 0.0


def bench(place: Place, lines: Path, runs: int) -> Iterator[str]:
    """Yield the table: the push alone, beside a warm without the limit, beside one that has it."""
    loop = strong_enough(place, lines)
    turns = [
        {name: pushed(place, lines, options, loop) for name, options in CONTENDERS.items()}
        for _ in range(runs)
    ]
    found = {name: middle([turn[name] for turn in turns]) for name in CONTENDERS}
    fair = found[ALONE].meanwhile < LIMIT < found[FREE].meanwhile
    worst = {name: max(turn[name].stretch for turn in turns) for name in CONTENDERS}
    yield ""
    yield f"Limit {LIMIT * 1000:.0f} ms; a third process holds the server up for {milliseconds(loop)},"
    yield f"{milliseconds(PAUSE)} apart, for {PUSHED:.0f} s; medians of {runs} runs. Over the limit is"
    yield f"the p90 of the last {WINDOW * 1000:.0f} ms."
    header = ("what", "p90 before", "p90 in the push", "over at a stretch (worst)", "over in all")
    rows = [(name, *cells(found[name], worst[name])) for name in CONTENDERS]
    verdicts = ("", "", verdict(found[BRAKED].stretch, fair=fair))
    judged = [(*row, said) for row, said in zip(rows, verdicts, strict=True)]
    yield from markdown((*header, "held_back_seconds", "goal"), judged)


def cells(found: Pushed, worst: float) -> tuple[str, ...]:
    """Return the cells of a row."""
    return (
        milliseconds(found.before),
        milliseconds(found.meanwhile),
        f"{found.stretch:.2f} s ({worst:.2f} s)",
        f"{found.over:.2f} s",
        f"{found.held_back:.2f}",
    )


def verdict(stretch: float, *, fair: bool) -> str:
    """Return whether the goal was reached, if the push was one that can be answered by holding back."""
    if not fair:
        return "nothing is shown: alone it must be under the limit, together over"
    return f"<= {GOAL:.0f} s: {'reached' if stretch <= GOAL else '**missed**'}"


def middle(runs: list[Pushed]) -> Pushed:
    """Return the median of each figure."""
    return Pushed(*(median(figures) for figures in zip(*runs, strict=True)))


def strong_enough(place: Place, lines: Path) -> float:
    """Return the shortest loop by which a warm that does not hold back is over the limit."""
    for loop in LOOPS[:-1]:
        if pushed(place, lines, FULL, loop).meanwhile > LIMIT * 1.1:
            return loop
    return LOOPS[-1]


def pushed(place: Place, lines: Path, options: tuple[str, ...] | None, loop: float) -> Pushed:
    """Measure one push on a fresh server, beside a warm with these options or beside none."""
    report: list[float] = []
    with ServerProcess(tcp=True) as server, other_client(place, server) as client:
        push = program("push", server.port, rounds(server, loop), PAUSE)
        with warming(place, server, lines, options, report):
            sleep(BEFORE)
            begin = perf_counter()
            with company(place, push):
                sleep(PUSHED)
                end = perf_counter()
            sleep(AFTER)
    before = client.answers.between(begin - BEFORE / 2, begin).quantile(SHARE)
    meanwhile = client.answers.between(begin, end).quantile(SHARE)
    return Pushed(before, meanwhile, *over(client.answers, begin, end), *report)


def over(answers: Answers, begin: float, end: float) -> tuple[float, float]:
    """Return the seconds that the recent p90 was over the limit: the longest stretch, and all."""
    longest, total, since, last = 0.0, 0.0, None, begin
    for when, recent in answers.between(begin - WINDOW, end).recent(SHARE, WINDOW):
        if when < begin:
            continue
        if since is not None:
            total += when - last
            longest = max(longest, when - since)
        if recent <= LIMIT:
            since = None
        elif since is None:
            since = when
        last = when
    return longest, total


def rounds(server: ServerProcess, loop: float) -> int:
    """Return how many rounds of an empty loop hold this server up for so many seconds."""
    probe, fastest = 1_000_000, 1.0
    for _ in range(20):
        begun = perf_counter()
        server.raw("EVAL", f"for i = 1, {probe} do end", 0)
        fastest = min(fastest, perf_counter() - begun)
    return int(probe * loop / fastest)


@contextmanager
def warming(
    place: Place,
    server: ServerProcess,
    lines: Path,
    options: tuple[str, ...] | None,
    held_back: list[float],
) -> Iterator[None]:
    """Feed `warm -` the same lines again and again; add its report's `held_back_seconds` after it."""
    if options is None:
        yield
        return
    enough = Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        words = cachectl(server, "warm", "-", "-o", "json", *options)
        process = place.start(words, -1, out, err)
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        feeder = Thread(target=feed, args=(lines, process.stdin, enough))
        begun = perf_counter()
        feeder.start()
        try:
            yield
        finally:
            enough.set()
            done = ended(process, begun, out, err)
            feeder.join()
    held_back.append(json.loads(done.out)["held_back_seconds"])


def feed(lines: Path, stdin: IO[bytes], enough: Event) -> None:
    """Write whole lines until it is enough; an end of the process is told by its exit code."""
    try:
        with stdin:
            while not enough.is_set():
                with lines.open("rb") as file:
                    while not enough.is_set() and (chunk := file.readlines(CHUNK)):
                        stdin.write(b"".join(chunk))
    except BrokenPipeError:
        pass
