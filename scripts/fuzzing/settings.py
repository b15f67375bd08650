"""Settings files: settings, or errors that name a line and show no password."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile
from typing import Final, NamedTuple

from cachectl.config.build import waits
from cachectl.config.describe import describe
from cachectl.config.find import Found
from cachectl.config.load import read
from cachectl.config.nodes import Mapping, Node, Sequence, parse
from cachectl.config.resolve import resolve
from cachectl.config.settings import Settings
from cachectl.errors import ConfigError
from cachectl.values import safe
from scripts.fuzzing.junk import CANARY, TOKENS, damaged, demand, hidden, shows

_EXAMPLE: Final = Path(__file__).parents[2] / "config.example.yaml"
_ENV: Final = {"HOME": "/home/ann", "CACHE_PASSWORD": CANARY, "X": f"redis://:{CANARY}@h/x"}
_PASSWORDS: Final = (
    CANARY, f'"{CANARY}"', f"'{CANARY}: x'", f'"{CANARY} #"', f"{CANARY}: x", f"{CANARY} #x",
    f"*{CANARY}", f"&{CANARY}", f"!{CANARY} x", f"@{CANARY}", f"%{CANARY}", f"`{CANARY}",
    f"[{CANARY}", f"{{{CANARY}", f'"{CANARY}', f"|\n  {CANARY}", f"0x{CANARY}", f"${{{CANARY}",
    "${CACHE_PASSWORD}", f"${{NONE:-{CANARY}}}", f"[{CANARY}, b]",
)  # fmt: skip
_URLS: Final = (
    f"redis://u:{CANARY}@h/0", f"redis://u:{CANARY}/0", f"rediss://:{CANARY}@[::1]:1/2",
    "redis://h", f"redis+sentinel://u:{CANARY}@a:1,b:2/main/0", f"redis+cluster://u:{CANARY}@a,b",
    "unix:/a?db=1", "embedded:", "redis://u:${CACHE_PASSWORD}@h", "redis://u:${NONE}@h", "${X}",
    f"redis://u:{CANARY}\u2100@h",
)  # fmt: skip
_SERVICES: Final = (
    f"https://u:{CANARY}@h", f"https://u:{CANARY}@app\u2100.example.com", f"https://[{CANARY}",
    "https://h:1/", f"https://h:{CANARY}", f"https://h/?{CANARY}", "http://[::1]:80",
)  # fmt: skip
_VALUES: Final = (
    b"null", b"~", b"yes", b"0123", b"1:30", b"0x1f", b"1e9", b"1_000", b".inf", b".nan", b"-1",
    b"0", b"5s", b"50%", b"1d", b"2026-01-31", b"0001-01-01T00:00:00+14:00",
    b"9999-12-31T23:59:59-14:00", b"[a, b]", b"{a: b}", b"|", b">", b"- x", b"*a", b"&a x",
    b"!!str 5", b"!x y", b"<<: x", b"? x", b"---", b"...", b"%YAML 9.9", b"x: y", b'"', b"'",
    b'"\\x00"', b'"\\ud800"', b"[[[[[[[[[[[[[[[[[[[[[[[[", b"${X}", b"${X", b"$${", b'"{target}{"',
    b'"{query.:int}"', b"'" + b"9" * 5000 + b"'", b"'" + b"0" * 5000 + b"'", b"expiring:0s", b"all",
)  # fmt: skip
_TOKENS: Final = (*TOKENS, *_VALUES)


class Given(NamedTuple):
    """The bytes of a settings file."""

    data: bytes


def make(random: Random) -> Given:
    """Return parts of the example, with a password in many forms, right or not."""
    lines = [_changed(line, random) for line in _chosen(random)]
    return Given(damaged("\n".join([*lines, ""]).encode(), random, _TOKENS))


def judge(given: Given) -> bool:
    """Read it, and show the settings of each profile."""
    with NamedTemporaryFile(suffix=".yaml") as file:
        file.write(given.data)
        file.flush()
        try:
            settings, problems = read(Found(Path(file.name), "cachectl.yaml", "--config"), _ENV)
        except ConfigError as error:
            _look_at(error, given.data)
            return False
    for problem in problems:
        _look_at(problem.error, given.data)
    _show(settings)
    return not all(map(waits, problems)) if problems else True


def _chosen(random: Random) -> Iterator[str]:
    """Yield the lines of some sections of the example, and of some of what stands in them."""
    text = re.sub(r"^ *##.*\n", "", _EXAMPLE.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^# ", "", text, flags=re.MULTILINE)
    for section in re.split(r"\n(?=\w)", text):
        head, *parts = re.split(r"\n(?=  \w)", section)
        if head.startswith("profiles") or random.random() < 1 / 4:
            yield head
            for part in parts:
                if random.random() < 1 / 2:
                    yield from part.splitlines()


def _changed(line: str, random: Random) -> str:
    name, colon, _ = line.partition(": ")
    ways = {"password": _PASSWORDS, "password_file": _PASSWORDS, "url": _URLS, "http": _SERVICES}
    given = ways.get(name.strip())
    if given and random.random() < 1 / 2:
        name = name.replace("password_file", "password")
        return f"{name}{colon}{random.choice(given)}"
    if random.random() < 1 / 40:
        return f"{name}: {random.choice(_VALUES).decode()}"
    return line


def _look_at(error: ConfigError, data: bytes) -> None:
    said = f"{error.message}{error.hint or ''}"
    demand(said.isprintable(), f"an error is more than a line: {said!r}")
    demand(len(said) < 600, f"an error is too long: {said!r}")  # noqa: PLR2004 a few lines of a terminal
    text = data.decode("utf-8", "replace")
    where = re.match(r"cachectl\.yaml:(\d+): ", error.message)
    demand(where, f"an error without a line: {said!r}")
    if where:
        lines = len(text.splitlines()) + 1
        demand(1 <= int(where[1]) <= lines, f"an error on no line of {lines}: {said!r}")
    # a password that was given in the place of a key is shown as that
    if not (shows(said) and _in_a_key(text)):
        hidden(said)


def _in_a_key(text: str) -> bool:
    try:
        return any(map(shows, _keys(parse(text, ""))))
    except ConfigError:
        return False


def _keys(node: Node | None) -> Iterator[str]:
    if isinstance(node, Sequence):
        for item in node.items:
            yield from _keys(item)
    if isinstance(node, Mapping):
        for key, child in node.pairs:
            yield key.text
            yield from _keys(child)


def _show(settings: Settings) -> None:
    for name in [None, *settings.profiles]:
        try:
            describe(settings, resolve(settings, profile=name, env=_ENV), _ENV)
        except ConfigError as error:
            # a name is shown, whatever damage has put into it; a URL in place of one is not
            named = name or settings.default_profile or ""
            shown = "" if "://" in named else safe(named)
            hidden(*((text or "").replace(shown, "") for text in (error.message, error.hint)))
