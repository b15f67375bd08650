"""Which settings file is found, and what is refused before a setting is looked at."""

import os
from pathlib import Path

import pytest
import yaml

from cachectl.config import find as find_module
from cachectl.config.find import Found, candidates, find
from cachectl.config.load import defaults, load
from cachectl.config.nodes import MAX_FILE, parse
from cachectl.config.settings import Settings
from cachectl.errors import ConfigError
from tests.config.config_files import Write

LOADERS = ["CSafeLoader", "SafeLoader"]


def put(path: Path) -> str:
    """Write an empty settings file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_the_order_in_which_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file hides those after it: flag, variable, here, the user's own, the system's."""
    home, cwd, system = tmp_path / "home", tmp_path / "cwd", tmp_path / "etc" / "config.yaml"
    monkeypatch.setattr(find_module, "SYSTEM_FILE", system)
    env = {"HOME": str(home)}
    assert find(None, env, cwd) is None
    put(system)
    assert find(None, env, cwd) == (system, str(system), "/etc")
    own = put(home / ".config/cachectl/config.yaml")
    assert find(None, env, cwd) == (Path(own), own, "XDG_CONFIG_HOME")
    xdg = put(tmp_path / "xdg/cachectl/config.yaml")
    env["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert find(None, env, cwd) == (Path(xdg), xdg, "XDG_CONFIG_HOME")
    put(cwd / "cachectl.yaml")
    found = find(None, env, str(cwd))
    assert found == (cwd / "cachectl.yaml", "cachectl.yaml", "./cachectl.yaml")
    assert not found.named
    env["CACHECTL_CONFIG"] = put(tmp_path / "variable.yaml")
    assert find(None, env, cwd) == (
        Path(env["CACHECTL_CONFIG"]), env["CACHECTL_CONFIG"], "CACHECTL_CONFIG",
    )  # fmt: skip
    put(cwd / "flag.yaml")
    found = find("flag.yaml", env, cwd)
    assert found == (cwd / "flag.yaml", "flag.yaml", "--config")
    assert found.named


@pytest.mark.parametrize("env", [{}, {"XDG_CONFIG_HOME": "relative"}, {"CACHECTL_CONFIG": ""}])
def test_without_a_home_only_here_and_the_system_are_looked_at(env: dict[str, str]) -> None:
    assert [place.rule for place in candidates(env, Path())] == ["./cachectl.yaml", "/etc"]


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: there is no such .*\(--config\)"):
        find("no.yaml", {}, tmp_path)
    with pytest.raises(ConfigError, match=r"\(CACHECTL_CONFIG\)"):
        find(None, {"CACHECTL_CONFIG": "no.yaml"}, tmp_path)
    with pytest.raises(ConfigError, match="an empty name"):
        find("", {}, tmp_path)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null\n", "{}", "\ufeff"])
def test_an_empty_file_has_all_defaults(write: Write, text: str) -> None:
    found = write(text)
    settings = load(found, {})
    assert settings._replace(path=None, shown="", lines={}) == defaults() == Settings()
    assert settings.trusted


def test_a_path_is_as_good_as_a_found_file(write: Write) -> None:
    path = write("default_profile: a").path
    assert load(path, {}).default_profile == load(str(path), {}).default_profile == "a"


def test_a_directory_a_missing_and_an_unreadable_file_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "missing", {})

    def deny(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("builtins.open", deny)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load(tmp_path / "denied", {})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: b\nc: s3cr3t\xff\n", "cachectl.yaml:2: is not text in UTF-8"),
        (b"a: b\n\nc: s3cr3t\x00\n", "cachectl.yaml:3: holds a control character"),
        (b"\x00", "cachectl.yaml:1: holds a control character"),
        (b"# " + b"x" * MAX_FILE, "larger than 1 MiB"),
    ],
)
def test_what_is_no_text_is_refused(write: Write, content: bytes, said: str) -> None:
    found = write("")
    found.path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load(found, {})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: *s3cr3t", "f:1: aliases are not supported"),
        ("a: &s3cr3t b\nc: *s3cr3t", "f:2: aliases are not supported"),
        ("a: &s3cr3t [*s3cr3t]", "f:1: aliases are not supported"),
        ("a:\n  <<: {s3cr3t: b}", "f:2: merge keys"),
        ("a: !!python/name:s3cr3t b", "f:1: tags .* are not supported"),
        ("a: !s3cr3t b", "f:1: tags .* are not supported"),
        ("a: !!map {}", "f:1: tags .* are not supported"),
        ("a: !s3cr3t!b c", "f:1: found undefined tag handle"),
        ('a: "s3cr3t\\q"', "f:1: found unknown escape character"),
        ("b: 1\na: x: s3cr3t", "f:2: mapping values are not allowed"),
        ("b:\n\tc: s3cr3t", "f:2: a tab indents this line"),
        ("a: @s3cr3t", "f:1: found character"),
        ("a: [s3cr3t", "f:[12]: (did not find )?expected ',' or ']'"),
        ("a: |\n  s3cr3t\n b\nc", "f:3: "),
        ("---\na: 1\n---\nb: s3cr3t", "f:3: a second document begins"),
        ("? [s3cr3t]\n: b", "f:1: a key must be a single word"),
        ("{a: b}: s3cr3t", "f:1: a key must be a single word"),
        ('"": s3cr3t', "f:1: a key must be a single word"),
        ("a: " + "[" * 200_000, "f:1: nests deeper than 20"),
        ("a: " + "{a: " * 30, "f:1: nests deeper than 20"),
    ],
)
def test_what_is_not_plain_yaml_names_its_line_and_shows_nothing_of_it(
    text: str, said: str, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml, "CSafeLoader", getattr(yaml, loader))
    with pytest.raises(ConfigError, match=f"^{said}") as caught:
        parse(text, "f")
    assert "s3cr3t" not in f"{caught.value!r} {caught.value.hint}"


def test_the_loader_in_python_serves_where_the_one_in_c_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert parse("a: !!str 1", "f") == ([(("a", "str", 1), ("1", "str", 1))], 1)


def test_a_found_file_is_trusted_only_if_no_one_else_could_write_it(write: Write) -> None:
    text = """
        profiles:
          a: {url: "redis://h", password_command: [echo, x]}
          b: {url: "redis://h"}
          c: {sentinel: {service: m, nodes: [s], password_command: [echo, x]}}
        warm:
          j: {requests: r, origin: {call: "a:b"}}
          k: {entries: e}
    """
    named = write(text)
    found = Found(named.path, "cachectl.yaml", "./cachectl.yaml")
    assert load(found, {}).trusted
    found.path.chmod(0o620)
    assert load(named, {}).trusted
    assert load(found._replace(rule="XDG_CONFIG_HOME"), {}).trusted
    settings = load(found, {})
    assert not settings.trusted
    assert list(settings.profile_errors) == ["a", "c"]
    inside = settings.profile_errors["c"].message
    assert inside.endswith(
        "profiles.c.sentinel.password_command: may not run a command from this file"
    )
    assert list(settings.warm_errors) == ["j"]
    assert "may not run a command" in settings.profile_errors["a"].message
    assert "may not import code" in settings.warm_errors["j"].message


def test_a_found_file_of_another_user_is_not_trusted(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Found(write("").path, "cachectl.yaml", "./cachectl.yaml")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not load(found, {}).trusted
