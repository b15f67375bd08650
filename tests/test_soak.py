"""The soak: a few seconds of it hold, and what it looks for is found when it is there."""

import asyncio
import subprocess
from pathlib import Path
from time import monotonic

import pytest

from scripts.soaking import checker, resources
from scripts.soaking.ledger import LINGER, Known, Ledger, Write, body
from scripts.soaking.places import Alone

ROOT = Path(__file__).resolve().parent.parent
NAME = "user0:0"


def write(version: int, begun: float, *, removes: bool = False, ttl: float | None = None) -> Write:
    return Write(version, removes=removes, ttl=ttl, begun=begun, ended=begun + 0.01)


def ledger_of(*writes: tuple[Write, bool]) -> Ledger:
    """Return a ledger in which one key was written so, and whether that was acknowledged."""
    ledger = Ledger()
    for one, acknowledged in writes:
        assert ledger.issue(NAME) == one.version
        ledger.enter(NAME, one, acknowledged=acknowledged)
    return ledger


def broken(ledger: Ledger, *failovers: tuple[float, float]) -> list[str]:
    """Return what broke a promise when there were such failovers."""
    found, _ = ledger.doubts({"failover": list(failovers)})
    return ledger.broken + found


@pytest.mark.timeout(90)
def test_some_seconds_of_it_keep_every_promise() -> None:
    """And it says what was done, as plain lines."""
    done = subprocess.run(
        [ROOT / "scripts" / "soak", "--seconds", "8", "--seed", "1", "--topology", "standalone"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("standalone, seed 1, ")
    assert "all promises kept" in done.stdout
    assert "acknowledged" in done.stdout
    assert "warm 0" in done.stdout


def test_an_acknowledged_write_that_is_gone_is_told() -> None:
    """A failover around it is the one excuse."""
    now = monotonic()
    ledger = ledger_of((write(1, now - 9), True))
    ledger.missed(NAME, now)
    assert len(broken(ledger)) == 1
    assert "lost: user0:0" in broken(ledger)[0]
    assert broken(ledger, (now - 5, now)) != []
    assert broken(ledger, (now - 10, now - 8)) == []


def test_a_value_older_than_what_was_acknowledged_is_told() -> None:
    now = monotonic()
    ledger = ledger_of((write(1, now - 9), True), (write(2, now - 8), True))
    ledger.read(NAME, body(NAME, 2), now)
    assert broken(ledger) == []
    ledger.read(NAME, body(NAME, 1), now)
    assert "stale: user0:0: version 1" in broken(ledger)[0]


def test_a_value_that_was_removed_is_told() -> None:
    now = monotonic()
    ledger = ledger_of((write(1, now - 9), True), (write(2, now - 8, removes=True), True))
    ledger.missed(NAME, now)
    assert broken(ledger) == []
    ledger.read(NAME, body(NAME, 1), now)
    assert len(broken(ledger)) == 1


def test_a_write_without_an_answer_may_be_there_or_not_for_a_while() -> None:
    """Until one that began long after it is acknowledged."""
    now = monotonic()
    first, second = (write(1, now - 20), True), (write(2, now - 19), False)
    ledger = ledger_of(first, second)
    for version in (1, 2):
        ledger.read(NAME, body(NAME, version), now)
    assert broken(ledger) == []
    soon = ledger_of(first, second, (write(3, now - 19 + LINGER / 2), True))
    soon.read(NAME, body(NAME, 2), now)
    assert broken(soon) == []
    late = ledger_of(first, second, (write(3, now - 19 + LINGER * 2), True))
    late.read(NAME, body(NAME, 2), now)
    assert len(broken(late)) == 1


def test_a_value_whose_time_is_over_is_told() -> None:
    now = monotonic()
    ledger = ledger_of((write(1, now - 9, ttl=8.8), True))
    ledger.missed(NAME, now)
    ledger.read(NAME, body(NAME, 1), now)
    assert broken(ledger) == []
    ledger = ledger_of((write(1, now - 9, ttl=5), True))
    ledger.read(NAME, body(NAME, 1), now)
    assert "expired" in broken(ledger)[0]


@pytest.mark.parametrize("value", [body("user1:0", 1), body(NAME, 2), {"key": NAME}, 7])
def test_a_value_of_another_key_or_of_nobody_is_told(value: object) -> None:
    ledger = ledger_of((write(1, monotonic()), True))
    ledger.read(NAME, value, monotonic())
    assert len(broken(ledger)) == 1


def test_what_the_servers_hold_is_compared_with_the_ledger() -> None:
    """Read over a socket of the checker's own: a lost key, an older one, one that nobody wrote."""
    now = monotonic()
    with Alone() as place:
        (server,) = place.service
        ledger = ledger_of((write(1, now - 9), True), (write(2, now - 8), True))
        server.raw("SET", NAME, '{"key": "user0:0", "version": 1, "rest": "' + "x" * 37 + '"}')
        ledger.keys["user0:1"] = Known()
        ledger.keys["user0:1"].issued = 1
        ledger.enter("user0:1", write(1, now - 9), acknowledged=True)
        server.raw("SET", "user9:9", "1")
        assert checker.check_keys(ledger, place.primaries()) == 2
    told = "\n".join(broken(ledger))
    assert "user9:9: nobody wrote it" in told
    assert "stale: user0:0" in told
    assert "lost: user0:1" in told


def test_what_is_left_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection, a task and a file descriptor."""
    monkeypatch.setattr(resources, "PATIENCE", 0.1)

    async def leave(port: int, place: Alone) -> list[str]:
        before = resources.descriptors()
        assert await resources.left_behind(place, before) == []
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        task = asyncio.create_task(asyncio.sleep(60))
        left = await resources.left_behind(place, before)
        task.cancel()
        writer.close()
        await writer.wait_closed()
        return left

    with Alone() as place:
        told = "\n".join(asyncio.run(leave(place.service[0].port, place)))
    assert "a connection is left" in told
    assert "a task is left" in told
    assert "file descriptors have become" in told


def test_memory_that_grows_is_told() -> None:
    """The last third against the first, without the warm-up."""
    flat = resources.memory_of([*range(10), *[100] * 70, *[105] * 70])
    assert not flat.grew
    assert resources.memory_of([*range(100, 300)]).grew
