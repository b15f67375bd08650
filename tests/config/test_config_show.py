"""What is told of settings: each with its origin, masked; all problems at once; a schema."""

import base64
import json
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import yaml

from cachectl.config import fields, kinds
from cachectl.config.check import check
from cachectl.config.describe import describe
from cachectl.config.fields import Section, Table
from cachectl.config.find import Found
from cachectl.config.kinds import Many
from cachectl.config.load import Settings, deploy_jobs, job, load, resolve
from cachectl.config.schema import schema
from cachectl.config.settings import Origin
from cachectl.errors import CachectlError
from tests.config.config_files import Write

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"
CANARY = "s3cr3t#canary/€"


def uncommented() -> str:
    """Return the example file with every optional setting switched on."""
    return re.sub("^# ", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def keys(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every single setting; a name that the user chooses is `*`."""
    if isinstance(kind, Section):
        for name, field in kind.fields.items():
            yield from keys(field.kind, (*path, name))
    elif isinstance(kind, Table):
        yield from keys(kind.each, (*path, "*"))
    else:
        yield path


def test_describe_tells_where_each_setting_came_from(write: Write) -> None:
    settings = load(
        write("""
            default_profile: p
            cli: {timeout: 9s}
            client: {timeout: 90061s}
            profiles:
              p:
                url: rediss://me@h
                password: s3cr3t
                tls: {ca_file: /ca}
                client: {timeout: 200ms}
                protected: true
              c: {url: "redis://h2", password_command: [pass, s3cr3t]}
              d: {url: "redis://h3", password_command: [pass]}
              e: {url: "redis://h4", password_prompt: true}
              f: {url: "redis://h4", password_prompt: false, password: s3cr3t}
            namespaces: {n: {ttl: null}}
            warm:
              j: {requests: [/r1, /r2], origin: {call: "a:b"}, verify: {requests: same}}
            health: {latency: {critical: null}}
        """),
        {},
    )
    rows = {row.path: row for row in describe(settings, resolve(settings, env={}), {})}
    assert "s3cr3t" not in str(rows)
    for path, text, origin, value in [
        ("profile", "p", "cachectl.yaml:2", "p"),
        ("url", "rediss://h:6379/0", "cachectl.yaml:7", "rediss://h:6379/0"),
        ("username", "me", "cachectl.yaml:7", "me"),
        ("password", "***", "cachectl.yaml:8", "***"),
        ("tls.ca_file", "/ca", "cachectl.yaml:9", "/ca"),
        ("tls.verify", "true", "default", True),
        ("protected", "true", "cachectl.yaml:11", True),
        ("read_only", "false", "default", False),
        ("client.timeout", "200ms", "cachectl.yaml:10", 0.2),
        ("client.pool_size", "10", "default", 10),
        ("cli.timeout", "9s", "cachectl.yaml:3", 9.0),
        ("cache.enabled", "true", "default", True),
        ("namespaces.n.ttl", "null", "cachectl.yaml:16", None),
        ("warm.j.requests", "/r1, /r2", "cachectl.yaml:18", ("/r1", "/r2")),
        ("warm.j.verify.requests", "same", "cachectl.yaml:18", "same"),
        ("health.latency.critical", "null", "cachectl.yaml:19", None),
        ("health.evictions.warning", "100/s", "default", 100.0),
    ]:
        assert rows[path] == (path, text, origin, value)
    assert "health.hit_rate.critical" not in rows
    assert "warm.j.ttl" not in rows
    json.dumps([row._asdict() for row in rows.values()])
    for name, shown in {"c": "pass …", "d": "pass"}.items():
        server = resolve(settings, profile=name, env={})
        rows = {row.path: row for row in describe(settings, server, {})}
        assert rows["password_command"].text == shown
        assert rows["password_command"].value == ["pass"]
        assert rows["profile"].origin == "--profile"
        assert rows["client.timeout"].text == "90061.0s"
        assert rows["protected"].origin == "default"
        assert "s3cr3t" not in str(rows)
    for name, key in {"e": "password_prompt", "f": "password"}.items():
        server = resolve(settings, profile=name, env={})
        assert server.asks is (name == "e")
        of = [row for row in describe(settings, server, {}) if row.path.startswith("password")]
        assert [row.path for row in of] == [key]
        assert of[0].value == (True if name == "e" else "***")


def test_describe_tells_sentinels_and_nodes_key_by_key(write: Write) -> None:
    settings = load(
        write("""
            profiles:
              ha:
                sentinel:
                  service: main
                  nodes: [s1, "[::1]:7"]
                  password_command: [pass, s3cr3t]
                  tls: {verify: false}
                db: 3
                password: s3cr3t
              sharded: {cluster: [n1], tls: {}}
              url: {url: "rediss+sentinel://me:s3cr3t@s1/main", tls: {ca_file: /ca}}
              plain: {sentinel: {service: main, nodes: [s1]}}
        """),
        {},
    )

    def shown(profile: str) -> dict[str, Any]:
        rows = describe(settings, resolve(settings, profile=profile, env={}), {})
        assert "s3cr3t" not in str(rows)
        return {row.path: tuple(row)[1:] for row in rows if not row.path.startswith("health")}

    ha, url = "redis+sentinel://s1:26379,[::1]:7/main/3", "rediss+sentinel://s1:26379/main/0"
    nodes, sharded = ["s1:26379", "[::1]:7"], "rediss+cluster://n1:6379/0"
    rows = shown("ha")
    assert rows["url"] == (ha, "cachectl.yaml:4", ha)
    assert rows["sentinel.service"] == ("main", "cachectl.yaml:5", "main")
    assert rows["sentinel.nodes"] == ("s1:26379, [::1]:7", "cachectl.yaml:6", nodes)
    assert rows["sentinel.password_command"] == ("pass …", "cachectl.yaml:7", ["pass"])
    assert rows["sentinel.tls.verify"] == ("false", "cachectl.yaml:8", False)
    assert rows["db"] == ("3", "cachectl.yaml:9", 3)
    assert rows["password"] == ("***", "cachectl.yaml:10", "***")
    assert "tls.verify" not in rows
    rows = shown("sharded")
    assert rows["url"] == (sharded, "cachectl.yaml:11", sharded)
    assert rows["cluster"] == ("n1:6379", "cachectl.yaml:11", ["n1:6379"])
    assert rows["db"] == ("0", "default", 0)
    assert rows["tls.verify"] == ("true", "default", True)
    assert not [path for path in rows if path.startswith("sentinel")]
    rows = shown("url")
    assert rows["url"] == (url, "cachectl.yaml:12", url)
    assert rows["username"] == ("me", "cachectl.yaml:12", "me")
    assert rows["tls.ca_file"] == rows["sentinel.tls.ca_file"] == ("/ca", "cachectl.yaml:12", "/ca")
    assert not rows.keys() & {"sentinel.service", "sentinel.nodes", "sentinel.username", "db"}
    rows = shown("plain")
    assert not [path for path in rows if "tls" in path or "password" in path]


def test_describe_without_a_file_names_the_variables(write: Write) -> None:
    env = {"REDIS_URL": "rediss://u:s3cr3t@h", "ENABLE_CACHE": "FALSE"}
    rows = {row.path: row for row in describe(None, resolve(None, env=env), env)}
    assert rows["url"].origin == rows["username"].origin == rows["password"].origin == "REDIS_URL"
    assert rows["cache.enabled"] == ("cache.enabled", "false", "ENABLE_CACHE", False)
    assert rows["tls.verify"].origin == "default"
    assert "s3cr3t" not in str(rows)
    settings = load(write("profiles: {p: {url: 'redis://h', read_only: true}}"), {})
    rows = {
        row.path: row for row in describe(settings, resolve(settings, url="redis://h", env={}), {})
    }
    assert rows["read_only"] == ("read_only", "true", "cachectl.yaml:1", True)
    assert rows["url"].origin == "--url"


def test_check_tells_everything_at_once(write: Write, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(0o644)
    found = write("""
        default_profile: q
        unknown: 1
        profiles:
          p: {url: "rediss://h", password: "${NO}", tls: {ca_file: ca, verify: false}}
          o: {url: "redis://h", password_file: open}
          w: {url: "redis://h/x"}
        warm:
          j: {requests: r, origin: {call: "a:b"}, verify: {requests: [s]}}
          k: {entries: 5}
    """)
    url = "the URL of the server is not understood"
    number = "and YAML reads this as a number"
    others = "other users can read this password file"
    findings = [(one.level, one.message) for one in check(found, {})]
    assert findings == [
        ("error", "cachectl.yaml:3: unknown key 'unknown'"),
        ("warning", "cachectl.yaml:5: profiles.p.password: ${NO} is not set"),
        ("error", f"cachectl.yaml:7: profiles.w.url: {url}: its database is not a whole number"),
        ("error", f"cachectl.yaml:10: warm.k.entries: expected the path of a file, {number}"),
        ("error", "cachectl.yaml:2: default_profile: there is no profile 'q' in cachectl.yaml"),
        ("warning", f"cachectl.yaml:5: profiles.p.tls.ca_file: {tmp_path}/ca is not there"),
        ("warning", "cachectl.yaml:5: profiles.p.tls.verify: the server is not verified"),
        ("warning", f"cachectl.yaml:6: profiles.o.password_file: {tmp_path}/open: {others}"),
        ("error", f"cachectl.yaml:9: warm.j.requests: {tmp_path}/r is not there"),
        ("error", f"cachectl.yaml:9: warm.j.verify.requests: {tmp_path}/s is not there"),
    ]  # fmt: skip


def test_check_of_a_file_that_is_no_yaml_or_fine(write: Write) -> None:
    (finding,) = check(write("a: ["), {})
    assert finding.level == "error"
    assert check(write("default_profile: p\nprofiles: {p: {url: 'redis://h'}}"), {}) == []


def test_the_example_is_live_as_it_stands() -> None:
    """It has one profile, one job for the deploy, and nothing to complain about."""
    settings = load(EXAMPLE, {})
    assert (settings.default_profile, list(settings.profiles)) == ("local", ["local"])
    (charts,) = deploy_jobs(settings)
    assert charts.origin
    assert charts.origin.call == "examples.natal.chart:chart"
    assert charts.verify == ((str(ROOT / "examples/natal/last-hour.jsonl"),), 0.5)
    assert check(Found(EXAMPLE, "config.example.yaml", "--config"), {}) == []
    live = [line for line in EXAMPLE.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in live if "#" in line]


def test_the_example_uncommented_is_valid_and_shows_every_key(write: Write) -> None:
    settings = load(write(uncommented()), {})
    assert not settings.profile_errors
    assert not settings.warm_errors
    tables = {"profiles", "namespaces", "warm"}
    starred = {
        (path[0], "*", *path[2:]) if path[0] in tables and len(path) > 1 else path
        for path in settings.lines
    }
    # A profile's own client, cli and cache have the keys of those at the top.
    inherited = {"client", "cli", "cache"}
    # What is between a client and Sentinels has the keys that the profile has.
    same = {("profiles", "*", "sentinel", *path) for path in keys(fields.PROFILE)}
    wanted = {
        path for path in keys(fields.ROOT) if not (path[0] == "profiles" and path[2] in inherited)
    } - same
    assert wanted <= starred


def test_the_example_gives_the_defaults_as_they_are(write: Write) -> None:
    settings, defaults = load(write(uncommented()), {}), Settings()
    assert settings.client == defaults.client
    assert settings.cli == defaults.cli
    assert settings.cache == defaults.cache
    assert settings.health == defaults.health
    origin = job(settings, "charts").origin
    assert origin
    assert origin == Origin(origin.call)


def at(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the part of the schema that describes a setting."""
    for name in path:
        node = node["additionalProperties"] if name == "*" else node["properties"][name]
    return node


def test_the_schema_describes_every_key_with_its_default() -> None:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    for path in keys(fields.ROOT):
        assert at(made, path)["description"]
    assert at(made, ("client", "timeout"))["default"] == 0.1
    assert at(made, ("cache", "enabled"))["default"] is True
    assert at(made, ("health", "memory", "warning"))["default"] == 0.85
    assert "default" not in at(made, ("profiles", "*", "client", "timeout"))
    profile = at(made, ("profiles", "*"))
    assert profile["type"] == "object"
    assert profile["oneOf"] == [{"required": [key]} for key in ("url", "sentinel", "cluster")]
    assert at(made, ("profiles", "*", "sentinel"))["required"] == ["service", "nodes"]


def test_the_schema_accepts_the_example_and_refuses_what_the_loader_does() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for text in (EXAMPLE.read_text(encoding="utf-8"), uncommented(), "client:\nprofiles:\n"):
        validator.validate(yaml.safe_load(text))
    for text in [
        "unknown: 1", "profiles: {p: {}}", "profiles: {p: {url: 1}}", "cache: {enabled: 'no'}",
        "client: {timeout: soon}", "client: {pool_size: 0}", "namespaces: {'a:': {}}",
        "warm: {a/b: {entries: e}}", "warm: {j: {only: some}}", "warm: {j: {entries: []}}",
        "health: {memory: {warning: 2}}", "namespaces: {n: {ttl_jitter: x}}", "[]",
        "profiles: {p: {url: a, cluster: [b]}}", "profiles: {p: {cluster: [a, a]}}",
        "profiles: {p: {cluster: []}}", "profiles: {p: {sentinel: {nodes: [a]}}}", "profiles: {p:}",
        "profiles: {p: {sentinel: {service: 'a b', nodes: [a]}}}", "profiles: {p: {cluster: a}}",
    ]:  # fmt: skip
        assert not validator.is_valid(yaml.safe_load(text)), text


def test_kinds_show_what_they_parse() -> None:
    """The default of each setting, shown and read again, is the same value."""

    def singles(section: Section) -> Iterator[tuple[Any, Any]]:
        for name, field in section.fields.items():
            if isinstance(field.kind, Section):
                yield from singles(field.kind)
            elif not isinstance(field.kind, (Table, Many)) and name in section.defaults:
                yield field.kind, section.defaults[name]

    for section in (fields.ROOT, fields.PROFILE, fields.NAMESPACE, fields.ORIGIN):
        for kind, default in singles(section):
            if isinstance(default, (int, float)):
                assert kind.parse(kind.show(default)) == default
    assert kinds.SHARE.show(None) == kinds.RATE.show(None) == kinds.TTL.show(None) == "null"


CASES = [
    "profiles: {{p: {{url: 'redis://h', password: {q} }}}}",
    "profiles: {{p: {{url: 'redis://u:{e}@h'}}}}",
    "profiles: {{p: {{url: 'redis://u:{r}@h:6379/0'}}}}",
    "profiles: {{p: {{url: 'redis://h', password: {r}",
    "profiles: {{p: {{url: 'redis://h', password: *{r}",
    "profiles: {{p: {{url: 'redis://h', password: [{q}]}}}}",
    "profiles: {{p: {{url: 'redis://h', password: {q}, password_file: /x}}}}",
    "profiles: {{p: {{url: 'redis://h', username: me, password: {q}, tls: {{ca_file: x}}}}}}",
    "profiles: {{p: {{url: 'redis://h', password_command: [/bin/false, {q}]}}}}",
    "profiles: {{p: {{url: 'redis://h', password: '${{CANARY}}'}}}}",
    "profiles: {{p: {{url: '${{CANARY_URL}}'}}}}",
    "profiles: {{p: {{url: 'redis://h', password: '${{{r}}}'}}}}",
    "profiles: {{p: {{url: 'redis+sentinel://u:{e}@s1,s2/main'}}}}",
    "profiles: {{p: {{url: 'redis+sentinel://u:{r}@s1,s2/main'}}}}",
    "profiles: {{p: {{url: 'redis+sentinel://s1/{r}'}}}}",
    "profiles: {{p: {{url: 'redis+cluster://u:{r}@n1,u:{r}@n2'}}}}",
    "profiles: {{p: {{sentinel: {{service: m, nodes: [s1], username: w, password: {q}}}}}}}",
    "profiles: {{p: {{sentinel: {{service: m, nodes: [s1], password_command: [/bin/false, {q}]}}}}}}",
    "profiles: {{p: {{sentinel: {{service: m, nodes: [s1], password: {q}, password_file: /x}}}}}}",
    "profiles: {{p: {{sentinel: {{service: {q}, nodes: [s1]}}}}}}",
    "profiles: {{p: {{sentinel: {{service: m, nodes: ['u:{r}@s1']}}}}}}",
    "profiles: {{p: {{sentinel: {{service: m, nodes: [s1], password: '${{CANARY}}'}}}}}}",
    "profiles: {{p: {{cluster: ['{r}', '{r}']}}}}",
    "profiles: {{p: {{cluster: ['${{CANARY}}'], password: {q}}}}}",
    "client: {{timeout: {q}}}",
    "cache: {{enabled: {q}}}",
    "default_profile:\n\t{r}",
    'default_profile: "{r}\\q"',
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_canary_never_sings(write: Write, case: str) -> None:
    """No error, traceback, repr, description or finding shows a password, in any encoding."""
    text = case.format(q=f'"{CANARY}"', e=quote(CANARY, safe=""), r=CANARY)
    env = {"CANARY": CANARY, "CANARY_URL": f"redis://u:{CANARY}@h"}
    found = write(text)
    heard = [str(check(found, env))]
    try:
        settings = load(found, env)
        heard.append(repr(settings))
        server = resolve(settings, profile="p", env=env)
        heard += [repr(server), str(server), str(describe(settings, server, env))]
    except CachectlError as error:
        heard += [repr(error), str(error.as_dict()), traceback.format_exc()]
    said = "\n".join(heard)
    # A traceback of this test shows lines of code, in which no canary stands.
    for form in (CANARY, "s3cr3t", quote(CANARY, safe=""), "canary%2F"):
        assert form not in said
    for start in range(3):
        encoded = base64.b64encode(b"x" * start + CANARY.encode()).decode()
        assert encoded[4:-4] not in said
