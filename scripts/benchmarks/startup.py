"""Start-up: whole processes against an interpreter that imports what they cannot do without.

The installed console script is run, as users do (`python -m cachectl` where there is none), with
bytecode compiled.
"""

import compileall
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import cachectl
from scripts.benchmarks.ratios import medians, ratio_line
from tests.servers import ServerProcess


class Contest(NamedTuple):
    """A command, the peer that it is held against, and the ratio not to be exceeded."""

    name: str
    peer: str
    goal: float


DRIVER = 'python -c "import typer, asyncio, redis.asyncio"'
TYPER = 'python -c "import typer"'
CONTESTS = (
    Contest("get without a settings file", DRIVER, 1.15),
    Contest("get with a settings file", DRIVER, 1.25),
    Contest("--help", TYPER, 1.3),
    Contest("--version", TYPER, 1.3),
)
SETTINGS = Path(__file__).resolve().parents[2] / "config.example.yaml"


def bench(runs: int = 21) -> Iterator[str]:
    """Yield the medians in milliseconds and the ratios."""
    compileall.compile_dir(Path(cachectl.__file__).parent, quiet=1)
    with ServerProcess() as server, tempfile.TemporaryDirectory() as home:
        server.raw("SET", "natal:1", '{"sun":"Taurus"}')
        settings = Path(home) / "settings.yaml"
        settings.write_text(SETTINGS.read_text().replace("embedded:", server.url))
        program = command()
        words = {
            "get without a settings file": [*program, "-u", server.url, "get", "natal:1"],
            "get with a settings file": [*program, "-c", str(settings), "get", "natal:1"],
            "--help": [*program, "--help"],
            "--version": [*program, "--version"],
            DRIVER: [sys.executable, "-c", "import typer, asyncio, redis.asyncio"],
            TYPER: [sys.executable, "-c", "import typer"],
        }
        yield f"{' '.join(program)}, medians of {runs} runs that alternate"
        found = medians({name: process(line, home) for name, line in words.items()}, runs)
    yield from (f"{name:<48} {seconds * 1000:6.1f} ms" for name, seconds in found.items())
    for name, peer, goal in CONTESTS:
        yield ratio_line(name, found[name] / found[peer], goal, at_most=True)


def command() -> list[str]:
    """Return how cachectl is called: the console script beside the interpreter, if there is one."""
    script = Path(sys.executable).with_name("cachectl")
    return [str(script)] if script.exists() else [sys.executable, "-m", "cachectl"]


def process(words: list[str], home: str) -> Callable[[], float]:
    """Return what runs a process with an empty home and gives its seconds."""
    foreign = ("CACHECTL_", "XDG_", "REDIS_URL", "ENABLE_CACHE", "PYTHONDONTWRITEBYTECODE", "COV")
    env = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    env["HOME"] = home

    def measure() -> float:
        start = perf_counter()
        subprocess.run(words, env=env, cwd=home, stdout=subprocess.DEVNULL, check=True)
        return perf_counter() - start

    return measure
