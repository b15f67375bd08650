"""Checks, the verdict they come to, and the nodes they are of."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "critical", "unknown", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question of `health` and its answer; `value` is None where there is no number."""

    name: str
    status: Verdict
    message: str
    value: float | None = None
    unit: str | None = None
    warning: float | None = None
    critical: float | None = None


def verdict(checks: tuple[Check, ...]) -> Literal["ok", "warning", "critical", "unknown"]:
    """Return critical, warning or ok; skipped and unknown checks are outside of it.

    Unknown only if nothing could be asked.
    """
    told = {check.status for check in checks}
    if "critical" in told:
        return "critical"
    if "warning" in told:
        return "warning"
    return "ok" if "ok" in told else "unknown"


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """The checks of one node of a cluster."""

    node: str
    checks: tuple[Check, ...]

    @property
    def status(self) -> Literal["ok", "warning", "critical", "unknown"]:
        """The verdict."""
        return verdict(self.checks)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The checks of a server; of a cluster each as it stands on the node where it is worst."""

    checks: tuple[Check, ...]
    nodes: tuple[NodeHealth, ...] = ()

    @property
    def status(self) -> Literal["ok", "warning", "critical", "unknown"]:
        """The verdict."""
        return verdict(self.checks)

    @property
    def exit_code(self) -> int:
        """The code of monitoring plugins."""
        return {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}[self.status]
