"""Tables for a terminal."""

from collections.abc import Iterable, Sequence


def show(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> None:
    """Print a table as wide as its terminal; cells are made harmless by whoever gives them.

    The first columns, so many, are aligned right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[:numbers]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)
