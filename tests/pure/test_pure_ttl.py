"""How long a key lives when nobody says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.settings import UNSET, NamespaceSettings
from cachectl.config.ttl import default_ttl, jittered, planned_ttl, settings_for

NAMESPACES = {
    "a": NamespaceSettings(ttl=1.0),
    "a:b": NamespaceSettings(ttl=2.0),
    "ever": NamespaceSettings(ttl=None),
    "unset": NamespaceSettings(),
    "": NamespaceSettings(ttl=9.0),
}


@pytest.mark.parametrize(
    ("key", "holder", "ttl"),
    [
        ("a:x", "a", 1.0),
        ("a:b:x", "a:b", 2.0),
        ("a:c:x", "a", 1.0),
        ("a:b", "a", 1.0),
        ("a:b:", "a:b", 2.0),
        ("ab:x", None, 5.0),
        ("a", None, 5.0),
        ("ever:x", "ever", None),
        ("unset:x", "unset", 5.0),
        (":x", "", 9.0),
    ],
)
def test_the_innermost_namespace_decides(key: str, holder: str | None, ttl: float | None) -> None:
    """Names are literal; a namespace without a TTL leaves it to the cache."""
    found = settings_for(key, NAMESPACES)
    assert (found[0] if found else None) == holder
    assert default_ttl(key, NAMESPACES, 5.0) == ttl
    assert default_ttl(key, {}, 5.0) == 5.0
    assert default_ttl(key, {}, None) is None


def test_jitter_also_shortens_the_caches_default() -> None:
    """A namespace may have a jitter and no TTL of its own; a persistent key has none."""
    namespaces = {"a": NamespaceSettings(UNSET, 0.5)}
    ttls = {default_ttl("a:x", namespaces, 100.0) for _ in range(100)}
    assert len(ttls) > 50
    assert all(ttl is not None and 50 <= ttl <= 100 for ttl in ttls)
    assert default_ttl("a:x", namespaces, None) is None


def test_a_namespace_inherits_what_it_does_not_set() -> None:
    """To protect `a:b` changes neither its TTL nor its jitter."""
    namespaces = {"a": NamespaceSettings(7.0, 0.5), "a:b": NamespaceSettings(protected=True)}
    assert all(3.5 <= (default_ttl("a:b:x", namespaces, 100.0) or 0) <= 7.0 for _ in range(50))
    assert planned_ttl("a:b:x", namespaces, 100.0, 20.0, 0.0) == 20.0
    assert planned_ttl("a:b:x", namespaces, 100.0, UNSET, 0.0) == 7.0
    assert planned_ttl("a:b:x", namespaces, 100.0, None, None) is None


@given(st.floats(0.001, 1e9), st.floats(0, 1))
def test_jitter_only_shortens(ttl: float, jitter: float) -> None:
    """Never under a second, or under the TTL itself where that is shorter."""
    found = jittered(ttl, jitter)
    assert found is not None
    assert max(ttl * (1 - jitter), min(ttl, 1.0)) * 0.999999 <= found <= ttl
