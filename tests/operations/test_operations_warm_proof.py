"""What a warm still proves after it was stopped, and what is told when it cannot be watched."""

import asyncio
import io
import time
from pathlib import Path

import pytest

from cachectl.errors import DeniedError
from cachectl.models import Progress, Stopped
from cachectl.operations import stop as stopping
from cachectl.operations.stop import GRACE, Stop, proven
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.run import warm
from cachectl.reports.warm import WarmReport
from cachectl.store.store import Store
from tests.operations.operating import (
    adds_up,
    entries,
    keys_of,
    lines,
    ratio,
    run,
    user_with,
    warmed,
)
from tests.plans import delayed
from tests.proxies import Proxy
from tests.servers import ServerProcess


def cut_short(by: Stopped | None, *more: Stopped, needs: float = 30.0) -> tuple[bool, float]:
    """Prove for so long after a stop, the other reasons come a moment later; return how it ended."""

    async def main() -> tuple[bool, float]:
        stop, ended = Stop(), []
        loop = asyncio.get_running_loop()

        async def work() -> None:
            await asyncio.sleep(needs)
            ended.append(True)

        if by is not None:
            stop.set(by)
        for place, reason in enumerate(more, 1):
            loop.call_later(place / 50, stop.set, reason)
        start = time.monotonic()
        await proven(stop, work())
        return bool(ended), time.monotonic() - start

    return asyncio.run(main())


@pytest.mark.parametrize("by", [None, "memory", "origin", "fail_fast", "input"])
def test_a_proof_comes_to_its_end_though_the_work_was_stopped(by: Stopped | None):
    """Nobody is in a hurry: it may take longer than what is in flight may."""
    assert cut_short(by, needs=GRACE * 1.5)[0]


def test_the_deadline_gives_a_proof_some_seconds(monkeypatch: pytest.MonkeyPatch):
    """Whether it had passed before or comes meanwhile; and no more than these."""
    assert cut_short("deadline", needs=GRACE * 1.5)[0]
    assert cut_short("memory", "deadline", needs=GRACE * 1.5)[0]
    monkeypatch.setattr(stopping, "LATE", 0.1)
    given: list[list[Stopped]] = [["deadline"], ["origin", "deadline"]]
    for reasons in given:
        ended, took = cut_short(*reasons)
        assert not ended
        assert took < 1


@pytest.mark.parametrize("reasons", [["memory", "interrupted"], ["deadline", "interrupted"]])
def test_a_signal_cuts_a_proof_short(reasons: list[Stopped]):
    """Whatever stopped the work before: within less than a second."""
    ended, took = cut_short(*reasons)
    assert not ended
    assert took < 1


@pytest.mark.parametrize("reason", ["fail_fast", "deadline"])
def test_the_hit_rate_is_known_after_a_stop(
    server: ServerProcess, tmp_path: Path, reason: Stopped, monkeypatch: pytest.MonkeyPatch
):
    """A sample that takes twice the grace is looked at to its end."""
    source = lines(tmp_path / "e.jsonl", {"key": "s:1", "value": 1}, {})
    sample = lines(tmp_path / "s.jsonl", *({"key": f"s:{n}"} for n in range(2000)))
    plan = Warm(
        (str(source),), sample=(str(sample),), required=0.5, fail_fast=reason == "fail_fast"
    )

    async def stopped(store: Store) -> WarmReport:
        stop = Stop()

        def observe(progress: Progress) -> None:
            stop.set(reason)

        return await warm(store, plan, stop, observe, io.BytesIO())

    with Proxy(server, delayed(2 * GRACE / (2000 / 150))) as proxy:
        report = run(proxy, stopped)
    assert adds_up(report)
    assert (report.stopped, report.exit_code) == (reason, 1)
    before, after = ratio(report)
    assert before == 0.0
    assert after is not None
    assert after == len(keys_of(server)) / 2000


def test_a_warm_that_cannot_be_watched_does_not_begin(server: ServerProcess, tmp_path: Path):
    """INFO is denied: that is told before anything is written, not after it."""
    user = user_with(server, "~*", "+@all", "-info")
    with pytest.raises(DeniedError) as refused:
        warmed(server, entries(tmp_path / "e.jsonl", 3), user=user, watch=0.1)
    assert refused.value.message.startswith("the hit rate cannot be watched: NOPERM")
    assert refused.value.hint == "allow it on the server: ACL SETUSER limited +info"
    assert not keys_of(server)


def test_a_watch_that_is_denied_in_the_middle_is_an_error(server: ServerProcess, tmp_path: Path):
    """The warm came to its end, no connection was lost, and the live hit rate is unknown, not 0."""
    user = user_with(server, "~*", "+@all")
    plan = Warm((str(entries(tmp_path / "e.jsonl", 3)),), watch=30.0)

    async def denied(store: Store) -> WarmReport:
        def observe(progress: Progress) -> None:
            if progress.doing != "warming":
                server.raw("ACL", "SETUSER", user, "-info")

        return await warm(store, plan, Stop(), observe, io.BytesIO())

    report = run(server, denied, user=user)
    assert (report.written, report.stopped) == (3, None)
    assert isinstance(report.error, DeniedError)
    assert report.exit_code == 4
    assert report.hit_rate is not None
    assert (report.hit_rate.live, report.hit_rate.sample) == (None, None)


def test_a_watch_alone_has_no_sample(server: ServerProcess, tmp_path: Path):
    """Neither a separate one, nor the same requests."""
    report = warmed(server, entries(tmp_path / "e.jsonl", 1), watch=0.01)
    assert report.hit_rate is not None
    assert report.hit_rate.sample is None
    assert report.hit_rate.live is not None
