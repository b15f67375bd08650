"""What a report file tells of: one warm, and how it ended."""

from dataclasses import dataclass, field
from time import time

from cachectl.errors import CachectlError
from cachectl.reports.warm import WarmReport


class UnbegunError(CachectlError):
    """A warm that its command did not come to: a signal, the deadline or another job ended it."""

    code = "not_begun"
    exit_code = 1


class CutShortError(CachectlError):
    """A warm that was ended before it could report: a second signal, or a bug."""

    code = "cut_short"


@dataclass(frozen=True, slots=True)
class Told:
    """One warm: its report, or the error that it raised before there was one.

    `exit_code` is the true one, also with `--best-effort`; `ended` is Unix time.
    """

    job: str | None
    server: str
    profile: str | None
    outcome: WarmReport | CachectlError
    exit_code: int
    ended: float = field(default_factory=time)

    @property
    def name(self) -> str:
        """Which warm it was: its job and part."""
        part = getattr(self.outcome, "part", None)
        return f"{self.job or 'warm'} {part}" if part else self.job or "warm"

    @property
    def verdict(self) -> str:
        """One word: passed, failed or stopped."""
        if getattr(self.outcome, "stopped", None):
            return "stopped"
        return "failed" if self.exit_code else "passed"
