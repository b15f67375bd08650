"""warm from origins: what of a concurrency is used, and what processes and machines bring."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from distributed import LocalCluster

from scripts.benchmarks.processes import Place, cachectl, expect
from scripts.benchmarks.programs.origins import SECONDS, SEEN, waits
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from tests.servers import ServerProcess

CALLS, WORK = 200_000, 400
CONCURRENCY = 100
IDEAL, BARE = "100 calls / 10 ms", "asyncio alone, json.dumps"
COROUTINES = "coroutines, whole command"
STEADY = "coroutines, as the origin sees it"
ONE, TWO = "processes, 1 at once", "processes, 4 at once"
DASK_ONE, DASK_TWO = "Dask, 1 worker", "Dask, 2 workers"
CONTESTS = (
    Contest("a coroutine of 10 ms, 100 at once", IDEAL, COROUTINES, Goal(0.9)),
    Contest("the same from the first call to the last", IDEAL, STEADY, Goal(0.9)),
    Contest("the same against what asyncio can", BARE, COROUTINES, None),
    Contest("20 ms of pure Python, `workers: processes`", ONE, TWO, Goal(1.7)),
    Contest("20 ms of pure Python, `workers: dask://…`", DASK_ONE, DASK_TWO, Goal(1.5)),
)


def bench(runs: int = 3) -> Iterator[str]:
    """Yield the medians in calls a second and the ratios."""
    with Place() as place, cluster(1) as one, cluster(2) as two:
        yield f"{CALLS:,} coroutines, {WORK} calls of 20 ms, medians of {runs} runs that alternate"
        steady: list[float] = []
        contenders: dict[str, Callable[[], float]] = {
            BARE: bare,
            COROUTINES: lambda: whole(place, steady),
            ONE: partial(warm, place, WORK, "works", "processes", 1),
            TWO: partial(warm, place, WORK, "works", "processes", 4),
            DASK_ONE: partial(warm, place, WORK, "works", one, 4),
            DASK_TWO: partial(warm, place, WORK, "works", two, 4),
        }
        found = medians(contenders, runs)
    found |= {IDEAL: CONCURRENCY / SECONDS, STEADY: sorted(steady)[len(steady) // 2]}
    yield from comparison(CONTESTS, found, rate)


def whole(place: Place, steady: list[float]) -> float:
    """Return the calls a second of the whole command; note those that its origin saw."""
    with ServerProcess(tcp=True) as server:
        begun = perf_counter()
        warmed(place, server, CALLS, "watches", "threads", CONCURRENCY)
        seconds = perf_counter() - begun
    steady.append(float((place.home / SEEN).read_text()))
    return CALLS / seconds


def warm(place: Place, count: int, name: str, workers: str, concurrency: int) -> float:
    """Return the calls a second of a report: what starting Python takes is not of interest here."""
    with ServerProcess(tcp=True) as server:
        return float(warmed(place, server, count, name, workers, concurrency)["rate"])


def warmed(
    place: Place, server: ServerProcess, count: int, name: str, workers: str, concurrency: int
) -> dict[str, float]:
    """Run a job and return its report; raise `RuntimeError` unless all was written."""
    source = place.path / f"{count}.jsonl"
    if not source.exists():
        with source.open("w") as file:
            file.writelines(f'{{"params":{{"n":{n}}}}}\n' for n in range(count))
    call = f"scripts.benchmarks.programs.origins:{name}"
    origin = {"call": call, "workers": workers, "concurrency": concurrency}
    job = {"requests": source.name, "origin": origin, "namespace": "q"}
    settings = place.path / "cachectl.yaml"
    settings.write_text(json.dumps({"warm": {"measured": job}}))
    done = place.run(cachectl(server, "-c", settings, "-o", "json", "warm", "measured"))
    report: dict[str, float] = json.loads(done.out)
    expect("written", report["written"], count)
    return report


def bare() -> float:
    """Return the calls a second of as many tasks that do nothing else."""
    numbers = iter(range(CALLS))

    async def caller() -> None:
        for number in numbers:
            json.dumps(await waits(number))

    async def all_callers() -> None:
        await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))

    begun = perf_counter()
    asyncio.run(all_callers())
    return CALLS / (perf_counter() - begun)


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Start a scheduler and so many workers, and give its address as an origin names it."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as local:
        yield local.scheduler_address.replace("tcp://", "dask://")
