"""Peak memory of the bulk commands, at a tenth of the entries and at all: it must not grow.

The peak is the process's own (`wait4`), at full pace, since more is under way then. One server holds the
entries for all commands of a turn, so the values are as large as this machine can bear: up to 1 KB.
"""

import resource
import shutil
from collections.abc import Iterator, Sequence

from scripts.benchmarks import data
from scripts.benchmarks.machine import meminfo
from scripts.benchmarks.processes import FULL, Place, cachectl, expect
from scripts.benchmarks.tables import Goal, markdown, megabytes
from tests.servers import ServerProcess

LARGEST = 1000  # bytes of a value
OVERHEAD = 150  # bytes that a server takes for a key with a TTL beside its value
LINE = 80  # bytes of a line, in the file that is warmed and in the exported one, beside its value
GOAL = Goal(1.1, at_most=True)
LIMIT = 120e6
Peaks = dict[str, float]


def bench(runs: int = 1, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the peaks of each command at a tenth of the entries and at all, the highest of the runs."""
    with Place() as place:
        largest = bearable(entries, shutil.disk_usage(place.path).free)
        yield f"values of {data.SMALLEST} to {largest} bytes, all evenly often, highest of {runs} runs"
        if largest < LARGEST:
            yield f"(not up to {LARGEST}: the machine has no room for {entries:,} of them)"
        few, all_of_them = (
            highest([peaks(place, data.Load(count, largest=largest)) for _ in range(runs)])
            for count in (entries // 10, entries)
        )
    header = ("what", f"{entries // 10:,} entries", f"{entries:,} entries", "ratio", "goal")
    yield from markdown(header, [row(name, few[name], all_of_them[name]) for name in few])


def bearable(entries: int, disk: int) -> int:
    """Return the largest value, 1 KB at most, that leaves half of the memory and the disk free."""
    for largest in (LARGEST, 500, 250, 2 * data.SMALLEST):
        mean = (largest + data.SMALLEST) // 2
        in_memory, on_disk = entries * (mean + OVERHEAD), 2 * entries * (mean + LINE)
        if in_memory < meminfo("MemAvailable") // 2 and on_disk < disk // 2:
            return largest
    msg = f"{entries:,} entries are more than this machine can hold"
    raise RuntimeError(msg)


def peaks(place: Place, load: data.Load) -> Peaks:
    """Return the peak of each command over the same entries, which the last one removes."""
    lines = data.write_jsonl(load, place.path / "entries.jsonl")
    written = place.path / "exported.jsonl"
    written.unlink(missing_ok=True)
    words: dict[str, tuple[object, ...]] = {
        "scan": ("scan", "natal"),
        "stats": ("stats",),
        "export": ("export", "natal", "--to", written),
        "flush": ("flush", "natal", "--yes"),
    }
    with ServerProcess(tcp=True) as server:
        found = {"warm": peak(place, server, "warm", lines)}
        data.check_loaded(server, load)
        found |= {name: peak(place, server, *said) for name, said in words.items()}
        expect("keys after the flush", server.raw("DBSIZE"), 0)
    expect("an exported file", written.stat().st_size > load.count * data.SMALLEST, wanted=True)
    return found


def peak(place: Place, server: ServerProcess, *words: object) -> float:
    """Return the bytes that a command had at its peak."""
    found = place.run(cachectl(server, *words, *FULL), mute=True).peak
    # a child begins with what its parent had: below that its own peak cannot be seen
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    expect("a peak above this program's own memory", found > own, wanted=True)
    return found


def highest(runs: Sequence[Peaks]) -> Peaks:
    """Return the highest peak of each command."""
    return {name: max(run[name] for run in runs) for name in runs[0]}


def row(name: str, few: float, many: float) -> tuple[str, ...]:
    """Return a line of the table; both goals are to be met: no growth, and the limit."""
    ratio = many / few
    under = "reached" if max(few, many) < LIMIT else "**missed**"
    goal = f"{GOAL.verdict(ratio)}; < {megabytes(LIMIT)}: {under}"
    return (name, megabytes(few), megabytes(many), f"{ratio:.2f} x", goal)
