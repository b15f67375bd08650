"""INFO's text -> a dictionary of its own names."""


def parse_info(text: bytes) -> dict[str, str]:
    """Return the `name:value` lines of INFO; headings and blank lines are left out."""
    rows = (row.partition(":") for row in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in rows if colon and not name.startswith("#")}
