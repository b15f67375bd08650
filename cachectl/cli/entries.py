"""get, set, delete, key, inspect: single keys."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cachectl.cli import options
from cachectl.cli.ending import show_error
from cachectl.cli.render import json as as_json
from cachectl.cli.render import out, text
from cachectl.cli.session import Session, stdin_bytes
from cachectl.config.ttl import default_ttl
from cachectl.errors import (
    DeniedError,
    DisabledError,
    InputError,
    MissingError,
    UsageError,
)
from cachectl.keys import to_text
from cachectl.units import format_size, positive_duration
from cachectl.values import check_json, key_field, safe, to_json

if TYPE_CHECKING:
    from cachectl.operations.stop import Stop
    from cachectl.reports.entries import DeleteReport
    from cachectl.store.store import Keep, Store

EXAMPLES = {
    "get": "  cachectl get natal:652c49679deeadba\n"
    "  cachectl get -n natal date=1990-05-17 lat:=48.85 lon:=2.35",
    "set": "  cachectl set greeting '\"hello\"' --ttl 1h\n"
    "  echo '{\"a\": 1}' | cachectl set -n natal city=Paris -",
    "delete": "  cachectl delete natal:652c49679deeadba greeting",
    "key": "  cachectl key -n natal date=1990-05-17 lat:=48.85 lon:=2.35",
    "inspect": "  cachectl inspect natal:652c49679deeadba",
}
Words = Annotated[list[str] | None, typer.Argument(metavar="KEY", show_default=False)]


def get_command(
    ctx: typer.Context, words: Words = None, namespace: options.Namespace = None
) -> None:
    """Print one value: exact bytes to a pipe, readable on a terminal. 1 when it is missing."""
    key = options.one_key(namespace, words or [])
    session = Session(ctx)

    async def read(store: "Store") -> tuple[bytes | None, Any]:
        value = await store.get(key)
        if value is None or not session.as_json:
            return value, None
        try:
            ttl = await store.ttl(key)
        except DeniedError as error:
            return value, error
        return (None if ttl is False else value), ttl

    value, ttl = session.run(read, start_embedded=True)
    if value is None:
        _tell_missing(session, key, namespace, words or [])
        raise typer.Exit(1)
    if session.as_json:
        as_json.show_value(key, value, ttl)
    elif out.is_terminal():
        out.lines([text.pretty(value)])
        if len(value) > text.MAX_VALUE:
            session.say(f"{format_size(len(value))} in all: > FILE or | less takes the whole of it")
    else:
        out.write(value + b"\n")


def _tell_missing(session: Session, key: bytes, namespace: str | None, words: list[str]) -> None:
    asked = options.told_params(namespace, words) if namespace is not None else None
    missing = MissingError(f"not in the cache: {safe(key)}", asked)
    if session.as_json:
        show_error(missing, as_json=True)
    else:
        session.say(missing.message + (f" ({asked})" if asked else ""))


def set_command(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="KEY VALUE", show_default=False)
    ] = None,
    namespace: options.Namespace = None,
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="DURATION|none|keep", help="How long it lives.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="missing|existing", help="Write only such a key."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="The value is in a file.")
    ] = None,
    string: Annotated[
        bool, typer.Option("--string", help="Store the text as a JSON string.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Store these bytes as they are.")] = False,
) -> None:
    """Write one value, which is JSON. VALUE - is stdin."""
    names, source = _split_value(words or [], namespace, file)
    key = options.one_key(namespace, names)
    condition = _condition(only)
    if string and raw:
        msg = "--string and --raw exclude each other"
        raise UsageError(msg)
    session = Session(ctx)
    session.refuse_read_only()
    lifetime = _lifetime(session, key, ttl)
    value = _value(source, file, string=string, raw=raw)
    if not session.server.cache.enabled:
        msg = "the cache is disabled, nothing was written"
        raise DisabledError(msg, "ENABLE_CACHE or cache.enabled says so")

    async def write(store: "Store") -> bool:
        return await store.set(key, value, lifetime, condition)

    written = session.run(write, start_embedded=True)
    if session.as_json:
        as_json.show({**key_field(key), "written": written})
    elif not written:
        there = "is there already" if condition == "missing" else "is not there"
        session.say(f"not written: {safe(key)} {there}")
    if not written:
        raise typer.Exit(1)


def _split_value(
    words: list[str], namespace: str | None, file: str | None
) -> tuple[list[str], str | None]:
    """Return the words that name the key, and the word that is the value or says where it is."""
    if file is not None:
        return words, None
    if not words or (namespace is None and len(words) == 1):
        msg = "no value is given"
        raise UsageError(msg, "name VALUE after the key, - for stdin, or --file FILE")
    return words[:-1], words[-1]


def _condition(only: str | None) -> Literal["missing", "existing"] | None:
    if only is None:
        return None
    if only == "missing":
        return "missing"
    if only == "existing":
        return "existing"
    msg = "--only takes missing or existing"
    raise UsageError(msg)


def _lifetime(session: Session, key: bytes, ttl: str | None) -> "float | Keep | None":
    """Return the TTL: the flag's, else what the application would give the key."""
    if ttl == "keep":
        from cachectl.store.store import KEEP

        return KEEP
    if ttl == "none":
        return None
    if ttl is not None:
        try:
            return positive_duration(ttl)
        except ValueError as error:
            msg = f"--ttl: {error}, none or keep"
            raise UsageError(msg) from None
    return default_ttl(to_text(key), session.server.namespaces, session.server.cache.ttl)


