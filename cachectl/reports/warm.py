"""What a warm did, and the hit rate that proves it."""

from dataclasses import dataclass, field
from typing import Literal

from cachectl.errors import CachectlError
from cachectl.models import Problem, Stopped
from cachectl.reports.counts import NodeCount
from cachectl.reports.plan import Asked


@dataclass(frozen=True, slots=True)
class HitRate:
    """The share of the sample's requests, weighted by count, that found their key.

    `before` and `after` are None where nothing was looked up; `requests` is the weighted number,
    `keys` that of distinct keys. `sample` is None without one: the server is watched alone. `met` is
    None when no rate was required. `live` is what the server itself counted afterwards.
    """

    before: float | None
    after: float | None
    requests: int
    keys: int
    sample: Literal["separate", "same"] | None
    required: float | None
    met: bool | None
    live: "LiveHitRate | None" = None


@dataclass(frozen=True, slots=True)
class WarmReport:
    """What a warm did. `entries = written + skipped + failed + unknown + unsent`, in every ending.

    `unknown` was sent and never answered, `size` counts the bytes of keys and values written, `rate` is
    entries written a second. `error` is what ended the work: the server lost or refusing it as a whole,
    or a source that could not be read to its end (`stopped` is `input` then). It did not end it
    (`stopped` is None) when the server was replaced meanwhile: `written` entries may be gone then.
    `part` is which part of a divided warm it was, `statuses` counts the answers of a service. For
    `held_back_seconds` it spared the server, for `origin_held_back_seconds` the origin, which had asked
    to be left alone. `nodes` tells what was written to which.
    """

    job: str | None
    entries: int
    written: int
    skipped: int
    failed: int
    unknown: int
    unsent: int
    size: int
    seconds: float
    computed: int
    hit_rate: HitRate | None
    stopped: Stopped | None
    errors: tuple[Problem, ...]
    allowed_failures: int = 0
    dry_run: bool = False
    verify_only: bool = False
    held_back_seconds: float = 0.0
    origin_held_back_seconds: float = 0.0
    error: CachectlError | None = None
    part: str | None = None
    asked: Asked | None = None
    statuses: dict[int, int] = field(default_factory=dict)
    nodes: tuple[NodeCount, ...] = ()

    @property
    def rate(self) -> float:
        """Entries written a second."""
        return self.written / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:
        """3 when the server was lost or anything is unknown, 4 when it refused, 1 for a no."""
        if self.unknown:
            return 3
        if self.error is not None and self.stopped != "input":
            return self.error.exit_code
        if self.stopped == "disabled":
            return 0
        gate_open = self.hit_rate is None or self.hit_rate.met is not False
        done = self.stopped is None and self.failed <= self.allowed_failures
        return 0 if done and gate_open else 1


@dataclass(frozen=True, slots=True)
class LiveHitRate:
    """The hits and misses that the server itself counted in so many `seconds`, whoever asked.

    `anew` is how often it was begun anew, because the server was restarted or its counters were reset:
    only what was counted since the last time is told.
    """

    hits: int
    misses: int
    seconds: float
    anew: int = 0

    @property
    def rate(self) -> float | None:
        """Return hits / (hits + misses); None when nobody asked."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None
