"""warm into a cluster of three primaries against warm into one server, of the same entries.

The three take more of the machine than the one: a node of a cluster looks up the slot of each key. And
one server takes fifty entries a command, which in a cluster would have to lie in one slot: so both are
compared, that, and one server which takes them one by one, as a node does.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from scripts.benchmarks import data
from scripts.benchmarks.processes import FULL, Place, cachectl, expect
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, rate
from scripts.benchmarks.warm import warm
from tests.clusters import Cluster
from tests.servers import ServerProcess

ONE, THREE = "one server, by MSETEX", "three primaries"
SETS = "one server, by SET"
CONTESTS = (
    Contest("warm into a cluster, `--pace full`", ONE, THREE, Goal(0.8)),
    Contest("the same against the same commands", SETS, THREE, Goal(0.8)),
)


def bench(runs: int = 5, entries: int = 1_000_000) -> Iterator[str]:
    """Yield the medians in entries a second and the ratio."""
    load = data.Load(entries)
    with ExitStack() as open_places:
        place = open_places.enter_context(Place())
        cluster = open_places.enter_context(Cluster())
        without_replicas(cluster)
        lines = data.write_jsonl(load, place.path / "entries.jsonl")
        size = lines.stat().st_size
        yield f"{entries:,} entries of {size // entries} bytes, medians of {runs} runs that alternate"
        contenders = {
            ONE: partial(warm, place, load, lines, *FULL),
            SETS: partial(one_by_one, place, load, lines),
            THREE: partial(spread, place, cluster, load, lines),
        }
        found = medians(contenders, runs)
    yield from comparison(CONTESTS, found, rate)


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
    cluster.raw_all("FLUSHALL")
    first, *_ = cluster.primaries()
    done = place.run(cachectl(first, "warm", source, *FULL))
    expect("keys", cluster.dbsize(), load.count)
    return load.count / done.seconds
