"""One key at a time: get, set, delete, and the list of keys."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from cachectl.errors import CachectlError, LostError, UnreachableError
from cachectl.keys import escape_glob, prefix
from cachectl.models import MAX_ERRORS, DeleteReport, Problem
from cachectl.store.store import Store
from cachectl.store.stream import UNKNOWN

BATCH = 500


async def delete(store: Store, keys: Sequence[bytes]) -> DeleteReport:
    """Unlink keys; each is counted once, however often it is named.

    Raises `UnreachableError` when the server was lost before it had answered for any of them.
    """
    deleted = missing = unknown = failed = 0
    errors: list[Problem] = []
    lost: CachectlError | None = None
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        outcomes = await store.unlink(batch)
        lost = outcomes.error or (_never_answered() if UNKNOWN in outcomes.replies else None)
        for place, (key, reply) in enumerate(zip(batch, outcomes.replies, strict=True)):
            if isinstance(reply, CachectlError):
                failed += 1
                if len(errors) < MAX_ERRORS:
                    errors.append(Problem(reply.message, key=key))
            elif reply == 1:
                deleted += 1
            elif reply == 0 and place not in outcomes.resent:
                missing += 1
            else:
                unknown += 1
        if lost is not None:
            unknown += len(wanted) - start - len(batch)
            break
    if isinstance(lost, UnreachableError) and not (deleted or missing or failed):
        lost.maybe_applied = True
        raise lost
    return DeleteReport(deleted, missing, unknown, failed, tuple(errors), lost)


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

    Keys that vanish before their facts are told are left out of a long listing.
    """
    start = b"" if namespace is None else prefix(namespace)
    pattern = match if match is not None else (escape_glob(start) + b"*" if start else None)
    left = limit
    async with aclosing(store.pages(pattern)) as pages:
        async for page in pages:
            keys = [key for key in page.keys if key.startswith(start)]
            facts = await store.facts(keys) if long and keys else None
            if facts is not None:
                there = [(k, f) for k, f in zip(keys, facts, strict=True) if f[0] != "none"]
                keys, facts = [k for k, _ in there], [f for _, f in there]
            if left is not None:
                keys, facts = keys[:left], facts[:left] if facts is not None else None
                left -= len(keys)
            if keys or page.anew:
                yield Listed(keys, facts, page.anew)
            if left == 0:
                return
