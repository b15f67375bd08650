"""Results as JSON: one object for a report, one a line for a stream."""

import json
from typing import TYPE_CHECKING, Any

from cachectl.cli.render import out
from cachectl.errors import CachectlError
from cachectl.values import key_field, namespace_field, value_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cachectl.models import Problem
    from cachectl.reports.counts import NodeCount
    from cachectl.reports.entries import DeleteReport, KeyInfo
    from cachectl.reports.export import ExportReport
    from cachectl.reports.flush import FlushReport
    from cachectl.reports.health import Check, HealthReport
    from cachectl.reports.plan import Asked
    from cachectl.reports.stats import Figures, NodeFigures, StatsReport
    from cachectl.reports.warm import HitRate, LiveHitRate, WarmReport

Fields = dict[str, Any]


def show(*objects: Fields) -> None:
    """Print objects, one a line."""
    out.lines(json.dumps(fields, ensure_ascii=False) for fields in objects)


def show_value(key: bytes, value: bytes, ttl: float | CachectlError | None) -> None:
    """Print a key and its value, the JSON text as it is stored: parsing would alter numbers."""
    told = _known({"ttl": ttl}, {"ttl": "denied"} if isinstance(ttl, CachectlError) else {})
    fields = value_field(value)
    if "value" not in fields:
        show({**key_field(key), **fields, **told})
        return
    head, tail = json.dumps(key_field(key), ensure_ascii=False), json.dumps(told)
    out.lines([f'{head[:-1]}, "value": {value.decode().strip()}, {tail[1:]}'])


def problem(found: "Problem") -> Fields:
    """Return where and what; a key that is not UTF-8 stands in `key_base64`."""
    key: Fields = {"key": None} if found.key is None else dict(key_field(found.key))
    return {"source": found.source, "line": found.line, **key, "message": found.message}


def _errors(problems: "Iterable[Problem]") -> list[Fields]:
    return [problem(found) for found in problems]


def _known(fields: Fields, unknown: dict[str, str]) -> Fields:
    """Leave out what could not be known, and name it with its reason."""
    told = {name: value for name, value in fields.items() if name not in unknown}
    return {**told, "unknown_fields": unknown} if unknown else told


def key_info(info: "KeyInfo") -> Fields:
    """Return the fields of `inspect`."""
    fields: Fields = {
        **key_field(info.key),
        "type": info.type,
        "encoding": info.encoding,
        "ttl": info.ttl,
        "bytes": info.memory,
        "length": info.length,
        "idle": info.idle,
        "frequency": info.frequency,
        "slot": info.slot,
        "node": info.node,
    }
    if info.value is not None:
        fields |= value_field(info.value)
    elif info.preview is not None:
        fields["preview"] = _text(info.preview)
    return _known(fields, info.unknown)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple):
        return [_text(member) for member in value]
    return value


def delete(report: "DeleteReport") -> Fields:
    """Return the fields of `delete`."""
    fields: Fields = {"deleted": report.deleted, "missing": report.missing}
    for name in ("unknown", "unsent", "stopped"):
        if getattr(report, name):
            fields[name] = getattr(report, name)
    if report.failed:
        fields |= {"failed": report.failed, "errors": _errors(report.errors)}
    return fields


def warm(report: "WarmReport", head: Fields, exit_code: int) -> Fields:
    """Return the fields of `warm`."""
    return {
        **head,
        "job": report.job,
        "part": report.part,
        "exit_code": exit_code,
        "dry_run": report.dry_run,
        "entries": report.entries,
        "written": report.written,
        "skipped": report.skipped,
        "failed": report.failed,
        "unknown": report.unknown,
        "unsent": report.unsent,
        "bytes": report.size,
        "seconds": round(report.seconds, 6),
        "rate": round(report.rate, 3),
        "computed": report.computed,
        "requests": asked_fields(report.asked) if report.asked else None,
        "statuses": {str(status): count for status, count in report.statuses.items()},
        "hit_rate": _hit_rate(report),
        "stopped": report.stopped,
        "held_back_seconds": round(report.held_back_seconds, 6),
        "origin_held_back_seconds": round(report.origin_held_back_seconds, 6),
        "errors": _errors(report.errors),
        "error": report.error.as_dict() if report.error else None,
        "nodes": _nodes(report.nodes),
    }


def _nodes(nodes: "Sequence[NodeCount]") -> list[Fields]:
    return [{"node": node.node, "keys": node.keys} for node in nodes]


def asked_fields(asked: "Asked") -> Fields:
    """Return the counts of requests, and of lines that were none."""
    return {name: getattr(asked, name) for name in asked.__slots__}


def _hit_rate(report: "WarmReport") -> Fields | None:
    rate = report.hit_rate
    if rate is None:
        return None
    fields: Fields = {name: getattr(rate, name) for name in rate.__slots__}
    fields["live"] = None if rate.live is None else _live(rate.live)
    reason = _unmeasured(report, rate)
    unknown = {name: reason for name in ("before", "after") if fields[name] is None}
    return _known(fields, unknown)


