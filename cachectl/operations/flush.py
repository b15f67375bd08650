"""Removing namespaces so that what is reported as gone is gone.

A pass walks the whole keyspace with SCAN and unlinks what lies under the literal prefix. A pass that ran
unbroken on an unchanged server has removed everything older than its start; any doubt begins it anew.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from cachectl.errors import CachectlError, LostError, RefusedError, UnreachableError
from cachectl.keys import SEPARATOR, escape_glob, prefix
from cachectl.models import (
    MAX_ERRORS,
    FlushReport,
    NamespaceCount,
    Observer,
    Problem,
    Progress,
    Stopped,
)
from cachectl.operations.stop import Stop, until
from cachectl.store.store import Store
from cachectl.values import safe

SUB_NAMESPACES = 1000
"""So many sub-namespaces are told apart; later ones are counted together."""
OTHER = "…"


_NEVER_ANSWERED = LostError("every connection broke on it: whether it is gone is unknown")


class Target(NamedTuple):
    """What is to be removed: a namespace (None: the whole keyspace), and of it what matches a glob."""

    namespace: bytes | None
    match: bytes | None = None

    @property
    def start(self) -> bytes:
        """The literal prefix that every key must have."""
        return b"" if self.namespace is None else prefix(self.namespace)

    @property
    def pattern(self) -> bytes | None:
        """What SCAN is asked for; None: everything."""
        if self.match is not None:
            return self.match
        return escape_glob(self.start) + b"*" if self.start else None

    @property
    def name(self) -> str:
        """How it is called in a report."""
        if self.namespace is None:
            return "*" if self.match is None else safe(self.match)
        return safe(self.namespace)


@dataclass(slots=True)
class _Account:
    """What happened so far; it outlives the work that is cancelled."""

    matched: Counter[str] = field(default_factory=Counter)
    deleted: int = 0
    exact: bool = True
    failed: int = 0
    passes: int = 0
    found_after: int = 0
    proven: bool = False
    looked: bool = False
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None

    def refuse(self, key: bytes, error: CachectlError) -> None:
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Problem(error.message, key=key))


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
    account = _Account()

    async def count() -> None:
        for target in targets:
            seen: Counter[str] = Counter()
            async with aclosing(store.pages(target.pattern)) as pages:
                async for page in pages:
                    if page.anew:
                        seen.clear()
                    for key in page.keys:
                        if key.startswith(target.start):
                            _count(seen, _sub_namespace(key, target))
                    observe(Progress("counting", seen.total()))
                    if stop.is_set():
                        break
            account.matched.update(seen)

    await until(stop, count())
    return _report(account, start, stop.reason, dry_run=True, must_match=must_match)


def _sub_namespace(key: bytes, target: Target) -> str:
    """Return the name of the namespace directly below the target that holds `key`."""
    rest = key[len(target.start) :]
    head, colon, _ = rest.partition(SEPARATOR.encode())
    return safe(target.start + head) if colon else target.name


def _count(seen: Counter[str], name: str) -> None:
    seen[name if name in seen or len(seen) < SUB_NAMESPACES else OTHER] += 1


async def flush(
    store: Store,
    targets: Sequence[Target],
    stop: Stop,
    observe: Observer,
    *,
    shown: tuple[str | None, ...] | None = None,
    until_empty: bool = False,
    must_match: bool = False,
) -> FlushReport:
    """Remove everything in `targets` that is older than now, and report.

    `shown` is the server's identity at the time of the preview: another one is refused. Before the
    first removal it raises (`RefusedError`, `ServerError`, `UnreachableError`), afterwards it reports.
    """
    start = perf_counter()
    account = _Account()
    if shown is not None and await store.identity() != shown:
        msg = "the server is not the one whose keys were counted: it was restarted or replaced"
        raise RefusedError(msg, "run flush again")
    await store.writable()

    async def work() -> None:
        try:
            for target in targets:
                await _remove(store, target, account, stop, observe, until_empty=until_empty)
            account.proven = not stop.is_set()
            await _look_again(store, targets, account, stop)
        except CachectlError as error:
            account.error = error

    await until(stop, work())
    begun = account.deleted or account.failed or account.passes > 1
    if account.error is not None and not begun:
        raise account.error
    return _report(account, start, stop.reason, must_be_empty=until_empty, must_match=must_match)


async def _remove(
    store: Store,
    target: Target,
    account: _Account,
    stop: Stop,
    observe: Observer,
    *,
    until_empty: bool,
) -> None:
    """Make passes over one target until one is clean, and if wanted until one finds nothing."""
    while not stop.is_set():
        found = await _pass(store, target, account, stop, observe)
        if not until_empty or found == 0 or account.failed:
            return


async def _pass(
    store: Store, target: Target, account: _Account, stop: Stop, observe: Observer
) -> int:
    """Walk and unlink until one walk was unbroken; return how many keys that last walk found."""
    found = 0
    account.passes += 1
    async with aclosing(store.pages(target.pattern)) as pages:
        async for page in pages:
            if page.anew:
                account.passes += 1
                account.exact = False
                found = 0
            keys = [key for key in page.keys if key.startswith(target.start)]
            if keys:
                found += len(keys)
                await _unlink(store, keys, target, account)
                observe(Progress("removing", account.deleted, failed=account.failed))
            if stop.is_set():
                break
    return found


async def _unlink(store: Store, keys: list[bytes], target: Target, account: _Account) -> None:
    outcomes = await store.unlink(keys)
    account.matched[target.name] += len(keys)
    if outcomes.resent:
        account.exact = False
    if outcomes.error is not None:
        account.deleted += sum(reply for reply in outcomes.replies if isinstance(reply, int))
        account.exact = False
        raise outcomes.error
    refusals = [reply for reply in outcomes.replies if isinstance(reply, CachectlError)]
    if len(refusals) == len(keys) and not account.deleted:
        raise refusals[0]  # nothing may be removed at all
    for key, reply in zip(keys, outcomes.replies, strict=True):
        if isinstance(reply, int):
            account.deleted += reply
        else:
            account.refuse(key, reply if isinstance(reply, CachectlError) else _NEVER_ANSWERED)


async def _look_again(
    store: Store, targets: Sequence[Target], account: _Account, stop: Stop
) -> None:
    """Count what is there after the clean passes: it was written since they began."""
    if stop.is_set():
        return
    try:
        for target in targets:
            seen = 0
            async with aclosing(store.pages(target.pattern)) as pages:
                async for page in pages:
                    seen = 0 if page.anew else seen
                    seen += sum(key.startswith(target.start) for key in page.keys)
                    if stop.is_set():
                        return
            account.found_after += seen
    except UnreachableError:
        return  # what is older is proven gone; what is younger stays unknown, and the report says so
    account.looked = True


def _report(
    account: _Account,
    start: float,
    stopped: Stopped | None,
    *,
    dry_run: bool = False,
    must_be_empty: bool = False,
    must_match: bool = False,
) -> FlushReport:
    lost = isinstance(account.error, UnreachableError)
    left = account.found_after if account.looked else None
    return FlushReport(
        namespaces=tuple(NamespaceCount(*item) for item in account.matched.most_common()),
        matched=account.matched.total(),
        deleted=account.deleted,
        deleted_exact=account.exact,
        written_meanwhile=left if account.proven else None,
        remaining=left,
        failed=account.failed,
        passes=account.passes,
        seconds=perf_counter() - start,
        dry_run=dry_run,
        stopped="connection" if lost else stopped,
        errors=tuple(account.errors),
        proven=account.proven,
        must_be_empty=must_be_empty,
        must_match=must_match,
        error=account.error,
    )
