"""SHARE: take this share of one CPU until ended, and nothing else: as busy as cachectl was."""

import sys
from time import perf_counter, process_time, sleep

PERIOD = 0.005


def main() -> None:
    """Be busy for a part of each period; time without the CPU is no work and is made up for."""
    share = float(sys.argv[1])
    begun, spent = perf_counter(), process_time()
    while True:
        while process_time() - spent < share * (perf_counter() - begun):
            pass
        sleep(PERIOD)


if __name__ == "__main__":
    main()
