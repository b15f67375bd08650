"""Sentinels and clusters in a settings file: what is said, what is refused, who gets which login."""

from pathlib import Path

import pytest

from cachectl.config.check import check
from cachectl.config.load import load, resolve
from cachectl.config.secrets import Credentials, Secret
from cachectl.config.settings import Sentinel, Tls
from cachectl.config.url import Address
from cachectl.errors import ConfigError
from tests.config.config_files import Write, refused

S = "profiles:\n  p:\n    sentinel:\n      service: main\n      nodes: [s1]\n"
C = "profiles:\n  p:\n    cluster: [n1]\n    "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (S + "      service: x", "6: profiles.p.sentinel.service is given twice, first on line 4"),
        (S + "      nods: [a]", "6: unknown key 'profiles.p.sentinel.nods' (did you mean 'nodes'?)"),
        (S + "      db: 1", "6: unknown key 'profiles.p.sentinel.db'"),
        (S.replace("main", "s3 cr3t"), "4: profiles.p.sentinel.service: expected a name of letters"),
        (S.replace("main", "12"), "service: expected a name of letters, digits, '.', '-' and '_', a"),
        (S.replace("      service: main\n", ""), "3: profiles.p.sentinel.service is missing"),
        (S.replace("      nodes: [s1]\n", ""), "3: profiles.p.sentinel.nodes is missing (add it: "),
        (S.replace("[s1]", "[]"), "5: profiles.p.sentinel.nodes: expected a list that is not empty"),
        (S.replace("[s1]", "s1"), "5: profiles.p.sentinel.nodes: expected a list"),
        (S.replace("[s1]", "[s1, 's2:s3cr3t']"), "5: profiles.p.sentinel.nodes.2: the node is not"),
        (S.replace("[s1]", "['u:s3cr3t@h:1']"), "(write HOST:26379 or [::1]:26379, no more)"),
        (S.replace("[s1]", "\n      - s1\n      - s2\n      - S1:26379"),
         "8: profiles.p.sentinel.nodes.3: is the same as number 1 (drop it)"),
        (S + "      password: 1", "6: profiles.p.sentinel.password: expected text, and YAML reads"),
        (S + "      password: s3cr3t\n      password_file: f",
         "7: profiles.p.sentinel.password_file: the password is given by password too"),
        (S + "      tls: {ca_fil: s3cr3t}", "6: unknown key 'profiles.p.sentinel.tls.ca_fil'"),
        (S + "      tls: {key_file: k}", "6: profiles.p.sentinel.tls.key_file: has no cert_file"),
        (S + "      tls: true", "6: profiles.p.sentinel.tls must be keys with values"),
        (S + "    db: 1.5", "6: profiles.p.db: expected a whole number"),
        (S + "    db: -1", "6: profiles.p.db: expected a whole number"),
        (S + "    db: '1'", "6: profiles.p.db: expected a whole number (without quotes)"),
        ("profiles: {p: {sentinel: [s3cr3t]}}", "1: profiles.p.sentinel must be keys with values"),
        ("profiles: {p: {cluster: n1}}", "1: profiles.p.cluster: expected a list that is not empty"),
        ("profiles: {p: {cluster: []}}", "1: profiles.p.cluster: expected a list that is not empty"),
        ("profiles: {p: {cluster: {s3cr3t: a}}}", "profiles.p.cluster: expected a list that is not"),
        ("profiles: {p: {cluster: [6379]}}", "profiles.p.cluster.1: expected HOST:6379, and YAML"),
        ("profiles: {p: {cluster: [a, [b]]}}", "profiles.p.cluster.2: expected HOST:6379, not a list"),
        ("profiles: {p: {cluster: ['n1:0']}}", "cluster.1: the node is not understood: its port is"),
        ("profiles: {p: {cluster: ['n1, n2']}}", "its host is not a name or an address (write HOST"),
        ("profiles: {p: {cluster: ['redis://h:1']}}", "profiles.p.cluster.1: the node is not under"),
        (C + "tls: {key_file: k}", "4: profiles.p.tls.key_file: has no cert_file beside it"),
        (C + "service: main", "4: unknown key 'profiles.p.service'"),
        ("profiles: {p: {url: 'redis+sentinel://s1/main', tls: {verify: true}}}",
         "profiles.p.tls: the url is not one of TLS (begin the url with rediss)"),
    ],
)  # fmt: skip
def test_sentinels_and_nodes_that_are_wrong_name_line_path_and_remedy(
    write: Write, text: str, said: str
) -> None:
    error = refused(write, text)
    assert error.startswith("cachectl.yaml:")
    assert said in error
    assert len(error) < 400


