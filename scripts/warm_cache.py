#!/usr/bin/env python3
"""Warm the cache from a checkout, where the command is not installed.

    python3 scripts/warm_cache.py --on-deploy

is `cachectl warm --on-deploy`: the same arguments, report and exit codes. It runs from any directory,
with the running interpreter's packages.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("typer", "redis", "hiredis", "rich", "yaml", "msgspec")
USAGE_ERROR = 2


def main() -> None:
    """Run `cachectl warm` with this program's arguments; 2 when a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        install = f"{sys.executable} -m pip install {CHECKOUT}"
        sys.exit(_error(f"{sys.executable} has no {', '.join(missing)} (try: {install})"))
    sys.path.insert(0, str(CHECKOUT))
    from cachectl.cli.app import app

    app(["warm", *sys.argv[1:]], prog_name="cachectl")


def _error(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    main()
