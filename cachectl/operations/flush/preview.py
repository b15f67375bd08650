"""Counting what a flush would remove."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter

from cachectl.keys import SEPARATOR
from cachectl.models import Observer, Progress
from cachectl.operations.flush.account import Account
from cachectl.operations.stop import Stop, until
from cachectl.operations.targets import Name, Target, among, pattern
from cachectl.reports.flush import FlushReport
from cachectl.store.store import Store

SUB_NAMESPACES = 1000
"""So many sub-namespaces are told apart; later ones are counted together."""
OTHER = "…".encode()


async def preview(
    store: Store,
    targets: Sequence[Target],
    stop: Stop,
    observe: Observer,
    *,
    must_match: bool = False,
) -> FlushReport:
    """Count, by direct sub-namespace, what a flush would remove; remove nothing."""
    start = perf_counter()
    account = Account(targets)
    targets_by_name = {target.name: target for target in targets}

    async def count() -> None:
        seen = account.matched
        async with aclosing(store.pages(pattern(targets))) as pages:
            async for page in pages:
                if page.anew:
                    seen.clear()
                for key, name in among(page.keys, targets):
                    sub = _sub_namespace(key, targets_by_name[name])
                    seen[sub if sub in seen or len(seen) < SUB_NAMESPACES else OTHER] += 1
                observe(Progress("counting", seen.total()))
                if stop.is_set():
                    break

    await until(stop, count())
    report = account.report(start, stop.reason, dry_run=True, must_match=must_match)
    return replace(report, held_back_seconds=store.pace.held_back)


def _sub_namespace(key: bytes, target: Target) -> Name:
    """Return the name of the namespace directly below the target that holds `key`."""
    rest = key[len(target.start) :]
    head, colon, _ = rest.partition(SEPARATOR.encode())
    return target.start + head if colon else target.name
