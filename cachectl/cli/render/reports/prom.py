"""Report files for node_exporter's textfile collector; no sample has a timestamp, which it refuses."""

from collections.abc import Iterator, Sequence
from typing import Final

from cachectl.cli.render.reports.told import Told
from cachectl.errors import CachectlError, DependencyError
from cachectl.reports.warm import WarmReport

HELP: Final = {
    "entries": "Entries of the last run, by what became of them.",
    "hit_rate": "Share of the sample's requests that found their key.",
    "hit_rate_required": "The hit rate that was required.",
    "hit_rate_met": "Whether the required hit rate was met.",
    "live_hit_rate": "Hits by lookups, as the server counted them afterwards.",
    "duration_seconds": "How long the last run took.",
    "success": "Whether the last run ended with exit code 0.",
    "last_run_timestamp_seconds": "When the last run ended, in Unix time.",
}
_EXTRA: Final = {"entries": ["state"], "hit_rate": ["moment"]}
_STATES: Final = ("written", "skipped", "failed", "unknown", "unsent")

Sample = tuple[str, list[str], float | None]
"""A metric, its labels besides warm_job and profile, and its value; what is not known has none.

A label `job` would become `exported_job` in Prometheus, which sets its own by that name.
"""


def require() -> None:
    """Raise `DependencyError` unless prometheus_client is installed."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        msg = "a report that ends in .prom needs the package prometheus_client"
        raise DependencyError(msg, "pip install 'cachectl[metrics]'") from None


def report(told: Sequence[Told]) -> str:
    """Return the gauges of all warms; of two with the same job the later one."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    for name, about in HELP.items():
        labels = ["warm_job", "profile", *_EXTRA.get(name, ())]
        known = [
            ([one.job or "", one.profile or "", *more], value)
            for one in told
            for metric, more, value in _samples(one)
            if metric == name and value is not None
        ]
        if known:
            gauge = Gauge(f"cachectl_warm_{name}", about, labels, registry=registry)
            for values, value in known:
                gauge.labels(*values).set(value)
    return generate_latest(registry).decode()


def _samples(told: Told) -> Iterator[Sample]:
    yield "success", [], told.exit_code == 0
    yield "last_run_timestamp_seconds", [], told.ended
    if not isinstance(told.outcome, CachectlError):
        yield from _of_report(told.outcome)


def _of_report(report: WarmReport) -> Iterator[Sample]:
    for state in _STATES:
        yield "entries", [state], getattr(report, state)
    yield "duration_seconds", [], report.seconds
    rate = report.hit_rate
    if rate is not None:
        yield "hit_rate", ["before"], rate.before
        yield "hit_rate", ["after"], rate.after
        yield "hit_rate_required", [], rate.required
        yield "hit_rate_met", [], rate.met
        yield "live_hit_rate", [], rate.live.rate if rate.live else None
