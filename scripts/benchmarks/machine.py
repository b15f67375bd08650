"""The machine and the versions that figures belong to: without them they mean nothing."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from cachectl import __version__
from tests.servers import DEFAULT_VERSION, binaries


def described() -> str:
    """Return one line: Python, server, redis-cli, cachectl, cores and memory."""
    memory, load = meminfo("MemTotal") // 1_000_000_000, os.getloadavg()[0]
    words = (
        f"Python {platform.python_version()}",
        version([str(binaries()[DEFAULT_VERSION]), "--version"]),
        version([shutil.which("redis-cli") or "redis-cli", "--version"]),
        f"cachectl {__version__}",
        f"{os.cpu_count()} cores, {memory} GB, load {load:.1f}",
    )
    return "; ".join(words)


def version(words: list[str]) -> str:
    """Return what a program says of itself, without the details of its build."""
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return said.split(" sha=")[0].split("\n")[0].strip()


def meminfo(name: str) -> int:
    """Return a line of /proc/meminfo in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
