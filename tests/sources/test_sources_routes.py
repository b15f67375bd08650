from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.settings import Route
from cachectl.errors import UsageError
from cachectl.keys import make_key
from cachectl.sources.routes import compiled


def key(template: str, target: bytes, path: str | None = None) -> bytes | None:
    routed = compiled(Route(path, template), None)(target)
    return routed[0] if routed else None


def value(template: str, target: bytes, path: str | None = None) -> Any:
    """Return the value of a parameter, and ... for a target that is not taken."""
    routed = compiled(Route(path, None, {"p": template}), "n")(target)
    if routed is None:
        return ...
    assert routed[1] is not None
    assert routed[0].decode() == make_key("n", **routed[1])
    return routed[1]["p"]


@pytest.mark.parametrize(
    ("template", "target", "wanted"),
    [
        ("page:{target}", b"/a%20b?c=1&d", b"page:/a%20b?c=1&d"),
        ("page:{path}", b"/a%20b?c=1&d", b"page:/a%20b"),
        ("{path}{path}", b"/\xff", b"/\xff/\xff"),
        ("q:{query.a}", b"/?b=1&a=%FFx+y&a=2", b"q:\xffx y"),
        ("q:{query.a[b].c-d}", b"/?a%5Bb%5D.c-d=1", b"q:1"),
        ("q:{query.a}", b"/?a", b"q:"),
        ("q:{query.a}", b"/?b=1", None),
        ("{query.a}", b"/?a=", None),
        ("{{{query.a}}}:x", b"/?a=1", b"{1}:x"),
        ("n:{query.a:int}", b"/?a=042", b"n:42"),
        ("n:{query.a:bool}", b"/?a=Yes", b"n:true"),
        ("n:{query.a:int}", b"/?a=x", None),
    ],
)
def test_keys(template: str, target: bytes, wanted: bytes | None) -> None:
    assert key(template, target) == wanted


@pytest.mark.parametrize(
    ("template", "text", "wanted"),
    [
        ("{query.a}", b"1990-05-17", "1990-05-17"),
        ("{query.a:str}", b"%C3%A9", "é"),
        ("{query.a}", b"%FF", ...),
        ("{query.a:float}", b"48.85", 48.85),
        ("{query.a:float}", b"48", 48.0),
        ("{query.a:float}", b"-1e3", -1000.0),
        ("{query.a:float}", b"nan", ...),
        ("{query.a:float}", b"1e999", ...),
        ("{query.a:float}", b"1_0", ...),
        ("{query.a:float}", b"", ...),
        ("{query.a:int}", b"-7", -7),
        ("{query.a:int}", b"7.0", ...),
        ("{query.a:int}", b"9" * 5000, ...),
        ("{query.a:bool}", b"0", False),
        ("{query.a:bool}", b"on", True),
        ("{query.a:bool}", b"maybe", ...),
        ("x{query.a}", b"1", "x1"),
        ("{query.a}{query.a}", b"1", "11"),
        ("constant", b"", "constant"),
        ("{query.b}", b"1", ...),
    ],
)
def test_params(template: str, text: bytes, wanted: Any) -> None:
    found = value(template, b"/?a=" + text)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        ("/users/{id}/profile", b"/users/4%2F2/profile", "4/2"),
        ("/users/{id}/profile", b"/users/42/profile/", ...),
        ("/users/{id}/profile", b"/users//profile", ...),
        ("/users/{id}/profile", b"/users/4/2/profile", ...),
        ("/u.x/{id}", b"/uax/1", ...),
        ("/files/{id:path}", b"/files/a/b%20c", "a/b c"),
        ("/é/{id}.html", "/é/1.html".encode(), "1"),
    ],
)
def test_path_patterns(pattern: str, path: bytes, wanted: Any) -> None:
    assert value("{id}", path + b"?x=1", pattern) == wanted


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (Route(), "it needs either key or params"),
        (Route(key="k", params={"a": "b"}), "it needs either key or params"),
        (Route(key="{nothing}"), r"key: unknown placeholder {nothing} \(there are {target}"),
        (Route(key="{target:text}"), "key: unknown type text"),
        (Route(key="{target"), "key: a brace without its other one"),
        (Route(key="a}b"), "key: a brace without its other one"),
        (Route(key="{}"), "key: a placeholder is"),
        (Route(key="{query.}"), "key: a placeholder is"),
        (Route(params={"a": "{id}"}), "params.a: unknown placeholder {id}"),
        (Route("/{a}", params={"a": "{a}"}), "no namespace"),
        (Route("a", "k"), "path: a path pattern begins with /"),
        (Route("/a?b", "k"), "path: a path pattern begins with /"),
        (Route("/{a}/{a}", "k"), "path: {a} is there twice"),
        (Route("/{path}", "k"), "path: {path} is no name"),
        (Route("/{a:int}", "k"), "path: unknown type int"),
    ],
)
def test_wrong_routes(route: Route, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        compiled(route, None)
    assert "\n" not in caught.value.message


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5), st.text(min_size=1))
def test_parameters_are_what_parse_qsl_reads(pairs: list[tuple[str, str]], wanted: str) -> None:
    def coded(text: str) -> str:
        return quote_plus(text.encode("utf-8", "replace"))

    query = "&".join(f"{coded(name)}={coded(text)}" for name, text in pairs)
    read = dict(reversed(parse_qsl(query, keep_blank_values=True)))
    for name, text in read.items():
        if not set(name) & set("{}:"):
            assert value(f"{{query.{name}}}", b"/?" + query.encode()) == text


@given(st.text(min_size=1), st.binary(min_size=1))
def test_any_text_can_stand_in_a_template_and_a_pattern(text: str, part: bytes) -> None:
    text = text.encode("utf-8", "replace").decode().replace("?", "")
    literal = text.replace("{", "{{").replace("}", "}}")
    target = f"/{text}/".encode() + quote(part, safe="").encode()
    assert key(literal + "{a}", target, f"/{literal}/{{a}}") == text.encode() + part
