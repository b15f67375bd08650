"""One key at a time: get, set, delete, and the list of keys."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from cachectl.errors import CachectlError, UnreachableError
from cachectl.keys import escape_glob, prefix
from cachectl.models import MAX_ERRORS, DeleteReport, Problem
from cachectl.store.store import Store

BATCH = 500


async def delete(store: Store, keys: Sequence[bytes]) -> DeleteReport:
    """Unlink keys; each is counted once, however often it is named."""
    deleted = missing = unknown = 0
    errors: list[Problem] = []
    lost: CachectlError | None = None
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        outcomes = await store.unlink(batch)
        for place, (key, reply) in enumerate(zip(batch, outcomes.replies, strict=True)):
            if isinstance(reply, CachectlError):
                errors.append(Problem(reply.message, key=key))
            elif not isinstance(reply, int) or (reply == 0 and place in outcomes.resent):
                unknown += 1
            elif reply:
                deleted += 1
            else:
                missing += 1
        if outcomes.error is not None:
            lost = outcomes.error
            unknown += len(wanted) - start - len(batch)
            break
    if isinstance(lost, UnreachableError) and not (deleted or missing or errors):
        lost.maybe_applied = True
        raise lost
    return DeleteReport(deleted, missing, unknown, len(errors), tuple(errors[:MAX_ERRORS]), lost)


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
