"""Keys: the formula that can never change, namespaces, and patterns that match one literal."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl import make_key
from cachectl.keys import escape_glob, namespace_of, prefix, to_bytes, to_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

VECTORS = [
    (make_key("natal", date="1990-05-17", lat=48.85, lon=2.35), "natal:652c49679deeadba"),
    (make_key("natal", lon=2.35, date="1990-05-17", lat=48.85), "natal:652c49679deeadba"),
    (make_key("natal", city="Zürich"), "natal:96bafd99ec46980d"),
    (make_key("user:profile", id=42), "user:profile:23d5479ba1b41412"),
    (make_key("user:profile", id="42"), "user:profile:758808d9f26c0f88"),
    (make_key("flags"), "flags:44136fa355b3678a"),
    (
        make_key("q", tags=["a", "b"], deep={"z": 1, "a": None}, on=True),
        "q:09d58b4f0ab18ccb",
    ),
]


@pytest.mark.parametrize(("made", "wanted"), VECTORS)
def test_the_vectors_of_the_contract(made: str, wanted: str) -> None:
    """Applications have stored values under these keys."""
    assert made == wanted


@given(st.text(), st.dictionaries(st.text(), JSON))
def test_make_key_is_its_formula(namespace: str, params: dict[str, object]) -> None:
    """Whatever the names and values, `namespace` and `self` among them; the order is no matter."""
    params |= {"namespace": 1, "self": 2}
    text = json.dumps(params, sort_keys=True, separators=(", ", ": "), ensure_ascii=True)
    wanted = f"{namespace}:{sha256(text.encode('ascii')).hexdigest()[:16]}"
    assert make_key(namespace, **params) == wanted
    assert make_key(namespace, **dict(reversed(params.items()))) == wanted


@pytest.mark.parametrize("value", [{1}, b"x", object(), 1j, {1: 2, "a": 3}])
def test_a_parameter_that_json_does_not_know_is_an_error(value: object) -> None:
    """Not a key made of something else."""
    with pytest.raises(TypeError):
        make_key("n", value=value)


@given(st.binary())
def test_any_bytes_have_a_text(key: bytes) -> None:
    """There and back gives the same bytes."""
    assert to_bytes(to_text(key)) == key


@pytest.mark.parametrize(
    ("key", "namespace"),
    [("natal:x", "natal"), ("a:b:c", "a:b"), ("plain", ""), (":x", ""), ("a:", "a"), ("", "")],
)
def test_namespace_of(key: str, namespace: str) -> None:
    """All before the last separator."""
    assert namespace_of(key) == namespace


def test_prefix_is_literal() -> None:
    """A namespace with glob characters is itself."""
    assert prefix(b"user[1]") == b"user[1]:"


def matches(pattern: bytes, text: bytes) -> bool:  # noqa: C901
    """Match as the server does (`stringmatchlen` in its util.c), sets without ranges left out."""
    while pattern:
        first = pattern[:1]
        if first == b"*":
            return any(matches(pattern[1:], text[i:]) for i in range(len(text) + 1))
        if not text:
            return False
        if first == b"[":
            rest = pattern[1:]
            negated = rest[:1] == b"^"
            rest = rest[negated:]
            found = False
            while rest and rest[:1] != b"]":
                if rest[:1] == b"\\" and len(rest) > 1:
                    rest = rest[1:]
                found |= rest[:1] == text[:1]
                rest = rest[1:]
            if found == negated:
                return False
            pattern, text = rest[1:], text[1:]
            continue
        if first == b"\\" and len(pattern) > 1:
            pattern = pattern[1:]
            first = pattern[:1]
        elif first == b"?":
            first = text[:1]
        if first != text[:1]:
            return False
        pattern, text = pattern[1:], text[1:]
    return not text


LITERALS = st.binary(max_size=12) | st.lists(
    st.sampled_from([b"\\", b"*", b"?", b"[", b"]", b"^", b"a", b"-", b"\xff", b"\x00"]),
    max_size=12,
).map(b"".join)


@given(LITERALS, LITERALS)
def test_an_escaped_literal_matches_itself_alone(literal: bytes, other: bytes) -> None:
    """Against a model of the server's matching; the real one is asked elsewhere."""
    pattern = escape_glob(literal)
    assert matches(pattern, literal)
    assert matches(pattern, other) == (other == literal)
    assert matches(pattern + b"*", literal + other)
    assert matches(pattern + b"*", other) == other.startswith(literal)


def test_the_model_matches_patterns() -> None:
    """The model itself: an unescaped pattern is one."""
    assert matches(b"a*[bc]?", b"axxcd")
    assert not matches(b"a[^b]", b"ab")
    assert not matches(b"user[1]:*", b"user[1]:x")
