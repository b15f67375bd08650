"""Counting by namespace, without a server: names, bounds, what was refused, the histogram."""

from collections.abc import Sequence
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.errors import DeniedError
from cachectl.operations import census as census_module
from cachectl.operations.census import OTHER, Census, naming
from cachectl.operations.histogram import ERROR, Histogram
from cachectl.operations.targets import Target

EVERYTHING = [Target(None)]
TTLS = st.lists(st.integers(0, 100 * 365 * 86_400_000).map(lambda ms: ms / 1000), min_size=1)


def counted(
    keys: Sequence[bytes],
    sizes: Sequence[object] = (),
    ttls: Sequence[object] = (),
    top: int = 10,
) -> Census:
    census = Census(naming(EVERYTHING, 1), top)
    census.add(list(keys), list(ttls or [None] * len(keys)), list(sizes or [1] * len(keys)))
    return census


def nearest_rank(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(1, ceil(share * len(values))) - 1]


@given(TTLS, st.floats(0, 1))
def test_a_quantile_is_within_one_percent_and_the_ends_are_exact(ttls: list[float], share: float):
    """Held against the sorted list; below a millisecond counts as one."""
    histogram = Histogram()
    for start in range(0, len(ttls), 3):
        histogram.add(ttls[start : start + 3])
    exact, told = nearest_rank(ttls, share), histogram.quantile(share)
    assert told == pytest.approx(exact, rel=ERROR * 1.000001, abs=0 if exact else 0.00102)
    assert (histogram.shortest, histogram.longest) == (min(ttls), max(ttls))


@given(TTLS, TTLS)
def test_merged_histograms_are_that_of_all_values(one: list[float], other: list[float]):
    """Whichever of them is longer."""
    merged, second, whole = Histogram(), Histogram(), Histogram()
    merged.add(one)
    second.add(other)
    merged.merge(second)
    whole.add(one + other)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert merged.quantile(share) == whole.quantile(share)
    assert (merged.count, merged.shortest) == (whole.count, whole.shortest)


def test_a_histogram_of_nothing_has_no_quantile():
    """Nothing expires: there is no TTL to tell."""
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (1, [None, b"", b"a", b"a", b"a", b"a", b"\xff"]),
        (2, [None, b"", b"a", b"a", b"a:b", b"a:b", b"\xff"]),
        (9, [None, b"", b"a", b"a", b"a:b", b"a:b:c", b"\xff"]),
    ],
)
def test_depth_is_how_many_name_parts_make_a_namespace(depth: int, names: list[bytes | None]):
    """The last part is the key's own name, never a namespace."""
    keys = [b"plain", b":x", b"a:", b"a:b", b"a:b:c", b"a:b:c:d", b"\xff:\x00"]
    assert naming(EVERYTHING, depth)(keys) == names


@pytest.mark.parametrize(("depth", "names"), [(0, [b"a", b"a", b"a"]), (1, [b"a", b"a:b", b"a:b"])])
def test_depth_counts_from_the_namespace_that_is_named(depth: int, names: list[bytes]):
    """As `flush --dry-run` and `du` do: by direct sub-namespace; 0 is the namespace itself."""
    assert naming([Target(b"a")], depth)([b"a:x", b"a:b:c", b"a:b:c:d"]) == names


def test_several_namespaces_each_count_from_themselves():
    """One may be deeper than the other."""
    names = naming([Target(b"a"), Target(b"x:y")], 1)
    keys = [b"a:1", b"a:b:1", b"a:b:c:1", b"x:y:1", b"x:y:z:1"]
    assert names(keys) == [b"a", b"a:b", b"a:b", b"x:y", b"x:y:z"]
    assert naming([Target(b"a"), Target(b"x:y")], 0)(keys) == [b"a", b"a", b"a", b"x:y", b"x:y"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a:%d", b"b:c:%d", b"%d"]),
            st.none() | st.integers(1, 10**6).map(float),
            st.integers(1, 10**6),
        ),
        max_size=300,
    )
)
def test_every_key_is_counted_in_its_namespace_and_in_all(
    rows: list[tuple[bytes, float | None, int]],
):
    """Held against a plain count, page after page."""
    census = Census(naming(EVERYTHING, 1), 3)
    keys = [pattern % place for place, (pattern, _, _) in enumerate(rows)]
    for start in range(0, len(rows), 7):
        page = rows[start : start + 7]
        census.add(
            keys[start : start + 7], [ttl for _, ttl, _ in page], [size for _, _, size in page]
        )
    total = census.total()
    assert (total.keys, total.size) == (len(rows), sum(size for _, _, size in rows))
    assert total.persistent == sum(ttl is None for _, ttl, _ in rows)
    for row in census.namespaces("keys"):
        mine = [
            (key, ttl, size)
            for key, (_, ttl, size) in zip(keys, rows, strict=True)
            if (key.partition(b":")[0] if b":" in key else None) == row.namespace
        ]
        expiring = [ttl for _, ttl, _ in mine if ttl is not None]
        figures = row.figures
        assert (figures.keys, figures.size) == (len(mine), sum(size for _, _, size in mine))
        assert figures.largest is not None
        assert figures.largest.size == max(size for _, _, size in mine)
        assert (figures.largest.key, figures.largest.size) in [(key, size) for key, _, size in mine]
        assert (figures.ttl is None) == (not expiring)
        if figures.ttl is not None:
            assert figures.ttl.p50 == pytest.approx(nearest_rank(expiring, 0.5), rel=ERROR * 1.0001)
            assert (figures.ttl.shortest, figures.ttl.longest) == (min(expiring), max(expiring))
    largest = sorted((size for _, _, size in rows), reverse=True)[:3]
    assert [large.size for large in census.largest()] == largest


