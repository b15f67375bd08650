import asyncio
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from cachectl.errors import InputError
from cachectl.sources.feed import in_thread
from cachectl.sources.lines import entry_batches


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cachectl-source"]


def until_no_thread() -> None:
    deadline = time.monotonic() + 5
    while threads():
        assert time.monotonic() < deadline, "the thread has not ended"
        time.sleep(0.001)


def test_all_items_in_order() -> None:
    async def collect() -> list[int]:
        return [item async for item in in_thread(iter(range(1000)))]

    assert asyncio.run(collect()) == list(range(1000))
    until_no_thread()


def test_errors_come_after_the_items_before_them() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise InputError("cut off")  # noqa: EM101, TRY003

    async def collect() -> list[int]:
        found: list[int] = []
        with pytest.raises(InputError, match="cut off"):  # noqa: PT012
            async for item in in_thread(failing()):
                found.append(item)  # noqa: PERF401 it is raised in the middle
        return found

    assert asyncio.run(collect()) == [1, 2]
    until_no_thread()


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_the_thread_is_no_further_ahead_than_allowed(ahead: int) -> None:
    made: list[int] = []

    def counting() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    async def watch() -> None:
        async for item in in_thread(counting(), ahead):
            await asyncio.sleep(0.002)
            assert len(made) <= item + 1 + ahead

    asyncio.run(watch())
    assert made == list(range(20))


def test_closed_early_the_thread_ends_and_the_source_is_closed() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async def take_one() -> None:
        async with aclosing(in_thread(endless())) as items:
            async for _ in items:
                break

    asyncio.run(take_one())
    until_no_thread()
    assert closed.wait(5)


def test_a_blocked_source_blocks_neither_the_loop_nor_its_cancellation() -> None:
    read_end, write_end = os.pipe()

    async def waiting() -> None:
        with os.fdopen(read_end, "rb", closefd=False) as stdin:
            batches = entry_batches("-", stdin=stdin)
            async with asyncio.timeout(0.05):
                await anext(batches)

    start = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(waiting())
    assert time.monotonic() - start < 2
    os.write(write_end, b"\n")  # the loop is closed by now: the thread ends in silence
    os.close(write_end)
    until_no_thread()
    os.close(read_end)


def test_the_process_exits_while_stdin_is_blocked() -> None:
    """With a buffered stdin the interpreter aborts here ("could not acquire lock")."""
    script = """
import asyncio, sys
from cachectl.sources.lines import entry_batches
async def main():
    batches = entry_batches("-", stdin=sys.stdin.buffer)
    print(len((await anext(batches)).entries), flush=True)
    try:
        async with asyncio.timeout(0.1):
            await anext(batches)
    except TimeoutError:
        print("late", flush=True)
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"key":"k","value":1}\n')
        process.stdin.flush()
        assert process.wait(10) == 0
        assert process.stdout.read() == b"1\nlate\n"
        assert process.stderr.read() == b""


def test_entries_through_a_thread() -> None:
    data = b'{"key":"k","value":1}\n' * 5000

    async def count() -> int:
        batches = entry_batches("-", stdin=io.BytesIO(data))
        return sum([len(batch.entries) async for batch in batches])

    assert asyncio.run(count()) == 5000
