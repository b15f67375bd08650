"""Results as text: one record a line for a pipe, the same with a table's alignment for a person."""

import json
from typing import TYPE_CHECKING, Any

from cachectl.units import format_duration, format_share, format_size
from cachectl.values import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cachectl.models import Problem
    from cachectl.reports.counts import NodeCount
    from cachectl.reports.entries import KeyInfo
    from cachectl.reports.export import ExportReport
    from cachectl.reports.flush import FlushReport
    from cachectl.reports.health import Check, HealthReport
    from cachectl.reports.plan import Asked
    from cachectl.reports.stats import StatsReport
    from cachectl.reports.warm import HitRate, WarmReport

MAX_SHOWN = 2000
"""Characters of a value that are shown to a person."""


MAX_VALUE = 64 * 1024
"""Bytes of a value that a person reads through; of a longer one its beginning is shown."""


def pretty(value: bytes) -> str:
    """Return a value for a terminal: indented when it is JSON, always harmless and bounded."""
    if len(value) > MAX_VALUE:
        return f"{safe(value[:MAX_VALUE])}…"
    try:
        text = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return safe(value)
    return "\n".join(safe(line) for line in text.split("\n"))


def ttl(seconds: float | None) -> str:
    """Return how long a key lives."""
    return "never expires" if seconds is None else f"{format_duration(seconds)} left"


def key_info(info: "KeyInfo") -> "Iterator[tuple[str, str]]":
    """Yield the names and values of what `inspect` knows."""
    fields: dict[str, Any] = {
        "key": safe(info.key),
        "type": info.type,
        "encoding": info.encoding,
        "ttl": ttl(info.ttl),
        "bytes": info.memory,
        "length": info.length,
        "idle": None if info.idle is None else format_duration(info.idle),
        "frequency": info.frequency,
        **({} if info.slot is None else {"slot": info.slot}),
        "node": info.node,
    }
    for name, value in fields.items():
        if name in info.unknown:
            yield name, f"unknown: {info.unknown[name]}"
        elif value is not None:
            yield name, str(value)
    if info.value is not None:
        yield "value", _bounded(safe(info.value))
    elif isinstance(info.preview, bytes):
        yield "preview", _bounded(safe(info.preview))
    else:
        for number, member in enumerate(info.preview or (), 1):
            yield f"member {number}", _bounded(_member(member))
    for name in ("value", "preview"):
        if name in info.unknown:
            yield name, f"unknown: {safe(info.unknown[name])}"


def _member(member: Any) -> str:
    if isinstance(member, bytes):
        return safe(member)
    return " ".join(_member(part) for part in member)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def problems(found: "tuple[Problem, ...]", count: int) -> "Iterator[str]":
    """Yield a line for each problem that is listed, and how many more there are."""
    for problem in found:
        where = ":".join(str(part) for part in (problem.source, problem.line) if part is not None)
        key = f" {safe(problem.key)}" if problem.key is not None else ""
        subject = f"{safe(where)}{key}".strip()
        yield f"  {subject}: {safe(problem.message)}" if subject else f"  {safe(problem.message)}"
    if count > len(found):
        yield f"  and {count - len(found)} more"


def warm(report: "WarmReport", server: str) -> "Iterator[str]":
    """Yield the report of a warm."""
    job = f" of the job {safe(report.job)}" if report.job else ""
    seconds = format_duration(report.seconds)
    part = f" (part {report.part})" if report.part else ""
    if report.verify_only:
        yield f"measured {server}{job}{part} in {seconds}"
        yield from _ending(report)
        return
    what = "would warm" if report.dry_run else "warmed"
    yield f"{what} {server} with {report.entries} entries{job}{part} in {seconds}"
    yield f"  written  {report.written} ({format_size(report.size)}, {report.rate:.0f}/s)"
    if report.asked is not None:
        yield from left_out(report.asked)
    if report.computed:
        yield f"  computed {report.computed}"
    for name in ("skipped", "failed", "unknown", "unsent"):
        count = getattr(report, name)
        if count or name in {"skipped", "failed"}:
            yield f"  {name:<8} {count}"
    if report.statuses:
        answers = ", ".join(f"{count} of {status}" for status, count in report.statuses.items())
        yield f"  answers  {answers}"
    yield from problems(report.errors, report.failed + report.unknown)
    yield from _nodes(report.nodes, "to")
    yield from _held_back(report)
    if report.origin_held_back_seconds:
        seconds = format_duration(report.origin_held_back_seconds)
        yield f"  held back {seconds} by the origin (Retry-After)"
    yield from _ending(report)


