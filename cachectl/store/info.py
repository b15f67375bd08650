"""INFO's text -> a dictionary of its own names, and which server and data set it tells of."""

from typing import NamedTuple

from cachectl.errors import ServerError


class Lookups(NamedTuple):
    """What one server has counted since its start, or since its counters were reset.

    `hits` and `misses` are lookups of keys, `commands` all that it was sent, `run` is which start.
    """

    hits: int
    misses: int
    commands: int
    run: str


def parse_info(text: bytes) -> dict[str, str]:
    """Return the `name:value` lines of INFO; headings and blank lines are left out."""
    rows = (row.partition(":") for row in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in rows if colon and not name.startswith("#")}


def identity(info: dict[str, str]) -> str | None:
    """Return what tells this run of a server, and the data set in it, from others; None if untold.

    A primary that takes over another's data keeps its run, and `master_replid2` then names whose they
    were. Its `master_replid` does not do: it changes when the first replica comes. A replica's is its
    primary's. SWAPDB exchanges data sets within a run: the count of it tells.
    """
    run = info.get("run_id")
    if run is None:
        return None
    history = "master_replid" if info.get("role") == "slave" else "master_replid2"
    return f"{run} {info.get(history, '')} {info.get('cmdstat_swapdb', '')}".rstrip()


def lookups(info: dict[str, str]) -> Lookups:
    """Return a server's counters; raise `ServerError` when it does not tell them."""
    names = ("keyspace_hits", "keyspace_misses", "total_commands_processed")
    try:
        hits, misses, commands = (int(info[name]) for name in names)
        return Lookups(hits, misses, commands, info["run_id"])
    except (KeyError, ValueError):
        msg = f"the server does not tell {', '.join(names)} and run_id"
        raise ServerError(msg) from None
