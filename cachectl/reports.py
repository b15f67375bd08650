"""What the operations return: frozen reports that know their exit code.

TTLs and times are seconds, sizes bytes, hit rates 0 to 1. `None` as a TTL means persistent.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from cachectl.errors import CachectlError
from cachectl.models import Problem, Stopped


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What `inspect` knows of one key.

    `unknown` maps the fields that could not be known to the reason. `idle` is seconds, `frequency` the
    LFU counter. `value` is the whole value of a string that fits, else `preview` holds its beginning
    (bytes) or its first members (tuples of bytes).
    """

    key: bytes
    type: str
    encoding: str | None = None
    ttl: float | None = None
    memory: int | None = None
    length: int | None = None
    idle: float | None = None
    frequency: int | None = None
    slot: int | None = None
    node: str | None = None
    value: bytes | None = None
    preview: Any = None
    unknown: dict[str, str] = field(default_factory=dict)


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
class Asked:
    """What the requests of a warm were: `requests` in all, for `keys`.

    Of a log, `bad` lines could not be parsed, no route took the `unrouted` ones, and the `filtered`
    ones were of another method, status or time.
    """

    requests: int
    keys: int
    bad: int
    unrouted: int
    filtered: int


@dataclass(frozen=True, slots=True)
class NodeCount:
    """How many keys were written to, read or removed from one node."""

    node: str
    keys: int


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
class PlanPoint:
    """The hit rate that the `limit` most asked keys promise, and the memory they take if it is known."""

    limit: int
    hit_rate: float
    size: int | None


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a warm would be worth: the ranking, and the share of its requests that its top brings.

    `top` are the most asked keys with their counts; `chosen` is what limit, coverage and budget take of
    the ranking, None without any of them.
    """

    job: str | None
    asked: Asked
    curve: tuple[PlanPoint, ...]
    top: tuple[tuple[bytes, int], ...]
    chosen: PlanPoint | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class NamespaceCount:
    """How many keys of a namespace were matched; None: keys outside of any namespace."""

    namespace: bytes | None
    keys: int


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What a flush removed, or would remove.

    `matched` counts the keys that were found and asked to go, `failed` those that the last pass could
    not remove. `deleted_exact` is False when a cut made the server's counts a lower bound, or when a
    server that was restarted may have brought keys back, that are counted twice then. `remaining` is
    how many the look after the clean pass found, `written_meanwhile` how many of them are younger than
    its start; both are None without such a look on the same server. `nodes` tells those of a cluster.
    """

    namespaces: tuple[NamespaceCount, ...]
    matched: int
    deleted: int
    deleted_exact: bool
    written_meanwhile: int | None
    remaining: int | None
    failed: int
    passes: int
    seconds: float
    dry_run: bool
    stopped: Stopped | None
    errors: tuple[Problem, ...]
    proven: bool = False
    must_be_empty: bool = False
    must_match: bool = False
    held_back_seconds: float = 0.0
    error: CachectlError | None = None
    nodes: tuple[NodeCount, ...] = ()

    @property
    def rate(self) -> float:
        """Keys removed a second."""
        return self.deleted / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:  # noqa: PLR0911 one rule a line
        """0 once it is proven that everything older than the flush is gone."""
        if self.stopped == "connection":
            return 3
        if self.error is not None:
            return self.error.exit_code
        if self.stopped is not None or self.failed:
            return 1
        if self.must_match and not self.matched:
            return 1
        if self.dry_run:
            return 0
        if not self.proven:
            return 3
        return 1 if self.must_be_empty and self.remaining != 0 else 0


@dataclass(frozen=True, slots=True)
class TtlSpread:
    """How long the keys live that expire: `p50` and `p90` within 1 %, `shortest` and `longest` exact."""

    p50: float
    p90: float
    shortest: float
    longest: float


@dataclass(frozen=True, slots=True)
class LargeKey:
    """A key and its memory. `type` is None where it was not asked for, or not told (`unknown`)."""

    key: bytes
    size: int
    type: str | None = None
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """What `stats` tells of a set of keys; `ttl` is None when none of them expires.

    `size` and the memory in `largest` are bytes, as the server estimates them. `unknown` maps the
    figures that are not known, if only of some of the keys, to the reason.
    """

    keys: int
    size: int | None
    persistent: int | None
    ttl: TtlSpread | None
    largest: LargeKey | None
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamespaceFigures:
    """A namespace and its figures; None: keys outside of any namespace."""

    namespace: bytes | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """What one node of a cluster has of the keys; `size` is None where that is not known of all."""

    node: str
    keys: int
    size: int | None


@dataclass(frozen=True, slots=True)
class StatsReport:
    """What is in a cache: all of it, by namespace, and the largest keys.

    `namespaces` and `largest` are the first of them, `found` is how many namespaces there are; None
    when there are more than are told apart. `passes` counts the walks over the keyspace: one that was
    broken off was begun anew. Once `stopped`, the figures are those of the keys that were met by then.
    `nodes` tells those of a cluster.
    """

    total: Figures
    namespaces: tuple[NamespaceFigures, ...]
    found: int | None
    largest: tuple[LargeKey, ...]
    passes: int
    seconds: float
    stopped: Stopped | None
    held_back_seconds: float = 0.0
    error: CachectlError | None = None
    nodes: tuple[NodeFigures, ...] = ()

    @property
    def rate(self) -> float:
        """Keys looked at a second."""
        return self.total.keys / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:
        """0 for the whole keyspace, 3 when the server was lost, 1 when it was stopped before."""
        if self.error is not None:
            return self.error.exit_code
        return 0 if self.stopped is None else 1


@dataclass(frozen=True, slots=True)
class DeleteReport:
    """How many of the keys were there and are removed, were not there, or were refused.

    `unknown` are those that were sent and whose first answer was lost: whether they had been there
    cannot be known. `unsent` were not asked for: the work was `stopped` before.
    """

    deleted: int
    missing: int
    unknown: int
    failed: int
    errors: tuple[Problem, ...]
    error: CachectlError | None = None
    stopped: Stopped | None = None
    unsent: int = 0

    @property
    def exit_code(self) -> int:
        """0 if any of the keys existed and none was left out."""
        if self.error is not None:
            return self.error.exit_code
        if self.stopped is not None:
            return 1
        if self.failed:
            return 4 if not self.deleted else 1
        if self.unknown and not self.deleted:
            return 3
        return 0 if self.deleted else 1


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export has written: whole lines, an entry each, `size` bytes of them.

    `failed` counts the keys that are there and could not be carried, `reasons` the same by the code of
    the error. `restarts` is how often the walk began anew: `entries` may hold keys twice then. `whole`
    tells that the walk came to its end: every other key that stood all the while is among the entries.
    `nodes` tells which they were read from.
    """

    entries: int
    failed: int
    size: int
    restarts: int
    seconds: float
    reasons: dict[str, int]
    stopped: Stopped | None
    errors: tuple[Problem, ...]
    held_back_seconds: float = 0.0
    error: CachectlError | None = None
    nodes: tuple[NodeCount, ...] = ()

    @property
    def rate(self) -> float:
        """Entries a second."""
        return self.entries / self.seconds if self.seconds else 0.0

    @property
    def whole(self) -> bool:
        """Whether the walk over the keys came to its end."""
        return self.stopped is None and self.error is None

    @property
    def exit_code(self) -> int:
        """0 once everything is carried; 1 for keys that could not be, 4 when none could."""
        if self.error is not None:
            return self.error.exit_code
        if self.failed:
            return 1 if self.entries or self.stopped else 4
        return 0 if self.stopped is None else 1


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
