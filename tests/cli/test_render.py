"""Reports as text and JSON: what is unknown is never shown as 0."""

import pytest

from cachectl.cli.render import json as as_json
from cachectl.cli.render import text
from cachectl.errors import LostError
from cachectl.models import Problem
from cachectl.reports.counts import NamespaceCount
from cachectl.reports.entries import DeleteReport, KeyInfo
from cachectl.reports.flush import FlushReport
from cachectl.reports.warm import HitRate, WarmReport


def warm_report(**changes: object) -> WarmReport:
    fields: dict[str, object] = {
        "job": None, "entries": 10, "written": 4, "skipped": 1, "failed": 2, "unknown": 2,
        "unsent": 1, "size": 2500, "seconds": 2.0, "computed": 0, "hit_rate": None,
        "stopped": None, "errors": (),
    }  # fmt: skip
    return WarmReport(**{**fields, **changes})  # type: ignore[arg-type]


def flush_report(**changes: object) -> FlushReport:
    fields: dict[str, object] = {
        "namespaces": (NamespaceCount(b"n", 5),), "matched": 5, "deleted": 5,
        "deleted_exact": True, "written_meanwhile": 0, "remaining": 0, "failed": 0, "passes": 1,
        "seconds": 1.0, "dry_run": False, "stopped": None, "errors": (), "proven": True,
    }  # fmt: skip
    return FlushReport(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_warm_that_was_lost_says_what_it_knows():
    problems = (Problem("never answered", "e.jsonl", 3, b"k\x1b"), Problem("lost\x1b[2J"))
    report = warm_report(stopped="connection", errors=problems, error=LostError("gone"))
    lines = list(text.warm(report, "redis://h:1/0"))
    assert "  written  4 (2.5 kB, 2/s)" in lines
    assert "  unknown  2" in lines
    assert "  unsent   1" in lines
    assert "  e.jsonl:3 k\\x1b: never answered" in lines
    assert "  lost\\x1b[2J" in lines
    assert "  and 2 more" in lines
    assert "  stopped  connection" in lines
    assert "  error    gone" in lines
    fields = as_json.warm(report, {"command": "warm"}, 3)
    assert fields["error"] == {"code": "connection_lost", "message": "gone", "hint": None}
    assert fields["errors"][0]["key"] == "k\x1b"


def test_a_hit_rate_that_was_not_measured_is_unknown():
    rate = HitRate(0.25, None, 4, 3, "same", 0.5, met=False)
    report = warm_report(hit_rate=rate, stopped="connection")
    lines = list(text.warm(report, "s"))
    assert any("25.0 % before, unknown after" in line and "the same" in line for line in lines)
    assert "  gate     50.0 % required: NOT met" in lines
    fields = as_json.warm(report, {}, 3)["hit_rate"]
    assert "after" not in fields
    assert "connection" in fields["unknown_fields"]["after"]
    dry = as_json.warm(warm_report(hit_rate=rate, dry_run=True), {}, 0)["hit_rate"]
    assert "dry run" in dry["unknown_fields"]["after"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"deleted_exact": False}, "removed about 5 keys from s"),
        ({"written_meanwhile": 2, "remaining": 2}, "  written meanwhile 2"),
        ({"remaining": 2}, "  remaining 2"),
        ({"remaining": None, "written_meanwhile": None}, "  remaining unknown"),
        ({"failed": 1, "errors": (Problem("NOPERM", key=b"a"),)}, "  a: NOPERM"),
        ({"passes": 3}, "  passes 3"),
        ({"stopped": "deadline"}, "  stopped deadline"),
        ({"error": LostError("gone")}, "  error gone"),
        ({"dry_run": True}, "would remove 5 keys from s"),
    ],
)
def test_a_flush_says_what_happened(changes: dict[str, object], says: str):
    lines = list(text.flush(flush_report(**changes), "s"))
    assert any(line.startswith(says) for line in lines), lines


def test_a_flush_as_json_leaves_out_what_is_unknown():
    fields = as_json.flush(flush_report(remaining=None, written_meanwhile=None), {}, 3)
    assert fields["unknown_fields"].keys() == {"remaining", "written_meanwhile"}
    assert "remaining" not in fields
    known = as_json.flush(flush_report(), {}, 0)
    assert "unknown_fields" not in known


def test_delete_tells_what_failed_and_what_is_unknown():
    report = DeleteReport(1, 0, 2, 1, (Problem("NOPERM", key=b"\xff"),))
    fields = as_json.delete(report)
    assert fields["unknown"] == 2
    assert fields["errors"] == [
        {"source": None, "line": None, "key_base64": "/w==", "message": "NOPERM"}
    ]


def test_inspect_of_what_may_not_be_asked_and_of_long_values():
    denied = KeyInfo(b"k", "hash", unknown={"bytes": "denied", "preview": "too large"})
    assert dict(text.key_info(denied))["bytes"] == "unknown: denied"
    assert dict(text.key_info(denied))["preview"] == "unknown: too large"
    assert "bytes" not in as_json.key_info(denied)
    long = KeyInfo(b"k", "string", length=10**8, preview=b"x" * 5000)
    shown = dict(text.key_info(long))["preview"]
    assert len(shown) == text.MAX_SHOWN + 1
    assert as_json.key_info(long)["preview"] == "x" * 5000
    pairs = KeyInfo(b"k", "stream", preview=[(b"1-1", [(b"f", b"v\xff")])])
    assert dict(text.key_info(pairs))["member 1"] == "1-1 f v\\xff"
    assert as_json.key_info(pairs)["preview"] == [["1-1", [["f", "v\\xff"]]]]
