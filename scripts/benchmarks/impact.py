"""What another client feels while cachectl warms and flushes, and whether --max-latency holds.

The baseline is the same client beside processes that take as much CPU as cachectl did at its default
pace, and never touch the server: what is felt beyond it is the server's doing, not the scheduler's.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import NamedTuple

from scripts.benchmarks import data, limit
from scripts.benchmarks.felt import KEYS, company, other_client
from scripts.benchmarks.processes import FULL, Place, cachectl, expect, filled, program
from scripts.benchmarks.tables import Contest, Goal, comparison, markdown, milliseconds, rate
from tests.servers import ServerProcess

IDLE = "idle"
COMMANDS = ("warm", "flush")
FAST, GENTLE = "{}, `--pace full`", "{}, default pace"
BASELINE = "beside a process as busy as {} at its default pace"
MEASURED = 3.0  # seconds of what has no end of its own
START_UP = 0.4  # seconds in which a command does not touch the server yet
IMPACT, SPEED = Goal(4.0, at_most=True), Goal(0.5)


class Felt(NamedTuple):
    """Seconds that GETs took; how much CPU the company took, and its keys a second, if it has any."""

    p50: float
    p99: float
    longest: float
    cpu: float = 0.0
    rate: float = 0.0


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield what was felt in each company, the ratios, and what --max-latency did."""
    with Place() as place:
        load = data.Load(entries, ("natal", "other"))
        lines = data.write_jsonl(load, place.path / "entries.jsonl")
        protocol = data.write_protocol(load, place.path / "entries.resp")
        yield f"1,000 GETs a second, medians of {runs} runs that alternate; {entries:,} keys"
        turns = [turn(place, load, lines, protocol) for _ in range(runs + 1)][1:]
        found = {name: middle([felt[name] for felt in turns]) for name in turns[0]}
        yield from figures(found)
        yield from ratios(found)
        yield from limit.bench(place, lines, runs)


def turn(place: Place, load: data.Load, lines: Path, protocol: Path) -> dict[str, Felt]:
    """Measure each company once, every one on a fresh server."""
    empty = partial(ServerProcess, tcp=True)
    full = partial(filled, place, protocol, load.count)
    flushed = (load.count + 1) // 2
    felt = {IDLE: beside(place, full, 0.0)}
    for name, server, words, keys in (
        ("warm", empty, ("warm", lines), load.count),
        ("flush", full, ("flush", "natal", "--yes"), flushed),
    ):
        left = KEYS + (load.count if name == "warm" else load.count - flushed)
        felt[FAST.format(name)] = during(place, server, (*words, *FULL), keys, left)
        gentle = during(place, server, words, keys, left)
        felt[GENTLE.format(name)] = gentle
        felt[BASELINE.format(name)] = beside(place, full, gentle.cpu)
    return felt


def during(
    place: Place,
    fresh: Callable[[], AbstractContextManager[ServerProcess]],
    words: tuple[object, ...],
    keys: int,
    left: int,
) -> Felt:
    """Return what was felt during a command on so many keys that leaves so many behind."""
    with fresh() as server:
        with other_client(place, server) as client:
            begun = perf_counter()
            done = place.run(cachectl(server, *words))
            ended = perf_counter()
        expect("keys in the end", server.raw("DBSIZE"), left)
    answers = client.answers.between(begun + START_UP, ended)
    return Felt(
        answers.quantile(0.5),
        answers.quantile(0.99),
        answers.quantile(1),
        done.cpu_seconds / done.seconds,
        keys / done.seconds,
    )


def beside(
    place: Place, fresh: Callable[[], AbstractContextManager[ServerProcess]], cpu: float
) -> Felt:
    """Return what is felt beside processes that take so much CPU and leave the server alone."""
    spinning = [program("spin", cpu / ceil(cpu)) for _ in range(ceil(cpu))]
    with fresh() as server, other_client(place, server) as client, company(place, *spinning):
        sleep(START_UP)
        begun = perf_counter()
        sleep(MEASURED)
        ended = perf_counter()
    answers = client.answers.between(begun, ended)
    return Felt(answers.quantile(0.5), answers.quantile(0.99), answers.quantile(1), cpu)


def middle(runs: list[Felt]) -> Felt:
    """Return the median of each figure."""
    return Felt(*(median(figures) for figures in zip(*runs, strict=True)))


def figures(found: dict[str, Felt]) -> Iterator[str]:
    """Yield the table of what was felt."""
    header = ("another client's GETs", "p50", "p99", "longest", "CPU of the company", "its keys")
    rows = [
        (
            name,
            milliseconds(felt.p50),
            milliseconds(felt.p99),
            milliseconds(felt.longest),
            f"{felt.cpu:.0%}",
            rate(felt.rate) if felt.rate else "",
        )
        for name, felt in found.items()
    ]
    yield from markdown(header, rows)


def ratios(found: dict[str, Felt]) -> Iterator[str]:
    """Yield the tables of the p99 against the baseline, and of the default pace against the full one."""
    p99s = {name: felt.p99 for name, felt in found.items()}
    rates = {name: felt.rate for name, felt in found.items()}
    impacts, speeds = [], []
    for name in COMMANDS:
        fast, gentle, peer = FAST.format(name), GENTLE.format(name), BASELINE.format(name)
        impacts.append(Contest(f"p99 during {gentle}", peer, gentle, IMPACT))
        impacts.append(Contest(f"p99 during {fast}", peer, fast, None))
        speeds.append(Contest(f"keys a second, {gentle}", fast, gentle, SPEED))
    yield from comparison(impacts, p99s, milliseconds)
    yield from comparison(speeds, rates, rate)
