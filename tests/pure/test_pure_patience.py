"""Backoff, breaker and troubles, with a clock that the test turns."""

from itertools import islice

import pytest

from cachectl.patience import Breaker, Troubles, backoff


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.mark.parametrize(
    ("base", "cap", "bounds"),
    [
        (0.05, 1.0, [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]),
        (1.0, 1.0, [1.0, 1.0]),
        (3.0, 1.0, [3.0, 3.0, 3.0]),
    ],
)
def test_pauses_double_up_to_the_cap_with_equal_jitter(
    base: float, cap: float, bounds: list[float]
) -> None:
    """Each pause lies between half its bound and its bound, and they differ."""
    runs = [list(islice(backoff(base, cap), len(bounds))) for _ in range(200)]
    for pauses in zip(*runs, strict=True):
        assert len(set(pauses)) > 100
    for place, bound in enumerate(bounds):
        pauses_here = [run[place] for run in runs]
        assert bound / 2 <= min(pauses_here) < bound * 0.6
        assert bound * 0.9 < max(pauses_here) <= bound


def test_a_breaker_opens_after_a_run_of_failures() -> None:
    """A success in between begins the run anew."""
    breaker = Breaker(3, 0.5, Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        assert breaker.closed
        assert breaker.allows()
        breaker.succeeded()
    for _ in range(3):
        breaker.failed()
    assert not breaker.closed
    assert not breaker.allows()


def test_an_open_breaker_allows_one_a_pause_and_closes_on_success() -> None:
    """Failures while it is open do not put the next look off."""
    clock = Clock()
    breaker = Breaker(1, 0.5, clock)
    breaker.failed()
    clock.now += 0.4
    breaker.failed()
    assert not breaker.allows()
    clock.now += 0.11
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.failed()
    clock.now += 0.49
    assert not breaker.allows()
    clock.now += 0.02
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.succeeded()
    assert breaker.closed
    assert [breaker.allows(), breaker.allows()] == [True, True]
    assert breaker.closed
    breaker.failed()
    assert not breaker.closed


def test_a_silence_must_last() -> None:
    """Many failures at the same moment are one hiccup; the first that comes later opens."""
    clock = Clock()
    breaker = Breaker(5, 0.5, clock)
    for _ in range(20):
        breaker.failed(0.25)
    assert breaker.closed
    clock.now += 0.24
    breaker.failed(0.25)
    assert breaker.closed
    clock.now += 0.01
    breaker.failed(0.25)
    assert not breaker.closed
    breaker.succeeded()
    clock.now += 10
    for _ in range(4):
        breaker.failed()
    assert breaker.closed, "the time of a run begins with its first failure"
    breaker.failed()
    assert not breaker.closed


def test_a_trouble_is_told_once_until_it_is_over() -> None:
    """It is over when it has not shown for its time and something went well."""
    clock = Clock()
    troubles = Troubles({"down": 1.0}, 60.0, clock)
    assert not troubles
    assert troubles.over() == []
    assert [troubles.begins("down"), troubles.begins("down")] == [True, False]
    assert troubles
    clock.now += 1000
    assert troubles.begins("down") is False, "nothing went well in between"
    clock.now += 0.9
    assert troubles.over() == []
    assert troubles.begins("down") is False
    clock.now += 1.0
    assert troubles.over() == ["down"]
    assert not troubles
    assert troubles.begins("down") is True


def test_each_kind_of_trouble_has_its_own_time() -> None:
    """One that shows now and then among successes stays one trouble."""
    clock = Clock()
    troubles = Troubles({"down": 1.0}, 60.0, clock)
    assert troubles.begins("down")
    assert troubles.begins("oom")
    clock.now += 2
    assert troubles.over() == ["down"]
    for _ in range(100):
        clock.now += 30
        assert troubles.over() == []
        assert not troubles.begins("oom")
    clock.now += 60
    assert troubles.over() == ["oom"]
