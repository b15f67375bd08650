"""URLs of servers: what is understood, what is refused, and that no error repeats them."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachectl.config.secrets import Secret
from cachectl.config.url import Address, node_text, parse_node, parse_url, same_server
from cachectl.errors import ConfigError


def sentinel(*nodes: tuple[str, int], service: str = "main", **more: Any) -> Address:
    """Return the address of a service that the Sentinels `nodes` watch."""
    return Address("sentinel", nodes=nodes, service=service, **more)


def cluster(*nodes: tuple[str, int], **more: Any) -> Address:
    """Return the address of a cluster that has the `nodes`."""
    return Address("cluster", nodes=nodes, **more)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("redis://h", Address("tcp", "h", 6379), "redis://h:6379/0"),
        ("redis://h/", Address("tcp", "h", 6379), "redis://h:6379/0"),
        ("valkey://h:1/2", Address("tcp", "h", 1, db=2), "redis://h:1/2"),
        ("REDISS://H:65535", Address("tcp", "H", 65535, tls=True), "rediss://H:65535/0"),
        ("valkeys://h", Address("tcp", "h", 6379, tls=True), "rediss://h:6379/0"),
        ("redis://[::1]:7/1", Address("tcp", "::1", 7, db=1), "redis://[::1]:7/1"),
        ("redis://[::1]", Address("tcp", "::1", 6379), "redis://[::1]:6379/0"),
        ("redis://bücher.example", Address("tcp", "bücher.example", 6379), None),
        (" redis://h ", Address("tcp", "h", 6379), "redis://h:6379/0"),
        ("unix:/a/b.sock", Address("unix", path="/a/b.sock"), "unix:/a/b.sock"),
        ("unix:///a.sock?db=3", Address("unix", path="/a.sock", db=3), "unix:/a.sock?db=3"),
        ("redis+unix:////a", Address("unix", path="/a"), "unix:/a"),
        ("redis+socket:///a%20b%3F", Address("unix", path="/a b?"), "unix:/a b%3F"),
        ("unix:/%2F/a%2F", Address("unix", path="/a/"), "unix:/a/"),
        ("unix:/a%C2%A0", Address("unix", path="/a\xa0"), "unix:/a%C2%A0"),
        ("unix:/a%0Ab", Address("unix", path="/a\nb"), "unix:/a%0Ab"),
        ("unix:run/a.sock", Address("unix", path="run/a.sock"), "unix:run/a.sock"),
        ("embedded:", Address("embedded"), "embedded:"),
        ("embedded:a/b?c#d", Address("embedded", path="a/b?c#d"), "embedded:a/b?c#d"),
        ("embedded:///var/a", Address("embedded", path="/var/a"), "embedded:/var/a"),
        ("redis+sentinel://S1/main", sentinel(("s1", 26379)), "redis+sentinel://s1:26379/main/0"),
        (
            "valkeys+sentinel://s1,s2:7,[::1]/a.b-c_9/3",
            sentinel(("s1", 26379), ("s2", 7), ("::1", 26379), service="a.b-c_9", db=3, tls=True),
            "rediss+sentinel://s1:26379,s2:7,[::1]:26379/a.b-c_9/3",
        ),
        ("valkey+sentinel://s1/main/", sentinel(("s1", 26379)), None),
        ("rediss+sentinel://s1/main", sentinel(("s1", 26379), tls=True), None),
        ("redis+cluster://n1", cluster(("n1", 6379)), "redis+cluster://n1:6379/0"),
        ("VALKEY+CLUSTER://n1:1/2", cluster(("n1", 1), db=2), "redis+cluster://n1:1/2"),
        (
            "rediss+cluster://[::1]:7,n2/1",
            cluster(("::1", 7), ("n2", 6379), db=1, tls=True),
            "rediss+cluster://[::1]:7,n2:6379/1",
        ),
        ("valkeys+cluster://n1/", cluster(("n1", 6379), tls=True), None),
    ],
)
def test_a_known_form_gives_its_address(text: str, address: Address, shown: str | None) -> None:
    parsed = parse_url(text)
    assert (parsed.address, parsed.username, parsed.password) == (address, None, None)
    assert shown in {None, parsed.address.text}


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("redis://me:pa%23ss@h", "me", "pa#ss"),
        ("redis://:pw@h", None, "pw"),
        ("redis://me@h", "me", None),
        ("redis://:@h", None, None),
        ("redis://me:p@ss@h", "me", "p@ss"),
        ("redis://me:a:b@h", "me", "a:b"),
        ("unix://me:p%2Fw@/a.sock?db=1", "me", "p/w"),
        ("redis+sentinel://me:p%40,:w@s1,s2/main", "me", "p@,:w"),
        ("rediss+cluster://:pw@n1,n2", None, "pw"),
    ],
)
def test_user_information_is_decoded_and_never_shown(
    text: str, username: str | None, password: str | None
) -> None:
    parsed = parse_url(text)
    assert parsed.username == username
    assert parsed.password == (Secret(password) if password else None)
    assert "@" not in parsed.address.text
    assert password is None or password not in repr(parsed)


@pytest.mark.parametrize(
    "text",
    [
        "", "s3cr3t", "s3cr3t:x", "http://s3cr3t@h", "redis+s3cr3t://h", "redis+://s3cr3t@h",
        "redis:s3cr3t@h", "unix:///s3@cr3t",
        "redis://", "redis:///0", "redis://:6379", "redis://u:s3cr3t@", "redis://u:s3cr3t@:1",
        "redis://u:s3cr3t@h/notanumber", "redis://h/-1", "redis://h/1.0", "redis://h/0/", "redis://h/٣",
        "redis://u:s3cr3t@h:0", "redis://u:s3cr3t@h:65536", "redis://h:", "redis://h:s3cr3t",
        "redis://u:s3cr3t#x@h:6379/0", "redis://u:s3cr3t/x@h:6379/0", "redis://u:s3cr3t?x@h:6379/0",
        "redis://u:s3cr3t%zz@h", "redis://u:s3cr3t%ff@h", "redis://u:s3cr3t%00@h",
        "redis://u:s3cr3t@h?db=1", "rediss://u:s3cr3t@h?ssl_cert_reqs=none",
        "rediss://h?ssl_check_hostname=false", "redis://h?password=s3cr3t",
        "redis://s3cr3t:1:2", "redis://::1:6379", "redis://u:s3cr3t@[zz::]:1", "redis://[s3cr3t]",
        "redis://[1:2]:6379", "redis://[::1]s3cr3t", "redis://h s3cr3t", "redis://s3cr3t\n@h",
        "redis://a%20b", "redis://h\udcff", "redis://h\x1b[31m",
        "unix:", "unix://", "unix:///", "unix:/%2F", "unix://s3cr3t/x", "unix://u:s3/cr3t@/x",
        "unix:/x?db=", "unix:/x?db=s3cr3t", "unix:/x?password=s3cr3t", "unix:/x?db=1&timeout=1",
        "unix:/x?timeout=1",
        "unix:/x?s3@cr3t", "embedded://s3cr3t", "redis://u:s3cr3t@h1,h2", "redis://s3cr3t,",
        "redis+sentinel:s3cr3t@s1/main", "redis+sentinel://u:s3cr3t@s1", "redis+sentinel://u:s3cr3t@s1/",
        "redis+sentinel://s1/s3 cr3t", "redis+sentinel://s1/s3%63r3t", "redis+sentinel://s1//0",
        "redis+sentinel://s1/main/s3cr3t", "redis+sentinel://s1/main/0/s3cr3t",
        "redis+sentinel:///main", "redis+sentinel://u:s3cr3t@/main", "redis+sentinel://s1,/main",
        "redis+sentinel://u:s3cr3t@s1,u:s3cr3t@s2/main", "redis+sentinel://u:s3/cr3t@s1/main",
        "redis+sentinel://s1,S1:26379/main", "redis+sentinel://s1/main?s3cr3t=1",
        "redis+cluster://", "redis+cluster://n1,s3cr3t:x", "redis+cluster://n1:0", "redis+cluster://n1/x",
        "redis+cluster://n1,,n2", "redis+cluster://n1,n1:6379", "redis+cluster://p@s3cr3t@n1",
        "redis+cluster://u:p@n1@s3cr3t",
        "redis+cluster://n1/main/0", "redis+cluster://s3cr3t:1:2,n2", "redis+cluster://n1, n2",
    ],
)  # fmt: skip
def test_any_other_form_is_refused_without_a_piece_of_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(text)
    said = f"{caught.value!r} {caught.value.hint}"
    assert "s3cr3t" not in said
    assert "cr3t" not in said
    assert "\x1b" not in said
    assert caught.value.message.startswith("the URL of the server is not understood: ")


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(
    WORDS, WORDS, st.integers(1, 65535), st.integers(0, 999),
    st.sampled_from(["cache.example", "10.0.0.1", "::1", "fe80::a:1"]), st.booleans(),
)  # fmt: skip
def test_a_percent_encoded_url_comes_back_whole(
    user: str, password: str, port: int, db: int, host: str, tls: bool
) -> None:
    address = Address("tcp", host, port, db=db, tls=tls)
    scheme, rest = address.text.split("//")
    text = f"{scheme}//{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
    assert parse_url(text) == (address, user, Secret(password))
    assert parse_url(address.text) == (address, None, None)


NODES = st.lists(
    st.tuples(
        st.sampled_from(["s1", "10.0.0.1", "::1", "fe80::a:1", "bücher"]), st.integers(1, 65535)
    ),
    min_size=1,
    unique=True,
)


@given(
    WORDS, WORDS, NODES, st.integers(0, 999), st.booleans(),
    st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True)),
)  # fmt: skip
def test_sentinels_and_nodes_come_back_whole(
    user: str, password: str, nodes: list[tuple[str, int]], db: int, tls: bool, service: str | None
) -> None:
    more = {"db": db, "tls": tls}
    address = sentinel(*nodes, service=service, **more) if service else cluster(*nodes, **more)
    scheme, rest = address.text.split("//")
    text = f"{scheme}//{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
    assert parse_url(text) == (address, user, Secret(password))
    assert parse_url(address.text) == (address, None, None)


@pytest.mark.parametrize(
    ("text", "node"),
    [("h", ("h", 5)), ("H:1", ("h", 1)), ("[::1]", ("::1", 5)), ("[::1]:65535", ("::1", 65535))],
)
def test_a_node_is_a_host_with_a_port_or_the_usual_one(text: str, node: tuple[str, int]) -> None:
    assert parse_node(text, 5) == node
    assert parse_node(node_text(node), 6) == node


@given(st.text())
@example("u:s3cr3t@h:1")
@example("redis://h:1")
@example("h:1/0")
@example("h\x1b")
@example("h,g")
@example("")
def test_a_node_is_nothing_else(text: str) -> None:
    """What is taken is a URL's host too, and what is not is refused without a piece of it."""
    try:
        host, port = parse_node(text, 6379)
    except ConfigError as error:
        assert error.message.startswith("the node is not understood: ")  # noqa: PT017 either is fine
        assert "s3cr3t" not in f"{error!r} {error.hint}"  # noqa: PT017
    else:
        assert parse_url(f"redis+cluster://{text}").address.nodes == ((host, port),)


