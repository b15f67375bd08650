"""stats: its report as text and JSON, its options, its exit codes."""

import re
import signal
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.terminal import Terminal
from tests.cli.test_terminal import STEERING, shown
from tests.plans import held
from tests.proxies import Proxy
from tests.servers import ServerProcess

ODD = ["\x1b[31m:red", "\u202eevil:\u00e9", b"\xff\xfe:a", "[bold]x[/]:\n", "名前:キー", "plain"]


def test_the_report_as_json(on: Run, server: ServerProcess):
    """Every field, with the server's own numbers."""
    server.raw("SET", "a:1", "x" * 100)
    server.raw("SET", "a:2", "x", "PXAT", 4_102_444_800_000)
    server.raw("SET", "plain", "x")
    sizes = {key: server.raw("MEMORY", "USAGE", key) for key in ("a:1", "a:2", "plain")}
    fields = on("stats", "-o", "json").json
    assert fields.pop("seconds") > 0
    assert fields.pop("rate") > 0
    ttl = fields.pop("ttl")
    assert ttl.keys() == {"p50", "p90", "min", "max"}
    assert ttl == fields["namespaces"][0].pop("ttl")
    assert ttl["min"] == ttl["max"] == ttl["p50"] > 10**9
    assert fields == {
        "command": "stats",
        "profile": None,
        "server": server.url,
        "exit_code": 0,
        "keys": 3,
        "bytes": sum(sizes.values()),
        "persistent": 2,
        "sampled": False,
        "namespaces": [
            {
                "namespace": "a",
                "keys": 2,
                "bytes": sizes["a:1"] + sizes["a:2"],
                "persistent": 1,
                "largest": {"key": "a:1", "bytes": sizes["a:1"]},
            },
            {
                "namespace": None,
                "keys": 1,
                "bytes": sizes["plain"],
                "persistent": 1,
                "ttl": None,
                "largest": {"key": "plain", "bytes": sizes["plain"]},
            },
        ],
        "held_back_seconds": 0.0,
        "namespaces_found": 2,
        "nodes": [{"node": server.url, "keys": 3, "bytes": sum(sizes.values())}],
        "largest_keys": [
            {"key": key, "bytes": size, "type": "string"}
            for key, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
        ],
        "passes": 1,
        "stopped": None,
        "error": None,
    }


def test_what_is_denied_is_named_in_json_and_text(run: Run, server: ServerProcess):
    """Left out, with the reason; in the tables it is unknown."""
    server.raw("SET", "a:1", "1")
    server.raw("ACL", "SETUSER", "u", "reset", "on", "nopass", "~*", "+scan")
    url = server.url.replace("://", "://u:x@")
    fields = run("-u", url, "stats", "-o", "json").json
    assert fields["unknown_fields"].keys() == {"bytes", "largest_keys", "persistent", "ttl"}
    assert not fields["unknown_fields"].keys() & fields.keys()
    (row,) = fields["namespaces"]
    assert {*row} == {"namespace", "keys", "unknown_fields"}
    assert row["unknown_fields"].keys() == {"bytes", "largest", "persistent", "ttl"}
    text = run("-u", url, "stats")
    assert text.code == 0
    assert "bytes unknown: NOPERM" in text.text
    assert re.search(r"^ +1 +unknown +unknown +unknown +unknown +a$", text.text, re.MULTILINE)


def test_text_for_a_pipe_is_aligned_lines(on: Run, server: ServerProcess):
    """The whole first, then a line a namespace and a line a large key; what SCAN costs."""
    server.fill("a:", 12)
    server.fill("b:", 2)
    for key in ("a:1", "a:2"):
        server.raw("SET", key, "1", "EX", 3600)
    result = on("stats", "--sort", "keys", "--top", "1")
    assert result.code == 0
    head, namespaces, largest = result.text.split("\n\n")
    assert head.startswith("14 keys, ")
    assert "  never expire 12\n" in head
    assert re.search(r"^  TTL p50 1h, p90 1h, min (1h|59m 59s), max 1h$", head, re.MULTILINE)
    assert "SCAN walked the whole keyspace" in head
    heading, row, more = namespaces.splitlines()
    assert heading.split() == ["keys", "memory", "no", "TTL", "p50", "p90", "namespace"]
    assert re.fullmatch(r"  12 +\S+ (B|kB) +10 +1h +1h  a", row)
    assert heading.index("namespace") == row.index("a")
    assert more == "and 1 more namespaces: --top N shows more"
    assert len(largest.splitlines()) == 2


def test_names_are_real_in_json_and_escaped_in_text(on: Run, server: ServerProcess):
    """What is not UTF-8 is base64, keys in no namespace are null."""
    for key in ODD:
        server.raw("SET", key, "1")
    fields = on("stats", "-o", "json").json
    names = [row.get("namespace", row.get("namespace_base64")) for row in fields["namespaces"]]
    wanted = {"\x1b[31m", "\u202eevil", "//4=", "[bold]x[/]", "名前", None}
    assert set(names) == wanted
    assert {"key_base64", "bytes", "type"} in [set(row) for row in fields["largest_keys"]]
    text = on("stats").text
    for name in ("\\x1b[31m", "\\u202eevil", "\\xff\\xfe", "[bold]x[/]", "名前", "(no namespace)"):
        assert name in text
    assert "\x1b" not in text


