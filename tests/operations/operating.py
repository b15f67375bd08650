"""What the tests of operations share: a real Store on a server, and an operation run on it."""

import asyncio
import io
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from cachectl.config.secrets import Credentials, Secret
from cachectl.config.settings import Origin, Server
from cachectl.config.url import parse_url
from cachectl.models import Progress
from cachectl.operations.flush.run import flush
from cachectl.operations.stop import Stop
from cachectl.operations.targets import Target
from cachectl.operations.warm.plan import Warm
from cachectl.operations.warm.run import warm
from cachectl.reports.flush import FlushReport
from cachectl.reports.warm import WarmReport
from cachectl.store.open import open_store
from cachectl.store.pace import GENTLE, Pace
from cachectl.store.store import Store
from cachectl.store.tries import Patience
from tests.proxies import Proxy
from tests.servers import ReplyError, ServerProcess

T = TypeVar("T")
On = ServerProcess | Proxy | str


def silent(_progress: Progress) -> None:
    pass


def store_of(on: On, *, timeout: float = 5.0, user: str | None = None) -> Store:
    """Return a store as the command line makes it; a user's password is `secret`."""
    url = on if isinstance(on, str) else on.url
    login = Credentials(user, Secret("secret")) if user else Credentials()
    server = Server(None, "a test", parse_url(url).address, login)
    patience = Patience(timeout, timeout, 3, 0.05, timeout)
    return open_store(server, patience, start_embedded=False, pace=Pace(GENTLE))


def run(
    on: On,
    operation: Callable[[Store], Awaitable[T]],
    *,
    timeout: float = 5.0,
    user: str | None = None,
) -> T:
    async def main() -> T:
        async with store_of(on, timeout=timeout, user=user) as store:
            return await operation(store)

    return asyncio.run(main())


def adds_up(report: WarmReport) -> bool:
    """What holds in every ending."""
    fates = (report.written, report.skipped, report.failed, report.unknown, report.unsent)
    return report.entries == sum(fates) and min(fates) >= 0


async def warm_with(
    store: Store, plan: Warm, stop: Stop | None = None, stdin: bytes = b""
) -> WarmReport:
    report = await warm(store, plan, stop or Stop(), silent, io.BytesIO(stdin))
    assert adds_up(report), report
    return report


def warmed(
    on: On,
    *sources: Path | str,
    stdin: bytes = b"",
    timeout: float = 5.0,
    user: str | None = None,
    **options: Any,
) -> WarmReport:
    """Warm from sources, with the options of a plan."""
    plan = Warm(sources=tuple(str(source) for source in sources), **options)
    return run(on, lambda store: warm_with(store, plan, None, stdin), timeout=timeout, user=user)


def origin(name: str, **more: Any) -> Origin:
    return Origin(f"tests.operations.callables:{name}", **more)


def lines(path: Path, *objects: Any) -> Path:
    """Write JSON Lines; what is bytes is a line as it stands."""
    rows = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in objects]
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


def entries(path: Path, count: int, **more: Any) -> Path:
    """Write `count` entries `n:0`, `n:1` … whose value is their number."""
    return lines(path, *({"key": f"n:{i}", "value": i, **more} for i in range(count)))


def requests(path: Path, params: Iterable[dict[str, Any]]) -> Path:
    return lines(path, *({"params": each} for each in params))


async def flush_with(
    store: Store, *targets: bytes | Target | None, stop: Stop | None = None, **options: Any
) -> FlushReport:
    wanted = [t if isinstance(t, Target) else Target(t) for t in targets]
    return await flush(store, wanted, stop or Stop(), silent, **options)


def flushed(
    on: On,
    *targets: bytes | Target | None,
    timeout: float = 5.0,
    user: str | None = None,
    **options: Any,
) -> FlushReport:
    return run(on, lambda store: flush_with(store, *targets, **options), timeout=timeout, user=user)


def keys_of(server: ServerProcess) -> set[bytes]:
    return set(server.raw("KEYS", "*"))


async def soon(condition: Callable[[], Any], timeout: float = 5.0) -> None:
    """Poll until a condition holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.001)


def ratio(report: WarmReport) -> tuple[float | None, float | None]:
    assert report.hit_rate is not None
    return report.hit_rate.before, report.hit_rate.after


def user_with(server: ServerProcess, *rules: str) -> str:
    """Make a user `limited` with the password `secret` and only these rights; return its name."""
    server.raw("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rules)
    return "limited"


@contextmanager
def busy(server: ServerProcess) -> Iterator[None]:
    """Let the server run a script that does not end; every other command is refused with BUSY."""
    server.raw("CONFIG", "SET", "lua-time-limit", "1")
    with server.connect() as connection:
        connection.send("EVAL", "while true do end", 0)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                server.raw("PING")
            except ReplyError:
                break
        yield
        server.raw("SCRIPT", "KILL")
        with suppress(ReplyError):
            connection.read()  # the script has ended


def dump_of(server: ServerProcess, key: str) -> bytes:
    dump: bytes = server.raw("DUMP", key)
    return dump
