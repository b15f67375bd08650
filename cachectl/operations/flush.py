"""Removing namespaces so that what is reported as gone is gone.

A pass walks the whole keyspace with SCAN and unlinks what lies under the literal prefixes. A pass that
ran unbroken on a server that is the same to the end has removed everything older than its start; any
doubt begins it anew.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter

from cachectl.errors import (
    CachectlError,
    ReadOnlyServerError,
    RefusedError,
    SilenceError,
    UnreachableError,
)
from cachectl.keys import SEPARATOR
from cachectl.models import MAX_ERRORS, Observer, Problem, Progress, Stopped
from cachectl.operations.stop import Stop, until
from cachectl.operations.targets import Name, Target, among, pattern
from cachectl.patience import backoff
from cachectl.reports.counts import NamespaceCount, NodeCount
from cachectl.reports.flush import FlushReport
from cachectl.store.scan import Page
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN

__all__ = ["Target", "flush", "preview"]

Identity = tuple[str | None, ...]
SUB_NAMESPACES = 1000
"""So many sub-namespaces are told apart; later ones are counted together."""
OTHER = "…".encode()
PROOFS = 5
"""So many passes may end on another server than they began on before the flush is given up."""
EMPTYINGS = 10
"""So often a namespace is emptied that is written to all the while: some five seconds."""
PAUSE = 0.05
"""Seconds before the second time; they double, up to a second."""

REMEMBERED = 100_000
"""So many keys that stay are told apart: SCAN gives a key twice while its table shrinks."""


@dataclass(slots=True)
class _Account:
    """What happened so far; it outlives the work that is cancelled.

    `in_flight` are keys whose UNLINK was sent and is not settled, `just_settled`
    those of a node's last page whose group was refused: they went one by one, while the next was
    scanned already. `begun` tells
    that a key was, or may have been, removed: from then on work ends with a report. `left` is what the
    last look found.
    `doubtful` are keys whose UNLINK has no answer: a page or two for each broken walk. `refusal` is why
    no more is asked to go: a refusal that holds for all, as far as can be told until something went.
    """

    targets: Sequence[Target]
    matched: Counter[Name] = field(default_factory=Counter)
    by_node: Counter[str] = field(default_factory=Counter)
    failed: Counter[Name] = field(default_factory=Counter)
    deleted: int = 0
    in_flight: set[bytes] = field(default_factory=set)
    just_settled: dict[str, set[bytes]] = field(default_factory=dict)
    exact: bool = True
    begun: bool = False
    passes: int = 0
    found: int = 0
    left: int | None = None
    proven: bool = False
    refused: set[bytes] = field(default_factory=set)
    doubtful: set[bytes] = field(default_factory=set)
    refusal: CachectlError | None = None
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None

    def begin_pass(self) -> None:
        """Begin a pass: it will meet again what could not be removed before."""
        self.passes += 1
        self.found = 0
        self.matched -= self.failed
        self.failed.clear()
        self.refused.clear()
        self.just_settled.clear()
        self.errors.clear()

    def doubt(self) -> None:
        """Note that keys which were removed may have come back, and be counted twice."""
        self.exact = self.exact and not self.deleted

    def choose(self, keys: list[bytes]) -> list[bytes]:
        """Return the keys of a page that are to be unlinked now, and count them."""
        for met in filter(None, (self.refused, self.in_flight, *self.just_settled.values())):
            keys = [key for key in keys if key not in met]  # twice while its table shrinks
        found = among(keys, self.targets)
        self.found += len(found)
        self.matched.update([name for key, name in found if key not in self.doubtful])
        chosen = [key for key, _ in found]
        self.in_flight.update(chosen)
        return chosen

    def settle(self, page: Page) -> None:
        """Enter what became of the keys of a page, and whether that says more than of one key.

        A key without an answer is met again by the next walk if it is still there.
        """
        self.exact = self.exact and page.exact
        self.in_flight.difference_update(page.keys)
        self.just_settled[page.node] = set()
        if set(map(type, page.replies)) == {int}:
            self._removed(sum(page.replies), page.node)
            return
        self.just_settled[page.node].update(page.keys)
        refusals = []
        for key, reply in zip(page.keys, page.replies, strict=True):
            if isinstance(reply, int):
                self._removed(reply, page.node)
            elif isinstance(reply, CachectlError):
                refusals.append(reply)
                self._refuse(key, reply)
            elif reply is UNKNOWN:
                self.doubtful.add(key)  # met again, if it is still there: it is counted already
                self.exact = False
                self.begun = True
            elif key not in self.doubtful:
                ((_, name),) = among([key], self.targets)
                self.matched[name] -= 1  # never asked to go, or "not now"
        whole = next((r for r in refusals if isinstance(r, ReadOnlyServerError)), None)
        if whole is not None or (refusals and not self.begun):
            self.refusal = self.refusal or whole or refusals[0]

    def _removed(self, count: int, node: str) -> None:
        self.deleted += count
        self.by_node[node] += count
        self.begun = True

    def _refuse(self, key: bytes, reply: CachectlError) -> None:
        ((_, name),) = among([key], self.targets)
        self.failed[name] += 1
        if len(self.refused) < REMEMBERED:
            self.refused.add(key)
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Problem(reply.sentence, key=key))


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
    account = _Account(targets)
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
    report = _report(account, start, stop.reason, dry_run=True, must_match=must_match)
    return replace(report, held_back_seconds=store.pace.held_back)


def _sub_namespace(key: bytes, target: Target) -> Name:
    """Return the name of the namespace directly below the target that holds `key`."""
    rest = key[len(target.start) :]
    head, colon, _ = rest.partition(SEPARATOR.encode())
    return target.start + head if colon else target.name


async def flush(
    store: Store,
    targets: Sequence[Target],
    stop: Stop,
    observe: Observer,
    *,
    shown: Identity | None = None,
    until_empty: bool = False,
    must_match: bool = False,
) -> FlushReport:
    """Remove everything in `targets` that is older than now, and report.

    `shown` is the server's identity at the time of the preview: another one is refused. Before the
    first removal it raises (`RefusedError`, `ServerError`, `UnreachableError`), afterwards it reports.
    """
    start = perf_counter()
    account = _Account(targets)

    async def work() -> None:
        if shown is not None and await store.identity() != shown:
            msg = "the server is not the one whose keys were counted: it was restarted or replaced"
            raise RefusedError(msg, "run flush again")
        await store.writable()
        remove = _empty if until_empty else _prove
        await remove(store, targets, account, stop, observe)

    try:
        await until(stop, work())
    except CachectlError as error:
        if not account.begun:
            raise
        account.error = error
    report = _report(account, start, stop.reason, must_be_empty=until_empty, must_match=must_match)
    return replace(report, held_back_seconds=store.pace.held_back)


async def _empty(
    store: Store, targets: Sequence[Target], account: _Account, stop: Stop, observe: Observer
) -> None:
    """Remove until nothing is left, or until a writer has gone on for too long."""
    for pause in islice(backoff(PAUSE), EMPTYINGS):
        await _prove(store, targets, account, stop, observe)
        if account.left == 0 or account.failed or stop.is_set():
            return
        await stop.wait_for(pause)


async def _prove(
    store: Store, targets: Sequence[Target], account: _Account, stop: Stop, observe: Observer
) -> None:
    """Remove until a pass was clean, and the server behind it is the same after the last look.

    Without that, a server killed after the pass would bring back from its dump what was removed.
    """
    account.proven = False
    for _ in range(PROOFS):
        server = await _identity(store)
        await _pass(store, targets, account, stop, observe, server)
        if stop.is_set():
            return
        account.left = await _look(store, targets, account, stop, server)
        if stop.is_set():
            return
        account.proven = server is not None and (None in server or await _identity(store) == server)
        if account.proven:
            return
        account.doubt()
    msg = f"{PROOFS} passes were followed by another server than they began on"
    raise UnreachableError(msg, "nothing is proven: run it again when the server is stable")


async def _identity(store: Store) -> Identity | None:
    """Return which server this is, or None while it is away: the scan that follows waits for it."""
    try:
        return await store.identity()
    except SilenceError:
        raise
    except UnreachableError:
        return None


async def _pass(
    store: Store,
    targets: Sequence[Target],
    account: _Account,
    stop: Stop,
    observe: Observer,
    server: Identity | None,
) -> None:
    """Walk and unlink until one walk was unbroken; `server` is who it was at the start.

    A refusal ends the walk once all that is on its way is answered, at other nodes too: if anything was
    removed meanwhile it does not hold for all, and another walk goes on.
    """
    while True:
        await _walk(store, targets, account, stop, observe, server)
        refusal, account.refusal = account.refusal, None
        if refusal is None:
            return
        if isinstance(refusal, ReadOnlyServerError) or not account.begun:
            raise refusal


async def _walk(
    store: Store,
    targets: Sequence[Target],
    account: _Account,
    stop: Stop,
    observe: Observer,
    server: Identity | None,
) -> None:
    account.begin_pass()

    def going() -> bool:
        return account.refusal is None and not stop.is_set()

    walk = store.unlink_pages(pattern(targets), account.choose, going)
    async with aclosing(walk) as pages:
        async for page in pages:
            if page.anew:
                account.begin_pass()
                if server is None or None in server or await _identity(store) != server:
                    account.doubt()
            account.settle(page)
            observe(Progress("removing", account.deleted, failed=account.failed.total()))


async def _look(
    store: Store,
    targets: Sequence[Target],
    account: _Account,
    stop: Stop,
    server: Identity | None,
) -> int | None:
    """Count what is there after the clean pass: it was written since that began.

    On a server that does not say who it is, only a pass proves anything: there is no look, None.
    """
    if server is None or None in server:
        return None if account.found else 0
    left, seen = 0, set[bytes]()
    async with aclosing(store.pages(pattern(targets))) as pages:
        async for page in pages:
            if page.anew:
                left = 0
                seen.clear()
            new = [key for key, _ in among(page.keys, targets) if key not in seen]
            left += len(new)
            seen.update(new[: REMEMBERED - len(seen)])
            if stop.is_set():
                return None
    return left


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
    left = account.left if account.proven else None
    return FlushReport(
        namespaces=tuple(NamespaceCount(*item) for item in account.matched.most_common()),
        matched=account.matched.total(),
        deleted=account.deleted,
        deleted_exact=account.exact and not account.in_flight,
        written_meanwhile=None if left is None else max(left - account.failed.total(), 0),
        remaining=left,
        failed=account.failed.total(),
        passes=account.passes,
        seconds=perf_counter() - start,
        dry_run=dry_run,
        stopped=stopped or ("connection" if lost else None),
        errors=tuple(account.errors),
        proven=account.proven,
        must_be_empty=must_be_empty,
        must_match=must_match,
        error=account.error,
        nodes=tuple(NodeCount(*item) for item in sorted(account.by_node.items())),
    )
