import asyncio
import functools
import json
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachectl.errors import UsageError
from cachectl.models import Request
from cachectl.sources import threads
from cachectl.sources.origins.dask import client_class
from cachectl.sources.origins.failure import OriginError
from cachectl.sources.origins.load import load_callable
from cachectl.sources.origins.local import LocalOrigin


def compute(call: Callable[..., Any], timeout: float = 5, **params: Any) -> bytes:
    async def once() -> bytes:
        try:
            return await origin.compute(Request(b"k", params))
        finally:
            await origin.close()

    origin = LocalOrigin(call, timeout=timeout)
    return asyncio.run(once())


def complaint(call: Callable[..., Any], timeout: float = 5, **params: Any) -> str:
    with pytest.raises(OriginError) as caught:
        compute(call, timeout, **params)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1
    return caught.value.message


def plain(a: object) -> object:
    return {"a": a, "é": [1.5, None]}


async def coroutine(a: object) -> object:
    await asyncio.sleep(0)
    return plain(a)


class Plain:
    def __call__(self, a: object) -> object:
        return plain(a)


class Coroutine:
    async def __call__(self, a: object) -> object:
        return await coroutine(a)


class Later:
    def __init__(self, a: object) -> None:
        self.a = a

    def __await__(self) -> Any:
        return coroutine(self.a).__await__()


def wrapper(a: object) -> Awaitable[object]:
    return coroutine(a)


@pytest.mark.parametrize(
    "call",
    [
        plain,
        coroutine,
        Plain(),
        Coroutine(),
        Plain().__call__,
        Coroutine().__call__,
        functools.partial(plain),
        functools.partial(coroutine),
        functools.partial(Coroutine()),
        Later,
        wrapper,
        lambda a: {"a": a, "é": (1.5, None)},
    ],
)
def test_all_kinds_of_callables(call: Callable[..., Any]) -> None:
    """The value is the JSON text that the client stores."""
    assert compute(call, a="ü") == '{"a":"ü","é":[1.5,null]}'.encode()


def test_plain_functions_run_beside_the_loop_and_coroutines_in_it() -> None:
    async def here() -> str:
        return threading.current_thread().name

    assert compute(lambda: threading.current_thread().name) == b'"cachectl-origin"'
    assert compute(here) == b'"MainThread"'


def fails(error: BaseException) -> Callable[[], object]:
    def plain() -> object:
        raise error

    return plain


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        ValueError("c4n4ry\nlines \x1b[31m"),
        Unspeakable(),
        TypeError("inside"),
        TimeoutError("of its own"),
        StopIteration(3),
        SystemExit(3),
        asyncio.CancelledError(),
    ],
)
def test_what_an_origin_raises(error: BaseException) -> None:
    """Its kind and where; its text may hold a value or a secret."""
    message = rf"the origin raised {type(error).__name__} at test_sources_origins\.py:\d+"

    async def coroutine() -> object:
        await asyncio.sleep(0)
        raise error

    assert re.fullmatch(message, complaint(fails(error)))
    if not isinstance(error, StopIteration):  # a coroutine cannot raise it
        assert re.fullmatch(message, complaint(coroutine))


def test_the_cause_is_kept() -> None:
    with pytest.raises(OriginError) as caught:
        compute(fails(KeyError("x")))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("call", [plain, coroutine, functools.partial(plain)])
def test_parameters_that_do_not_fit(call: Callable[..., Any]) -> None:
    name = "plain" if call is not coroutine else "coroutine"
    message = f"the parameters do not fit: {name}() got an unexpected keyword argument 'x'"
    assert complaint(call, a=1, x=2) == message


def circle() -> object:
    found: list[object] = []
    found.append(found)
    return found


class Rude(dict[str, object]):
    def items(self) -> Any:
        raise KeyError("rude")  # noqa: EM101


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1}, "set"),
        ({"a": [object()]}, "object"),
        (b"bytes", "bytes"),
        ({(1, 2): 3}, "keys must be str, int, float, bool or None, not tuple"),
        ("\ud83d", "half of a surrogate pair"),
        (circle(), "Circular reference detected"),
        (Rude(a=1), "'rude'"),
    ],
)
def test_values_that_are_not_json(value: object, reason: str) -> None:
    message = complaint(lambda: value)
    assert message == f"the origin returned something that is not JSON ({reason})"


