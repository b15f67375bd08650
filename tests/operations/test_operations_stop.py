import asyncio
import io
import time
from pathlib import Path

import pytest

from cachectl.errors import LostError
from cachectl.models import Progress
from cachectl.operations.stop import Stop, first_of_ours, until
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.run import warm
from cachectl.store.store import Store
from tests.operations.operating import origin, requests, run
from tests.servers import ServerProcess


def test_the_first_reason_stays():
    """Whoever stops first says why."""

    async def twice() -> Stop:
        stop = Stop()
        assert not stop.is_set()
        stop.set("deadline")
        stop.set("interrupted")
        await asyncio.wait_for(stop.wait(), 1)
        return stop

    assert asyncio.run(twice()).reason == "deadline"


def test_work_ends_by_itself_with_its_own_error():
    """Without a stop, `until` is its work: done, or raised."""

    async def main() -> None:
        done = []

        async def work(*, broken: bool) -> None:
            await asyncio.sleep(0)
            done.append(1)
            if broken:
                msg = "broken"
                raise LostError(msg)

        await until(Stop(), work(broken=False))
        with pytest.raises(LostError):
            await until(Stop(), work(broken=True))
        assert done == [1, 1]

    asyncio.run(main())


def test_work_may_finish_what_is_in_flight_and_is_cancelled_then():
    """Within the grace it ends by itself, after it it is cancelled; it leaves its account behind."""

    async def main() -> None:
        account = []

        async def quick(stop: Stop) -> None:
            await stop.wait()
            account.append("finished")

        async def slow() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                account.append("cancelled")

        stop = Stop()
        asyncio.get_running_loop().call_later(0.01, stop.set, "deadline")
        await until(stop, quick(stop))
        start = time.monotonic()
        await until(stop, slow(), grace=0.05)
        assert 0.04 < time.monotonic() - start < 0.5
        assert account == ["finished", "cancelled"]

    asyncio.run(main())


def test_a_pause_ends_with_its_time_or_with_a_stop():
    """`wait_for` is a pause that a stop cuts short."""

    async def main() -> None:
        stop = Stop()
        start = time.monotonic()
        await stop.wait_for(0.02)
        assert time.monotonic() - start >= 0.015
        asyncio.get_running_loop().call_later(0.01, stop.set, "deadline")
        await stop.wait_for(30)
        assert time.monotonic() - start < 5

    asyncio.run(main())


def test_of_a_group_of_errors_the_first_of_ours_is_raised():
    """However deep it lies; without one of ours, the first at all."""
    ours, other = LostError("lost"), ValueError("other")
    deep = BaseExceptionGroup("", [other, BaseExceptionGroup("", [KeyError(), ours])])
    assert first_of_ours(deep) is ours
    assert first_of_ours(BaseExceptionGroup("", [BaseExceptionGroup("", [other])])) is other


def test_a_bug_in_an_observer_leaves_as_itself(server: ServerProcess, tmp_path: Path):
    """What a task of a group raises comes out bare, and no task is left behind."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(5)])
    plan = Warm(sources=(str(source),), namespace="q", origin=origin("coroutine"))

    def observe(progress: Progress) -> None:
        if progress.done:
            raise ZeroDivisionError

    async def work(store: Store) -> None:
        with pytest.raises(ZeroDivisionError):
            await warm(store, plan, Stop(), observe, io.BytesIO())
        assert len(asyncio.all_tasks()) == 1

    run(server, work)