def test_sentinels_and_nodes_become_addresses(write: Write) -> None:
    """The profile's user, password and TLS are the servers'; those inside are the Sentinels'."""
    found = write("""
        profiles:
          whole:
            sentinel:
              service: main
              nodes: [S1, "s2:7", "[::1]:8"]
              username: watcher
              password_file: pw
              tls: {ca_file: ca.pem}
            db: 3
            username: me
            password: s3cr3t
          least: {sentinel: {service: "0", nodes: [s1]}, tls: {}}
          inner: {sentinel: {service: a, nodes: [s1], password: s3cr3t, tls: }}
          sharded: {cluster: [n1, "n2:7"], tls: {server_name: n}, username: me}
          plain: {cluster: [n1], db: 2}
    """)
    profiles = load(found, {}).profiles
    folder = found.path.parent
    whole = profiles["whole"]
    nodes = (("s1", 26379), ("s2", 7), ("::1", 8))
    assert whole.address == Address("sentinel", nodes=nodes, service="main", db=3)
    assert whole.credentials == Credentials("me", Secret("s3cr3t"))
    assert whole.tls == Tls()
    watcher = Credentials("watcher", password_file=f"{folder}/pw")
    assert whole.sentinel == Sentinel(watcher, Tls(ca_file=f"{folder}/ca.pem"))
    least = profiles["least"]
    one = (("s1", 26379),)
    assert least.address == Address("sentinel", nodes=one, service="0", tls=True)
    assert least.sentinel == Sentinel(Credentials())
    inner = profiles["inner"]
    assert (inner.address.tls, inner.credentials) == (False, Credentials())
    assert inner.sentinel == Sentinel(Credentials(password=Secret("s3cr3t")), Tls())
    sharded = profiles["sharded"]
    assert sharded.address == Address("cluster", nodes=(("n1", 6379), ("n2", 7)), tls=True)
    assert (sharded.credentials, sharded.tls.server_name) == (Credentials("me"), "n")
    assert profiles["plain"].address == Address("cluster", nodes=(("n1", 6379),), db=2)
    assert sharded.sentinel is profiles["plain"].sentinel is None


def test_a_url_of_sentinels_says_tls_for_both_and_a_login_for_the_servers(write: Write) -> None:
    settings = load(
        write("""
            profiles:
              tls: {url: "rediss+sentinel://me:s3cr3t@s1/main", tls: {server_name: n}}
              plain: {url: "redis+sentinel://s1/main/2", password: s3cr3t}
              nodes: {url: "redis+cluster://me@n1"}
        """),
        {},
    )
    tls, plain, nodes = settings.profiles.values()
    assert tls.credentials == Credentials("me", Secret("s3cr3t"))
    assert tls.sentinel == Sentinel(Credentials(), Tls(server_name="n"))
    assert plain.credentials == Credentials(password=Secret("s3cr3t"))
    assert plain.sentinel == Sentinel(Credentials())
    assert nodes.credentials == Credentials("me")
    assert nodes.sentinel is None


def test_what_the_environment_lacks_waits_inside_a_profile_too(write: Write) -> None:
    """A profile whose Sentinels' password is missing still names its server."""
    text = """
        profiles:
          password: {sentinel: {service: m, nodes: [s1], password: "${NO}"}, protected: true}
          node: {cluster: ["n1", "${NO}"]}
          twice: {cluster: ["n1", "${N1}"]}
          wrong: {cluster: ["${BAD}"]}
          fine: {sentinel: {service: "${S:-main}", nodes: ["${N1}:7"], password: "${EMPTY}"}}
    """
    env = {"N1": "n1", "BAD": "u:s3cr3t@h:1", "EMPTY": ""}
    settings = load(write(text), env)
    assert set(settings.profiles) == {"password", "fine"}
    fine = resolve(settings, profile="fine", env={})
    assert fine.address == Address("sentinel", nodes=(("n1", 7),), service="main")
    assert fine.sentinel == Sentinel(Credentials())
    for name, said in {
        "password": "cachectl.yaml:3: profiles.password.sentinel.password: ${NO} is not set",
        "node": "cachectl.yaml:4: profiles.node.cluster.2: ${NO} is not set",
        "twice": "cachectl.yaml:5: profiles.twice.cluster.2: is the same as number 1",
        "wrong": "cachectl.yaml:6: profiles.wrong.cluster.1: the node is not understood",
    }.items():
        with pytest.raises(ConfigError) as caught:
            resolve(settings, profile=name, env={})
        assert caught.value.message.startswith(said)
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.hint}"
    url = resolve(settings, url="redis+sentinel://s1,s9/m", env={})
    assert url.protected_by == ("password",)