def test_not_a_number_is_not_json() -> None:
    message = complaint(lambda: [float("nan")])
    assert message.startswith("the origin returned something that is not JSON (Out of range float")


async def hangs() -> None:
    await asyncio.sleep(60)


async def clings() -> None:
    """Ignores the first cancellation."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)


@pytest.fixture
def hang() -> Iterator[Callable[[], None]]:
    """Give a function that hangs until the end of the test."""
    ended = threading.Event()

    def hang() -> None:
        ended.wait(60)

    yield hang
    ended.set()


def test_calls_that_hang_end_at_their_deadline(hang: Callable[[], None]) -> None:
    start = time.monotonic()
    for call in (hangs, clings, hang):
        assert complaint(call, 0.05) == "the origin took longer than 50ms"
    assert time.monotonic() - start < 3


def test_the_deadline_is_for_the_call_and_what_it_returns_together() -> None:
    def slow() -> Awaitable[None]:
        time.sleep(0.3)
        return asyncio.sleep(0.3)

    assert complaint(slow, 0.5) == "the origin took longer than 500ms"


def test_a_coroutine_that_comes_too_late_is_closed() -> None:
    """No warning that it was never awaited."""
    done = threading.Event()

    async def late() -> None: ...

    def slow() -> Awaitable[None]:
        time.sleep(0.05)
        threading.Timer(0.05, done.set).start()
        return late()

    async def once() -> None:
        with pytest.raises(OriginError, match="took longer"):
            await LocalOrigin(slow, timeout=0.01).compute(Request(b"k", {}))
        while not done.is_set():  # noqa: ASYNC110 a thread sets it
            await asyncio.sleep(0.005)

    asyncio.run(once())


def test_threads_are_used_again_and_end_with_the_origin() -> None:
    """As many threads as calls run at once; none is left once the origin is closed."""
    origin = LocalOrigin(lambda: time.sleep(0.002), timeout=5)
    before = set(threading.enumerate())
    started: set[threading.Thread] = set()

    async def caller() -> None:
        for _ in range(25):
            await origin.compute(Request(b"k", {}))

    async def many() -> None:
        await asyncio.gather(*(caller() for _ in range(4)))
        started.update(set(threading.enumerate()) - before)
        await origin.close()

    asyncio.run(many())
    assert len(started) == 4
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


def test_left_behind_threads_are_bounded(
    hang: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MAX_LEFT_BEHIND", 3)
    origin = LocalOrigin(hang, timeout=0.01)

    async def many() -> list[bytes | BaseException]:
        made: list[bytes | BaseException] = []
        for _ in range(4):
            pair = (origin.compute(Request(b"k", {})) for _ in range(2))
            made += await asyncio.gather(*pair, return_exceptions=True)
        return made

    messages = [str(error) for error in asyncio.run(many())]
    assert messages[:3] == ["the origin took longer than 10ms"] * 3
    assert messages[-3:] == ["1000 calls of the origin hang; it is not called any more"] * 3


def test_a_thread_that_was_left_behind_ends_after_its_call() -> None:
    ended = threading.Event()
    origin = LocalOrigin(lambda: ended.wait(60), timeout=0.01)
    before = set(threading.enumerate())
    with pytest.raises(OriginError):
        asyncio.run(origin.compute(Request(b"k", {})))
    (thread,) = set(threading.enumerate()) - before
    ended.set()  # the loop it would answer to is closed
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["plain", "coroutine", "clinging"])
def test_cancellation_passes_at_once(kind: str, hang: Callable[[], None]) -> None:
    call = {"plain": hang, "coroutine": hangs, "clinging": clings}[kind]

    async def cancelled() -> float:
        task = asyncio.create_task(LocalOrigin(call, timeout=60).compute(Request(b"k", {})))
        await asyncio.sleep(0.02)
        task.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - start

    assert asyncio.run(cancelled()) < 1


def test_a_call_that_is_cancelled_before_it_begins_leaves_no_warning() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(LocalOrigin(hangs).compute(Request(b"k", {})))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_hanging_calls_do_not_hang_the_process() -> None:
    """50 calls that hang all fail in bounded time, and the process exits at once."""
    script = """
