"""What a person sees on a terminal: tables, a bar, readable values, nothing that steers it."""

import json
import re
from pathlib import Path

from tests.cli.terminal import Terminal
from tests.servers import ServerProcess

STEERING = re.compile(r"\x1b\](?!8;)|\x1b\[[0-9;]*[HJ]")


def shown(words: list[str], cwd: Path, code: int = 0, **variables: str) -> str:
    terminal = Terminal(words, cwd, **variables)
    assert terminal.end() == code, terminal.shown
    return terminal.shown.replace("\r\n", "\n")


def test_get_shows_json_readably_and_harmlessly(server: ServerProcess, workdir: Path):
    server.raw("SET", "k", '{"a": [1, 2], "t": "\\u001b]0;evil\\u0007 [bold] \u202e é"}')
    text = shown(["-u", server.url, "get", "k"], workdir)
    assert text.startswith('{\n  "a": [\n    1,\n    2\n  ],\n')
    assert "\x1b" not in text
    assert "\\u202e" in text
    assert "[bold]" in text
    assert "é" in text


def test_get_shows_what_is_not_json_escaped(server: ServerProcess, workdir: Path):
    server.raw("SET", "k", b"\x1b[31mred\xff\n")
    assert shown(["-u", server.url, "get", "k"], workdir) == "\\x1b[31mred\\xff\\n\n"


def test_inspect_is_a_table_that_fits(server: ServerProcess, workdir: Path):
    server.raw("RPUSH", "k", "[/]", "\x1b[2J", "x" * 200)
    text = shown(["-u", server.url, "inspect", "k"], workdir, NO_COLOR="1")
    assert not STEERING.search(text)
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 60
    assert "member 1" in text
    assert "[/]" in text
    assert "\\x1b[2J" in text


def test_config_show_is_a_table(server: ServerProcess, workdir: Path):
    text = shown(["-u", server.url, "config", "show"], workdir, NO_COLOR="1")
    assert "cli.timeout" in text
    assert "default" in text


def test_a_key_is_shown_harmlessly(workdir: Path):
    text = shown(["key", "-n", "a\x1b[31m"], workdir)
    assert text.startswith("a\\x1b[31m:")


def test_a_warm_shows_a_bar_and_the_report(server: ServerProcess, workdir: Path):
    rows = [json.dumps({"key": f"k{n}", "value": n}) for n in range(3000)]
    (workdir / "e.jsonl").write_text("\n".join([*rows, "{}"]))
    text = shown(["-u", server.url, "warm", "e.jsonl"], workdir, code=1)
    assert "warming" in text
    assert "━" in text
    assert "1 failed" in text
    assert "written  3000" in text


def test_a_dumb_terminal_and_quiet_get_no_bar(server: ServerProcess, workdir: Path):
    (workdir / "e.jsonl").write_text('{"key": "k", "value": 1}\n')
    quiet = shown(["-u", server.url, "-q", "warm", "e.jsonl"], workdir)
    assert "━" not in quiet
    dumb = shown(["-u", server.url, "warm", "e.jsonl"], workdir, TERM="dumb")
    assert "\x1b" not in dumb
