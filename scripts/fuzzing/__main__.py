"""`scripts/fuzz`: run the targets, say what they accepted and refused, and end with 1 for a fault."""

import sys
from argparse import ArgumentParser, Namespace

from scripts.fuzzing.runs import TARGETS, run


def main() -> None:
    """Read the options, and print a line for each target and all that is needed to see a fault again."""
    said = _said()
    numbers = range(said.cases) if said.case is None else range(said.case, said.case + 1)
    faults = 0
    for name in [said.target] if said.target else TARGETS:
        tally = run(name, said.seed, numbers)
        print(tally, flush=True)
        for fault in tally.faults:
            print(f"\n{fault}", flush=True)
        faults += tally.broken
    sys.exit(bool(faults))


def _said() -> Namespace:
    targets = "; ".join(f"{name}: {summary}" for name, summary in TARGETS.items())
    parser = ArgumentParser(prog="scripts/fuzz", description=f"The targets are {targets}.")
    parser.add_argument("--target", choices=TARGETS, help="this one alone; all unless said")
    parser.add_argument(
        "--cases", type=int, default=20_000, metavar="N", help="of each target; 20000 unless said"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="1 unless said")
    parser.add_argument("--case", type=int, metavar="N", help="this one of the seed alone, again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