@given(WORDS.map(lambda text: "/" + text.lstrip("/") + "x"), st.integers(0, 99))
def test_the_text_of_a_socket_leads_back_to_it(path: str, db: int) -> None:
    address = Address("unix", path=path, db=db)
    assert parse_url(address.text).address == address


@pytest.mark.parametrize("text", ["redis://a,b", "redis://a:1,b:2/0", "rediss://u:p@a:1,b"])
def test_several_hosts_of_a_plain_url_lead_to_the_forms_that_take_them(text: str) -> None:
    with pytest.raises(ConfigError, match="it names several hosts") as caught:
        parse_url(text)
    assert caught.value.hint == "they are for redis+sentinel:// and redis+cluster://"


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    starts = ("", "redis://", "unix:", "redis://u:", "embedded:")
    for start in (*starts, "redis+sentinel://", "redis+sentinel://s1/", "redis+cluster://n1,"):
        try:
            parse_url(start + text)
        except ConfigError as error:
            assert "\n" not in error.message  # noqa: PT017 either outcome is fine


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost:1/0", "rediss://127.0.0.1:1/5", True),
        ("redis://LOCALHOST", "redis://[::1]", True),
        ("redis://[::1]", "redis://[0:0:0:0:0:0:0:1]", True),
        ("redis://Cache.example.", "redis://cache.EXAMPLE", True),
        ("redis://a", "redis://b", False),
        ("redis://a:1", "redis://a:2", False),
        ("redis://a", "unix:/a", False),
        ("unix:/a/b", "unix:/a/../a/b?db=3", True),
        ("unix:/a", "unix:/b", False),
        ("embedded:", "embedded:", True),
        ("embedded:", "embedded:x", False),
        ("embedded:x", "embedded:./x", True),
        ("redis+sentinel://a,b/main", "rediss+sentinel://c,B/main/3", True),
        ("redis+sentinel://localhost/main", "redis+sentinel://[::1]/main", True),
        ("redis+sentinel://a,b/main", "redis+sentinel://c,d/main", False),
        ("redis+sentinel://a,b/main", "redis+sentinel://a:1,b:1/main", False),
        ("redis+sentinel://a,b/main", "redis+sentinel://a,b/other", False),
        ("redis+sentinel://a/main", "redis://a:26379", False),
        ("redis+sentinel://a/main", "redis+cluster://a:26379", False),
        ("redis+cluster://a,b", "rediss+cluster://c,B./1", True),
        ("redis+cluster://a,b", "redis+cluster://c,d", False),
        ("redis+cluster://a,127.0.0.1:7", "redis://localhost:7/0", True),
        ("redis+cluster://a,b", "redis://b:7", False),
        ("redis+cluster://a", "unix:/a", False),
        ("redis+cluster://a", "embedded:", False),
        ("redis+sentinel://a/main", "embedded:", False),
    ],
)
def test_same_server_looks_at_the_host_and_port_or_path(one: str, other: str, same: bool) -> None:
    """Of several nodes one in common is enough; a service has a name besides."""
    assert same_server(parse_url(one).address, parse_url(other).address) is same
    assert same_server(parse_url(other).address, parse_url(one).address) is same
