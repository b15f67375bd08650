"""scan: keys, as they are found."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cachectl.cli import options
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out
from cachectl.cli.session import Session
from cachectl.errors import UsageError
from cachectl.values import key_field, safe

if TYPE_CHECKING:
    from cachectl.store.store import Store

EXAMPLES = {"scan": "  cachectl scan natal --long --limit 20"}


def scan_command(
    ctx: typer.Context,
    namespace: Annotated[
        str | None, typer.Argument(metavar="[NAMESPACE]", show_default=False)
    ] = None,
    match: options.Match = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="With type, TTL, memory.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many keys.")
    ] = None,
    nul: options.Nul = False,
    literal: Annotated[bool, typer.Option("--literal", help="Take the name as it stands.")] = False,
    pace: options.Pace = "gentle",
    rate: options.Rate = None,
    max_latency: options.MaxLatency = None,
) -> None:
    """List keys, as they are found. Walks the whole keyspace, whatever the namespace."""
    start = None if namespace is None else options.checked_namespace(namespace, literal=literal)
    pattern = None if match is None else os.fsencode(match)
    session = Session(ctx, options.Push(pace, rate, max_latency))
    if nul and (long or session.as_json):
        msg = "-0 lists raw keys: it goes with neither --long nor JSON"
        raise UsageError(msg)

    async def stream(store: "Store") -> None:
        from cachectl.operations.entries import scan

        pages = scan(store, start, match=pattern, long=long, limit=limit)
        async with aclosing(pages):
            await _show_pages(session, pages, nul=nul)

    session.run(stream)


async def _show_pages(session: Session, pages: AsyncIterator[Any], *, nul: bool) -> None:
    async for page in pages:
        if page.anew:
            session.warn(
                "the server was lost, or slots moved, the listing begins again: keys may come twice"
            )
        if nul and not session.as_json:
            out.write(b"".join(key + b"\0" for key in page.keys))
            continue
        facts = page.facts if page.facts is not None else [None] * len(page.keys)
        rows = list(zip(page.keys, facts, strict=True))
        if session.as_json:
            as_json.show(*(_listed(key, fact) for key, fact in rows))
        else:
            out.lines(_line(key, fact) for key, fact in rows)


_FACTS = ("type", "ttl", "bytes")


def _listed(key: bytes, facts: tuple[Any, ...] | None) -> dict[str, Any]:
    fields: dict[str, Any] = dict(key_field(key))
    unknown = {}
    for name, fact in zip(_FACTS, facts or (), strict=False):
        if isinstance(fact, Exception):
            unknown[name] = str(fact)
        else:
            fields[name] = fact
    return {**fields, "unknown_fields": unknown} if unknown else fields


def _line(key: bytes, facts: tuple[Any, ...] | None) -> str:
    if facts is None:
        return safe(key)
    kind, ttl, size = ("denied" if isinstance(fact, Exception) else fact for fact in facts)
    lasts = ttl if isinstance(ttl, str) else "-" if ttl is None else f"{ttl:.0f}s"
    return f"{kind:<7} {lasts:>10} {size:>12} {safe(key)}"
