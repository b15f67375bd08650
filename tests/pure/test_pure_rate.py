"""Rate, with a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.patience import Rate
from tests.pure.test_pure_patience import Clock

STEPS = st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 3)), min_size=2, max_size=40)
"""How much each step does, and the seconds that pass before the next one is asked for."""


def begins(per_second: float, steps: list[tuple[int, float]], *, waits: bool) -> list[float]:
    """Return when each step begins; whoever `waits` asks again only once it has begun."""
    clock = Clock()
    rate = Rate(per_second, clock)
    found = []
    for count, idle in steps:
        pause = rate.wait(count)
        assert pause >= 0
        found.append(clock.now + pause)
        clock.now += (pause if waits else 0) + idle
    return found


@pytest.mark.parametrize("waits", [True, False], ids=["one after the other", "all at once"])
@given(per_second=st.floats(0.1, 1e6), steps=STEPS)
def test_no_more_than_the_rate_and_one_step_passes(
    waits: bool, per_second: float, steps: list[tuple[int, float]]
) -> None:
    """Whenever the looking begins and ends, and however long was idled before: nothing is saved up."""
    starts = begins(per_second, steps, waits=waits)
    for first in range(len(steps)):
        done = 0
        for last in range(first, len(steps)):
            done += steps[last][0]
            passed = starts[last] - starts[first]
            assert done <= per_second * passed * (1 + 1e-9) + steps[last][0] + 1e-3


@given(per_second=st.floats(0.1, 1e6), steps=STEPS)
def test_nobody_waits_for_longer_than_the_rate_asks(
    per_second: float, steps: list[tuple[int, float]]
) -> None:
    """A step begins when it is asked for, or as soon as the one before it is paid for."""
    clock = Clock()
    rate = Rate(per_second, clock)
    free = clock.now
    for count, idle in steps:
        assert clock.now + rate.wait(count) == pytest.approx(max(free, clock.now))
        free = max(free, clock.now) + count / per_second
        clock.now += idle


def test_the_first_step_waits_for_nothing() -> None:
    """There is room for it, whatever its size; the next one pays for it."""
    rate = Rate(10, Clock())
    assert rate.wait(1000) == 0
    assert rate.wait(1) == pytest.approx(100)
