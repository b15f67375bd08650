"""Which server: the order of what decides, and what profiles say of the same server."""

from pathlib import Path

import pytest

from cachectl.config.load import Settings, deploy_jobs, load, resolve
from cachectl.config.secrets import Credentials, Secret
from cachectl.errors import ConfigError, UsageError
from tests.config.config_files import Write

FILE = """
default_profile: dev
profiles:
  dev: {url: "redis://dev"}
  prod: {url: "rediss://prod:1/0", username: me, password: s3cr3t, protected: true}
"""
NO_DEFAULT = FILE.replace("default_profile: dev\n", "")
ALL = {"CACHECTL_PROFILE": "prod", "CACHECTL_URL": "redis://cu", "REDIS_URL": "redis://ru"}
NOT_PROFILE = {name: ALL[name] for name in ("CACHECTL_URL", "REDIS_URL")}
ONLY_REDIS = {"REDIS_URL": "redis://ru"}


@pytest.mark.parametrize(
    ("text", "flags", "env", "host", "setting"),
    [
        (FILE, {"profile": "dev"}, ALL, "dev", "profiles.dev of cachectl.yaml (--profile)"),
        (FILE, {"url": "redis://u"}, ALL, "u", "--url"),
        (FILE, {}, ALL, "prod", "profiles.prod of cachectl.yaml (CACHECTL_PROFILE)"),
        (FILE, {}, NOT_PROFILE, "cu", "CACHECTL_URL"),
        (FILE, {}, ONLY_REDIS, "dev", "profiles.dev of cachectl.yaml (default_profile)"),
        (NO_DEFAULT, {}, ONLY_REDIS, "ru", "REDIS_URL"),
        (NO_DEFAULT, {}, {}, "localhost", "default"),
        (NO_DEFAULT, {}, dict.fromkeys(ALL, ""), "localhost", "default"),
        ("", {}, ONLY_REDIS, "ru", "REDIS_URL"),
        (None, {}, NOT_PROFILE, "cu", "CACHECTL_URL"),
        (None, {}, {}, "localhost", "default"),
    ],
)
def test_the_first_that_speaks_decides(
    write: Write,
    text: str | None,
    flags: dict[str, str],
    env: dict[str, str],
    host: str,
    setting: str,
) -> None:
    settings = None if text is None else load(write(text), {})
    server = resolve(settings, **flags, env=env)
    assert (server.address.host, server.setting) == (host, setting)
    assert server.profile == (host if "profiles" in setting else None)
    assert server.said_by in setting


def test_both_flags_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        resolve(None, profile="a", url="redis://h", env={})


@pytest.mark.parametrize("said_by", ["--profile", "CACHECTL_PROFILE", "default_profile"])
def test_an_unknown_profile_lists_those_there_are_nearest_first(write: Write, said_by: str) -> None:
    settings = load(write(FILE.replace(": dev\n", ": prd\n")), {})
    flags = {"profile": "prd"} if said_by == "--profile" else {}
    env = {"CACHECTL_PROFILE": "prd"} if said_by == "CACHECTL_PROFILE" else {}
    with pytest.raises(UsageError, match=r"there is no profile 'prd' in cachectl\.yaml") as caught:
        resolve(settings, **flags, env=env)
    assert caught.value.hint == "there are: prod, dev"
    assert caught.value.message.startswith("cachectl.yaml:2: ") is (said_by == "default_profile")


def test_a_url_in_place_of_a_profile_shows_no_password(write: Write) -> None:
    for settings in (load(write(FILE), {}), None):
        with pytest.raises(UsageError, match="there is no profile 'redis://…'") as caught:
            resolve(settings, profile="redis://:c4n4ry@h/0", env={})
        assert "c4n4ry" not in f"{caught.value.message} {caught.value.hint}"


def test_a_profile_without_a_file_and_the_empty_name_are_unknown(write: Write) -> None:
    with pytest.raises(UsageError, match="no settings file was found"):
        resolve(None, profile="prod", env={})
    with pytest.raises(UsageError, match="there is no profile ''"):
        resolve(load(write(FILE), {}), profile="", env={})


