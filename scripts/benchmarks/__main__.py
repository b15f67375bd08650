"""`scripts/bench SUBJECT`: run one benchmark and print its ratios; nothing is asserted."""

import signal
import sys
from argparse import ArgumentParser
from importlib import import_module
from typing import NamedTuple

from scripts.benchmarks.machine import described


class Subject(NamedTuple):
    """What a subject measures, and whether it can be told how many entries to take."""

    summary: str
    sized: bool = True


SUBJECTS = {
    "startup": Subject(
        "whole processes: get, --help and --version against what they have to import", sized=False
    ),
    "client": Subject(
        "CacheClient.get by 10 callers against redis.asyncio.Redis and json.loads by hand",
        sized=False,
    ),
    "warm": Subject("warm from files against redis-cli --pipe; gzip, CSV, the default pace"),
    "cluster": Subject("warm into a cluster of three primaries against warm into one server"),
    "flush": Subject("flush of half a keyspace against redis-py's scan_iter and UNLINK"),
    "export": Subject("export against the warm of the same entries"),
    "stats": Subject("stats against redis-cli --memkeys"),
    "origin": Subject(
        "warm from origins: 100 coroutines at once, processes, a local Dask cluster", sized=False
    ),
    "impact": Subject("what another client feels of warm and flush, and --max-latency"),
    "log": Subject("the requests of an access log ranked, against awk; 2000000 lines unless said"),
    "memory": Subject("peak memory of the bulk commands at N / 10 and at N entries"),
}


def main() -> None:
    """Read the subject and its sizes, and print the machine and what the subject's `bench` yields."""
    parser = ArgumentParser(prog="scripts/bench")
    subjects = parser.add_subparsers(metavar="SUBJECT", required=True, dest="subject")
    for name, subject in SUBJECTS.items():
        words = subjects.add_parser(name, help=subject.summary, description=subject.summary)
        words.add_argument("--runs", type=int, metavar="N", help="of each contender")
        if subject.sized:
            words.add_argument(
                "--entries", type=int, metavar="N", help="how many, 1000000 unless said"
            )
    said = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and files are cleaned up
    module = import_module(f"scripts.benchmarks.{said.pop('subject')}")
    print(described(), end="\n\n", flush=True)
    for line in module.bench(**said):
        print(line, flush=True)


if __name__ == "__main__":
    main()
