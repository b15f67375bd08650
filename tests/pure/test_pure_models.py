"""Each report knows its exit code; where several hold, 3 comes before 4 before 1."""

from typing import Any

import pytest

from cachectl import errors
from cachectl.config.settings import UNSET
from cachectl.models import Entry, Request
from cachectl.reports.entries import DeleteReport
from cachectl.reports.flush import FlushReport
from cachectl.reports.health import Check, HealthReport
from cachectl.reports.warm import HitRate, WarmReport

DENIED = errors.DeniedError("NOPERM")
LOST = errors.LostError("gone")
DEPENDENCY = errors.DependencyError("no package")


def hit_rate(met: bool | None) -> HitRate:
    """Return a verified sample."""
    return HitRate(0.1, 0.6, 10, 5, "separate", None if met is None else 0.5, met)


def warm(**changed: Any) -> WarmReport:
    """Return a report of ten entries, all written, with some fields changed."""
    fields: dict[str, Any] = {
        "job": None, "entries": 10, "written": 10, "skipped": 0, "failed": 0, "unknown": 0,
        "unsent": 0, "size": 100, "seconds": 2.0, "computed": 0, "hit_rate": None, "stopped": None,
        "errors": (),
    }  # fmt: skip
    return WarmReport(**{**fields, **changed})


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, 0),
        ({"hit_rate": hit_rate(None)}, 0),
        ({"hit_rate": hit_rate(True)}, 0),
        ({"hit_rate": hit_rate(False)}, 1),
        ({"failed": 1}, 1),
        ({"failed": 1, "allowed_failures": 1}, 0),
        ({"failed": 2, "allowed_failures": 1}, 1),
        ({"failed": 1, "allowed_failures": 1, "hit_rate": hit_rate(False)}, 1),
        ({"stopped": "deadline"}, 1),
        ({"stopped": "interrupted"}, 1),
        ({"stopped": "fail_fast", "failed": 1}, 1),
        ({"stopped": "memory"}, 1),
        ({"stopped": "origin"}, 1),
        ({"stopped": "disabled"}, 0),
        ({"stopped": "connection", "error": LOST}, 3),
        ({"unknown": 1}, 3),
        ({"unknown": 1, "error": DENIED, "failed": 5}, 3),
        ({"error": DENIED}, 4),
        ({"error": DENIED, "failed": 5, "hit_rate": hit_rate(False)}, 4),
        ({"stopped": "dependency", "error": DEPENDENCY}, 2),
        ({"dry_run": True, "written": 0, "unsent": 10}, 0),
    ],
)
def test_the_exit_code_of_a_warm(changed: dict[str, Any], code: int) -> None:
    """0 for yes, 1 for no, 3 for anything unknown, 4 for a server that refused the work."""
    assert warm(**changed).exit_code == code


def test_the_rate_of_a_warm() -> None:
    """Written a second; none without time."""
    assert warm().rate == 5.0
    assert warm(seconds=0.0).rate == 0.0


def flush(**changed: Any) -> FlushReport:
    """Return a report of a proven flush of ten keys, with some fields changed."""
    fields: dict[str, Any] = {
        "namespaces": (), "matched": 10, "deleted": 10, "deleted_exact": True,
        "written_meanwhile": 0, "remaining": 0, "failed": 0, "passes": 1, "seconds": 4.0,
        "dry_run": False, "stopped": None, "errors": (), "proven": True,
    }  # fmt: skip
    return FlushReport(**{**fields, **changed})


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, 0),
        ({"written_meanwhile": 3, "remaining": 3}, 0),
        ({"remaining": 3, "must_be_empty": True}, 1),
        ({"remaining": 0, "must_be_empty": True}, 0),
        ({"remaining": None, "must_be_empty": True}, 1),
        ({"matched": 0, "deleted": 0}, 0),
        ({"matched": 0, "deleted": 0, "must_match": True}, 1),
        ({"matched": 0, "dry_run": True, "must_match": True, "proven": False}, 1),
        ({"dry_run": True, "proven": False}, 0),
        ({"failed": 1}, 1),
        ({"proven": False}, 3),
        ({"stopped": "deadline", "proven": False}, 1),
        ({"stopped": "interrupted", "proven": False}, 1),
        ({"stopped": "connection", "proven": False, "error": LOST}, 3),
        ({"stopped": "connection", "proven": False}, 3),
        ({"proven": False, "error": DENIED}, 4),
    ],
)
def test_the_exit_code_of_a_flush(changed: dict[str, Any], code: int) -> None:
    """0 only once it is proven that everything older is gone."""
    assert flush(**changed).exit_code == code


def test_the_rate_of_a_flush() -> None:
    """Removed a second; none without time."""
    assert flush().rate == 2.5
    assert flush(seconds=0.0).rate == 0.0


@pytest.mark.parametrize(
    ("counts", "error", "code"),
    [
        ((2, 0, 0, 0), None, 0),
        ((1, 1, 0, 0), None, 0),
        ((0, 2, 0, 0), None, 1),
        ((0, 0, 0, 1), None, 4),
        ((0, 1, 0, 1), None, 4),
        ((1, 0, 0, 1), None, 1),
        ((0, 1, 1, 0), None, 3),
        ((1, 0, 1, 0), None, 0),
        ((0, 0, 2, 0), LOST, 3),
        ((1, 0, 1, 0), LOST, 3),
        ((0, 0, 0, 0), DENIED, 4),
    ],
)
def test_the_exit_code_of_a_delete(
    counts: tuple[int, int, int, int], error: errors.CachectlError | None, code: int
) -> None:
    """0 if any of the keys existed."""
    assert DeleteReport(*counts, (), error).exit_code == code


@pytest.mark.parametrize(("error", "code"), [(None, 1), (LOST, 3)])
def test_a_delete_that_was_stopped_is_not_done(
    error: errors.CachectlError | None, code: int
) -> None:
    """Though some keys are removed."""
    report = DeleteReport(5, 0, 0, 0, (), error, stopped="deadline", unsent=3)
    assert report.exit_code == code


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        ("ok", "ok", 0),
        ("ok skipped unknown", "ok", 0),
        ("ok warning", "warning", 1),
        ("ok warning critical", "critical", 2),
        ("critical unknown", "critical", 2),
        ("unknown", "unknown", 3),
        ("skipped", "unknown", 3),
        ("", "unknown", 3),
    ],
)
def test_the_verdict_of_health(told: str, status: str, code: int) -> None:
    """The worst check; what could not be asked is outside of it, unless nothing could."""
    checks: list[Any] = told.split()
    report = HealthReport(tuple(Check(f"c{i}", one, "") for i, one in enumerate(checks)))
    assert (report.status, report.exit_code) == (status, code)


def test_entries_and_requests_have_defaults() -> None:
    """A key and a value are an entry without a TTL of its own; a request is asked for once."""
    assert Entry(b"k", b"1").ttl is UNSET
    assert repr(UNSET) == "UNSET"
    request = Request(b"k")
    assert (request.params, request.count) == (None, 1)
