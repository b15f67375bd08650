"""A flush from its first look to its report.

A pass walks the whole keyspace with SCAN and unlinks what lies under the literal prefixes. A pass that
ran unbroken on a server that is the same to the end has removed everything older than its start; any
doubt begins it anew.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from time import perf_counter

from cachectl.errors import (
    CachectlError,
    ReadOnlyServerError,
    RefusedError,
    SilenceError,
    UnreachableError,
)
from cachectl.models import Observer, Progress
from cachectl.operations.flush.account import REMEMBERED, Account
from cachectl.operations.stop import Stop, until
from cachectl.operations.targets import Target, among, pattern
from cachectl.patience import backoff
from cachectl.reports.flush import FlushReport
from cachectl.store.store import Store

Identity = tuple[str | None, ...]
PROOFS = 5
"""So many passes may end on another server than they began on before the flush is given up."""
EMPTYINGS = 10
"""So often a namespace is emptied that is written to all the while: some five seconds."""
PAUSE = 0.05
"""Seconds before the second time; they double, up to a second."""


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
    account = Account(targets)
    removal = _Removal(store, account, stop, observe)

    async def work() -> None:
        if shown is not None and await store.identity() != shown:
            msg = "the server is not the one whose keys were counted: it was restarted or replaced"
            raise RefusedError(msg, "run flush again")
        await store.writable()
        await (removal.empty() if until_empty else removal.prove())

    try:
        await until(stop, work())
    except CachectlError as error:
        if not account.begun:
            raise
        account.error = error
    report = account.report(start, stop.reason, must_be_empty=until_empty, must_match=must_match)
    return replace(report, held_back_seconds=store.pace.held_back)


class _Removal:
    """Removes what an account is of, and enters what became of it there, until it is to stop."""

    def __init__(self, store: Store, account: Account, stop: Stop, observe: Observer) -> None:
        self._store = store
        self._account = account
        self._targets = account.targets
        self._stop = stop
        self._observe = observe

    async def empty(self) -> None:
        """Remove until nothing is left, or until a writer has gone on for too long."""
        account = self._account
        for pause in islice(backoff(PAUSE), EMPTYINGS):
            await self.prove()
            if account.left == 0 or account.failed or self._stop.is_set():
                return
            await self._stop.wait_for(pause)

    async def prove(self) -> None:
        """Remove until a pass was clean, and the server behind it is the same after the last look.

        Without that, a server killed after the pass would bring back from its dump what was removed.
        """
        account = self._account
        account.proven = False
        for _ in range(PROOFS):
            server = await self._identity()
            await self._pass(server)
            if self._stop.is_set():
                return
            account.left = await self._look(server)
            if self._stop.is_set():
                return
            same = server is not None and (None in server or await self._identity() == server)
            account.proven = same
            if same:
                return
            account.doubt()
        msg = f"{PROOFS} passes were followed by another server than they began on"
        raise UnreachableError(msg, "nothing is proven: run it again when the server is stable")

    async def _identity(self) -> Identity | None:
        """Return which server this is, or None while it is away: the scan that follows waits for it."""
        try:
            return await self._store.identity()
        except SilenceError:
            raise
        except UnreachableError:
            return None

    async def _pass(self, server: Identity | None) -> None:
        """Walk and unlink until one walk was unbroken; `server` is who it was at the start.

        A refusal ends the walk once all that is on its way is answered, at other nodes too: if anything
        was removed meanwhile it does not hold for all, and another walk goes on.
        """
        account = self._account
        while True:
            await self._walk(server)
            refusal, account.refusal = account.refusal, None
            if refusal is None:
                return
            if isinstance(refusal, ReadOnlyServerError) or not account.begun:
                raise refusal

    async def _walk(self, server: Identity | None) -> None:
        account = self._account
        account.begin_pass()

        def going() -> bool:
            return account.refusal is None and not self._stop.is_set()

        walk = self._store.unlink_pages(pattern(self._targets), account.choose, going)
        async with aclosing(walk) as pages:
            async for page in pages:
                if page.anew:
                    account.begin_pass()
                    if server is None or None in server or await self._identity() != server:
                        account.doubt()
                account.settle(page)
                progress = Progress("removing", account.deleted, failed=account.failed.total())
                self._observe(progress)

    async def _look(self, server: Identity | None) -> int | None:
        """Count what is there after the clean pass: it was written since that began.

        On a server that does not say who it is, only a pass proves anything: there is no look, None.
        """
        if server is None or None in server:
            return None if self._account.found else 0
        left, seen = 0, set[bytes]()
        async with aclosing(self._store.pages(pattern(self._targets))) as pages:
            async for page in pages:
                if page.anew:
                    left = 0
                    seen.clear()
                new = [key for key, _ in among(page.keys, self._targets) if key not in seen]
                left += len(new)
                seen.update(new[: REMEMBERED - len(seen)])
                if self._stop.is_set():
                    return None
        return left