import asyncio, time
from cachectl.models import Request
from cachectl.sources.origins.local import LocalOrigin
def hang(number): time.sleep(3600)
async def main():
    origin = LocalOrigin(hang, timeout=0.1)
    errors = await asyncio.gather(
        *(origin.compute(Request(b"k", {"number": n})) for n in range(50)), return_exceptions=True)
    print(len(errors), {str(error) for error in errors})
asyncio.run(main())
"""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "50 {'the origin took longer than 100ms'}\n"
    assert done.stderr == ""
    assert time.monotonic() - start < 10


PRICES = """
def price(article):
    return article

class Desk:
    def ask(self):
        return 1

desk = Desk()
number = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a directory with packages of several kinds, and forget them after the test."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    folder = tmp_path / "shop_pkg"
    folder.mkdir()
    sources = {
        "__init__": "",
        "prices": PRICES,
        "broken": "def price(:\n",
        "raises": "raise ValueError('two\\nlines \\x1b' + 'x' * 999)\n",
        "leaves": "import sys\nsys.exit(3)\n",
        "lacks": "import shop_missing_dependency\n",
        "interrupted": "raise KeyboardInterrupt\n",
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_load_by_name(package: Path) -> None:
    for _ in range(2):
        assert load_callable("shop_pkg.prices:price", str(package))(article=3) == 3
        assert load_callable("shop_pkg.prices:desk.ask", str(package))() == 1
    assert sys.path[0] == str(package)
    assert sys.path.count(str(package)) == 1


def test_a_relative_directory(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(package)
    assert callable(load_callable("shop_pkg.prices:price", "."))
    assert sys.path[0] == str(package)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        *(
            (spec, f"{spec} names no origin")
            for spec in ("", "shop_pkg", "shop_pkg:", ":price", "a-b:c", ".a:b", "a:b c", "a:b:c")
        ),
        ("a\x1b:b", r"a\x1b:b names no origin"),
        ("shop_nowhere:price", "no module named shop_nowhere in {0} or where Python looks"),
        (
            "shop_pkg.nowhere.deep:price",
            "no module named shop_pkg.nowhere in {0} or where Python looks",
        ),
        (
            "shop_pkg.lacks:price",
            (
                "importing shop_pkg.lacks failed: ModuleNotFoundError:"
                " No module named 'shop_missing_dependency'"
            ),
        ),
        (
            "shop_pkg.broken:price",
            "importing shop_pkg.broken failed: SyntaxError: invalid syntax (broken.py, line 1)",
        ),
        (
            "shop_pkg.raises:price",
            r"importing shop_pkg.raises failed: ValueError: two\nlines \x1b" + "x" * 189 + "…",
        ),
        ("shop_pkg.leaves:price", "importing shop_pkg.leaves failed: SystemExit: 3"),
        ("shop_pkg.prices:pric", "shop_pkg.prices has no pric (did you mean price?)"),
        ("shop_pkg.prices:zzzzzz", "shop_pkg.prices has no zzzzzz"),
        ("shop_pkg.prices:desk.aks", "shop_pkg.prices.desk has no aks (did you mean ask?)"),
        ("shop_pkg.prices:number", "shop_pkg.prices.number is not callable, it is of type int"),
    ],
)
def test_names_that_lead_nowhere(spec: str, message: str, package: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_callable(spec, str(package))
    assert caught.value.message == message.replace("{0}", str(package))
    assert caught.value.exit_code == 2


def test_an_interruption_while_importing_passes(package: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_callable("shop_pkg.interrupted:price", str(package))


def test_the_bytes_are_what_the_client_would_read_back() -> None:
    value = {"a": [1, 1.0, "ü\u2028", None, True], "b": {"1": 2}}
    assert json.loads(compute(lambda: value)) == value


def test_a_dask_of_another_version_is_no_noise_on_stderr():
    """Its table of versions would stand in the middle of our lines."""
    versions = pytest.importorskip("distributed.versions")
    with warnings.catch_warnings(record=True) as told:
        client_class()
        warnings.warn(versions.VersionMismatchWarning("Mismatched versions found"), stacklevel=1)
    assert not told
