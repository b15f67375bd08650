"""stats, which asks memory and TTL of every key, against redis-cli --memkeys, which asks memory."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from scripts.benchmarks import data
from scripts.benchmarks.processes import FULL, Place, cachectl, expect, filled, redis_cli
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from tests.servers import ServerProcess

MEMKEYS = "redis-cli --memkeys"
FAST, GENTLE = "`--pace full`", "default pace"
CONTESTS = (
    Contest("stats, `--pace full`", MEMKEYS, FAST, Goal(2.0)),
    Contest("stats, default pace", MEMKEYS, GENTLE, None),
    Contest("default pace against `--pace full`", FAST, GENTLE, None),
)


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the medians in keys a second and the ratios."""
    load = data.Load(entries)
    with Place() as place:
        protocol = data.write_protocol(load, place.path / "entries.resp")
        yield f"{entries:,} keys with TTLs, medians of {runs} runs that alternate"
        walk = partial(walked, place, load, protocol)
        contenders = {
            MEMKEYS: partial(walk, lambda server: redis_cli(server, "--memkeys"), sampled),
            FAST: partial(
                walk, lambda server: cachectl(server, "stats", "-o", "json", *FULL), told
            ),
            GENTLE: partial(walk, lambda server: cachectl(server, "stats", "-o", "json"), told),
        }
        found = medians(contenders, runs)
    yield from comparison(CONTESTS, found, rate)


def walked(
    place: Place,
    load: data.Load,
    protocol: Path,
    words: Callable[[ServerProcess], list[str]],
    keys: Callable[[str], int],
) -> float:
    """Return the keys a second of a process that looks at every key, by what it says it saw."""
    with filled(place, protocol, load.count) as server:
        done = place.run(words(server))
    expect("keys that were looked at", keys(done.out), load.count)
    return load.count / done.seconds


def sampled(out: str) -> int:
    """Return the keys of redis-cli's `Sampled 1000000 keys in the keyspace!`."""
    line = next(line for line in out.splitlines() if line.startswith("Sampled"))
    return int(line.split()[1])


def told(out: str) -> int:
    """Return the keys of the report."""
    keys: int = json.loads(out)["keys"]
    return keys