def _ending(report: "WarmReport") -> "Iterator[str]":
    yield from _hit_rate(report)
    if report.stopped:
        yield f"  stopped  {report.stopped}"
    if report.error is not None:
        yield f"  error    {safe(report.error.sentence)}"


def left_out(asked: "Asked") -> "Iterator[str]":
    """Yield what lines of a log were no requests, if there are any."""
    told = {
        "of another method, status or time": asked.filtered,
        "taken by no route": asked.unrouted,
        "that cannot be read": asked.bad,
    }
    if any(told.values()):
        yield "  left out: " + ", ".join(f"{count} {what}" for what, count in told.items() if count)


def _sampled(rate: "HitRate") -> str:
    before, after = (
        "unknown" if value is None else format_share(value) for value in (rate.before, rate.after)
    )
    sample = "a separate sample" if rate.sample == "separate" else "the same requests"
    size = f"{rate.requests} requests for {rate.keys} keys"
    return f"{before} before, {after} after ({size}, {sample})"


def _hit_rate(report: "WarmReport") -> "Iterator[str]":
    rate = report.hit_rate
    if rate is None:
        return
    if rate.sample is not None:
        yield f"  hit rate {_sampled(rate)}"
    if rate.live is not None:
        lookups = rate.live.hits + rate.live.misses
        live = "nobody asked" if rate.live.rate is None else format_share(rate.live.rate)
        anew = ", begun anew: the server was restarted or its counters were reset"
        seconds = format_duration(rate.live.seconds)
        yield f"  live     {live} ({lookups} lookups in {seconds}{anew if rate.live.anew else ''})"
    if rate.required is not None and rate.met is not None:
        verdict = "met" if rate.met else "NOT met"
        if not rate.met and rate.after is not None and rate.after >= rate.required:
            verdict += " by the live rate"
        yield f"  gate     {format_share(rate.required)} required: {verdict}"


def flush(report: "FlushReport", server: str) -> "Iterator[str]":
    """Yield the report of a flush, or of what one would remove."""
    if report.dry_run:
        yield f"would remove {report.matched} keys from {server}"
        yield from namespaces(report)
    else:
        about = "" if report.deleted_exact else "about "
        seconds = format_duration(report.seconds)
        yield f"removed {about}{report.deleted} keys from {server} in {seconds}"
        if report.written_meanwhile:
            yield f"  written meanwhile {report.written_meanwhile}"
        if report.remaining is None:
            yield "  remaining unknown: the look afterwards was cut short, or INFO is denied"
        elif report.remaining:
            yield f"  remaining {report.remaining}"
        if report.failed:
            yield f"  failed {report.failed}"
        yield from problems(report.errors, report.failed)
        if report.passes > 1:
            yield f"  passes {report.passes}"
        yield from _nodes(report.nodes, "from")
    yield from _held_back(report)
    if report.stopped:
        yield f"  stopped {report.stopped}"
    if report.error is not None:
        yield f"  error {safe(report.error.sentence)}"


def export(report: "ExportReport", server: str, path: str | None = None) -> "Iterator[str]":
    """Yield the report of an export, into a file or (in one line if all went well) to stdout."""
    into = f" to {safe(path)}" if path is not None else ""
    size = f"{format_size(report.size)}, {report.rate:.0f}/s"
    seconds = format_duration(report.seconds)
    yield f"exported {report.entries} entries from {server}{into} in {seconds} ({size})"
    if path is not None:
        yield from _nodes(report.nodes, "from")
    yield from _held_back(report)
    if report.restarts:
        yield f"  begun anew {report.restarts} times: keys may be there twice"
    if report.failed:
        yield f"  failed {report.failed}"
        yield from problems(report.errors, report.failed)
    if report.stopped:
        yield f"  stopped {report.stopped}"
    if path is not None and report.error is not None:
        yield f"  error {safe(report.error.sentence)}"
    if path is not None and not report.whole:
        yield "  no file was written: it would not be whole"


def _nodes(nodes: "Sequence[NodeCount]", way: str) -> "Iterator[str]":
    """Yield a row for each of several nodes."""
    if len(nodes) > 1:
        yield from (f"  {node.keys:>10} {way} {node.node}" for node in nodes)


def _held_back(
    report: "WarmReport | FlushReport | StatsReport | ExportReport",
) -> "Iterator[str]":
    if report.held_back_seconds:
        seconds = format_duration(report.held_back_seconds)
        yield f"  held back {seconds} by --max-latency"


def namespaces(report: "FlushReport") -> "Iterator[str]":
    """Yield how many keys each sub-namespace holds."""
    width = max((len(str(count.keys)) for count in report.namespaces), default=0)
    for count in report.namespaces:
        name = "(no namespace)" if count.namespace is None else safe(count.namespace)
        yield f"  {count.keys:>{width}}  {name}"