def test_depth_namespaces_and_patterns(on: Run, server: ServerProcess):
    """Depth counts from the namespace that is named; --match is a pattern, a name is not."""
    server.fill("a:b:", 3)
    server.fill("a:", 2)
    server.fill("c:", 1)

    def names(*words: str) -> dict[str, int]:
        rows = on("stats", *words, "-o", "json").json["namespaces"]
        return {row["namespace"]: row["keys"] for row in rows}

    assert names() == {"a": 5, "c": 1}
    assert names("--depth", "2") == {"a:b": 3, "a": 2, "c": 1}
    assert names("a") == {"a:b": 3, "a": 2}
    assert names("a", "--depth", "0") == {"a": 5}
    assert names("a", "a:b", "c", "--depth", "0") == {"a": 5, "c": 1}
    assert names("--match", "*:0") == {"a": 2, "c": 1}
    assert names("a", "--match", "*:b:*") == {"a:b": 3}


@pytest.mark.parametrize(
    "words",
    [
        ["--sort", "size"],
        ["--top", "-1"],
        ["--depth", "-1"],
        ["--depth", "0"],
        ["--match", ""],
        ["a:"],
        [""],
    ],
)
def test_what_makes_no_sense_is_refused(on: Run, words: list[str]):
    """2, and nothing on stdout."""
    result = on("stats", *words)
    assert (result.code, result.out) == (2, b"")


def test_a_name_is_taken_literally_when_asked(on: Run, server: ServerProcess):
    """`a:` is what begins with `a::`."""
    server.raw("MSET", "a::1", "1", "a:1", "1")
    assert "did you mean a?" in on("stats", "a:").err
    fields = on("stats", "a:", "--literal", "--depth", "0", "-o", "json").json
    assert [(row["namespace"], row["keys"]) for row in fields["namespaces"]] == [("a:", 1)]


def test_a_dead_server_is_3_and_a_denied_walk_4(run: Run, server: ServerProcess):
    """Never 0 keys."""
    dead = run("-u", "redis://127.0.0.1:1/0", "stats", "--timeout", "300ms")
    assert (dead.code, dead.out) == (3, b"")
    server.raw("ACL", "SETUSER", "u", "reset", "on", "nopass", "~*", "+pttl")
    denied = run("-u", server.url.replace("://", "://u:x@"), "stats")
    assert (denied.code, denied.out) == (4, b"")
    assert "ACL SETUSER u +" in denied.err


def test_a_deadline_reports_what_was_counted(run: Run, server: ServerProcess):
    """1, and the report says why it ended."""
    server.fill("a:", 3000)
    gate = threading.Event()
    with Proxy(server, held(gate, after=50_000)) as proxy:
        result = run("-u", proxy.url, "stats", "--deadline", "1s", "-o", "json")
        gate.set()
    assert result.code == 1
    assert (result.json["stopped"], result.json["exit_code"]) == ("deadline", 1)
    assert 0 < result.json["keys"] < 3000


def test_an_empty_server_is_0(on: Run):
    """No tables, but what was walked."""
    result = on("stats")
    assert result.code == 0
    assert result.text.startswith("0 keys, 0 B on ")
    assert "memory" not in result.text


def test_at_60_columns_the_tables_fit(server: ServerProcess, workdir: Path):
    """Numbers stay whole, long and odd names fold, nothing steers the terminal."""
    for key in [*ODD, "n" * 90 + ":1"]:
        server.raw("SET", key, "1", "EX", 86_399)
    server.fill("a:", 12_000, "x" * 100)
    text = shown(["-u", server.url, "stats"], workdir, NO_COLOR="1")
    assert not STEERING.search(text.replace("\x1b[2K", ""))
    plain = re.sub(r"\x1b\[[0-9;?]*\w", "", text)
    tables = plain[plain.index("SCAN walked") :]
    assert max(map(len, tables.splitlines())) <= 60
    assert re.search(r"^ *12000 +\S+ .B +12000 +- +- +a *$", tables, re.MULTILINE)
    assert "\\x1b[31m" in tables
    assert "[bold]x[/]" in tables
    assert "名前" in tables
    assert "…" not in tables


def test_interrupted_it_ends_with_130_and_the_report(server: ServerProcess, workdir: Path):
    """What was counted until then, and that it was interrupted."""
    server.fill("a:", 3000)
    gate = threading.Event()
    with Proxy(server, held(gate, after=50_000)) as proxy:
        terminal = Terminal(["-u", proxy.url, "stats"], workdir)
        terminal.expect("counting")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        gate.set()
    assert "stopped interrupted" in terminal.shown
