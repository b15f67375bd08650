"""INFO's text -> a dictionary of its own names, and which server and data set it tells of."""


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
