"""The scripts: warm_cache.py is the command, and every program says what it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
WARM_CACHE = ROOT / "scripts" / "warm_cache.py"
PROGRAMS = [
    ROOT / ".ci" / "run",
    *sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix),
]


def run(*words: object, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        env=os.environ | changes,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def warm_cache(*words: object) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, WARM_CACHE, *words)


@pytest.fixture
def entries(workdir: Path) -> Path:
    file = workdir / "entries.jsonl"
    file.write_text('{"key": "a:1", "value": 1}\n{"key": "a:2", "value": 2}\n')
    return file


def test_warm_cache_warms_from_any_directory(entries: Path, server: ServerProcess):
    """The same report as the command's, on stdout."""
    done = warm_cache(entries, "-u", server.url, "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["command"], report["entries"], report["written"]) == ("warm", 2, 2)
    assert server.raw("GET", "a:2") == b"2"


def test_warm_cache_ends_with_the_codes_of_the_command(entries: Path, server: ServerProcess):
    """0 done, 1 under the gate, 2 wrong usage, 3 no server."""
    sample = entries.with_name("sample.jsonl")
    sample.write_text('{"key": "b:1"}\n')
    gate = ("--verify", sample, "--min-hit-rate", "50%")
    assert warm_cache(entries, "-u", server.url, *gate).returncode == 1
    assert warm_cache("-u", server.url, "no-such-job").returncode == 2
    gone = entries.with_name("none.sock")
    assert warm_cache(entries, "-u", f"unix://{gone}", "--timeout", "1s").returncode == 3


def test_warm_cache_imports_a_jobs_callable_from_the_checkout(server: ServerProcess, workdir: Path):
    """The settings are the checkout's own; its examples are found beside them."""
    settings = ROOT / "config.example.yaml"
    done = warm_cache("-c", settings, "-u", server.url, "charts", "-q")
    assert done.returncode == 0, done.stderr
    assert server.raw("DBSIZE") > 100
    assert list(workdir.iterdir()) == []


def test_warm_cache_says_what_to_install_when_packages_are_missing():
    """`-S` leaves the interpreter without any; one line tells, and no traceback."""
    done = run(sys.executable, "-S", WARM_CACHE, "charts", PYTHONPATH="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "typer, redis" in done.stderr
    assert "-m pip install" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_programs_are_executable_and_say_what_they_are_for(program: Path):
    """Each is bash that stops at its first error, and begins with a comment."""
    assert os.access(program, os.X_OK)
    lines = program.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    bash = shutil.which("bash")
    assert run(bash, "-n", program).returncode == 0


def test_the_benchmarks_are_listed():
    done = run(sys.executable, "-m", "scripts.benchmarks", "--help", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    for subject in ("startup", "client", "warm", "flush", "export", "stats", "impact", "memory"):
        assert subject in done.stdout
