"""The requests of an access log ranked, against awk counting the words of its lines."""

import shutil
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random

from scripts.benchmarks.data import SEED
from scripts.benchmarks.processes import Place, expect, program
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, markdown, megabytes, rate

PATHS = 100_000
AT_ONCE = 100_000
COUNT = '{c[$7]++} END {for (k in c) {n++; t += c[k]} printf "%d %d\\n", t, n}'
OURS = "rank"
LIMIT = 300e6


def bench(runs: int = 5, entries: int = 2_000_000) -> Iterator[str]:
    """Yield the medians in lines a second, the ratio, and the highest peak of memory."""
    peers = [name for name in ("mawk", "gawk") if shutil.which(name)]
    peaks: list[int] = []
    with Place() as place:
        path = write_log(entries, place.path / "access.log")
        size = path.stat().st_size // entries
        yield f"{entries:,} lines of {size} bytes, {PATHS:,} paths by Zipf's law"
        yield f"medians of {runs} runs that alternate"
        words = {name: [name, COUNT, str(path)] for name in peers} | {OURS: program("ranked", path)}
        contenders = {
            name: partial(counted, place, said, entries, peaks if name == OURS else [])
            for name, said in words.items()
        }
        found = medians(contenders, runs)
    contests = [Contest("requests of a log, ranked", peer, OURS, Goal(0.3)) for peer in peers]
    yield from comparison(contests, found, rate)
    under = "reached" if max(peaks) < LIMIT else "**missed**"
    goal = f"< {megabytes(LIMIT)}: {under}"
    yield from markdown(("what", "peak", "goal"), [("memory", megabytes(max(peaks)), goal)])


def counted(place: Place, words: list[str], lines: int, peaks: list[int]) -> float:
    """Return the lines a second of a process that counts them, and note its peak."""
    done = place.run(words)
    expect("requests counted", int(done.out.split()[0]), lines)
    peaks.append(done.peak)
    return lines / done.seconds


def write_log(lines: int, path: Path) -> Path:
    """Write a log in common format: the n-th path is asked for 1/n as often as the first."""
    random = Random(SEED)  # noqa: S311 - data, no secret
    paths = [f"/articles/{random.randrange(1_000_000)}/{number}" for number in range(PATHS)]
    weights = list(accumulate(1 / (number + 1) for number in range(PATHS)))
    with path.open("w") as file:
        for start in range(0, lines, AT_ONCE):
            asked = random.choices(paths, cum_weights=weights, k=min(AT_ONCE, lines - start))
            file.writelines(
                line(start + number, target, random) for number, target in enumerate(asked)
            )
    return path


def line(number: int, target: str, random: Random) -> str:
    """Return a line; a thousand stand in a second, and each answer has its own size."""
    second = number // 1000
    time = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
    size = int(random.random() * 90_000)
    host = f"10.{number & 255}.{number >> 8 & 255}.7"
    return f'{host} - - [17/May/2015:{time} +0000] "GET {target} HTTP/1.1" 200 {size}\n'
