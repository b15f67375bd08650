"""What a warm would be worth: the ranking and its curve, as text and as JSON."""

import shutil
from typing import TYPE_CHECKING, Any

from cachectl.cli.render import out
from cachectl.cli.render.json import asked_fields
from cachectl.cli.render.text import left_out, problems
from cachectl.units import format_share, format_size
from cachectl.values import key_field, safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cachectl.reports.plan import PlanPoint, PlanReport

BAR = 30
"""Characters of a whole bar; 40 are beside it in its line."""
SHOWN = 5
"""So many of the most asked keys are shown to a person."""


def fields(report: "PlanReport", command: str) -> dict[str, Any]:
    """Return the fields of `warm --plan`."""
    plan: dict[str, Any] = {
        **asked_fields(report.asked),
        "curve": [_point_fields(point) for point in report.curve],
        "top": [{**key_field(key), "count": count} for key, count in report.top],
    }
    if report.chosen is not None:
        plan["chosen"] = _point_fields(report.chosen)
    return {"command": command, "job": report.job, "plan": plan}


def _point_fields(point: "PlanPoint") -> dict[str, Any]:
    told = {"limit": point.limit, "hit_rate": round(point.hit_rate, 6)}
    return told if point.size is None else {**told, "bytes": point.size}


def lines(report: "PlanReport") -> "Iterator[str]":
    """Yield the ranking as a table, with a bar for each hit rate."""
    job = f" of the job {safe(report.job)}" if report.job else ""
    yield f"{report.asked.requests} requests{job} ask for {report.asked.keys} keys"
    yield from left_out(report.asked)
    yield from problems(report.problems, report.asked.bad)
    if not report.curve:
        return
    sized = any(point.size is not None for point in report.curve)
    yield f"{'most asked':>12}  {'hit rate':>8}" + (f"  {'memory':>9}" if sized else "")
    room = _room()
    for point in report.curve:
        bar = "#" * round(point.hit_rate * room)
        yield f"{_row(point)}  {bar}".rstrip()
    if report.chosen is not None:
        yield f"{_row(report.chosen)}  chosen by limit, coverage and budget"
    yield "most asked:"
    for key, count in report.top[:SHOWN]:
        yield f"{count:>12}  {safe(key)}"


def _row(point: "PlanPoint") -> str:
    size = "" if point.size is None else f"  {format_size(point.size):>9}"
    return f"{point.limit:>12}  {format_share(point.hit_rate):>8}{size}"


def _room() -> int:
    """Return how long the longest bar is: a terminal may be narrow."""
    if not out.is_terminal():
        return BAR
    return max(min(BAR, shutil.get_terminal_size().columns - 36), 0)
