"""config and the global options: which server, from which setting."""

from pathlib import Path
from textwrap import dedent

import pytest

from tests.cli.conftest import Run
from tests.servers import ServerProcess

SECRET = "s3cr3t-c4n4ry"


def test_show_says_where_each_setting_came_from_and_masks_secrets(
    run: Run, settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CACHE_PASSWORD", SECRET)
    settings(
        "default_profile: p\nprofiles:\n  p:\n    url: 'URL'\n    password: ${CACHE_PASSWORD}\n"
    )
    result = run("config", "show")
    assert result.code == 0
    assert SECRET not in result.text + result.err
    assert "url\t" in result.text
    assert "cachectl.yaml:4" in result.text
    rows = {row["path"]: row for row in run("config", "show", "-o", "json").json["settings"]}
    assert rows["password"]["value"] == "***"
    assert rows["cli.timeout"] == {
        "path": "cli.timeout",
        "text": "5s",
        "origin": "default",
        "value": 5.0,
    }


def test_show_and_check_tell_sentinels_and_clusters(run: Run, settings):
    """Two logins, each in its place, both masked; what is wrong inside names its line."""
    text = f"""
        profiles:
          ha:
            sentinel: {{service: main, nodes: [s1, "[::1]:7"], password: {SECRET}}}
            password: {SECRET}
            tls: {{}}
          sharded: {{cluster: [n1, "n2:7000"]}}
    """
    path = settings(dedent(text))
    shown = run("-p", "ha", "config", "show")
    assert SECRET not in shown.text + shown.err
    address = "rediss+sentinel://s1:26379,[::1]:7/main/0"
    assert f"url\t{address}\tcachectl.yaml:4\n" in shown.text
    assert "sentinel.nodes\ts1:26379, [::1]:7\tcachectl.yaml:4\n" in shown.text
    assert "sentinel.password\t***\tcachectl.yaml:4\n" in shown.text
    assert "\npassword\t***\tcachectl.yaml:5\n" in shown.text
    result = run("-p", "sharded", "config", "show", "-o", "json")
    rows = {row["path"]: row["value"] for row in result.json["settings"]}
    assert rows["cluster"] == ["n1:6379", "n2:7000"]
    assert rows["url"] == "redis+cluster://n1:6379,n2:7000/0"
    assert run("config", "check").code == 0
    path.write_text(path.read_text().replace("[n1, ", f"[{SECRET}@n1, "))
    wrong = run("config", "check")
    assert wrong.code == 2
    assert "cachectl.yaml:7: profiles.sharded.cluster.1: the node is not understood" in wrong.text
    assert SECRET not in wrong.text + wrong.err


def test_check_finds_everything_at_once(run: Run, settings):
    path = settings("default_profile: q\nprofiles: {p: {url: 'URL', tiemout: 1}}\nclient: []\n")
    result = run("config", "check")
    assert result.code == 2
    assert "unknown key 'profiles.p.tiemout'" in result.text
    assert "no profile 'q'" in result.text
    assert len(result.text.splitlines()) == 3
    fields = run("config", "check", path, "-o", "json").json
    assert fields["ok"] is False
    assert {row["level"] for row in fields["findings"]} == {"error"}
    path.write_text("client: {pool_size: 5}\n")
    assert run("config", "check").text == "./cachectl.yaml: nothing is wrong\n" or (
        "nothing is wrong" in run("config", "check").text
    )


def test_path_is_the_file_that_is_used(run: Run, settings):
    assert run("config", "path").code == 1
    path = settings("client: {pool_size: 5}\n")
    assert run("config", "path").text == f"{path}\n"
    assert run("config", "path", "-o", "json").json["path"] == str(path)


def test_schema_is_one_json_object(run: Run):
    schema = run("config", "schema").json
    assert "profiles" in schema["properties"]


def test_global_options_stand_on_both_sides_and_the_later_wins(run: Run, server: ServerProcess):
    server.raw("SET", "k", "1")
    dead = "redis://127.0.0.1:1/0"
    assert run("get", "k", "-u", server.url).out == b"1\n"
    assert run("-u", dead, "get", "k", "-u", server.url).out == b"1\n"
    assert run("-u", server.url, "get", "-u", dead, "k").code == 3
    assert run("config", "-u", server.url, "show").code == 0
    assert run("config", "show", "-u", server.url).code == 0


def test_verbose_tells_the_server_and_quiet_says_less(run: Run, server: ServerProcess):
    verbose = run("-v", "-u", server.url, "get", "nope")
    assert f"server {server.url}, from --url" in verbose.err
    assert run("-q", "-u", server.url, "get", "nope").err == ""


def test_output_comes_from_the_environment_too(
    run: Run, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
):
    server.raw("SET", "k", "1")
    monkeypatch.setenv("CACHECTL_OUTPUT", "json")
    assert run("-u", server.url, "get", "k").json["value"] == 1
    assert run("-u", server.url, "get", "k", "-o", "text").out == b"1\n"
    monkeypatch.setenv("CACHECTL_OUTPUT", "xml")
    assert run("-u", server.url, "get", "k").code == 2


def test_the_deadline_bounds_a_command(run: Run, server: ServerProcess):
    server.raw("CLIENT", "PAUSE", "3000", "ALL")
    result = run("-u", server.url, "--deadline", "200ms", "get", "k")
    assert result.code == 3
    assert "deadline" in result.err


def test_an_unreachable_server_names_what_was_tried_and_the_setting(
    run: Run, settings, workdir: Path
):
    (workdir / "cachectl.yaml").write_text(
        "default_profile: p\nprofiles: {p: {url: 'redis://127.0.0.1:1/0'}}\n"
    )
    result = run("get", "k")
    assert result.code == 3
    assert "redis://127.0.0.1:1/0" in result.err
    assert "profiles.p" in result.err
    assert "cachectl.yaml" in result.err
    assert len(result.err.splitlines()) == 1


def test_no_command_is_2_and_shows_the_help(run: Run):
    result = run()
    assert (result.code, result.out) == (2, b"")
    assert "Commands:" in result.err
    assert run("--help").code == 0
    assert run("-h").text == run("--help").text
    assert run("--version").text.startswith("cachectl ")
    assert "Did you mean 'get'" in run("gte", "k").err


def test_a_write_whose_answer_got_lost_is_unknown(run: Run, server: ServerProcess):
    server.raw("CLIENT", "PAUSE", "3000", "WRITE")
    result = run("-u", server.url, "--timeout", "300ms", "set", "k", "1")
    assert result.code == 3
    assert "whether it was applied is unknown" in result.err


def test_an_embedded_server_of_the_settings_may_lie_in_the_home(run: Run, workdir: Path):
    (workdir / "cachectl.yaml").write_text(
        "default_profile: p\nprofiles: {p: {url: 'embedded:~/cache'}}\n"
    )
    home = Path.home()
    row = {row["path"]: row for row in run("config", "show", "-o", "json").json["settings"]}
    assert row["url"]["value"] == f"embedded:{home}/cache"
