"""LOG: rank the requests of an access log as `warm` does, and print how many and of how many keys."""

import asyncio
import sys

from cachectl.config.settings import AccessLog, Route
from cachectl.operations.warm.rank import rank


def main() -> None:
    """Read the log, whose lines are requests whatever their method and status would be."""
    log = AccessLog((sys.argv[1],), Route(key="page:{target}"))
    ranked = asyncio.run(rank(log, None, sys.stdin.buffer))
    print(ranked.total, len(ranked.requests))


if __name__ == "__main__":
    main()
