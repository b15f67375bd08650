"""The event loop of a command: timers to the microsecond, and all else as the library has it."""

import asyncio
import os
import selectors
import sys
from time import perf_counter

import pytest

from cachectl.operations.loop import MAX_DESCRIPTOR, Selector, run

PATIENCE = 10.0
"""Seconds in which one short wait is to end on time: a busy machine lets many end late."""


class HighSelector(Selector):
    """The selector of a loop whose parent left many files open."""

    def fileno(self) -> int:
        """Return what `select` does not take."""
        return MAX_DESCRIPTOR + 1


def waited(selector: Selector, seconds: float) -> float:
    """Return how long it waits for nothing."""
    begun = perf_counter()
    assert selector.select(seconds) == []
    return perf_counter() - begun


@pytest.mark.skipif(sys.platform != "linux", reason="epoll alone rounds up to a millisecond")
def test_a_wait_of_less_than_a_millisecond_takes_less_than_one():
    """Epoll never ends one before: a single wait that does is proof."""
    end = perf_counter() + PATIENCE
    with Selector() as selector:
        while waited(selector, 0.0001) >= 0.001:
            assert perf_counter() < end


def test_no_wait_ends_before_its_time():
    """A loop that wakes too soon would turn in vain until the timer is due."""
    with Selector() as selector:
        assert all(waited(selector, 0.0005) >= 0.0005 for _ in range(20))


def test_what_is_ready_ends_a_wait():
    """The long wait is for the file, not for the time."""
    read, write = os.pipe()
    with Selector() as selector, open(read, "rb"), open(write, "wb", buffering=0) as end:
        key = selector.register(read, selectors.EVENT_READ)
        end.write(b"x")
        for timeout in (600.0, 0.0, None):
            assert selector.select(timeout) == [(key, selectors.EVENT_READ)]


def test_a_descriptor_that_select_does_not_take_is_waited_for_by_epoll():
    """It is rounded up then, and no error."""
    with HighSelector() as selector:
        assert waited(selector, 0.002) >= 0.002


def test_the_result_and_the_error_of_the_main_coroutine():
    """Both come out as from `asyncio.run`, and the loop is closed."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def answer(error: Exception | None) -> int:
        loops.append(asyncio.get_running_loop())
        if error is not None:
            raise error
        return 42

    assert run(answer(None)) == 42
    with pytest.raises(KeyError):
        run(answer(KeyError("k")))
    assert [loop.is_closed() for loop in loops] == [True, True]
