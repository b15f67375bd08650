"""flush: asked, confirmed, protected; and what it reports."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.terminal import Terminal
from tests.servers import ServerProcess

PROTECTED = """
default_profile: production
profiles:
  production: {url: 'URL', protected: true}
  staging: {url: 'redis://127.0.0.1:1/0'}
namespaces:
  session: {protected: true}
  n: {ttl: 1h}
"""


def test_without_a_terminal_flush_refuses_unless_yes(on: Run, server: ServerProcess):
    server.fill("n:", 10)
    refused = on("flush", "n")
    assert (refused.code, refused.out) == (5, b"")
    assert "--yes" in refused.err
    assert server.raw("DBSIZE") == 10
    done = on("flush", "n", "--yes")
    assert done.code == 0
    assert "removed 10 keys" in done.text
    assert f"removing from {server.url} (--url)" in done.err
    assert server.raw("DBSIZE") == 0


def test_the_report_as_json(on: Run, server: ServerProcess):
    server.fill("n:a:", 3)
    server.fill("m:", 2)
    result = on("flush", "n", "--yes", "-o", "json")
    fields = result.json
    assert fields.pop("seconds") > 0
    assert fields.pop("rate") > 0
    assert fields == {
        "command": "flush",
        "profile": None,
        "server": server.url,
        "exit_code": 0,
        "namespaces": [{"namespace": "n", "keys": 3, "unknown_fields": {"bytes": "not measured"}}],
        "matched": 3,
        "deleted": 3,
        "deleted_exact": True,
        "written_meanwhile": 0,
        "remaining": 0,
        "failed": 0,
        "passes": 1,
        "held_back_seconds": 0.0,
        "dry_run": False,
        "stopped": None,
        "errors": [],
        "error": None,
        "nodes": [{"node": server.url, "keys": 3}],
    }
    assert server.raw("DBSIZE") == 2


def test_a_dry_run_counts_by_sub_namespace_and_removes_nothing(on: Run, server: ServerProcess):
    server.fill("n:a:", 3)
    server.fill("n:b:", 2)
    server.fill("n:", 1)
    fields = on("flush", "n", "--dry-run", "-o", "json").json
    assert {(row["namespace"], row["keys"]) for row in fields["namespaces"]} == {
        ("n:a", 3),
        ("n:b", 2),
        ("n", 1),
    }
    assert fields["dry_run"] is True
    assert fields["matched"] == 6
    assert fields["unknown_fields"].keys() == {"remaining", "written_meanwhile"}
    assert server.raw("DBSIZE") == 6


def test_names_in_json_are_the_real_ones(on: Run, server: ServerProcess):
    """Escaping is for terminals; what is not UTF-8 is base64, keys in no namespace are null."""
    server.raw("MSET", "\u202eevil:a", "1", b"\xff:a", "1", "*:1", "1", "plain", "1")
    rows = on("flush", "--all", "--dry-run", "-o", "json").json["namespaces"]
    names = [{k: v for k, v in row.items() if k.startswith("namespace")} for row in rows]
    wanted = [{"namespace": name} for name in ("\u202eevil", "*", None)]
    assert sorted(names, key=str) == sorted([*wanted, {"namespace_base64": "/w=="}], key=str)
    text = on("flush", "--all", "--dry-run").text
    assert "\\u202eevil" in text
    assert "(no namespace)" in text


def test_names_that_are_surely_meant_otherwise_are_refused(on: Run, server: ServerProcess):
    server.raw("SET", "natal:", "1")
    server.raw("SET", "natal::x", "1")
    for name in ("natal:", "natal*"):
        result = on("flush", name, "--yes")
        assert result.code == 2
        assert "did you mean natal?" in result.err
    assert on("flush", "", "--yes").code == 2
    assert on("flush", "--yes").code == 2
    assert on("flush", "--all", "n", "--yes").code == 2
    assert server.raw("DBSIZE") == 2
    assert on("flush", "natal:", "--literal", "--yes").code == 0
    assert server.raw("KEYS", "*") == [b"natal:"]


def test_nothing_matched_is_0_with_a_warning_or_1_when_required(on: Run):
    result = on("flush", "n", "--yes")
    assert result.code == 0
    assert "nothing matched" in result.err
    assert on("flush", "n", "--yes", "--require-match").code == 1
    assert on("flush", "n", "--dry-run", "--require-match").code == 1


def test_all_and_match(on: Run, server: ServerProcess):
    server.raw("MSET", "a:1", "1", "a:2", "1", "b:1", "1", "c", "1")
    assert on("flush", "a", "--match", "*:1", "--yes").code == 0
    assert sorted(server.raw("KEYS", "*")) == [b"a:2", b"b:1", b"c"]
    assert on("flush", "--match", "b*", "--yes").code == 0
    assert sorted(server.raw("KEYS", "*")) == [b"a:2", b"c"]
    assert on("flush", "--all", "--yes").code == 0
    assert server.raw("DBSIZE") == 0


def test_a_namespace_inside_another_is_counted_once(on: Run, server: ServerProcess):
    server.fill("a:b:", 5)
    assert on("flush", "a", "a:b", "a", "--yes", "-o", "json").json["deleted"] == 5


def test_a_protected_profile_wants_its_name(run: Run, settings, server: ServerProcess):
    settings(PROTECTED)
    server.fill("n:", 3)
    for words in (["--yes"], ["--confirm", "staging"], ["--confirm", "n"], []):
        result = run("flush", "n", *words)
        assert (result.code, result.out) == (5, b""), words
    assert server.raw("DBSIZE") == 3
    assert run("flush", "n", "--dry-run").code == 0
    assert run("flush", "n", "--confirm", "production").code == 0
    assert server.raw("DBSIZE") == 0


def test_the_protection_holds_when_the_server_is_named_by_url(
    run: Run, settings, server: ServerProcess
):
    settings(PROTECTED)
    server.fill("n:", 3)
    assert run("-u", server.url, "flush", "n", "--yes").code == 5
    assert run("-u", server.url, "delete", "n:0").code == 5
    assert run("-u", server.url, "delete", "n:0", "--confirm", "production").code == 0
    assert run("-u", server.url, "flush", "n", "--confirm", "production").code == 0


def test_another_spelling_of_the_host_is_the_same_server(run: Run, settings, server: ServerProcess):
    settings(PROTECTED)
    server.fill("n:", 3)
    for host in ("localhost", "127.1", "127.0.0.1", "0x7f.1", "2130706433"):
        url = f"redis://{host}:{server.port}/0"
        assert run("-u", url, "flush", "n", "--yes").code == 5, host
    assert server.raw("DBSIZE") == 3


def test_a_protected_namespace_is_never_removed_by_a_wider_name(
    run: Run, settings, server: ServerProcess
):
    settings(PROTECTED.replace(", protected: true}\n  staging", "}\n  staging"))
    server.fill("session:", 3)
    for words in (
        ["--all", "--yes"],
        ["--all", "--confirm", "production"],
        ["--match", "s*", "--yes"],
        ["session", "--yes"],
        ["session:sub", "--yes"],
    ):
        result = run("flush", *words)
        assert (result.code, result.out) == (5, b""), words
    assert run("delete", "session:0").code == 5
    assert server.raw("DBSIZE") == 3
    assert run("delete", "session:0", "--confirm", "session").code == 0
    assert run("flush", "session", "--confirm", "session").code == 0
    assert server.raw("DBSIZE") == 0


def test_a_denied_command_is_4_before_anything(run: Run, server: ServerProcess):
    server.fill("n:", 3)
    for rules in (["+scan"], ["+unlink"]):
        server.raw("ACL", "SETUSER", "u", "reset", "on", "nopass", "~*", *rules)
        result = run("-u", server.url.replace("://", "://u:x@"), "flush", "n", "--yes")
        assert (result.code, result.out) == (4, b""), rules
        assert "ACL SETUSER u +" in result.err
    assert server.raw("DBSIZE") == 3


@pytest.mark.parametrize(("answer", "left", "code"), [("y\n", 0, 0), ("n\n", 5, 5), ("\n", 5, 5)])
def test_on_a_terminal_flush_counts_and_asks(
    server: ServerProcess, workdir: Path, answer: str, left: int, code: int
):
    server.fill("n:a:", 3)
    server.fill("n:b:", 2)
    terminal = Terminal(["-u", server.url, "flush", "n"], workdir)
    terminal.expect("Remove them? [y/N]")
    assert "5 keys on" in terminal.shown
    assert "3  n:a" in terminal.shown
    terminal.type(answer)
    assert terminal.end() == code
    assert server.raw("DBSIZE") == left


def test_on_a_terminal_a_protected_profile_wants_its_name_typed(
    settings, server: ServerProcess, workdir: Path
):
    settings(PROTECTED)
    server.fill("n:", 3)
    for answer, code in (("y\n", 5), ("production\n", 0)):
        terminal = Terminal(["flush", "n"], workdir)
        terminal.expect("Type production")
        terminal.type(answer)
        assert terminal.end() == code
    assert server.raw("DBSIZE") == 0


def test_a_server_that_was_replaced_while_the_person_thought_is_refused(
    fresh_server, workdir: Path
):
    server = fresh_server()
    server.fill("n:", 3)
    server.raw("SAVE")
    terminal = Terminal(["-u", server.url, "flush", "n"], workdir)
    terminal.expect("Remove them? [y/N]")
    server.restart(kill=True)
    terminal.type("y\n")
    assert terminal.end() == 5
    assert server.raw("DBSIZE") == 3
