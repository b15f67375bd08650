"""Keys and values of any bytes and any size: exact in pipes and files, harmless on a terminal."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import PASSWORD, keys_of
from tests.servers import ServerProcess

NASTY = {
    "escapes": b"\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "markup": b"[bold red]x[/] [/] [link=file:///etc/passwd]y[/link]",
    "newlines": b"a\nb\r\nc\r",
    "not-utf-8": b"\xff\xfe\x80 \xc3\x28",
    "nul": b"a\0b",
    "bidi": "a\u202eb\u2028c\u0085d\ufeff".encode(),
    "surrogates": b"\xed\xa0\x80",
    "empty": b"",
    "crlf-protocol": b"x\r\n$3\r\nDEL\r\n*1\r\n",
    "percent": b"%s {0} $HOME `id` ${PATH} ../../etc/passwd",
}
"""What a hostile or a careless application may have written."""
HARMFUL = re.compile(
    r"[\x00-\x08\x0b-\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]"
)
STEERING = re.compile(r"\x1b\](?!8;)|\x1b\[[0-9;]*[HJ]")
BIG = 100_000_002


@pytest.fixture(params=NASTY)
def nasty(request: pytest.FixtureRequest) -> bytes:
    return NASTY[request.param]


def key_in(row: dict[str, Any]) -> bytes:
    if "key_base64" in row:
        return base64.b64decode(row["key_base64"])
    return str(row["key"]).encode()


def test_a_value_of_any_bytes(operator_at: OperatorAt, server: ServerProcess, nasty: bytes):
    """What `set` reads is what stands there, and what `get` writes to a pipe."""
    operator = operator_at(server)
    assert operator.ran("set", "n:1", "-", "--raw", stdin=nasty).code == 0
    assert server.raw("GET", "n:1") == nasty
    got = operator.ran("get", "n:1", "-o", "text")
    assert (got.code, got.out, got.err) == (0, nasty + b"\n", b"")
    row = operator.ran("get", "n:1").report
    assert base64.b64decode(row["value_base64"]) == nasty


def test_values_travel_through_export_and_warm(operator_at: OperatorAt, server: ServerProcess):
    """A backup brings back every byte."""
    for name, nasty in NASTY.items():
        server.raw("SET", f"n:{name}", nasty)
    operator = operator_at(server)
    exported = operator.ran("export", "n")
    found = {row["key"]: base64.b64decode(row["value_base64"]) for row in exported.lines}
    assert found == {f"n:{name}": nasty for name, nasty in NASTY.items()}
    server.raw("FLUSHALL")
    warm = operator.ran("warm", "-", stdin=exported.out)
    assert (warm.code, warm.report["written"]) == (0, len(NASTY)), warm.err
    assert {name: server.raw("GET", f"n:{name}") for name in NASTY} == NASTY


KEYS = {b"n:" + nasty for nasty in NASTY.values()}


@pytest.fixture
def with_keys(server: ServerProcess) -> ServerProcess:
    for key in (*KEYS, b"other"):
        server.raw("SET", key, "1")
    return server


def test_keys_of_any_bytes_are_listed(operator_at: OperatorAt, with_keys: ServerProcess):
    """Each is one key in every listing: exact in JSON and with -0, a harmless line in text."""
    operator = operator_at(with_keys)
    for words in (("scan", "n"), ("scan", "n", "--long"), ("export", "n")):
        ended = operator.ran(*words)
        assert ended.code == 0
        assert sorted(map(key_in, ended.lines)) == sorted(KEYS)
    with_keys.raw("DEL", b"n:" + NASTY["nul"])
    raw = operator.ran("scan", "n", "-0", "-o", "text").out
    assert set(raw.removesuffix(b"\0").split(b"\0")) == KEYS - {b"n:" + NASTY["nul"]}
    shown = operator.ran("scan", "n", "-o", "text").out
    assert shown.count(b"\n") == len(KEYS) - 1
    assert not HARMFUL.search(shown.decode()), shown


def test_keys_of_any_bytes_are_removed_and_come_back(
    operator_at: OperatorAt, with_keys: ServerProcess
):
    """What was listed removes what was meant, `flush` the rest; `warm` writes them back."""
    operator = operator_at(with_keys)
    exported = operator.ran("export", "n").out
    some = [b"n:" + NASTY[name] for name in ("newlines", "not-utf-8", "escapes", "crlf-protocol")]
    removed = operator.ran("delete", "--keys-from", "-", "-0", stdin=b"\0".join(some))
    assert (removed.code, removed.report) == (0, {"deleted": 4, "missing": 0})
    assert keys_of(with_keys) == (KEYS | {b"other"}) - set(some)
    flushed = operator.ran("flush", "n", "--yes")
    assert (flushed.code, flushed.report["deleted"]) == (0, len(KEYS) - 4)
    assert keys_of(with_keys) == {b"other"}
    assert operator.ran("warm", "-", stdin=exported).report["written"] == len(KEYS)
    assert keys_of(with_keys) == KEYS | {b"other"}


def test_only_that_key_is_touched(operator_at: OperatorAt, server: ServerProcess):
    """A namespace of glob characters, spaces and backslashes is what it says, and nothing else."""
    for name in (r"a*b", r"u[1]", r"x?", "back\\slash", "{tag}", "ü"):
        inside, outside = f"{name}:1", ["aXb:1", "u1:1", "xy:1", "backslash:1", "tag:1", "u:1"]
        for key in (inside, *outside):
            server.raw("SET", key, "1")
        ended = operator_at(server).ran("flush", name, "--yes")
        assert (ended.code, ended.report["deleted"]) == (0, 1)
        assert keys_of(server) == {key.encode() for key in outside}


def shown_on_a_terminal(words: list[str], directory: Path) -> str:
    """Return what a terminal shows, once it is proven that nothing of it steers that."""
    terminal = Terminal(words, directory, NO_COLOR="1", CANARY=PASSWORD)
    assert terminal.end() == 0, terminal.shown
    assert not STEERING.search(terminal.shown), terminal.shown
    shown = re.sub(r"\x1b\[[0-9;?]*[mhlK]", "", terminal.shown)  # what Rich itself needs
    assert "\x1b" not in shown, shown
    assert not HARMFUL.search(shown.replace("\r\n", "\n")), shown
    return shown


def test_no_value_steers_a_terminal(operator_at: OperatorAt, server: ServerProcess, nasty: bytes):
    """Escapes are shown, markup is text, and what turns text around is no part of it."""
    key = b"n:" + nasty.replace(b"\0", b"")  # no argument can hold a NUL
    server.raw("SET", key, nasty)
    server.raw("RPUSH", "list", nasty, nasty)
    operator = operator_at(server)
    typed = key.decode("utf-8", "surrogateescape")
    got = shown_on_a_terminal(["get", typed], operator.directory)
    assert nasty != NASTY["markup"] or "[bold red]x[/] [/]" in got
    shown_on_a_terminal(["inspect", typed], operator.directory)
    shown_on_a_terminal(["inspect", "list"], operator.directory)


@pytest.mark.parametrize("words", [["scan"], ["scan", "--long"], ["stats"]])
def test_no_key_steers_a_terminal(
    operator_at: OperatorAt, with_keys: ServerProcess, words: list[str]
):
    operator = operator_at(with_keys)
    assert "[bold red]" in shown_on_a_terminal(words, operator.directory)


@pytest.fixture
def big(server: ServerProcess) -> bytes:
    """Give 100 MB of JSON that stands under `n:big`."""
    value = b'"' + b"0123456789abcdef" * ((BIG - 2) // 16) + b'"'
    with server.connect() as connection:
        assert connection.call("SET", "n:big", value) == b"OK"
    return value


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_value_of_100_mb(operator_at: OperatorAt, server: ServerProcess, big: bytes):
    """Read, written, exported and warmed exactly."""
    operator = operator_at(server)
    got = operator.ran("get", "n:big", "-o", "text")
    assert (got.code, len(got.out), digest(got.out[:-1])) == (0, len(big) + 1, digest(big))
    operator.file("big.json", big)
    assert operator.ran("set", "n:copy", "--file", "big.json").code == 0
    assert server.raw("STRLEN", "n:copy") == len(big)
    server.raw("DEL", "n:copy")
    exported = operator.ran("export", "n", "--to", "big.jsonl")
    assert (exported.code, exported.report["entries"]) == (0, 1)
    server.raw("DEL", "n:big")
    warm = operator.ran("warm", "./big.jsonl")
    assert (warm.code, warm.report["written"]) == (0, 1), warm.err
    assert digest(server.raw("GET", "n:big")) == digest(big)


@pytest.mark.parametrize("words", [["inspect", "n:big"], ["get", "n:big"]])
def test_a_value_of_100_mb_is_bounded_on_a_terminal(
    operator_at: OperatorAt, server: ServerProcess, big: bytes, words: list[str]
):
    """A person sees its beginning, and how long it is."""
    assert server.raw("STRLEN", "n:big") == len(big)
    shown = shown_on_a_terminal(words, operator_at(server).directory)
    assert "0123456789abcdef" in shown
    assert len(shown) < 100_000
    assert ("100.0 MB in all" if words[0] == "get" else str(len(big))) in shown
