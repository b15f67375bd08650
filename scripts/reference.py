"""Write docs/reference.md from `--help` of every command, or check that it is up to date."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
HEAD = """\
# Reference

What `--help` prints, command by command. Written by `scripts/docs`; do not edit.
The fields of JSON output are in [json.md](json.md), the settings in
[config.example.yaml](../config.example.yaml).
"""
_COMMANDS = re.compile(r"^Commands:\n((?:  .*\n)+)", re.MULTILINE)
_NAME = re.compile(r"^  (\w[\w-]*)", re.MULTILINE)


def help_of(*words: str) -> str:
    """Return what `cachectl WORDS --help` prints, 80 columns wide."""
    plain = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    env = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    command = [sys.executable, "-m", "cachectl", *words, "--help"]
    done = subprocess.run(command, env=env | plain, capture_output=True, text=True, check=True)
    return done.stdout


def pages(*words: str) -> Iterator[tuple[str, str]]:
    """Give every command, the root first, with its help: `("config show", "Usage: …")`."""
    text = help_of(*words)
    yield " ".join(words), text
    listed = _COMMANDS.search(text)
    for name in _NAME.findall(listed[1]) if listed else ():
        yield from pages(*words, name)


def reference() -> str:
    """Return the whole reference."""
    sections = (
        f"\n## cachectl{' ' if name else ''}{name}\n\n```text\n{text.rstrip()}\n```\n"
        for name, text in pages()
    )
    return HEAD + "".join(sections)


def main() -> None:
    """Write the reference; with `--check` exit with 1 when it is out of date."""
    text = reference()
    if sys.argv[1:] == ["--check"]:
        if not REFERENCE.is_file() or REFERENCE.read_text() != text:
            sys.exit("docs/reference.md is out of date: run scripts/docs")
    else:
        REFERENCE.write_text(text)


if __name__ == "__main__":
    main()