def stats(report: "StatsReport", server: str) -> "Iterator[str]":
    """Yield what holds of all keys together."""
    total, ttl = report.total, report.total.ttl
    size = "" if total.size is None else f", {format_size(total.size)}"
    yield f"{total.keys} keys{size} on {server} in {format_duration(report.seconds)}"
    if total.persistent is not None:
        yield f"  never expire {total.persistent}"
    if ttl is not None:
        spread = {"p50": ttl.p50, "p90": ttl.p90, "min": ttl.shortest, "max": ttl.longest}
        yield "  TTL " + ", ".join(f"{n} {format_duration(t)}" for n, t in spread.items())
    for name in ("bytes", "ttl"):
        if name in total.unknown:
            yield f"  {name} unknown: {safe(total.unknown[name])}"
    for node in report.nodes if len(report.nodes) > 1 else ():
        held = "memory unknown" if node.size is None else format_size(node.size)
        yield f"  {node.keys:>10} keys, {held} on {node.node}"
    yield from _held_back(report)
    if report.passes > 1:
        yield f"  walks {report.passes}: the server was lost, or slots moved: only the last one counts"
    if report.stopped:
        yield f"  stopped {report.stopped}: only what was met until then is counted"
    if report.error is not None:
        yield f"  error {safe(report.error.sentence)}"
    yield "  SCAN walked the whole keyspace: the more keys, the longer"


NAMESPACES = ("keys", "memory", "no TTL", "p50", "p90", "namespace")
LARGEST = ("memory", "type", "key")


def stats_namespaces(report: "StatsReport") -> "Iterator[tuple[str, ...]]":
    """Yield a row for each namespace that is shown, under the headings `NAMESPACES`."""
    for row in report.namespaces:
        figures, ttl = row.figures, row.figures.ttl
        name = "(no namespace)" if row.namespace is None else safe(row.namespace)
        lasting = (ttl.p50, ttl.p90) if ttl is not None else (None, None)
        nothing = "unknown" if "ttl" in figures.unknown else "-"
        yield (
            str(figures.keys),
            "unknown" if figures.size is None else format_size(figures.size),
            "unknown" if figures.persistent is None else str(figures.persistent),
            *(nothing if seconds is None else format_duration(seconds) for seconds in lasting),
            name,
        )


def stats_more(report: "StatsReport") -> "Iterator[str]":
    """Yield how many namespaces are not shown."""
    if report.found is None:
        yield "and more namespaces than are told apart"
    elif report.found > len(report.namespaces):
        yield f"and {report.found - len(report.namespaces)} more namespaces: --top N shows more"


def stats_largest(report: "StatsReport") -> "Iterator[tuple[str, ...]]":
    """Yield a row for each of the largest keys, under the headings `LARGEST`."""
    for large in report.largest:
        yield format_size(large.size), large.type or "unknown", safe(large.key)


def aligned(
    headings: "Sequence[str]", rows: "Iterable[Sequence[str]]", numbers: int
) -> "Iterator[str]":
    """Yield a table as lines: the first columns, so many, aligned right, the last as it is."""
    table = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    for row in table:
        cells = [
            f"{cell:>{width}}" if place < numbers else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(row[:-1], widths, strict=True))
        ]
        yield "  ".join([*cells, row[-1]])


def health(report: "HealthReport", server: str) -> "Iterator[str]":
    """Yield the verdict, as a monitoring plugin words it, and a line for each check."""
    worst = [check for check in report.checks if check.status in {"critical", "warning"}]
    worst.sort(key=lambda check: check.status)
    reason = f": {safe(worst[0].name)}, {safe(worst[0].message)}" if worst else ""
    of_nodes = [check for node in report.nodes for check in node.checks]
    names = {check.name for check in of_nodes}
    made = [*of_nodes, *(check for check in report.checks if check.name not in names)]
    yield f"{report.status.upper()} {server}{reason}{_denied(made)}"
    for check in report.checks:
        yield f"  {check.status:<8} {check.name:<11} {safe(check.message)}"
    for node in report.nodes if len(report.nodes) > 1 else ():
        bad = [check.name for check in node.checks if check.status in {"critical", "warning"}]
        what = f": {', '.join(bad)}" if bad else ""
        yield f"  {node.status:<8} {safe(node.node)}{what}{_denied(node.checks)}"


def _denied(checks: "Sequence[Check]") -> str:
    """Return how many checks could not be made: what is ok without them is ok as far as is known."""
    count = sum(check.message == "denied" for check in checks)
    return f" ({count} checks denied)" if count else ""