def _unmeasured(report: "WarmReport", rate: "HitRate") -> str:
    """Return why a hit rate is not known."""
    if rate.sample is None:
        return "there is no sample"
    if report.dry_run:
        return "a dry run writes nothing"
    if report.stopped is not None:
        return f"the warm was stopped: {report.stopped}"
    return "the sample holds no request"


def _live(live: "LiveHitRate") -> Fields:
    told: Fields = {
        "hits": live.hits,
        "misses": live.misses,
        "seconds": round(live.seconds, 3),
        "rate": live.rate,
        "anew": live.anew,
    }
    return _known(told, {} if live.rate is not None else {"rate": "nobody asked the server"})


def flush(report: "FlushReport", head: Fields, exit_code: int) -> Fields:
    """Return the fields of `flush`."""
    fields: Fields = {
        **head,
        "exit_code": exit_code,
        "namespaces": [
            {
                **namespace_field(count.namespace),
                "keys": count.keys,
                "unknown_fields": {"bytes": "not measured"},
            }
            for count in report.namespaces
        ],
        "matched": report.matched,
        "deleted": report.deleted,
        "deleted_exact": report.deleted_exact,
        "written_meanwhile": report.written_meanwhile,
        "remaining": report.remaining,
        "failed": report.failed,
        "passes": report.passes,
        "seconds": round(report.seconds, 6),
        "rate": round(report.rate, 3),
        "held_back_seconds": round(report.held_back_seconds, 6),
        "dry_run": report.dry_run,
        "stopped": report.stopped,
        "errors": _errors(report.errors),
        "error": report.error.as_dict() if report.error else None,
        "nodes": _nodes(report.nodes),
    }
    reason = "the look afterwards was cut short, or INFO is denied"
    if report.dry_run:
        reason = "a dry run removes nothing"
    names = ("written_meanwhile", "remaining")
    return _known(fields, {name: reason for name in names if fields[name] is None})


def stats(report: "StatsReport", head: Fields, exit_code: int) -> Fields:
    """Return the fields of `stats`."""
    whole = _figures(report.total)
    whole.pop("largest", None)
    unknown = whole.pop("unknown_fields", {})
    if "largest" in unknown:
        unknown["largest_keys"] = unknown.pop("largest")
    if report.found is None:
        unknown["namespaces_found"] = "more than are told apart"
    fields: Fields = {
        **head,
        "exit_code": exit_code,
        **whole,
        "sampled": False,
        "namespaces": [
            {**namespace_field(row.namespace), **_figures(row.figures)} for row in report.namespaces
        ],
        "namespaces_found": report.found,
        "nodes": [
            _known({"node": node.node, "keys": node.keys, "bytes": node.size}, _untold(node))
            for node in report.nodes
        ],
        "largest_keys": [
            {
                **key_field(large.key),
                **_known({"bytes": large.size, "type": large.type}, large.unknown),
            }
            for large in report.largest
        ],
        "passes": report.passes,
        "seconds": round(report.seconds, 6),
        "rate": round(report.rate, 3),
        "held_back_seconds": round(report.held_back_seconds, 6),
        "stopped": report.stopped,
        "error": report.error.as_dict() if report.error else None,
    }
    return _known(fields, unknown)


def _figures(figures: "Figures") -> Fields:
    ttl, largest = figures.ttl, figures.largest
    spread = ttl and {
        "p50": round(ttl.p50, 3),
        "p90": round(ttl.p90, 3),
        "min": ttl.shortest,
        "max": ttl.longest,
    }
    fields: Fields = {
        "keys": figures.keys,
        "bytes": figures.size,
        "persistent": figures.persistent,
        "ttl": spread,
        "largest": largest and {**key_field(largest.key), "bytes": largest.size},
    }
    return _known(fields, figures.unknown)


def export(report: "ExportReport", head: Fields, path: str, exit_code: int) -> Fields:
    """Return the fields of `export --to`."""
    return {
        **head,
        "exit_code": exit_code,
        "file": path if report.whole else None,
        "entries": report.entries,
        "failed": report.failed,
        "reasons": report.reasons,
        "bytes": report.size,
        "restarts": report.restarts,
        "seconds": round(report.seconds, 6),
        "rate": round(report.rate, 3),
        "held_back_seconds": round(report.held_back_seconds, 6),
        "stopped": report.stopped,
        "errors": _errors(report.errors),
        "error": report.error.as_dict() if report.error else None,
        "nodes": _nodes(report.nodes),
    }


def health(report: "HealthReport", head: Fields) -> Fields:
    """Return the fields of `health`."""
    return {
        **head,
        "status": report.status,
        "checks": [_check(check) for check in report.checks],
        "nodes": [
            {
                "node": node.node,
                "status": node.status,
                "checks": [_check(check) for check in node.checks],
            }
            for node in report.nodes
        ],
    }


def _untold(node: "NodeFigures") -> dict[str, str]:
    return {} if node.size is not None else {"bytes": "not told of all keys"}


def _check(check: "Check") -> Fields:
    return {name: getattr(check, name) for name in check.__slots__}
