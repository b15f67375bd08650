"""Start-up: whole processes against an interpreter that imports what they cannot do without.

The installed console script is run, as users do (`python -m cachectl` where there is none), with
bytecode compiled.
"""

import compileall
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cachectl
from scripts.benchmarks.processes import Place, command
from scripts.benchmarks.ratios import medians
from scripts.benchmarks.tables import Contest, Goal, comparison, milliseconds
from tests.servers import ServerProcess

DRIVER = 'python -c "import typer, asyncio, redis.asyncio"'
TYPER = 'python -c "import typer"'
BARE, SET = "get without a settings file", "get with a settings file"
HELP, VERSION = "--help", "--version"
CONTESTS = (
    Contest(BARE, DRIVER, BARE, Goal(1.15, at_most=True)),
    Contest(SET, DRIVER, SET, Goal(1.25, at_most=True)),
    Contest(HELP, TYPER, HELP, Goal(1.3, at_most=True)),
    Contest(VERSION, TYPER, VERSION, Goal(1.3, at_most=True)),
)
SETTINGS = Path(__file__).resolve().parents[2] / "config.example.yaml"


def bench(runs: int = 21) -> Iterator[str]:
    """Yield the medians in milliseconds and the ratios."""
    compileall.compile_dir(Path(cachectl.__file__).parent, quiet=1)
    with ServerProcess() as server, Place() as place:
        server.raw("SET", "natal:1", '{"sun":"Taurus"}')
        settings = place.path / "settings.yaml"
        settings.write_text(SETTINGS.read_text().replace("embedded:", server.url))
        program = command()
        words = {
            BARE: [*program, "-u", server.url, "get", "natal:1"],
            SET: [*program, "-c", str(settings), "get", "natal:1"],
            HELP: [*program, "--help"],
            VERSION: [*program, "--version"],
            DRIVER: [sys.executable, "-c", "import typer, asyncio, redis.asyncio"],
            TYPER: [sys.executable, "-c", "import typer"],
        }
        yield f"{Path(program[0]).name}, medians of {runs} runs that alternate"
        found = medians({name: process(place, line) for name, line in words.items()}, runs)
    yield from comparison(CONTESTS, found, milliseconds)


def process(place: Place, words: list[str]) -> Callable[[], float]:
    """Return what runs a process with an empty home and gives its seconds."""
    return lambda: place.run(words, mute=True).seconds
