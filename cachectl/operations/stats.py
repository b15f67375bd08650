"""What is in a cache: keys, memory and TTLs by namespace, and the largest keys. Changes nothing."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Literal

from cachectl.errors import CachectlError, UnreachableError
from cachectl.models import Observer, Progress
from cachectl.operations.census import Census, naming
from cachectl.operations.stop import Stop, until
from cachectl.operations.targets import Target, among, pattern
from cachectl.reports.stats import LargeKey, NodeFigures, StatsReport
from cachectl.store.facts import FactPage
from cachectl.store.store import Store
from cachectl.store.stream import Unanswered

__all__ = ["Sort", "Target", "stats"]

Sort = Literal["bytes", "keys", "name"]


class _Account:
    """What is known so far; it outlives the work that is cancelled."""

    def __init__(self, begin: Callable[[], Census]) -> None:
        self._begin = begin
        self.census = begin()
        self.nodes: dict[str, NodeFigures] = {}
        self.passes = 1
        self.largest: tuple[LargeKey, ...] | None = None
        self.error: CachectlError | None = None

    def begin_pass(self) -> None:
        """Begin a walk anew: it meets again what was counted."""
        self.passes += 1
        self.census = self._begin()
        self.nodes.clear()

    def add(self, page: FactPage) -> None:
        """Count the keys of a page."""
        self.census.add(page.keys, *page.columns)
        *_, sizes = page.columns
        before = self.nodes.get(page.node, NodeFigures(page.node, 0, 0))
        told = before.size is not None and set(map(type, sizes)) <= {int}
        size = before.size + sum(sizes) if told and before.size is not None else None
        self.nodes[page.node] = NodeFigures(page.node, before.keys + len(page.keys), size)


async def stats(
    store: Store,
    targets: Sequence[Target],
    stop: Stop,
    observe: Observer,
    *,
    depth: int = 1,
    top: int = 10,
    sort: Sort = "bytes",
) -> StatsReport:
    """Count what lies in `targets`, by namespaces `depth` name parts below them, and report.

    A walk that was broken off is begun anew, so that each key is counted once. A server that is lost
    before any key was counted raises, as one that refuses the walk does; later it is in the report.
    """
    start = perf_counter()
    account = _Account(partial(Census, naming(targets, depth), top))

    async def work() -> None:
        await _walk(store, targets, account, stop, observe)
        if not stop.is_set():
            await _ask_types(store, account)

    try:
        await until(stop, work())
    except CachectlError as error:
        if not account.census.keys:
            raise
        account.error = error
    census, lost = account.census, isinstance(account.error, UnreachableError)
    return StatsReport(
        total=census.total(),
        namespaces=tuple(census.namespaces(sort)),
        found=None if census.folded else len(census),
        largest=account.largest if account.largest is not None else _unasked(census.largest()),
        passes=account.passes,
        seconds=perf_counter() - start,
        held_back_seconds=store.pace.held_back,
        stopped=stop.reason or ("connection" if lost else None),
        error=account.error,
        nodes=tuple(node for _, node in sorted(account.nodes.items())),
    )


async def _walk(
    store: Store, targets: Sequence[Target], account: _Account, stop: Stop, observe: Observer
) -> None:
    walk = store.fact_pages(pattern(targets), _inside(targets), ("ttl", "bytes"))
    async with aclosing(walk) as pages:
        async for page in pages:
            if page.anew:
                account.begin_pass()
                continue
            account.add(page)
            observe(Progress("counting", account.census.keys))
            if stop.is_set():
                return


def _inside(targets: Sequence[Target]) -> Callable[[list[bytes]], list[bytes]]:
    if any(not target.start for target in targets):
        return list
    return lambda keys: [key for key, _ in among(keys, targets)]


async def _ask_types(store: Store, account: _Account) -> None:
    """Ask for the types of the largest keys alone: of all keys it would cost as much as their TTLs."""
    found = account.census.largest()
    outcomes = await store.types([large.key for large in found])
    typed = zip(found, outcomes.replies, strict=True)
    account.largest = tuple(_typed(large, reply) for large, reply in typed)
    account.error = outcomes.error


def _typed(large: LargeKey, told: object) -> LargeKey:
    if isinstance(told, str):
        return replace(large, type=told)
    reason = "the key is gone"
    if isinstance(told, CachectlError):
        reason = told.message
    elif isinstance(told, Unanswered):
        reason = "the server has not answered"
    return replace(large, unknown={"type": reason})


def _unasked(found: Sequence[LargeKey]) -> tuple[LargeKey, ...]:
    """Return the largest keys of a walk that was stopped: the server is not asked once more."""
    return tuple(replace(large, unknown={"type": "not asked: stopped before"}) for large in found)
