"""Every example in the README works, in the order in which it stands there.

The two commands that install are run by .ci/run, which takes them from the README as well.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"^(<!-- run: (\w+) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)\)")


class Block(NamedTuple):
    """A fenced block; `ci` is its name when .ci/run is who runs it."""

    ci: str
    language: str
    text: str


def blocks() -> list[Block]:
    return [Block(*groups) for _, *groups in _BLOCK.findall(README.read_text())]


def test_two_commands_are_run_by_ci():
    """They install into a virtual environment, in one line each, and .ci/run names them."""
    named = {block.ci: block.text for block in blocks() if block.ci}
    assert named.keys() == {"warm", "tests"}
    ci = (ROOT / ".ci" / "run").read_text()
    for name, text in named.items():
        assert f"run {name}\n" in ci
        assert text.count("\n") == 1
        assert text.startswith("python3 -m venv .venv && .venv/bin/pip install ")


@pytest.mark.parametrize("page", ["README.md", "docs/reference.md"])
def test_links_lead_somewhere(page):
    here = (ROOT / page).parent
    targets = _LINK.findall((ROOT / page).read_text())
    assert targets
    assert [target for target in targets if not (here / target).exists()] == []


@pytest.fixture
def checkout(workdir: Path, private_home: Path) -> Path:
    """Make a directory like a checkout whose `.venv` holds the command and this interpreter."""
    for name in ("config.example.yaml", "examples", "scripts", "cachectl"):
        (workdir / name).symlink_to(ROOT / name)
    programs = workdir / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name, words in {"cachectl": "-m cachectl ", "python3": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {python} {words}"$@"\n')
        (programs / name).chmod(0o755)
    (programs / "activate").write_text("")
    assert private_home.exists()
    return workdir


def test_the_examples_work(checkout: Path, server: ServerProcess):
    """Shell blocks run in bash, Python blocks in the interpreter; each of their commands succeeds.

    The first command has been run before; so has its warm here.
    """
    env = os.environ | {"PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}", "PYTHONPATH": "."}
    programs = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-Wd", "-c"]}
    assert run(["bash", "-c", first_warm()], checkout, env).returncode == 0
    ran = 0
    for block in blocks():
        if not block.ci:
            text = block.text.replace("redis://localhost:6379/0", server.url)
            done = run([*programs[block.language], text], checkout, env)
            assert done.returncode == 0, f"{text}\nends with {done.returncode}:\n{done.stderr}"
            ran += 1
    assert ran > len(programs)


def test_what_the_readme_says_of_the_report_is_so(checkout: Path):
    """The first command's warm shows the hit rate before and after."""
    env = os.environ | {"PYTHONPATH": "."}
    done = run(["bash", "-c", first_warm()], checkout, env)
    assert done.returncode == 0, done.stderr
    assert re.search(r"hit rate 0\.0 % before, \d\d\.\d % after", done.stdout)


def test_the_deploy_script_is_as_the_readme_says(checkout: Path, server: ServerProcess):
    """`python3 scripts/warm_cache.py --on-deploy` warms the job that is marked."""
    command = "python3 scripts/warm_cache.py --on-deploy"
    assert f"`{command}`" in README.read_text()
    settings = (ROOT / "config.example.yaml").read_text().replace('"embedded:"', server.url)
    (checkout / "cachectl.yaml").write_text(settings)
    done = run([sys.executable, *command.split()[1:]], checkout, dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert server.raw("DBSIZE") > 100


def first_warm() -> str:
    """Return the last part of the README's first command."""
    return next(block.text for block in blocks() if block.ci == "warm").rpartition("&& ")[2]


def run(command: list[str], place: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
