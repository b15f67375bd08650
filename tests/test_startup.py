"""What a command loads: the start-up time is decided by it."""

import json
import os
import subprocess
import sys

import pytest

from tests.servers import ServerProcess

PROGRAM = """
import atexit, json, os, sys
from cachectl.__main__ import main
atexit.register(lambda: os.write(3, json.dumps(sorted(sys.modules)).encode()))
main()
"""


def loaded(*words: str) -> set[str]:
    """Return the top-level modules that a command has loaded when it ends; it must end with 0."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    program = PROGRAM.replace("os.write(3,", f"os.write({writing},")
    # a measured process would load coverage's modules as well
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=env,
        capture_output=True,
        pass_fds=[writing],
        check=False,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        modules = json.loads(pipe.read())
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in modules}


HEAVY = {"redis", "hiredis", "asyncio", "rich", "yaml", "msgspec", "aiohttp", "prometheus_client"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["get", "--help"], ["-h"]])
def test_help_and_version_load_nothing_heavy(words):
    assert loaded(*words).isdisjoint(HEAVY)


def test_get_loads_what_connects_and_nothing_more(server: ServerProcess):
    """`get` needs the driver, and neither msgspec nor rich; without a settings file no YAML."""
    server.raw("SET", "a", "1")
    modules = loaded("-u", server.url, "get", "a")
    assert "redis" in modules
    assert modules.isdisjoint({"msgspec", "rich", "yaml", "aiohttp", "prometheus_client"})
