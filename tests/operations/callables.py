"""Origins that the tests warm with; what they did stands in module variables."""

import asyncio
import os
import signal
import subprocess
import threading
from typing import Any

calls: list[dict[str, Any]] = []
running = most = 0
lock = threading.Lock()
never = threading.Event()


def forget() -> None:
    global running, most  # noqa: PLW0603
    calls.clear()
    running = most = 0


def _enter(params: dict[str, Any]) -> None:
    global running, most  # noqa: PLW0603
    with lock:
        calls.append(params)
        running += 1
        most = max(most, running)


def _leave() -> None:
    global running  # noqa: PLW0603
    with lock:
        running -= 1


def plain(**params: Any) -> Any:
    _enter(params)
    try:
        return {"é": params, "list": [1.5, None]}
    finally:
        _leave()


async def coroutine(**params: Any) -> Any:
    _enter(params)
    try:
        for _ in range(5):
            await asyncio.sleep(0)
        return {"é": params, "list": [1.5, None]}
    finally:
        _leave()


def slow(**params: Any) -> Any:
    _enter(params)
    never.wait(0.005)
    _leave()
    return params


async def hangs(**params: Any) -> Any:
    _enter(params)
    await asyncio.Event().wait()


def hangs_in_thread(**params: Any) -> Any:
    _enter(params)
    never.wait(20)


async def mixed(n: int) -> Any:
    """Every third raises, every fifth hangs, every seventh is no JSON."""
    _enter({"n": n})
    if n % 3 == 0:
        msg = f"no {n}"
        raise ValueError(msg)
    if n % 5 == 0:
        await asyncio.Event().wait()
    return object() if n % 7 == 0 else n


async def first_twenty(n: int) -> Any:
    """The first twenty return at once, all others never."""
    _enter({"n": n})
    if n >= 20:
        await asyncio.Event().wait()
    return n


async def quick_or_long(n: int) -> Any:
    """Even ones take a little, odd ones longer than a stop waits for."""
    _enter({"n": n})
    await asyncio.sleep(0.35 if n % 2 else 0.05)
    return n


async def big(n: int, size: int) -> Any:
    """So many bytes."""
    _enter({"n": n, "size": size})
    _leave()
    return "x" * size


class Unpicklable(Exception):  # noqa: N818
    def __reduce__(self) -> Any:
        raise TypeError


def troubled(n: int) -> Any:
    """Some of its calls end their process, hang, raise what cannot travel, or return a closure."""
    if n == 3:
        os._exit(3)
    if n == 5:
        never.wait(60)
    if n == 7:
        raise Unpicklable
    if n == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return (lambda: n) if n == 13 else n


def raises_and_hangs(n: int) -> Any:
    if n == 7:
        raise Unpicklable
    if n == 19:
        never.wait(6)
    return n


def pid(n: int) -> int:
    return os.getpid()


def tells_and_spins(path: str) -> None:
    """Tell which process it runs in, and keep it busy."""
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while True:
        pass


def leaves_a_child(n: int) -> None:
    """End its process, and leave another behind that has all its descriptors."""
    subprocess.Popen(["sleep", "20"], close_fds=False, start_new_session=True)
    os._exit(4)
