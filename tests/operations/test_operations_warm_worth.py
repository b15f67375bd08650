"""Which requests are worth warming: limit, coverage, budget, and what they promise."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.config.settings import Origin
from cachectl.errors import UsageError
from cachectl.models import Request
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.preview import preview
from cachectl.operations.warm.worth import OVERHEAD, chosen, curve, memory, promise, worth
from cachectl.reports.plan import PlanPoint
from tests.operations.operating import lines
from tests.operations.operating import origin as an_origin


def ranked(*counts: int, sizes: Sequence[int | None] = ()) -> list[Request]:
    """Requests for keys k0, k1, …, most asked first."""
    each = itertools.zip_longest(counts, sizes)
    return [Request(b"k%d" % n, {}, count, size=size) for n, (count, size) in enumerate(each)]


def kept(requests: Sequence[Request], plan: Warm) -> list[int]:
    return [int(request.key[1:]) for request in worth(requests, plan)]


def test_a_limit_takes_the_most_asked():
    """The first N of the ranking; more than there are is all."""
    requests = ranked(5, 3, 1)
    assert kept(requests, Warm(limit=2)) == [0, 1]
    assert kept(requests, Warm(limit=9)) == kept(requests, Warm()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("coverage", "count"),
    [(0.0, 0), (0.01, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (0.9, 3), (0.91, 4), (1.0, 4)],
)
def test_coverage_takes_as_few_as_reach_it(coverage: float, count: int):
    """Ten requests for four keys, 5 3 1 1: half of them need one key, 80 % two."""
    assert len(worth(ranked(5, 3, 1, 1), Warm(coverage=coverage))) == count


def test_coverage_is_that_of_all_requests_whatever_the_limit():
    """A limit cuts what coverage would take, and coverage what the limit would."""
    requests = ranked(5, 3, 1, 1)
    assert kept(requests, Warm(coverage=1.0, limit=2)) == [0, 1]
    assert kept(requests, Warm(coverage=0.5, limit=3)) == [0]
    assert worth([], Warm(coverage=0.9)) == []


def test_a_budget_takes_what_brings_most_hits_for_its_bytes():
    """A large value that is asked most may cost more hits than it brings."""
    requests = ranked(10, 9, 8, 1, sizes=(5000, 1000, 1000, 10))
    room = 2 * (1000 + 2 + OVERHEAD) + 200
    assert kept(requests, Warm(budget=room)) == [1, 2, 3]
    assert kept(requests, Warm(budget=100_000)) == [0, 1, 2, 3]
    assert kept(requests, Warm(budget=10)) == []


def test_an_unknown_size_is_taken_for_the_mean():
    """One of three sizes is not told: it counts as the mean of the others."""
    requests = ranked(3, 2, 1, sizes=(100, None, 300))
    each = [memory(request, 200) for request in requests]
    assert each == [n + 2 + OVERHEAD for n in (100, 200, 300)]
    assert kept(requests, Warm(budget=sum(each[:2]))) == [0, 1]
    assert kept(requests, Warm(budget=sum(each[:2]) - 1)) == [0]


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 500)), max_size=12),
    st.integers(0, 4000),
)
def test_a_budget_is_never_passed_and_never_wasted(each: list[tuple[int, int]], budget: int):
    """What is taken fits; nothing that is left out would fit into what is left."""
    requests = ranked(*(count for count, _ in each), sizes=[size for _, size in each])
    taken = worth(requests, Warm(budget=budget))
    left = budget - sum(memory(request, 0) for request in taken)
    assert left >= 0
    assert all(memory(request, 0) > left for request in requests if request not in taken)
    assert taken == [request for request in requests if request in taken]


def test_the_curve_has_the_round_numbers_and_the_end():
    """10, 25, 50, 100 … below the number of keys, and all of them last."""
    points = curve(ranked(*[1] * 120))
    assert [point.limit for point in points] == [10, 25, 50, 100, 120]
    assert [round(point.hit_rate, 4) for point in points] == [0.0833, 0.2083, 0.4167, 0.8333, 1.0]
    assert {point.size for point in points} == {None}
    assert curve([]) == []
    assert [p.limit for p in curve(ranked(*[1] * 2000))] == [10, 25, 50, 100, 200, 500, 1000, 2000]


def test_the_curve_tells_memory_where_every_size_is_known():
    """Summed from the top; one unknown size leaves all out."""
    sized = ranked(2, 1, sizes=(10, 20))
    assert curve(sized) == [PlanPoint(2, 1.0, 10 + 20 + 4 + 2 * OVERHEAD)]
    assert curve(ranked(2, 1, sizes=(10, None))) == [PlanPoint(2, 1.0, None)]


def test_what_is_chosen_is_told_with_its_promise():
    """None when all is taken; else how many keys, for which share of all requests."""
    requests = ranked(6, 3, 1)
    assert chosen(requests, Warm()) is None
    assert chosen([], Warm(limit=1)) is None
    assert chosen(requests, Warm(limit=2)) == PlanPoint(2, 0.9, None)
    assert promise([], 0) is None


def test_a_preview_ranks_and_asks_nobody(tmp_path: Path):
    """No server, no origin: a callable that is not there is never looked for."""
    source = lines(
        tmp_path / "r.jsonl", {"key": "a", "count": 3}, {"key": "b"}, {"key": "a"}, b"bad"
    )
    plan = Warm(sources=(str(source),), origin=an_origin("not_there"), limit=1, job="j")
    report = asyncio.run(preview(plan, None))  # type: ignore[arg-type]
    assert (report.job, report.asked.requests, report.asked.keys, report.asked.bad) == (
        "j",
        5,
        2,
        1,
    )
    assert report.top == ((b"a", 4), (b"b", 1))
    assert report.curve == (PlanPoint(2, 1.0, None),)
    assert report.chosen == PlanPoint(1, 0.8, None)
    assert [problem.line for problem in report.problems] == [4]


def test_entries_have_no_ranking(tmp_path: Path):
    """Nobody knows how often an entry is asked for."""
    with pytest.raises(UsageError, match="--plan ranks requests"):
        asyncio.run(preview(Warm(sources=(str(tmp_path),)), None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "plan", [Warm(sources=("e",), coverage=0.5), Warm(sources=("e",), budget=9)]
)
def test_entries_cannot_be_chosen_among(plan: Warm):
    """Coverage and budget need to know how often a key is asked for."""
    with pytest.raises(UsageError, match="chooses among requests"):
        plan.check()


@pytest.mark.parametrize("origin", [None, Origin("m:f")])
@pytest.mark.parametrize("nothing", [{"coverage": 0.0}, {"budget": 0}])
def test_nothing_is_no_choice(origin: Origin | None, nothing: dict[str, Any]):
    """A warm that can do nothing is a mistake, of entries and of requests."""
    with pytest.raises(UsageError, match="chooses"):
        Warm(sources=("r",), origin=origin, **nothing).check()