@pytest.mark.parametrize(
    ("flags", "env", "named"),
    [
        ({"url": "redis://:s3cr3t#@h"}, {}, "--url"),
        ({}, {"CACHECTL_URL": "redis://:s3cr3t/@h"}, "CACHECTL_URL"),
        ({}, {"REDIS_URL": "s3cr3t"}, "REDIS_URL"),
    ],
)
def test_a_url_that_is_wrong_names_its_setting_and_not_itself(
    flags: dict[str, str], env: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: the URL") as caught:
        resolve(None, **flags, env=env)
    assert "s3cr3t" not in f"{caught.value!r} {caught.value.hint}"


def test_a_url_never_receives_a_profiles_credentials(write: Write) -> None:
    """Not even the URL of the very server that the profile names; but it is protected as it is."""
    settings = load(write(FILE), {})
    server = resolve(settings, url="rediss://PROD:1/7", env={})
    assert server.credentials == Credentials()
    assert server.protected_by == ("prod",)
    assert resolve(settings, url="redis://prod:2", env={}).protected_by == ()
    assert resolve(settings, profile="prod", env={}).credentials.password == Secret("s3cr3t")


def test_a_server_is_guarded_as_every_profile_of_it_says(write: Write) -> None:
    settings = load(
        write("""
            profiles:
              one: {url: "redis://localhost:1", protected: true}
              two: {url: "redis://127.0.0.1:1/5", protected: true, read_only: true}
              three: {url: "redis://[::1]:1"}
              lost: {url: "${NO}", protected: true}
              half: {url: "redis://:${NO}@other", protected: true}
        """),
        {},
    )
    two = resolve(settings, profile="two", env={})
    assert two.protected_by == ("two", "one")
    assert two.read_only_by == "two"
    three = resolve(settings, profile="three", env={})
    assert three.protected_by == ("one", "two")
    assert three.read_only_by == "two"
    other = resolve(settings, url="redis://other", env={})
    assert other.protected_by == ("half",)
    assert other.read_only_by is None
    with pytest.raises(ConfigError, match=r"\$\{NO\} is not set"):
        resolve(settings, profile="half", env={})


def test_a_profile_changes_only_what_it_names(write: Write) -> None:
    settings = load(
        write("""
            client: {pool_size: 3, timeout: 1s}
            cli: {timeout: 9s}
            cache: {ttl: 1h}
            namespaces: {n: {ttl: 1m}}
            profiles:
              p: {url: "redis://h", client: {timeout: 2s}}
        """),
        {},
    )
    by_profile = resolve(settings, profile="p", env={})
    by_url = resolve(settings, url="redis://h", env={})
    assert (by_profile.client.pool_size, by_profile.client.timeout) == (3, 2.0)
    assert (by_url.client.pool_size, by_url.client.timeout) == (3, 1.0)
    for server in (by_profile, by_url):
        assert server.cli.timeout == 9.0
        assert server.cache.ttl == 3600.0
        assert server.namespaces["n"].ttl == 60.0


@pytest.mark.parametrize(
    ("text", "in_file", "enabled"),
    [
        (None, "true", True), (None, "false", False),
        ("true", "true", True), ("1", "true", True), ("TRUE", "false", False),
        ("false", "true", False), ("0", "true", False), ("False", "true", False),
    ],
)  # fmt: skip
def test_the_environment_or_the_file_switches_the_cache_off(
    write: Write, text: str | None, in_file: str, enabled: bool
) -> None:
    settings = load(write(f"cache: {{enabled: {in_file}}}"), {})
    env = {} if text is None else {"ENABLE_CACHE": text}
    assert resolve(settings, env=env).cache.enabled is enabled


@pytest.mark.parametrize("text", ["", "yes", "off", "2"])
def test_any_other_switch_is_an_error_rather_than_a_guess(text: str) -> None:
    with pytest.raises(UsageError, match="ENABLE_CACHE is neither"):
        resolve(None, env={"ENABLE_CACHE": text})


def test_what_is_unsafe_warns(write: Write, tmp_path: Path) -> None:
    password = tmp_path / "pw"
    password.touch()
    password.chmod(0o644)
    settings = load(
        write("""
            profiles:
              p: {url: "rediss://h", password_file: pw, tls: {verify: false}}
              q: {url: "rediss://:pw@h"}
        """),
        {},
    )
    tls, file = resolve(settings, profile="p", env={}).warnings
    assert tls.startswith("profiles.p.tls.verify is false")
    assert file == f"{password}: other users can read this password file (chmod 600)"
    password.chmod(0o600)
    assert len(resolve(settings, profile="p", env={}).warnings) == 1
    assert resolve(settings, profile="q", env={}).warnings == ()
    (url,) = resolve(None, url="redis://:s3cr3t@h", env={}).warnings
    assert "--url" in url
    assert "s3cr3t" not in url
    assert resolve(None, url="redis://u@h", env={}).warnings == ()
    assert resolve(None, env={"REDIS_URL": "redis://:pw@h"}).warnings == ()


def test_the_jobs_of_a_deploy_come_in_the_order_of_the_file(write: Write) -> None:
    settings = load(
        write("""
            warm:
              b: {entries: e, on_deploy: true}
              broken: {on_deploy: false}
              a: {entries: e, on_deploy: true}
              c: {entries: e}
        """),
        {},
    )
    assert [job.name for job in deploy_jobs(settings)] == ["b", "a"]
    assert deploy_jobs(None) == ()
    assert deploy_jobs(Settings()) == ()


@pytest.mark.parametrize("text", ["on_deploy: true", "entries: e, on_deploy: yes"])
def test_a_deploy_does_not_leave_out_a_job_that_is_wrong(write: Write, text: str) -> None:
    with pytest.raises(ConfigError, match=r"warm\.j"):
        deploy_jobs(load(write(f"warm: {{j: {{{text}}}}}"), {}))
