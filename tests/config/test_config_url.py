"""URLs of servers: what is understood, what is refused, and that no error repeats them."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.secrets import Secret
from cachectl.config.url import Address, parse_url, same_server
from cachectl.errors import ConfigError


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
        ("unix:/a%0Ab", Address("unix", path="/a\nb"), "unix:/a%0Ab"),
        ("unix:run/a.sock", Address("unix", path="run/a.sock"), "unix:run/a.sock"),
        ("embedded:", Address("embedded"), "embedded:"),
        ("embedded:a/b?c#d", Address("embedded", path="a/b?c#d"), "embedded:a/b?c#d"),
        ("embedded:///var/a", Address("embedded", path="/var/a"), "embedded:/var/a"),
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
        "", "s3cr3t", "s3cr3t:x", "http://s3cr3t@h", "redis+sentinel://s3cr3t@h/main",
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
        "unix:", "unix://", "unix:///", "unix://s3cr3t/x", "unix://u:s3/cr3t@/x", "unix:/x?db=",
        "unix:/x?db=s3cr3t", "unix:/x?password=s3cr3t", "unix:/x?db=1&timeout=1", "unix:/x?s3@cr3t",
        "embedded://s3cr3t",
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


@given(WORDS.map(lambda text: "/" + text.lstrip("/") + "x"), st.integers(0, 99))
def test_the_text_of_a_socket_leads_back_to_it(path: str, db: int) -> None:
    address = Address("unix", path=path, db=db)
    assert parse_url(address.text).address == address


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    for start in ("", "redis://", "unix:", "redis://u:", "embedded:"):
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
    ],
)
def test_same_server_looks_at_the_host_and_port_or_path(one: str, other: str, same: bool) -> None:
    assert same_server(parse_url(one).address, parse_url(other).address) is same