def test_sentinels_and_nodes_are_guarded_as_every_profile_of_them_says(write: Write) -> None:
    settings = load(
        write("""
            profiles:
              ha: {sentinel: {service: main, nodes: [s1, s2]}, protected: true}
              ha2: {url: "rediss+sentinel://s2,s3/main/1", read_only: true}
              sharded: {cluster: [n1, n2], protected: true}
        """),
        {},
    )

    def guards(url: str) -> tuple[tuple[str, ...], str | None]:
        server = resolve(settings, url=url, env={})
        return server.protected_by, server.read_only_by

    ha = resolve(settings, profile="ha", env={})
    assert (ha.protected_by, ha.read_only_by) == (("ha",), "ha2")
    assert guards("redis+sentinel://s1/main") == (("ha",), None)
    assert guards("redis+sentinel://s1/other") == ((), None)
    assert guards("redis+cluster://n9,n2") == (("sharded",), None)
    assert guards("redis://n1/1") == (("sharded",), None)
    assert guards("redis://s1:26379") == ((), None)


@pytest.mark.parametrize(
    ("url", "sentinel"),
    [
        ("redis+sentinel://u:pw@s1/main", Sentinel(Credentials())),
        ("rediss+sentinel://u:pw@s1/main", Sentinel(Credentials(), Tls())),
        ("rediss+cluster://u:pw@n1", None),
        ("redis://u:pw@n1", None),
    ],
)
def test_a_urls_login_is_never_the_sentinels(url: str, sentinel: Sentinel | None) -> None:
    server = resolve(None, env={"CACHECTL_URL": url})
    assert server.sentinel == sentinel
    assert server.credentials == Credentials("u", Secret("pw"))


def test_a_profiles_sentinels_reach_the_server_with_their_login(write: Write) -> None:
    text = "profiles: {p: {sentinel: {service: m, nodes: [s], username: w, tls: {}}, username: me}}"
    server = resolve(load(write(text), {}), profile="p", env={})
    assert server.sentinel == Sentinel(Credentials("w"), Tls())
    assert server.credentials == Credentials("me")


def test_what_is_unsafe_warns_for_sentinels_and_nodes_too(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pw").touch()
    (tmp_path / "pw").chmod(0o644)
    settings = load(
        write("""
            profiles:
              inner: {sentinel: {service: m, nodes: [s], password_file: pw, tls: {verify: false}}}
              outer: {sentinel: {service: m, nodes: [s], tls: {}}, tls: {verify: false}}
              nodes: {cluster: [n], tls: {verify: false}}
              url: {url: "rediss+sentinel://s/m", tls: {verify: false}}
              fine: {sentinel: {service: m, nodes: [s], tls: {}}, tls: {}}
        """),
        {},
    )
    warned = {name: resolve(settings, profile=name, env={}).warnings for name in settings.profiles}
    tls, file = warned["inner"]
    assert tls.startswith("profiles.inner.sentinel.tls.verify is false: anybody")
    assert file == f"{tmp_path}/pw: other users can read this password file (chmod 600)"
    for name in ("outer", "nodes", "url"):
        (one,) = warned[name]
        assert one.startswith(f"profiles.{name}.tls.verify is false")
    assert warned["fine"] == ()
    found = [
        finding.message
        for finding in check(
            write("""
        profiles:
          p:
            sentinel: {service: m, nodes: [s], tls: {verify: false, ca_file: ca}}
            tls: {cert_file: c}
    """),
            {},
        )
    ]
    assert found == [
        f"cachectl.yaml:5: profiles.p.tls.cert_file: {tmp_path}/c is not there",
        f"cachectl.yaml:4: profiles.p.sentinel.tls.ca_file: {tmp_path}/ca is not there",
        "cachectl.yaml:4: profiles.p.sentinel.tls.verify: the server is not verified",
    ]
