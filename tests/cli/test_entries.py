"""get, set, delete, key, inspect, scan as an operator and a script see them."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from cachectl import make_key
from tests.cli.conftest import Run
from tests.servers import ServerProcess


def test_get_writes_the_stored_bytes_and_a_newline_to_a_pipe(on: Run, server: ServerProcess):
    server.raw("SET", "k", b'{"a":  1}\xff\x00')
    assert on("get", "k") == (0, b'{"a":  1}\xff\x00\n', "")


def test_get_as_json_has_key_value_and_ttl(on: Run, server: ServerProcess):
    server.raw("SET", "k", '{"a": [1, null]}', "EX", "100")
    result = on("get", "k", "-o", "json")
    assert result.code == 0
    assert 99 < result.json["ttl"] <= 100
    assert {**result.json, "ttl": 0} == {"key": "k", "value": {"a": [1, None]}, "ttl": 0}


@pytest.mark.parametrize("value", [b"not json", b"\xff", b"[1,\n2]", b"NaN"])
def test_get_as_json_gives_base64_for_what_is_not_one_line_of_json(
    on: Run, server: ServerProcess, value: bytes
):
    server.raw("SET", "k", value)
    fields = on("get", "k", "-o", "json").json
    assert "value" not in fields
    assert b64decode(fields["value_base64"]) == value


def test_a_missing_key_is_1_and_prints_nothing(on: Run):
    result = on("get", "nope")
    assert (result.code, result.out) == (1, b"")
    assert "not in the cache: nope" in result.err


def test_a_missing_key_by_parameters_tells_the_key_and_the_types(on: Run):
    result = on("get", "-n", "natal", "lat=48.85", "lon:=2.35")
    assert result.code == 1
    assert make_key("natal", lat="48.85", lon=2.35) in result.err
    assert "lat is a text" in result.err
    assert "lon is a number" in result.err


def test_get_of_another_type_names_the_type_and_inspect(on: Run, server: ServerProcess):
    server.raw("LPUSH", "k", "1")
    result = on("get", "k")
    assert (result.code, result.out) == (4, b"")
    assert "list" in result.err
    assert "inspect" in result.err


def test_set_then_get_by_the_same_parameters(on: Run, server: ServerProcess):
    assert on("set", "-n", "natal", "lat:=48.85", '{"sun": 1.5}', "--ttl", "10m").code == 0
    assert on("get", "-n", "natal", "lat:=48.85").out == b'{"sun": 1.5}\n'
    assert 599_000 < server.raw("PTTL", make_key("natal", lat=48.85)) <= 600_000


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (["-5"], b"-5"),
        (["-12.5e3"], b"-12.5e3"),
        ([" [1, 2] "], b"[1, 2]"),
        (["--string", 'say "hé"'], '"say \\"hé\\""'.encode()),
        (["--raw", "no json"], b"no json"),
        (["null"], b"null"),
        (["--", "-1"], b"-1"),
    ],
)
def test_set_stores_exactly(on: Run, server: ServerProcess, words: list[str], stored: bytes):
    result = on("set", "k", *words)
    assert (result.code, result.out) == (0, b"")
    assert server.raw("GET", "k") == stored


def test_set_reads_stdin_and_files_exactly(on: Run, server: ServerProcess, workdir: Path):
    assert on("set", "a", "-", stdin=b'{"from": "stdin"}\n').code == 0
    (workdir / "v.bin").write_bytes(b"\x00\xff\n")
    assert on("set", "b", "--file", "v.bin", "--raw").code == 0
    assert server.raw("GET", "a") == b'{"from": "stdin"}'
    assert server.raw("GET", "b") == b"\x00\xff\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["k", "hello c4n4ry"], "--string"),
        (["k", '{"a": c4n4ry'], "not JSON"),
        (["k", "NaN"], "NaN"),
        (["k"], "no value"),
        ([], "no value"),
        (["", "1"], "empty key"),
        (["k", "1", "--ttl", "0"], "longer than 0"),
        (["k", "1", "--ttl", "abc"], "none or keep"),
        (["k", "1", "--only", "sometimes"], "missing or existing"),
        (["k", "1", "--string", "--raw"], "exclude"),
        (["k", "--file", "missing.json"], "missing.json: no such file"),
        (["k", "--string", "--file", "bin"], "not UTF-8"),
    ],
)
def test_set_refuses_what_cannot_be(
    on: Run, server: ServerProcess, workdir: Path, words: list[str], says: str
):
    (workdir / "bin").write_bytes(b"\xff")
    result = on("set", *words)
    assert (result.code, result.out) == (2, b"")
    assert says in result.err
    assert "c4n4ry" not in result.err
    assert server.raw("DBSIZE") == 0


def test_set_lives_as_long_as_the_settings_say(on: Run, run: Run, settings, server: ServerProcess):
    settings("default_profile: p\nprofiles: {p: {url: 'URL'}}\nnamespaces: {n: {ttl: 7d}}\n")
    run("set", "n:a", "1")
    run("set", "other", "1")
    run("set", "forever", "1", "--ttl", "none")
    run("set", "n:a", "2", "--ttl", "keep")
    assert server.raw("TTL", "n:a") in {7 * 86400, 7 * 86400 - 1}
    assert server.raw("TTL", "other") in {86400, 86399}
    assert server.raw("TTL", "forever") == -1


def test_set_only_missing_and_only_existing(on: Run):
    assert on("set", "k", "1", "--only", "existing").code == 1
    assert on("set", "k", "1", "--only", "missing").code == 0
    refused = on("set", "k", "2", "--only", "missing", "-o", "json")
    assert (refused.code, refused.json) == (1, {"key": "k", "written": False})
    assert on("set", "k", "3", "--only", "existing", "-o", "json").json["written"] is True
    assert on("get", "k").out == b"3\n"


def test_a_disabled_cache_refuses_set_with_1_and_answers_get(
    on: Run, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    server.raw("SET", "k", "1")
    monkeypatch.setenv("ENABLE_CACHE", "false")
    assert on("set", "k", "2").code == 1
    assert on("get", "k").out == b"1\n"
    monkeypatch.setenv("ENABLE_CACHE", "perhaps")
    assert on("get", "k").code == 2


def test_delete_counts_and_is_0_if_any_existed(on: Run, server: ServerProcess):
    server.raw("MSET", "a", "1", "b", "1")
    result = on("delete", "a", "b", "b", "c", "-o", "json")
    assert (result.code, result.json) == (0, {"deleted": 2, "missing": 1})
    assert on("delete", "a", "b").code == 1
    assert on("delete", "a").text == "deleted 0, missing 1\n"


def test_what_delete_counts_adds_up_to_the_keys(run: Run, server: ServerProcess):
    """Also as text: what was refused is neither there nor not."""
    server.raw("MSET", "a:1", "1", "b:1", "1")
    server.raw("ACL", "SETUSER", "u", "on", "nopass", "~a:*", "+@all")
    at = ("-u", server.url.replace("://", "://u:x@"))
    result = run(*at, "delete", "a:1", "a:2", "b:1", "b:2")
    assert (result.code, result.text) == (1, "deleted 1, missing 1, 2 failed\n")


def test_get_as_json_gives_the_text_as_it_is_stored(on: Run, server: ServerProcess):
    """Parsed and written again, numbers and repeated fields would come out as others."""
    stored = '{"a": 1, "a": 12345678901234567890.5, "b": -0, "c": 1e-400, "d": 1.0}'
    server.raw("SET", "k", stored)
    assert f'"value": {stored}, "ttl": null' in on("get", "k", "-o", "json").text


def test_get_as_json_names_a_ttl_that_may_not_be_asked(run: Run, server: ServerProcess):
    server.raw("SET", "k", "1")
    server.raw("ACL", "SETUSER", "u", "on", "nopass", "~*", "+get")
    result = run("-u", server.url.replace("://", "://u:x@"), "get", "k", "-o", "json")
    assert result.code == 0
    assert result.json == {"key": "k", "value": 1, "unknown_fields": {"ttl": "denied"}}


def test_a_missing_key_is_an_error_object_when_json_is_wanted(on: Run):
    for words in (["get", "nope"], ["inspect", "nope"], ["get", "-n", "t", "a=1"]):
        result = on(*words, "-o", "json")
        assert (result.code, result.out) == (1, b"")
        assert result.error["code"] == "missing"


def test_stderr_is_json_lines_when_json_is_wanted(on: Run, server: ServerProcess):
    result = on("-v", "flush", "nothing", "--yes", "-o", "json")
    rows = [json.loads(line) for line in result.err.splitlines()]
    assert [next(iter(row)) for row in rows] == ["note", "note", "warning"]


def test_a_delete_that_the_deadline_ends_reports(on: Run, server: ServerProcess, workdir: Path):
    server.raw("SET", "k0", "1")
    server.raw("CLIENT", "PAUSE", "3000", "WRITE")
    result = on("delete", "k0", "--deadline", "200ms", "-o", "json")
    assert result.code in {1, 3}
    assert result.json["unknown"] + result.json.get("unsent", 0) == 1


def test_delete_takes_keys_from_a_file_and_stdin(on: Run, server: ServerProcess, workdir: Path):
    server.raw("MSET", "a", "1", b"b\xff", "1", "c\nd", "1")
    (workdir / "keys").write_bytes(b"a\r\n\nb\xff\n")
    assert on("delete", "--keys-from", "keys").text == "deleted 2, missing 0\n"
    assert on("delete", "-0", "--keys-from", "-", stdin=b"c\nd\0").text == "deleted 1, missing 0\n"
    assert on("delete", "a", "--keys-from", "keys").code == 2
    assert on("delete", "--keys-from", "nofile").code == 2
    assert on("delete").code == 2


def test_key_prints_what_the_application_computes_and_asks_no_server(run: Run):
    result = run("key", "-n", "natal", "date=1990-05-17", "lat:=48.85", "lon:=2.35")
    assert result == (0, b"natal:652c49679deeadba\n", "")
    assert run("key", "-n", "flags", "-o", "json").json == {"key": "flags:44136fa355b3678a"}
    assert run("key", "-n", "q", 'tags:=["a","b"]', 'deep:={"z":1,"a":null}', "on:=true").text == (
        "q:09d58b4f0ab18ccb\n"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a=1"], "namespace"),
        (["-n", "x", "a"], "name=text"),
        (["-n", "x", "=a"], "name=text"),
        (["-n", "x", ":=a"], "name=text"),
        (["-n", "x", "a:=b"], "not JSON"),
        (["-n", "x", "a=1", "a:=1"], "twice"),
        (["-n", "x", "a:=NaN"], "not JSON"),
        (["-n", "x", "a:=1e400"], "not JSON"),
        (["-n", "x", "a:=" + "[" * 60000], "not JSON"),
        (["-n", "", "a=1"], "empty name"),
    ],
)
def test_key_refuses_what_is_no_parameter(run: Run, words: list[str], says: str):
    result = run("key", *words)
    assert result.code == 2
    assert says in result.err


def test_inspect_tells_all_and_leaves_out_what_it_cannot_know(on: Run, server: ServerProcess):
    server.raw("SET", "k", '{"a": 1}', "EX", "100")
    fields = on("inspect", "k", "-o", "json").json
    assert fields["unknown_fields"].keys() == {"slot", "frequency"}
    assert not fields["unknown_fields"].keys() & (fields.keys() - {"unknown_fields"})
    assert fields["value"] == {"a": 1}
    assert fields["type"] == "string"
    assert fields["length"] == 8
    assert fields["bytes"] > 8
    assert 99 < fields["ttl"] <= 100


def test_inspect_previews_collections_and_shows_persistent_as_null(on: Run, server: ServerProcess):
    server.raw("RPUSH", "l", *range(30))
    fields = on("inspect", "l", "-o", "json").json
    assert fields["ttl"] is None
    assert fields["length"] == 30
    assert fields["preview"] == [str(n) for n in range(10)]
    text = on("inspect", "l").text
    assert "ttl: never expires" in text
    assert "member 10: 9" in text


def test_inspect_shows_outside_text_escaped(on: Run, server: ServerProcess):
    server.raw("SET", b"k\x1b[31m", b"\x1b]0;title\x07[bold]\nsecond")
    text = on("inspect", b"k\x1b[31m".decode()).text
    assert "\x1b" not in text
    assert "value: \\x1b]0;title\\x07[bold]\\nsecond\n" in text


def test_inspect_of_a_missing_key_is_1(on: Run):
    result = on("inspect", "nope")
    assert (result.code, result.out) == (1, b"")


def test_scan_lists_a_namespace_literally(on: Run, server: ServerProcess):
    server.raw("MSET", "user[1]:k", "1", "user1:k", "1", "user[1]x", "1", b"user[1]:\xff\n", "1")
    assert sorted(on("scan", "user[1]").text.splitlines()) == ["user[1]:\\xff\\n", "user[1]:k"]
    assert sorted(on("scan", "user[1]", "-0").out.split(b"\0")) == [
        b"",
        b"user[1]:k",
        b"user[1]:\xff\n",
    ]
    keys = sorted(on("scan", "-o", "json").lines, key=str)
    assert {"key": "user1:k"} in keys
    assert {"key_base64": "dXNlclsxXTr/Cg=="} in keys


def test_scan_takes_a_pattern_a_limit_and_tells_facts(on: Run, server: ServerProcess):
    server.raw("SET", "n:a", "1", "EX", "100")
    server.raw("RPUSH", "n:b", "1")
    server.raw("SET", "m:a", "1")
    assert sorted(on("scan", "--match", "*:a").text.splitlines()) == ["m:a", "n:a"]
    assert on("scan", "n", "--match", "*:a").text == "n:a\n"
    assert len(on("scan", "--limit", "2").text.splitlines()) == 2
    facts = {row["key"]: row for row in on("scan", "n", "--long", "-o", "json").lines}
    assert facts["n:b"]["type"] == "list"
    assert facts["n:b"]["ttl"] is None
    assert facts["n:a"]["bytes"] > 0
    line = next(row for row in on("scan", "n", "--long").text.splitlines() if "n:a" in row)
    assert line.split()[0] == "string"
    assert line.split()[1] in {"100s", "99s"}
    assert line.split()[3] == "n:a"


def test_scan_names_what_is_denied(on: Run, run: Run, server: ServerProcess):
    server.raw("SET", "k", "1")
    server.raw("ACL", "SETUSER", "u", "on", "nopass", "~*", "+scan", "+type", "+pttl")
    url = server.url.replace("://", "://u:x@")
    row = run("-u", url, "scan", "--long", "-o", "json").json
    assert "bytes" not in row
    assert "memory" in row["unknown_fields"]["bytes"].lower()
    assert "denied" in run("-u", url, "scan", "--long").text


def test_scan_refuses_a_pattern_as_a_name(on: Run):
    for name in ("natal:", "natal*", "natal:*"):
        result = on("scan", name)
        assert result.code == 2
        assert "did you mean natal?" in result.err
    assert on("scan", "natal:", "--literal").code == 0
    assert on("scan", "-0", "--long").code == 2


def test_a_key_that_begins_with_a_dash_stands_after_two(on: Run, server: ServerProcess):
    server.raw("SET", "-k", "1")
    wrong = on("get", "-k")
    assert wrong.code == 2
    assert "--" in wrong.err
    assert on("get", "--", "-k").out == b"1\n"


def test_read_only_refuses_every_write(run: Run, settings, server: ServerProcess):
    settings("default_profile: p\nprofiles: {p: {url: 'URL', read_only: true}}\n")
    server.raw("SET", "k", "1")
    for words in (["set", "k", "2"], ["delete", "k"], ["flush", "k", "--yes"], ["warm", "./e"]):
        result = run(*words)
        assert (result.code, result.out) == (5, b""), words
        assert "read_only" in result.err
    assert run("get", "k").out == b"1\n"
    assert json.loads(run("scan", "-o", "json").out) == {"key": "k"}
