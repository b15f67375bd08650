"""warm into a cluster of three primaries against warm into one server, of the same entries.

The three take more of the machine than the one: a node of a cluster looks up the slot of each key, and
enters the key there. Where a server takes fifty entries a command, which in a cluster would have to lie
in one slot, it is also compared taking them one by one, as the nodes do.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scripts.benchmarks import data
from scripts.benchmarks.processes import FULL, Place, cachectl, expect
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from scripts.benchmarks.warm import warm
from tests.clusters import Cluster
from tests.servers import DEFAULT_VERSION, ServerProcess, binaries

ONE, SETS, THREE = "one server", "one server by SET", "three primaries"
GOAL = Goal(0.8)


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the medians in entries a second and the ratios, for each server that is installed."""
    load = data.Load(entries)
    contests: list[Contest] = []
    found: dict[str, float] = {}
    with Place() as place:
        lines = data.write_jsonl(load, place.path / "entries.jsonl")
        size = lines.stat().st_size
        yield f"{entries:,} entries of {size // entries} bytes, medians of {runs} runs that alternate"
        for version in binaries():
            one, sets, three = (f"{version}: {name}" for name in (ONE, SETS, THREE))
            with Cluster(version) as cluster:
                without_replicas(cluster)
                contenders = {
                    one: partial(warm, place, load, lines, *FULL, version=version),
                    three: partial(spread, place, cluster, load, lines),
                }
                contests.append(Contest("warm into a cluster, `--pace full`", one, three, GOAL))
                if version == DEFAULT_VERSION:
                    contenders[sets] = partial(one_by_one, place, load, lines)
                    contests.append(Contest("the same by the same commands", sets, three, GOAL))
                found |= medians(contenders, runs)
    yield from comparison(contests, found, rate)


def without_replicas(cluster: Cluster) -> None:
    """End the replicas, and let the primaries forget them: one server has none either."""
    for replica in cluster.replicas():
        replica.kill9()
    for primary in cluster.primaries():
        primary.raw("CONFIG", "SET", "repl-backlog-ttl", "1")
        while primary.info("replication")["repl_backlog_active"] == "1":
            time.sleep(0.1)


def one_by_one(place: Place, load: data.Load, source: Path) -> float:
    """Return the entries a second of `cachectl warm` into an empty server that denies MSETEX."""
    with ServerProcess(tcp=True) as server:
        server.raw("ACL", "SETUSER", "default", "-msetex")
        done = place.run(cachectl(server, "warm", source, *FULL))
        data.check_loaded(server, load)
    return load.count / done.seconds


def spread(place: Place, cluster: Cluster, load: data.Load, source: Path) -> float:
    """Return the entries a second of `cachectl warm` into the empty cluster."""
    cluster.raw_all("FLUSHALL", "SYNC")  # what is freed in the background takes from the machine
    first, *_ = cluster.primaries()
    done = place.run(cachectl(first, "warm", source, *FULL))
    expect("keys", cluster.dbsize(), load.count)
    return load.count / done.seconds
