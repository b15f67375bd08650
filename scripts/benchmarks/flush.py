"""flush of a namespace that is half of the keyspace, against a plain program with redis-py.

The peer proves nothing: it walks once. flush walks again until a walk has found nothing older than
its start, and says so in its report.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from scripts.benchmarks import data
from scripts.benchmarks.processes import FULL, Place, cachectl, expect, filled, program
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from tests.servers import ServerProcess

NAMESPACES = ("natal", "other")
PLAIN = "redis-py, scan_iter and UNLINK by 1,000"
FAST, GENTLE = "`--pace full`", "default pace"
CONTESTS = (
    Contest("flush, `--pace full`", PLAIN, FAST, Goal(1.0)),
    Contest("flush, default pace", PLAIN, GENTLE, None),
    Contest("default pace against `--pace full`", FAST, GENTLE, Goal(0.5)),
)


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the medians in removed keys a second and the ratios."""
    load = data.Load(entries, NAMESPACES)
    with Place() as place:
        protocol = data.write_protocol(load, place.path / "entries.resp")
        gone = (entries + 1) // 2
        yield f"{gone:,} of {entries:,} keys, medians of {runs} runs that alternate"
        words: dict[str, Callable[[ServerProcess], list[str]]] = {
            PLAIN: lambda server: program("plain_flush", server.port),
            FAST: lambda server: cachectl(server, "flush", "natal", "--yes", *FULL),
            GENTLE: lambda server: cachectl(server, "flush", "natal", "--yes"),
        }
        contenders = {
            name: partial(flush, place, load, protocol, said) for name, said in words.items()
        }
        found = medians(contenders, runs)
    yield from comparison(CONTESTS, found, rate)


def flush(
    place: Place, load: data.Load, protocol: Path, words: Callable[[ServerProcess], list[str]]
) -> float:
    """Return the removed keys a second of a process, of a fresh server's."""
    with filled(place, protocol, load.count) as server:
        done = place.run(words(server))
        check_flushed(server, load)
    return (load.count + 1) // 2 / done.seconds


def check_flushed(server: ServerProcess, load: data.Load) -> None:
    """Raise `RuntimeError` unless exactly the other namespace's keys are left."""
    expect("keys that are left", server.raw("DBSIZE"), load.count // 2)
    expect("namespace that is left", server.raw("RANDOMKEY")[:6], b"other:")
