"""What stands in a settings file: kinds, unknown keys, variables, and what waits for its use."""

from pathlib import Path
from typing import Any

import pytest

from cachectl.config.load import job, load, resolve
from cachectl.config.secrets import Credentials, Secret
from cachectl.config.settings import (
    UNSET,
    AccessLog,
    CacheSettings,
    ClientSettings,
    CliSettings,
    LogFields,
    Moment,
    NamespaceSettings,
    Origin,
    Route,
    Threshold,
    Tls,
    Verify,
    WarmJob,
)
from cachectl.config.url import Address
from cachectl.errors import ConfigError, UsageError
from tests.config.config_files import Write, refused


def test_everything_that_a_file_can_say(write: Write) -> None:
    """Every section becomes its type; what is left out has its default."""
    found = write(
        """
        default_profile: a
        profiles:
          a:
            url: rediss://h:1/2
            username: me
            password: s3cr3t
            tls: {ca_file: ca.pem, cert_file: /c.pem, key_file: ~/k.pem, server_name: n}
            protected: true
            read_only: True
            client: {timeout: 1}
            cli: {attempts: 9}
            cache: {ttl: null}
          b:
            url: unix://me:pw@/s
            password_file:
        client: {pool_size: 5, backoff: 0}
        cli: {timeout: 1m30s}
        cache: {enabled: FALSE, ttl: none}
        namespaces:
          "123": {ttl: 7d, ttl_jitter: 0.1}
          456: {protected: true, ttl: none}
          a*b: {}
        warm:
          j:
            requests: [r1, /r2]
            origin: {call: "a.b:c.d", concurrency: 2, timeout: 1s}
            namespace: n
            ttl: 1.5
            ttl_jitter: 10%
            only: expiring:1h
            limit: 10
            verify: {requests: same, min_hit_rate: 0.5}
            on_deploy: true
          k: {entries: e, verify: {requests: ./same}}
        health:
          latency: {warning: null}
          evictions: {critical: 6000/m, warning: 10}
          hit_rate:
    """.replace("\n            password_file:", "")
    )
    folder = str(found.path.parent)
    settings = load(found, {"HOME": "/home/me"})
    assert settings.default_profile == "a"
    a = settings.profiles["a"]
    assert a.address == Address("tcp", "h", 1, db=2, tls=True)
    assert a.credentials == Credentials("me", Secret("s3cr3t"))
    assert a.tls == Tls(f"{folder}/ca.pem", "/c.pem", "/home/me/k.pem", "n")
    assert a.protected
    assert a.read_only
    assert a.client == ClientSettings(pool_size=5, backoff=0.0, timeout=1.0)
    assert a.cli == CliSettings(timeout=90.0, attempts=9)
    assert a.cache == CacheSettings(enabled=False, ttl=None)
    assert settings.profiles["b"].credentials == Credentials("me", Secret("pw"))
    assert settings.namespaces == {
        "123": NamespaceSettings(ttl=604800.0, ttl_jitter=0.1),
        "456": NamespaceSettings(ttl=None, protected=True),
        "a*b": NamespaceSettings(),
    }
    assert settings.warm == {
        "j": WarmJob(
            "j", (f"{folder}/r1", "/r2"), (), Origin("a.b:c.d", concurrency=2, timeout=1.0),
            "n", 1.5, 0.1,
            "expiring:1h", 10, verify=Verify("same", 0.5), on_deploy=True,
        ),
        "k": WarmJob("k", entries=(f"{folder}/e",), verify=Verify((f"{folder}/./same",))),
    }  # fmt: skip
    assert settings.warm["k"].ttl is UNSET
    assert repr(UNSET) == "UNSET"
    assert settings.health["latency"] == Threshold(None, 1.0)
    assert settings.health["evictions"] == Threshold(10.0, 100.0)
    assert settings.health["hit_rate"] == Threshold(0.5, None)
    assert settings.lines["profiles", "a", "tls", "ca_file"] == 8
    assert not settings.profile_errors
    assert not settings.warm_errors