def test_namespaces_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch):
    """Under a name that says so; the total is still right, and how many there are is not known."""
    monkeypatch.setattr(census_module, "NAMESPACES", 3)
    census = counted([b"%d:k" % (i % 5) for i in range(50)])
    rows = {row.namespace: row.figures.keys for row in census.namespaces("keys")}
    assert rows == {b"0": 10, b"1": 10, b"2": 10, OTHER: 20}
    assert (census.total().keys, census.folded, len(census)) == (50, True, 3)


@pytest.mark.parametrize(
    ("sort", "order"),
    [("bytes", [b"c", b"a", None]), ("keys", [None, b"a", b"c"]), ("name", [None, b"a", b"c"])],
)
def test_the_order_of_the_namespaces(sort: str, order: list[bytes | None]):
    """By memory and by number the most comes first."""
    census = counted([b"a:1", b"a:2", b"c:1", b"x", b"y", b"z"], [5, 5, 100, 1, 1, 1])
    assert [row.namespace for row in census.namespaces(sort)] == order


def test_top_bounds_namespaces_and_largest_keys():
    """0 shows none; a key that SCAN gives twice is listed once."""
    keys = [b"%d:k" % i for i in range(9)]
    census = counted(keys, range(1, 10), top=2)
    census.add([keys[8]], [None], [9])
    assert [row.namespace for row in census.namespaces("bytes")] == [b"8", b"7"]
    assert [(large.key, large.size) for large in census.largest()] == [(b"8:k", 9), (b"7:k", 8)]
    assert len(census) == 9
    census.add([b"9:k"], [None], [99])
    assert [large.key for large in census.largest()] == [b"9:k", b"8:k"]
    none = counted(keys, top=0)
    assert (none.namespaces("bytes"), none.largest(), none.total().keys) == ([], (), 9)


def test_what_was_refused_of_one_key_is_not_told_of_its_namespace():
    """A sum without it would be too low; other namespaces are told, and what else is known."""
    refused = DeniedError("NOPERM no")
    census = counted(
        [b"a:1", b"a:2", b"b:1", b"c:1"], [10, refused, 7, 8], [1.0, 2.0, refused, 4.0]
    )
    rows = {row.namespace: row.figures for row in census.namespaces("name")}
    a, b, c, total = rows[b"a"], rows[b"b"], rows[b"c"], census.total()
    assert a.unknown == {
        "bytes": "NOPERM no (1 of 2 keys)",
        "largest": "NOPERM no (1 of 2 keys)",
    }
    assert (a.size, a.largest, a.persistent) == (None, None, 0)
    assert a.ttl is not None
    assert b.unknown == {"persistent": "NOPERM no", "ttl": "NOPERM no"}
    assert (b.size, b.persistent, b.ttl) == (7, None, None)
    assert (c.size, c.unknown) == (8, {})
    assert (total.keys, total.size, total.persistent, total.ttl) == (4, None, None, None)
    assert total.unknown.keys() == {"bytes", "largest", "persistent", "ttl"}
    assert census.largest() == ()


def test_without_any_memory_namespaces_are_ordered_by_their_keys():
    """Denied altogether: the most keys come first."""
    refused = DeniedError("NOPERM no")
    census = counted([b"a:1", b"b:1", b"b:2"], [refused] * 3)
    assert [row.namespace for row in census.namespaces("bytes")] == [b"b", b"a"]