def _value(source: str | None, file: str | None, *, string: bool, raw: bool) -> bytes:
    if file is not None:
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            msg = f"{safe(file)}: {(error.strerror or 'cannot be read').lower()}"
            raise InputError(msg) from None
    elif source == "-":
        data = stdin_bytes().read()
    else:
        data = os.fsencode(source or "")
    if raw:
        return data
    if string:
        try:
            return to_json(data.decode())
        except UnicodeDecodeError:
            msg = "the value is not UTF-8"
            raise UsageError(msg, "--raw stores any bytes") from None
    data = data.strip(b" \t\r\n")
    try:
        check_json(data)
    except ValueError as error:
        msg = f"the value is not JSON: {error}"
        raise UsageError(msg, "--string stores it as a JSON string, --raw as it is") from None
    return data


def delete_command(
    ctx: typer.Context,
    words: Words = None,
    namespace: options.Namespace = None,
    keys_from: Annotated[
        str | None,
        typer.Option("--keys-from", metavar="FILE", help="Keys, one a line; - is stdin."),
    ] = None,
    nul: options.Nul = False,
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", metavar="NAME", help="Confirm a protected name."),
    ] = None,
) -> None:
    """Unlink keys. 0 if any of them existed, else 1."""
    from cachectl.cli.guard import guard_keys, warn_of_del

    keys = _named_keys(words or [], namespace, keys_from, nul=nul)
    session = Session(ctx)
    guard_keys(session, keys, confirm or [])

    async def remove(store: "Store", stop: "Stop") -> "DeleteReport":
        from cachectl.operations.entries import delete

        report = await delete(store, keys, stop)
        warn_of_del(session, store)
        return report

    report = session.run_stoppable(remove)
    with out.even_unread():
        if session.as_json:
            as_json.show(as_json.delete(report))
        else:
            others = {
                "failed": report.failed,
                "unknown": report.unknown,
                "not asked for": report.unsent,
            }
            told = "".join(f", {count} {what}" for what, count in others.items() if count)
            out.lines([f"deleted {report.deleted}, missing {report.missing}{told}"])
    for line in text.problems(report.errors, report.failed):
        session.say(line)
    if report.error is not None:
        show_error(report.error, as_json=session.as_json)
    raise typer.Exit(session.exit_code(report.exit_code, report.stopped))


def _named_keys(
    words: list[str], namespace: str | None, keys_from: str | None, *, nul: bool
) -> list[bytes]:
    if keys_from is None:
        if namespace is not None or not words:
            return [options.one_key(namespace, words)]
        return [options.literal_key(word) for word in words]
    if words or namespace is not None:
        msg = "--keys-from and keys on the command line exclude each other"
        raise UsageError(msg)
    try:
        data = stdin_bytes().read() if keys_from == "-" else Path(keys_from).read_bytes()
    except OSError as error:
        msg = f"{safe(keys_from)}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from None
    rows = data.split(b"\0") if nul else [row.removesuffix(b"\r") for row in data.split(b"\n")]
    return [row for row in rows if row]


def key_command(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=TEXT|NAME:=JSON", show_default=False)
    ] = None,
    namespace: options.Namespace = None,
) -> None:
    """Print the key that the application uses for these parameters. Asks no server."""
    from cachectl.cli.ending import wants_json

    if namespace is None:
        msg = "no namespace is named"
        raise UsageError(msg, "name it: -n NAMESPACE")
    key = options.made_key(namespace, words or [])
    if wants_json(ctx.find_root().obj):
        as_json.show({"key": key})
    elif out.is_terminal():
        out.lines([safe(key)])
    else:
        out.write(os.fsencode(key) + b"\n")


def inspect_command(
    ctx: typer.Context, words: Words = None, namespace: options.Namespace = None
) -> None:
    """Show type, encoding, TTL, memory, idle time and a bounded preview of any key."""
    key = options.one_key(namespace, words or [])
    session = Session(ctx)

    async def look(store: "Store") -> Any:
        return await store.describe(key)

    info = session.run(look)
    if info is None:
        _tell_missing(session, key, namespace, words or [])
        raise typer.Exit(1)
    if session.as_json:
        as_json.show(as_json.key_info(info))
    elif out.is_terminal():
        from cachectl.cli.render import table

        table.show(("field", "value"), list(text.key_info(info)))
    else:
        out.lines(f"{name}: {value}" for name, value in text.key_info(info))
