"""warm of ready-made entries: whole processes against redis-cli --pipe, fed ready-made protocol.

Making that protocol costs redis-cli's user time that is not counted here; warm reads the entries as
people have them: JSON Lines, CSV, gzip.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scripts.benchmarks import data
from scripts.benchmarks.processes import FULL, Place, cachectl, redis_cli
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from tests.servers import DEFAULT_VERSION, ServerProcess

PIPE = "redis-cli --pipe"
LINES, GZIP, CSV = "JSON Lines", "gzip", "CSV"
GENTLE = "JSON Lines, default pace"
CONTESTS = (
    Contest("warm from JSON Lines, `--pace full`", PIPE, LINES, Goal(1.0)),
    Contest("warm from JSON Lines, default pace", PIPE, GENTLE, None),
    Contest("default pace against `--pace full`", LINES, GENTLE, Goal(0.5)),
    Contest("warm from gzip, `--pace full`", LINES, GZIP, Goal(0.5)),
    Contest("warm from CSV, `--pace full`", LINES, CSV, Goal(0.5)),
)


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the medians in entries a second and the ratios."""
    load = data.Load(entries)
    with Place() as place:
        lines = data.write_jsonl(load, place.path / "entries.jsonl")
        packed = data.write_gzip(lines, place.path / "entries.jsonl.gz")
        table = data.write_csv(load, place.path / "entries.csv")
        protocol = data.write_protocol(load, place.path / "entries.resp")
        size = lines.stat().st_size
        yield f"{entries:,} entries of {size // entries} bytes, medians of {runs} runs that alternate"
        contenders = {
            PIPE: partial(pipe, place, load, protocol),
            LINES: partial(warm, place, load, lines, *FULL),
            GENTLE: partial(warm, place, load, lines),
            GZIP: partial(warm, place, load, packed, *FULL),
            CSV: partial(warm, place, load, table, *FULL),
        }
        found = medians(contenders, runs)
    yield from comparison(CONTESTS, found, rate)


def warm(
    place: Place, load: data.Load, source: Path, *options: str, version: str = DEFAULT_VERSION
) -> float:
    """Return the entries a second of `cachectl warm` into an empty server."""
    with ServerProcess(tcp=True, version=version) as server:
        done = place.run(cachectl(server, "warm", source, *options))
        data.check_loaded(server, load)
    return load.count / done.seconds


def pipe(place: Place, load: data.Load, protocol: Path) -> float:
    """Return the entries a second of `redis-cli --pipe` into an empty server."""
    with ServerProcess(tcp=True) as server:
        done = place.run(redis_cli(server, "--pipe"), stdin=protocol)
        data.check_loaded(server, load)
    return load.count / done.seconds
