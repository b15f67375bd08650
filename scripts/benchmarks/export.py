"""export against the warm of the same entries: reading them back may take twice the time.

What export writes has `expires_at`, so that its own warm looks for each key first; that is shown too.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scripts.benchmarks import data
from scripts.benchmarks.processes import FULL, Place, cachectl, expect, filled
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from scripts.benchmarks.warm import warm

WARM, AGAIN = "warm, `--pace full`", "warm of the exported file, `--pace full`"
FAST, GENTLE = "export, `--pace full`", "export, default pace"
CONTESTS = (
    Contest("export, `--pace full`", WARM, FAST, Goal(0.5)),
    Contest("export, default pace", WARM, GENTLE, None),
    Contest("warm of what export wrote", WARM, AGAIN, None),
)


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the medians in entries a second and the ratios."""
    load = data.Load(entries)
    with Place() as place:
        lines = data.write_jsonl(load, place.path / "entries.jsonl")
        protocol = data.write_protocol(load, place.path / "entries.resp")
        written = place.path / "exported.jsonl"
        yield f"{entries:,} entries, medians of {runs} runs that alternate"
        contenders = {
            WARM: partial(warm, place, load, lines, *FULL),
            FAST: partial(export, place, load, protocol, written, *FULL),
            GENTLE: partial(export, place, load, protocol, written),
            AGAIN: partial(warm, place, load, written, *FULL),
        }
        found = medians(contenders, runs)
    yield from comparison(CONTESTS, found, rate)


def export(place: Place, load: data.Load, protocol: Path, written: Path, *options: str) -> float:
    """Return the entries a second of `cachectl export` from a fresh server."""
    written.unlink(missing_ok=True)
    with filled(place, protocol, load.count) as server:
        done = place.run(cachectl(server, "export", "natal", "--to", written, *options))
    expect("exported entries", lines_of(written), load.count)
    return load.count / done.seconds


def lines_of(path: Path) -> int:
    """Return how many lines a file has."""
    with path.open("rb") as file:
        return sum(1 for _ in file)
