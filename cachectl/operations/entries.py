"""One key at a time: get, set, delete, and the list of keys."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cachectl.errors import CachectlError, LostError, ReadOnlyServerError, UnreachableError
from cachectl.keys import escape_glob, prefix
from cachectl.models import MAX_ERRORS, Problem, Stopped
from cachectl.operations.stop import Stop, until
from cachectl.reports.entries import DeleteReport
from cachectl.store.facts import Fact, FactPage
from cachectl.store.scan import Page
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN, UNSENT, Outcomes

BATCH = 500
LONG: Sequence[Fact] = ("type", "ttl", "bytes")
"""What a long listing tells of a key."""


@dataclass(slots=True)
class _Account:
    """What became of the keys so far; it outlives the work that is cancelled."""

    wanted: list[bytes]
    deleted: int = 0
    missing: int = 0
    unknown: int = 0
    failed: int = 0
    in_flight: int = 0
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None

    @property
    def known(self) -> int:
        """Keys that the server has answered for."""
        return self.deleted + self.missing + self.failed

    @property
    def unsent(self) -> int:
        """Keys that were not asked for."""
        return len(self.wanted) - self.known - self.unknown - self.in_flight

    def settle(self, batch: Sequence[bytes], outcomes: Outcomes) -> None:
        """Enter what became of a batch."""
        self.in_flight -= len(batch)
        for place, (key, reply) in enumerate(zip(batch, outcomes.replies, strict=True)):
            if isinstance(reply, CachectlError):
                self.failed += 1
                if len(self.errors) < MAX_ERRORS:
                    self.errors.append(Problem(reply.sentence, key=key))
            elif reply == 1:
                self.deleted += 1
            elif reply == 0 and place not in outcomes.resent:
                self.missing += 1
            elif reply is not UNSENT:
                self.unknown += 1
        if outcomes.error is not None:
            self.error = outcomes.error
        elif UNKNOWN in outcomes.replies:
            self.error = self.error or outcomes.doubt or _never_answered()


async def delete(store: Store, keys: Sequence[bytes], stop: Stop) -> DeleteReport:
    """Unlink keys; each is counted once, however often it is named.

    Raises our error when none of them was sent, `UnreachableError` when the server was lost before it
    had answered for any, and `ReadOnlyServerError`, which names the primary, when it is a replica.
    """
    account = _Account(list(dict.fromkeys(keys)))
    await until(stop, _delete(store, account, stop))
    account.unknown += account.in_flight
    account.in_flight = 0
    lost = account.error
    if lost is not None and account.unsent == len(account.wanted) and not stop.is_set():
        raise lost
    if isinstance(lost, UnreachableError) and not account.known and not stop.is_set():
        lost.maybe_applied = account.unknown > 0
        raise lost
    connection: Stopped | None = "connection" if account.unsent and lost else None
    return DeleteReport(
        account.deleted,
        account.missing,
        account.unknown,
        account.failed,
        tuple(account.errors),
        lost,
        stopped=stop.reason or connection,
        unsent=account.unsent,
    )


async def _delete(store: Store, account: _Account, stop: Stop) -> None:
    for start in range(0, len(account.wanted), BATCH):
        batch = account.wanted[start : start + BATCH]
        account.in_flight = len(batch)
        outcomes = await store.unlink(batch)
        account.settle(batch, outcomes)
        refused = any(isinstance(reply, ReadOnlyServerError) for reply in outcomes.replies)
        if refused and not account.deleted:
            await store.writable()  # raises, and knows where the primary is
        if outcomes.error is not None or stop.is_set():
            return


def _never_answered() -> LostError:
    return LostError("every connection broke on removing a key: whether it is gone is unknown")


class Listed(NamedTuple):
    """A page of a listing: keys, and their facts (type, TTL, bytes) when these were asked for.

    `anew` tells that the server was lost and the listing began again: keys may come a second time.
    """

    keys: list[bytes]
    facts: list[tuple[Any, Any, Any]] | None
    anew: bool


async def scan(
    store: Store,
    namespace: bytes | None,
    *,
    match: bytes | None = None,
    long: bool = False,
    limit: int | None = None,
) -> AsyncGenerator[Listed, None]:
    """Yield the keys of a namespace (None: all), of those the ones that match a glob, page by page.

    A listing that begins anew counts to its `limit` anew: at least so many different keys are in it.
    Keys that vanish before their facts are told are left out of a long listing.
    """
    start = b"" if namespace is None else prefix(namespace)
    pattern = match if match is not None else (escape_glob(start) + b"*" if start else None)
    left = limit

    def inside(keys: list[bytes]) -> list[bytes]:
        return [key for key in keys if key.startswith(start)]

    found: AsyncGenerator[Page | FactPage, None] = (
        store.fact_pages(pattern, inside, LONG) if long else store.pages(pattern)
    )
    async with aclosing(found) as pages:
        async for page in pages:
            if page.anew:
                left = limit
            listed = _listed(page, inside)
            if left is not None:
                keys, facts, anew = listed
                listed = Listed(keys[:left], None if facts is None else facts[:left], anew)
                left -= len(listed.keys)
            if listed.keys or page.anew:
                yield listed
            if left == 0:
                return


def _listed(page: Page | FactPage, inside: Callable[[list[bytes]], list[bytes]]) -> Listed:
    if isinstance(page, FactPage):
        return Listed(page.keys, list(zip(*page.columns, strict=True)), page.anew)
    return Listed(inside(page.keys), None, page.anew)
