"""How much memory a server uses and may use, and when its tables will take more at once."""

from typing import NamedTuple

from cachectl.errors import ServerError


class Leap(NamedTuple):
    """A table of the server is full with `left` keys more, and takes `size` bytes for doubling.

    It doubles with the next key after that, and Valkey's also by themselves: ten times a second the
    server looks for one that is full.
    """

    left: int
    size: int


class Memory(NamedTuple):
    """INFO's used_memory, maxmemory (0: none) and evicted_keys of one primary, named `where`.

    `run` tells this start of the server from others; `leaps` are those of the database in use.
    """

    where: str
    used: int
    limit: int
    evicted: int
    run: str | None
    leaps: tuple[Leap, ...] = ()


def memory(where: str, info: dict[str, str], database: int) -> Memory:
    """Return what INFO tells of a primary's memory; raise `ServerError` when it tells none."""
    try:
        used = int(info["used_memory"])
    except (KeyError, ValueError):
        msg = f"{where} does not tell its used_memory"
        raise ServerError(msg) from None
    keyspace = dict(pair.split("=") for pair in info.get(f"db{database}", "keys=0").split(","))
    of_buckets = _version(info) >= (8, 1)
    return Memory(
        where,
        used,
        int(info.get("maxmemory", 0)),
        int(info.get("evicted_keys", 0)),
        info.get("run_id"),
        # all keys are in one table, those with a TTL in another as well
        tuple(_leap(int(keyspace.get(name, 0)), of_buckets) for name in ("keys", "expires")),
    )


def _version(info: dict[str, str]) -> tuple[int, ...]:
    """Return Valkey's version, or () for any other server."""
    return tuple(int(part) for part in info.get("valkey_version", "").split(".") if part.isdigit())


def _leap(keys: int, of_buckets: bool) -> Leap:  # noqa: FBT001 one of two kinds of tables
    """Return how far a table with so many keys is from doubling.

    Valkey's from 8.1 on has buckets of 64 bytes for seven keys, an older one a pointer of 8 bytes for
    each; both double when they are full, and the old one stays until all keys have moved.
    """
    full = 7 if of_buckets else 1
    while full < keys:
        full *= 2
    return Leap(full - keys, full // 7 * 128 if of_buckets else full * 16)