def test_a_job_of_a_log_and_a_service_is_read_whole(write: Write) -> None:
    """Every key of requests from a log and of an HTTP origin, and what a sample of a log takes."""
    text = """
warm:
  pages:
    requests:
      log: [a.log, /b.log.gz]
      route: {path: "/x/{id}", params: {id: "{id:int}", lang: en}}
      format: json
      fields: {target: request.uri}
      method: [GET, HEAD]
      status: [200, 304]
      since: 24h
      until: 2026-01-31T12:00:00Z
    origin: {http: "https://app.example.com/", fills: application, path: "/x/{id}", hosts: [h],
             max_size: 1MB, concurrency: 5, rate: 50/s, timeout: 3s, attempts: 1, breaker: 20%}
    coverage: 90%
    budget: 256MB
    max_memory: 2GB
    verify: {requests: {log: c.log, route: {key: "page:{target}"}}, min_hit_rate: 0.5}
"""
    found = write(text)
    pages = load(found, {}).warm["pages"]
    folder = found.path.parent
    assert pages.requests == AccessLog(
        (f"{folder}/a.log", "/b.log.gz"),
        Route("/x/{id}", params={"id": "{id:int}", "lang": "en"}),
        "json",
        LogFields(target="request.uri"),
        ("GET", "HEAD"),
        (200, 304),
        Moment(ago=86400.0),
        Moment(at=1769860800.0),
    )
    assert pages.origin == Origin(
        None, "https://app.example.com", "application", "/x/{id}", ("h",), 1_000_000,
        "threads", 5, 50.0, 3.0, 1, 0.2,
    )  # fmt: skip
    assert (pages.coverage, pages.budget, pages.max_memory) == (0.9, 256_000_000, 2_000_000_000)
    sample = AccessLog((f"{folder}/c.log",), Route(key="page:{target}"))
    assert pages.verify == Verify(sample, 0.5)


def test_relative_paths_are_relative_to_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write("""
        profiles:
          e: {url: "embedded:data"}
          d: {url: "embedded:"}
          u: {url: "unix:run/s"}
          f: {url: "redis://h", password_file: pw}
          c: {url: "redis://h", password_command: [./pw, ./x]}
          p: {url: "redis://h", password_command: [pass, ./x]}
    """)
    folder = found.path.parent
    profiles = load(found, {}).profiles
    assert profiles["e"].address.path == f"{folder}/data"
    assert profiles["d"].address.path == ""
    assert profiles["u"].address.path == f"{folder}/run/s"
    assert profiles["f"].credentials.password_file == f"{folder}/pw"
    assert profiles["c"].credentials.password_command == (f"{folder}/./pw", "./x")
    assert profiles["p"].credentials.password_command == ("pass", "./x")
    monkeypatch.chdir(folder)
    here = load(found._replace(path=Path("cachectl.yaml")), {})
    assert here.profiles["f"].credentials.password_file == "pw"


