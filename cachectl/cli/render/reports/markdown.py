"""Report files for reviewers: Markdown that is read in ten seconds."""

import re
from collections.abc import Iterator, Sequence
from math import floor
from typing import TYPE_CHECKING

from cachectl.cli.render.reports.told import Told
from cachectl.errors import CachectlError
from cachectl.units import format_duration, format_size
from cachectl.values import safe

if TYPE_CHECKING:
    from cachectl.models import Problem
    from cachectl.reports.warm import HitRate, WarmReport

MAX_SHOWN = 200
"""Characters that are shown of a key or a message."""

COUNTS = ("entries", "written", "skipped", "failed", "unknown", "unsent")


def report(told: Sequence[Told]) -> str:
    """Return a section for each warm."""
    return "\n".join("\n".join(_section(one)) + "\n" for one in told)


def code(outside: bytes | str) -> str:
    """Return text from outside as a code span: nothing in it is markup, a link or a mention.

    A code span ends at as many backticks as it began with: it begins with more than are in it. It
    belongs in no table, whose cells end at a bar even within code.
    """
    text = safe(outside[: 4 * MAX_SHOWN])
    if len(text) > MAX_SHOWN or len(outside) > 4 * MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}…"
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if not text or text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text or '(nothing)'}{pad}{fence}"


def _section(told: Told) -> Iterator[str]:
    yield f"## {code(told.name)}: {told.verdict}"
    yield ""
    if isinstance(told.outcome, CachectlError):
        yield from _error(told.outcome)
    else:
        yield from _warmed(told.outcome)
    profile = f" of the profile {code(told.profile)}" if told.profile else ""
    yield ""
    yield f"Server {code(told.server)}{profile}, exit code {told.exit_code}."


def _error(error: CachectlError) -> Iterator[str]:
    yield f"Error: {code(error.message)}"
    if error.hint:
        yield f"({code(error.hint)})"


def _warmed(report: "WarmReport") -> Iterator[str]:
    if report.stopped:
        yield f"Stopped before its end: **{report.stopped}**."
        yield ""
    if report.dry_run:
        yield "A dry run: nothing was written."
        yield ""
    if report.hit_rate is not None:
        yield from _hit_rate(report.hit_rate)
        yield ""
    headings = (*COUNTS, "bytes", "duration", "held back")
    yield f"| {' | '.join(headings)} |"
    yield f"{'|--:' * len(headings)}|"
    counts = (str(getattr(report, name)) for name in COUNTS)
    times = (format_duration(s) for s in (report.seconds, report.held_back_seconds))
    yield f"| {' | '.join([*counts, format_size(report.size), *times])} |"
    if report.origin_held_back_seconds:
        yield ""
        asked = format_duration(report.origin_held_back_seconds)
        yield f"The origin asked to be left alone for {asked} (Retry-After)."
    if report.error is not None:
        yield ""
        yield from _error(report.error)
    if report.errors:
        yield ""
        yield from _problems(report.errors, report.failed + report.unknown)


def _hit_rate(rate: "HitRate") -> Iterator[str]:
    if rate.sample is not None:
        sample = "a separate sample" if rate.sample == "separate" else "the same requests"
        size = f"{rate.requests} requests for {rate.keys} keys, {sample}"
        yield f"Hit rate {_percent(rate.before)} → **{_percent(rate.after)}** ({size})."
    if rate.live is not None:
        live = rate.live
        asked = f"{live.hits + live.misses} lookups in {format_duration(live.seconds)}"
        anew = ", begun anew: the server was restarted or its counters were reset"
        told = "nobody asked" if live.rate is None else f"**{_percent(live.rate)}**"
        yield f"Live, as the server counts: {told} ({asked}{anew if live.anew else ''})."
    if rate.required is not None:
        verdict = {True: "met", False: "**not met**", None: "not measured"}[rate.met]
        yield f"Required {_percent(rate.required)}: {verdict}."


def _percent(share: float | None) -> str:
    """Return two digits after the point, rounded down: 49.999 % is not to look as if it met 50 %."""
    return "unknown" if share is None else f"{floor(share * 10000 + 1e-6) / 100:.2f}%"


def _problems(found: "Sequence[Problem]", count: int) -> Iterator[str]:
    yield f"First errors, {len(found)} of {max(count, len(found))}:"
    yield ""
    for problem in found:
        where = ":".join(str(part) for part in (problem.source, problem.line) if part is not None)
        parts = [where, problem.key, problem.message]
        yield f"- {' '.join(code(part) for part in parts if part)}"
