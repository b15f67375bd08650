"""`scripts/soak`: soak one topology, or each in turn, report, and end with 1 if any promise broke."""

import asyncio
import signal
import sys
from argparse import ArgumentParser, Namespace

from scripts.soaking.places import TOPOLOGIES
from scripts.soaking.report import lines
from scripts.soaking.run import soak


def main() -> None:
    """Read the options, soak, and print what each topology came to."""
    said = _said()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are ended, files removed
    topologies = [said.topology] if said.topology else list(TOPOLOGIES)
    broken = 0
    for topology in topologies:
        with TOPOLOGIES[topology]() as place:
            result = asyncio.run(soak(place, said.seconds / len(topologies), said.seed))
        for line in lines(topology, said.seed, result):
            print(line, flush=True)
        broken += len(result.broken)
    sys.exit(bool(broken))


def _said() -> Namespace:
    parser = ArgumentParser(prog="scripts/soak", description="Mixed work while servers fail.")
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="60 unless said")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of faults and work")
    parser.add_argument(
        "--topology", choices=TOPOLOGIES, help="this one; unless said each, a third of the time"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
