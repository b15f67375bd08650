"""The independent look at the servers, over raw sockets. No cachectl here."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from json import loads
from time import monotonic
from typing import Any

from scripts.soaking.ledger import Ledger
from tests.members import Member
from tests.servers import pack


def contents(primaries: Iterable[Member], pattern: str = "*") -> dict[str, Any]:
    """Return all keys of these servers that match, with their values."""
    found: dict[str, Any] = {}
    for primary in primaries:
        with closing(primary.connect()) as connection:
            keys = connection.call("KEYS", pattern)
            connection.send_bytes(b"".join(pack("GET", key) for key in keys))
            values = [connection.read() for _ in keys]
        found |= {
            key.decode(): loads(value)
            for key, value in zip(keys, values, strict=True)
            if value is not None  # it expired meanwhile
        }
    return found


def versions(primaries: Iterable[Member], namespace: str) -> list[int]:
    """Return which versions the entries of a namespace are of."""
    return [value["version"] for value in contents(primaries, f"{namespace}:*").values()]


def check_keys(ledger: Ledger, primaries: Iterable[Member]) -> int:
    """Hold every key of the ledger against what is there; return how many are there."""
    begun = monotonic()
    found = contents(primaries, "user*")
    for name in ledger.keys:
        if name in found:
            ledger.read(name, found[name], begun)
        else:
            ledger.missed(name, begun)
    ledger.broken += [f"{name}: nobody wrote it" for name in found.keys() - ledger.keys]
    return len(found)


def visitors(members: Sequence[Member]) -> list[str]:
    """Return the connections of clients to these servers, not those among each other."""
    lines = [
        line
        for member in members
        for line in member.raw("CLIENT", "LIST").decode().splitlines()
        if not line.split("addr=", 1)[1].startswith(("/", " "))
    ]
    return [line for line in lines if _is_visitor(dict(w.split("=", 1) for w in line.split()))]


def _is_visitor(told: dict[str, str]) -> bool:
    """Whether a connection is a client's: no Sentinel's, no replica's, none that MIGRATE keeps."""
    return (
        told["flags"] == "N"
        and not told.get("name", "").startswith("sentinel-")
        and not told["cmd"].startswith("restore")
    )
