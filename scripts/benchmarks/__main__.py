"""`scripts/bench SUBJECT`: run one benchmark and print its ratios; nothing is asserted."""

import sys
from argparse import ArgumentParser
from importlib import import_module

SUBJECTS = {
    "startup": "whole processes: get, --help and --version against what they have to import",
    "client": "CacheClient.get by 10 callers against redis.asyncio.Redis and json.loads by hand",
}


def main() -> None:
    """Read the subject and the number of runs, and print what the subject's `bench` yields."""
    parser = ArgumentParser(prog="scripts/bench")
    subjects = parser.add_subparsers(metavar="SUBJECT", required=True, dest="subject")
    for name, summary in SUBJECTS.items():
        subject = subjects.add_parser(name, help=summary, description=summary)
        subject.add_argument("--runs", type=int, metavar="N", help="of each contender")
    said = parser.parse_args()
    options = {} if said.runs is None else {"runs": said.runs}
    for line in import_module(f"scripts.benchmarks.{said.subject}").bench(**options):
        print(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
