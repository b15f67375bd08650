"""Options and arguments that commands share, each parsed at the edge."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Self, TypeVar

import typer

from cachectl import keys, units, values
from cachectl.errors import UsageError
from cachectl.values import safe

T = TypeVar("T")


def parsed(parse: Callable[[str], T]) -> Callable[[Any], T]:
    """Return `parse` with its `ValueError` shown as a bad parameter."""

    def parser(text: Any) -> T:
        if not isinstance(text, str):
            return text  # type: ignore[no-any-return]
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    parser.__name__ = parse.__name__
    return parser


Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", metavar="NAMESPACE", help="Make the key from parameters: n=v, n:=json."
    ),
]
Nul = Annotated[bool, typer.Option("-0", help="Keys are raw, each ended by NUL.")]
Match = Annotated[
    str | None, typer.Option("--match", metavar="GLOB", help="Only keys that match this pattern.")
]
Pace = Annotated[
    str,
    typer.Option(
        "--pace", metavar="gentle|full", help="gentle spares other clients, full takes all."
    ),
]
Rate = Annotated[
    Any,
    typer.Option(
        "--rate", parser=parsed(units.rate), metavar="N/s", help="At most so many keys a second."
    ),
]
MaxLatency = Annotated[
    Any,
    typer.Option(
        "--max-latency",
        parser=parsed(units.positive_duration),
        metavar="DURATION",
        help="Hold back while the server answers later than this.",
    ),
]
Duration = parsed(units.duration)
PositiveDuration = parsed(units.positive_duration)
Share = parsed(units.share)
Size = parsed(units.size)


class Push(NamedTuple):
    """How hard bulk work pushes: `rate` in keys or entries a second, `max_latency` in seconds."""

    pace: str = "gentle"
    rate: float | None = None
    max_latency: float | None = None

    def check(self) -> Self:
        """Return itself; raise `UsageError` for a pace that there is not."""
        if self.pace not in {"gentle", "full"}:
            msg = "--pace takes gentle or full"
            raise UsageError(msg)
        return self


def params(words: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of `name=text` and `name:=json` words; raise `UsageError`."""
    import json

    result: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or name == ":":
            msg = f"{safe(word)!r} is no parameter"
            raise UsageError(msg, "write name=text, or name:=json")
        value: Any = text
        if name.endswith(":"):
            name = name[:-1]
            try:
                values.check_json(text.encode("utf-8", "surrogateescape"))
                value = json.loads(text)
                values.to_json(value)  # 1e400 is a number that no JSON holds
            except (ValueError, RecursionError):
                msg = f"the parameter {safe(name)} is not JSON after :="
                raise UsageError(msg, f"a text is written {safe(name)}=…") from None
        if name in result:
            msg = f"the parameter {safe(name)} is given twice"
            raise UsageError(msg)
        result[name] = value
    return result


def one_key(namespace: str | None, words: Sequence[str]) -> bytes:
    """Return the key that the words name: literally, or with a namespace by parameters."""
    if namespace is not None:
        return keys.to_bytes(made_key(namespace, words))
    if len(words) != 1:
        msg = "no key is named" if not words else "more than one key is named"
        raise UsageError(msg, "name one KEY, or parameters with -n NAMESPACE")
    return literal_key(words[0])


def made_key(namespace: str, words: Sequence[str]) -> str:
    """Return the key that an application computes; raise `UsageError` for an empty namespace."""
    if not namespace:
        msg = "an empty name is no namespace"
        raise UsageError(msg)
    return keys.make_key(namespace, **params(words))


def literal_key(word: str) -> bytes:
    """Return the bytes of a key given on the command line; raise `UsageError` for an empty one."""
    if not word:
        msg = "an empty key is no key"
        raise UsageError(msg)
    return os.fsencode(word) if sys.getfilesystemencoding() == "utf-8" else keys.to_bytes(word)


def told_params(namespace: str, words: Sequence[str]) -> str:
    """Return what was asked for, with the types of the parameters: `lat=48.85 (text)`."""
    kinds = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    named = (
        f"{name} is a {kinds.get(type(value), 'JSON value')}"
        for name, value in params(words).items()
    )
    return f"{namespace} with " + (", ".join(named) or "no parameters")


def checked_namespace(name: str, *, literal: bool) -> bytes:
    """Return a namespace's bytes; raise `UsageError` for one that is surely meant otherwise."""
    if not name:
        msg = "an empty name is no namespace"
        raise UsageError(msg, "the whole keyspace is --all")
    meant = name.rstrip(":*")
    if meant != name and not literal:
        msg = f"{safe(name)!r} ends in {name[-1]!r}: a namespace is a literal name"
        hint = f"did you mean {safe(meant)}? " if meant else ""
        raise UsageError(msg, f"{hint}--literal takes it as it stands")
    return literal_key(name)
