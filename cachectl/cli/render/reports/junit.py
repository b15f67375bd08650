"""Report files as JUnit XML, which GitLab, Jenkins and the actions of GitHub show as tests.

A warm is a suite; its entries, its gate on the hit rate and the live hit rate are the tests.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from xml.etree import ElementTree as ET

from cachectl.cli.render import text
from cachectl.cli.render.reports.told import Told
from cachectl.errors import CachectlError
from cachectl.values import safe

if TYPE_CHECKING:
    from cachectl.reports.warm import HitRate, WarmReport

CLASS = "cachectl.warm"
MAX_LINE = 500
"""Characters that are shown of a problem: a key may be long."""


Fate = Literal["failure", "error", "skipped"]


class Case(NamedTuple):
    """A test: `fate` None is a success."""

    name: str
    fate: Fate | None = None
    message: str = ""
    details: str = ""
    seconds: float = 0.0


def report(told: Sequence[Told]) -> str:
    """Return a suite for each warm, and the sums of all."""
    cases = [list(_cases(one)) for one in told]
    sums = _sums([case for some in cases for case in some])
    root = ET.Element("testsuites", {"name": "cachectl", **sums})
    for one, some in zip(told, cases, strict=True):
        when = datetime.fromtimestamp(one.ended, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        name = safe(one.name)
        suite = ET.SubElement(root, "testsuite", {"name": name, "timestamp": when, **_sums(some)})
        _properties(suite, one)
        for case in some:
            _add(suite, f"{CLASS}.{name}", case)
    ET.indent(root)
    # what XML 1.0 does not allow is not printable, and escaped by `safe`
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _sums(cases: Sequence[Case]) -> dict[str, str]:
    fates = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {name: str(sum(c.fate == fate for c in cases)) for name, fate in fates.items()}
    return {"tests": str(len(cases)), **counts, "time": f"{sum(c.seconds for c in cases):.3f}"}


def _properties(suite: ET.Element, told: Told) -> None:
    properties = ET.SubElement(suite, "properties")
    facts = {"server": told.server, "profile": told.profile, "exit_code": str(told.exit_code)}
    for name, value in facts.items():
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=safe(value))


def _add(suite: ET.Element, of: str, case: Case) -> None:
    attributes = {"classname": of, "name": case.name, "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", attributes)
    if case.fate is None:
        if case.message:
            ET.SubElement(element, "system-out").text = case.message
        return
    fate = ET.SubElement(element, case.fate, message=case.message)
    if case.fate != "skipped":
        fate.set("type", case.name)
        fate.text = case.details


def _cases(told: Told) -> Iterator[Case]:
    if isinstance(told.outcome, CachectlError):
        yield Case("entries", "error", _line(told.outcome), told.outcome.code)
        return
    report = told.outcome
    yield _entries(report)
    if report.stopped == "disabled":  # a rollback: the gate was not asked
        return
    yield _gate(report)
    if report.hit_rate is not None:
        yield from _live(report.hit_rate)


def _entries(report: "WarmReport") -> Case:
    counts = ", ".join(
        f"{getattr(report, name)} {name}"
        for name in ("entries", "written", "skipped", "failed", "unknown", "unsent")
    )
    case: dict[str, Any] = {"message": counts, "seconds": report.seconds}
    if report.stopped == "disabled":
        return Case("entries", "skipped", "the cache is disabled", seconds=report.seconds)
    reasons = []
    if report.stopped:
        reasons.append(f"stopped: {report.stopped}")
    if report.error is not None:
        reasons.append(_line(report.error))
    if not reasons and not report.unknown and report.failed <= report.allowed_failures:
        return Case("entries", **case)
    case["message"] = "; ".join([*reasons, counts])
    listed = text.problems(report.errors, report.failed + report.unknown)
    case["details"] = "\n".join(line[:MAX_LINE] for line in listed)
    return Case("entries", "failure", **case)


def _gate(report: "WarmReport") -> Case:
    rate, name = report.hit_rate, "hit rate"
    if rate is None or rate.required is None:
        return Case(name, "skipped", "no hit rate is required")
    if rate.sample is None:
        return Case(name, "skipped", "there is no sample")
    if rate.met is None:
        reason = "a dry run writes nothing" if report.dry_run else "it was not measured"
        return Case(name, "skipped", reason)
    numbers = (
        f"{_number(rate.after)} after, {_number(rate.before)} before, {rate.required} required"
    )
    return Case(name, "failure" if _misses(rate.after, rate.required) else None, numbers)


def _live(rate: "HitRate") -> Iterator[Case]:
    """Yield what the server counted, and hold it against the gate, if there is one."""
    live, name = rate.live, "live hit rate"
    if live is None:
        sample_misses = rate.sample is not None and _misses(rate.after, rate.required)
        if rate.met is False and not sample_misses:
            yield Case(name, "failure", f"not measured, {rate.required} required")
        return
    numbers = f"{_number(live.rate)}: {live.hits} hits, {live.misses} misses"
    if rate.required is not None and rate.met is not None:
        fate: Fate | None = "failure" if _misses(live.rate, rate.required) else None
        yield Case(name, fate, f"{numbers}, {rate.required} required", seconds=live.seconds)
    elif live.rate is None:
        yield Case(name, "skipped", "nobody asked the server", seconds=live.seconds)
    else:
        yield Case(name, None, numbers, seconds=live.seconds)


def _misses(share: float | None, required: float | None) -> bool:
    """Whether a share is below what is required, or not known."""
    return required is not None and (share is None or share < required)


def _number(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.10g}"


def _line(error: CachectlError) -> str:
    return safe(f"{error.message} ({error.hint})" if error.hint else error.message)