P = "profiles:\n  p:\n    url: redis://h\n    "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profile: x", "cachectl.yaml:1: unknown key 'profile' (did you mean 'profiles'?)"),
        (P + "tls:\n      ca_fil: s3cr3t",
         "cachectl.yaml:5: unknown key 'profiles.p.tls.ca_fil' (did you mean 'ca_file'?)"),
        (P + "client: {tiemout: 1s}",
         "cachectl.yaml:4: unknown key 'profiles.p.client.tiemout' (did you mean 'timeout'?)"),
        ("cache: {x: 1}", "1: unknown key 'cache.x' (known here: enabled, ttl)"),
        (P + "sentinel: {service: s, nodes: [a]}",
         "4: profiles.p.sentinel: url is given too (keep one: url, sentinel or cluster)"),
        (P + "cluster: [a]", "4: profiles.p.cluster: url is given too"),
        (P + "db: 1", "4: profiles.p.db: the url says the database (write it there: redis://"),
        ("profiles:\n  p:\n    cluster: [a]\n    sentinel: {service: s, nodes: [a]}",
         "3: profiles.p.cluster: sentinel is given too (keep one: url, sentinel or cluster)"),
        ("warm: {j: {entrys: a}}", "'warm.j.entrys' (did you mean 'entries'?)"),
        ("warm: {j: {requests: {logs: a}}}", "'warm.j.requests.logs' (did you mean 'log'?)"),
        ("warm: {j: {requests: {log: a, route: {params: a}}}}", "params must be keys with values"),
        ("warm: {j: {requests: a, origin: {htp: x}}}", "origin.htp' (did you mean 'http'?)"),
        ("health: {latensy: {}}", "(did you mean 'latency'?)"),
        ('"a\\eb": 1', "unknown key 'a?b'"),
        ("x" * 999 + ": 1", "unknown key 'x"),
        ("cache: {}\ncli: {}\ncache: {}", "3: cache is given twice, first on line 1"),
        (P + "username: a\n    username: b", "5: profiles.p.username is given twice"),
        ("[a, b]", "1: a settings file holds keys with values, not a list"),
        ("s3cr3t", "1: a settings file holds keys with values, not a single value"),
        ("cache: s3cr3t", "1: cache must be keys with values, not a single value"),
        ("profiles:\n  - p", "1: profiles must be keys with values, not a list"),
        ("profiles: {p: s3cr3t}", "1: profiles.p must be keys with values"),
        ("profiles: {p: {}}", "1: profiles.p: needs url, sentinel or cluster (add one of them)"),
        ("profiles: {p: }", "1: profiles.p: needs url, sentinel or cluster"),
        ("profiles: {p: {db: 1}}", "1: profiles.p: needs url, sentinel or cluster"),
        ("profiles: {p: {url: s3cr3t}}", "profiles.p.url: the URL of the server is not understood"),
        ("profiles: {p: {url: }}", "profiles.p.url: expected the URL of a server, and nothing is"),
        (P + "password: 0123", "4: profiles.p.password: expected text, and YAML reads this as"),
        (P + "password: 1.5", "reads this as a number (quote it)"),
        (P + "password: 1:30", "reads this as a number (quote it)"),
        (P + "password: no", "reads this as true or false (quote it)"),
        (P + "password: 2001-01-01", "reads this as a date (quote it)"),
        (P + "password: =", "reads this as something else (quote it)"),
        (P + "password:", "profiles.p.password: expected text, and nothing is given"),
        (P + "password: [s3cr3t]", "profiles.p.password: expected text, not a list"),
        (P + "password: {s3cr3t: a}", "profiles.p.password: expected text, not keys with values"),
        (P + "username: ''", "profiles.p.username: expected a text that is not empty"),
        (P + 'password_file: "a\\0"', "profiles.p.password_file: expected a text that"),
        (P + "password_command: pass show", "password_command: expected a list that is not empty"),
        (P + "password_command: []", "password_command: expected a list that is not empty"),
        (P + "password_command: [pass, 1]", "4: profiles.p.password_command.2: expected text"),
        (P + "protected: yes", "profiles.p.protected: expected true or false (None)"),
        (P + "protected: 'true'", "profiles.p.protected: expected true or false (without quotes)"),
        (P + "protected: ${X}", "profiles.p.protected: expected true or false (without quotes)"),
        (P + "protected: 1", "profiles.p.protected: expected true or false"),
        (P + "password: s3cr3t\n    password_file: f", "5: profiles.p.password_file: the password"),
        (P + "password_file: f\n    password_prompt: true", "5: profiles.p.password_prompt: the pass"),
        ("profiles: {p: {url: 'redis://:s3cr3t@h', password_prompt: true}}", "given by url too"),
        (P + "password_prompt: s3cr3t", "4: profiles.p.password_prompt: expected true or false"),
        ("profiles: {p: {url: 'redis://:s3cr3t@h', password: x}}", "given by url too"),
        ("profiles: {p: {url: 'redis://s3cr3t@h', username: x}}", "the url names a user too"),
        (P + "tls: {ca_file: x}", "4: profiles.p.tls: the url is not one of TLS"),
        ("profiles: {p: {url: 'rediss://h', tls: {key_file: k}}}", "key_file: has no cert_file"),
        ("client: {timeout: 1:30}", "client.timeout: expected a duration like"),
        ("client: {timeout: 010}", "client.timeout: expected a duration like"),
        ("client: {timeout: 1_0}", "client.timeout: expected a duration like"),
        ("client: {timeout: -1}", "client.timeout: expected a duration like"),
        ("client: {timeout: .inf}", "client.timeout: expected a duration like"),
        ("client: {timeout: soon}", "client.timeout: expected a duration like"),
        ("client: {timeout: 0}", "client.timeout: expected a duration longer than 0"),
        ("client: {timeout: true}", "client.timeout: expected a duration like"),
        ("client: {timeout: null}", "client.timeout: expected a duration like"),
        ("client: {pool_size: 0}", "client.pool_size: expected a whole number from 1"),
        ("client: {pool_size: '5'}", "client.pool_size: expected a whole number from 1 (without"),
        ("client: {pool_size: 1.5}", "client.pool_size: expected a whole number from 1"),
        ("client: {pool_size: " + "9" * 5000 + "}", "client.pool_size: expected a whole number"),
        ("cache: {ttl: 0}", "cache.ttl: expected a duration longer than 0"),
        ("namespaces: {'natal:': {}}", "1: namespaces.natal:: a namespace has a name that does"),
        ("namespaces: {'natal:': {}}", "(did you mean 'natal'?)"),
        ("namespaces: {'natal:*': {}}", "(did you mean 'natal'?)"),
        ("namespaces: {n: {ttl_jitter: 50}}", "ttl_jitter: expected a share"),
        ("warm: {a/b: {}}", "1: warm.a/b: a job has a name without '/' and '.', which is not '-'"),
        ("warm: {'-': {}}", "which is not '-'"),
        ("health: {memory: {warning: 120%}}", "health.memory.warning: expected a share"),
        ("health: {evictions: {warning: 1/y}}", "health.evictions.warning: expected a rate"),
        ("health: {latency: {warning: 2s}}", "health.latency: is critical before it warns"),
        ("health: {hit_rate: {critical: 60%}}", "health.hit_rate: is critical before it warns"),
        ("default_profile: ${NO}", "1: default_profile: ${NO} is not set (set it, or give a"),
        (f"default_profile: ${{{'N' * 500}}}", "1: default_profile: ${" + "N" * 119 + "…} is not"),
        ("default_profile: ${NO", "default_profile: a '${' is not followed by a name and '}'"),
        ("default_profile: ${}", "default_profile: a '${' is not followed by a name and '}'"),
        ("default_profile: '${A:-${B}}'", "default_profile: a '${' is not followed by a name"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_line_path_and_remedy(write: Write, text: str, said: str) -> None:
    error = refused(write, text)
    assert error.startswith("cachectl.yaml:")
    assert said in error
    assert "\n" not in error
    assert len(error) < 400


@pytest.mark.parametrize(
    ("text", "env", "value"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("a${A}b${B:-c}", {"A": "x"}, "axbc"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-}x", {}, "x"),
        ("${A}", {"A": "${B} $${C}"}, "${B} $${C}"),
        ("$${A} $A $$", {"A": "x"}, "${A} $A $$"),
        ("$${", {}, "${"),
    ],
)
def test_variables_are_filled_in_once(
    write: Write, text: str, env: dict[str, str], value: str
) -> None:
    assert load(write(f"default_profile: '{text}'"), env).default_profile == value


def test_a_variable_can_hold_anything_that_a_text_can_say(write: Write) -> None:
    found = write("client: {timeout: '${T:-2s}'}\nwarm: {j: {entries: ['${F}']}}")
    assert load(found, {"F": "/f"}).client.timeout == 2.0
    assert load(found, {"T": "1s", "F": "/f"}).client.timeout == 1.0
    assert "client.timeout: expected a duration" in refused(
        write, "client: {timeout: '${T}'}", {"T": "s3cr3t"}
    )


def test_what_the_environment_lacks_matters_only_when_the_profile_is_used(write: Write) -> None:
    settings = load(
        write("""
            default_profile: fine
            profiles:
              fine: {url: "redis://h"}
              unset: {url: "redis://h2", password: "${CACHE_PASSWORD}"}
              wrong: {url: "${CACHE_URL}"}
              plain: {url: "${PLAIN_URL}", tls: {ca_file: x}}
              lost: {url: "${NO_URL}"}
              empty: {url: "redis://h", password: "${EMPTY}"}
        """),
        {"CACHE_URL": "s3cr3t", "PLAIN_URL": "redis://h", "EMPTY": ""},
    )
    assert resolve(settings, env={}).profile == "fine"
    assert settings.profiles["empty"].credentials.password is None
    for name, said in {
        "unset": "cachectl.yaml:5: profiles.unset.password: ${CACHE_PASSWORD} is not set",
        "wrong": "cachectl.yaml:6: profiles.wrong.url: the URL",
        "plain": "cachectl.yaml:7: profiles.plain.tls: the url is not one of TLS",
        "lost": "cachectl.yaml:8: profiles.lost.url: ${NO_URL} is not set",
    }.items():
        with pytest.raises(ConfigError) as caught:
            resolve(settings, profile=name, env={})
        assert caught.value.message.startswith(said)
        assert "s3cr3t" not in caught.value.message
    assert "wrong" not in settings.profiles


def test_an_unknown_key_beside_an_unset_variable_is_an_error_at_once(write: Write) -> None:
    text = 'profiles: {p: {url: "redis://h", password: "${NO}", protectet: true}}'
    assert "unknown key 'profiles.p.protectet'" in refused(write, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limit: 1", "warm.j: needs requests or entries"),
        ("requests: a, entries: b", "warm.j: has both requests and entries"),
        ("requests: a", "warm.j: requests need an origin"),
        ("requests: a, origin: {}", "warm.j.origin: needs either call or http"),
        (
            "requests: a, origin: {call: 'a:b', http: 'http://h'}",
            "origin: needs either call or http",
        ),
        ("requests: a, origin: {http: h}", "warm.j.origin.http: expected a service like https://"),
        ("requests: a, origin: {http: 'http://u:s3cr3t@h'}", "http: expected a service like"),
        ("requests: a, origin: {http: 'http://u:s3cr3t@\u2100'}", "http: expected a service like"),
        ("requests: a, origin: {http: 'http://[s3cr3t'}", "http: expected a service like"),
        ("requests: a, origin: {http: 'http://h:99999'}", "http: expected a service like"),
        ("requests: a, origin: {http: 'http://h:s3cr3t'}", "http: expected a service like"),
        ("requests: a, origin: {http: 'http://h:0'}", "http: expected a service like"),
        ("requests: a, origin: {http: 'http://h', path: 'x?n={n}'}", "path: expected a path that"),
        ("requests: a, origin: {call: 'a:b', fills: application}", "fills: is for an http origin"),
        ("requests: a, origin: {http: 'http://h', workers: processes}", "workers: is for a call"),
        ("requests: a, origin: {http: 'http://h', fills: me}", "fills: expected cachectl or app"),
        (
            "requests: a, origin: {call: 'a:b', workers: dask}",
            "expected threads, processes or dask",
        ),
        (
            "requests: {log: a, route: {}}, origin: {call: 'a:b'}",
            "route: it needs either key or params",
        ),
        (
            "requests: {log: a, route: {key: 'a', params: {b: c}}}",
            "route: it needs either key or params",
        ),
        ("requests: {log: a, route: {key: a}, since: soon}", "since: expected a duration like 24h"),
        (
            "requests: {log: a, route: {key: a}, until: '0001-01-01T00:00:00+14:00'}",
            "until: expected a duration like 24h",
        ),
        ("requests: {log: a, route: {key: a}, status: 99}", "status: expected a status like 200"),
        (
            "requests: {log: a, route: {key: a}, format: xml}",
            "format: expected common, combined or",
        ),
        ("requests: a, budget: much", "warm.j.budget: expected a size like"),
        ("requests: a, max_memory: much", "max_memory: expected a share like 80%, or a size"),
        ("requests: a, origin: {call: a}", "warm.j.origin.call: expected package.module:callable"),
        ("requests: a, origin: {call: 'a:b:c'}", "warm.j.origin.call: expected package"),
        ("entries: a, origin: {call: 'a:b'}", "warm.j: entries have their values already"),
        ("entries: 1", "warm.j.entries: expected the path of a file, and YAML reads"),
        ("entries: []", "warm.j.entries: expected the path of a file or a list that is not empty"),
        ("entries: [a, [b]]", "warm.j.entries.2: expected the path of a file, not a list"),
        ("entries: '${NO}'", "warm.j.entries: ${NO} is not set"),
        ("entries: a, only: some", "warm.j.only: expected missing, all or expiring:DURATION"),
        ("entries: a, only: expiring", "warm.j.only: expected missing, all or expiring:DURATION"),
        ("entries: a, only: 'expiring:x'", "warm.j.only: expected a duration"),
        ("entries: a, verify: {min_hit_rate: 1}", "warm.j.verify.requests is missing"),
        ("entries: a, verify: {requests: b, min_hit_rate: 50}", "min_hit_rate: expected a share"),
        ("entries: a, on_deploy: 1", "warm.j.on_deploy: expected true or false"),
    ],
)
def test_a_job_that_is_wrong_is_an_error_when_it_is_used(
    write: Write, text: str, said: str
) -> None:
    settings = load(write(f"warm: {{j: {{{text}}}, k: {{entries: e}}}}"), {})
    with pytest.raises(ConfigError) as caught:
        job(settings, "j")
    assert caught.value.message.startswith("cachectl.yaml:1: ")
    assert said in caught.value.message
    assert job(settings, "k").name == "k"


def test_an_unknown_job_lists_those_there_are(write: Write) -> None:
    settings = load(write("warm: {charts: {entries: e}, pages: {entries: e}}"), {})
    with pytest.raises(UsageError, match=r"there is no job 'page' in cachectl\.yaml") as caught:
        job(settings, "page")
    assert caught.value.hint == "there are: pages, charts"
    with pytest.raises(UsageError, match="no settings file was found"):
        job(None, "page")
    with pytest.raises(UsageError) as caught:
        job(load(write("cache: {}"), {}), "x\x1b")
    assert caught.value.message == "there is no job 'x?' in cachectl.yaml"
    assert caught.value.hint == "it has no job at all"


def test_the_types_are_plain_values(write: Write) -> None:
    """Nothing of YAML or of the reader stays in the settings."""
    settings: Any = load(write("client: {timeout: 1s}"), {})
    assert type(settings.client.timeout) is float
