"""The reference against `--help`, and the examples in `--help` against a server."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cachectl.cli.app import COMMANDS
from scripts.reference import REFERENCE, reference
from tests.servers import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
_PAGE = re.compile(r"^## cachectl ?(.*?)\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXAMPLES = re.compile(r"^  Example:\n((?:    .*\n)+)", re.MULTILINE)


def help_pages() -> dict[str, str]:
    """Return every command with its help, as it stands in the reference."""
    return dict(_PAGE.findall(REFERENCE.read_text()))


def examples(text: str) -> list[str]:
    """Return the example lines of a help text; a line that ends in a backslash goes on."""
    found = _EXAMPLES.search(text)
    block = found[1] if found else ""
    return [line.strip() for line in block.replace("\\\n", " ").splitlines()]


def test_the_reference_is_what_help_prints():
    """Otherwise: scripts/docs."""
    assert REFERENCE.read_text() == reference()


def test_every_command_is_in_the_reference_and_has_an_example():
    found = help_pages()
    assert {"", *COMMANDS, "config show", "server stop"} <= found.keys()
    for name, text in found.items():
        assert examples(text), f"cachectl {name} --help shows no example"
        for line in examples(text):
            assert name in line, f"the example {line!r} is not of cachectl {name}"


@pytest.fixture
def place(workdir: Path, server: ServerProcess, private_home: Path) -> Path:
    """Make a directory with all that the examples name, and a server with their data."""
    settings = (ROOT / "config.example.yaml").read_text()
    local = '  local:\n    url: "embedded:"\n'
    assert local in settings
    production = local.replace("local:", "production:")
    both = (local + production).replace("embedded:", server.url)
    (workdir / "cachectl.yaml").write_text(settings.replace(local, both))
    (workdir / "examples").symlink_to(ROOT / "examples")
    for name in ("births.jsonl", "last-hour.jsonl"):
        (workdir / name).symlink_to(ROOT / "examples" / "natal" / name)
    (workdir / "entries.jsonl").write_text('{"key": "a:1", "value": 1}\n')
    programs = private_home / "bin"
    programs.mkdir()
    program = programs / "cachectl"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cachectl "$@"\n')
    program.chmod(0o755)
    server.raw("SET", "natal:652c49679deeadba", '{"sun":"Taurus"}')
    server.raw("SET", "greeting", '"hello"')
    return workdir


@pytest.mark.parametrize(
    "line", [line for text in help_pages().values() for line in examples(text)]
)
def test_the_examples_in_help_work(line, place, server, private_home):
    """Each one does what it says: it is understood, there is no bug, and it answers yes."""
    line = line.replace("redis://localhost:6379/0", server.url)
    path = f"{private_home / 'bin'}:{os.environ['PATH']}"
    embedded = {"CACHECTL_URL": "embedded:"} if "cachectl server" in line else {}
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | embedded
    if "server status" in line:
        start = [sys.executable, "-m", "cachectl", "server", "start"]
        subprocess.run(start, env=env, capture_output=True, check=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


JSON_PAGE = (ROOT / "docs" / "json.md").read_text()
_ROW = re.compile(r"^\| (`.+?) \| (.+?) \|$", re.MULTILINE)
_FIELD = re.compile(r"`([a-z_]+)`")
SOMETIMES = {"failed", "errors", "unknown", "preview", "unknown_fields"}
CALLS = {
    "get": "get a:1",
    "set": "set a:2 2",
    "delete": "delete a:1 a:9",
    "key": "key -n a",
    "inspect": "inspect a:1",
    "scan": "scan --long",
    "stats": "stats",
    "export": "export a --to exported.jsonl",
    "warm": "warm entries.jsonl --verify last-hour.jsonl -n natal",
    "warm --plan": "warm births.jsonl --origin examples.natal.chart:chart -n natal --plan --limit 9",
    "flush": "flush a --yes",
    "health": "health --interval 10ms",
    "config show": "config show",
    "config check": "config check",
    "config path": "config path",
    "server start": "-u embedded: server start",
    "server status": "-u embedded: server status",
    "server stop": "-u embedded: server stop",
}


def documented(command: str) -> set[str]:
    """Return the fields that docs/json.md names for a command: in its section, else in its row."""
    _, section, text = JSON_PAGE.partition(f"\n## {command}\n")
    if section:
        cells = [fields for fields, _ in _ROW.findall(text.partition("\n## ")[0])]
    else:
        cells = [fields for name, fields in _ROW.findall(JSON_PAGE) if name == f"`{command}`"]
    return set(_FIELD.findall(" ".join(cell.partition(": a list of")[0] for cell in cells)))


@pytest.mark.parametrize("command", CALLS)
def test_the_page_on_json_names_the_fields_that_are_printed(command, place, server):
    """None is missing and none is invented; what could not be known counts as printed."""
    server.raw("SET", "a:1", "1")

    def answer(words: str) -> dict[str, Any]:
        line = [sys.executable, "-m", "cachectl", *words.split(), "-o", "json"]
        done = subprocess.run(line, cwd=place, env=env, capture_output=True, check=False)
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return found

    env = os.environ | {"PYTHONPATH": str(ROOT)}
    if command.startswith("server"):
        answer("-u embedded: server start")
    found = answer(CALLS[command])
    found = found.get("plan", found)
    printed = {*found, *found.get("unknown_fields", ())}
    sometimes = SOMETIMES | ({"unsent", "stopped"} if command == "delete" else set())
    assert printed - sometimes == documented(command) - sometimes
