"""What was acknowledged, key by key, and what a value that is read may be by that. Knows no cachectl.

Each key is used by one user, one call at a time: what was acknowledged before a read is known for sure.
"""

from collections import Counter
from time import monotonic
from typing import Any, Final, NamedTuple

LINGER: Final = 4.0
"""Seconds for which a write without an answer may lie with a stopped server and still be applied."""
SLACK: Final = 0.5
"""Seconds after its time in which a value may still be expiring."""
LAG: Final = 1.0
"""Seconds before a failover whose writes may not have reached the replica."""
MAX_DOUBTS: Final = 10_000

Span = tuple[float, float]
"""From when to when, by `monotonic`."""


class Write(NamedTuple):
    """One write or removal of a key."""

    version: int
    removes: bool
    ttl: float | None
    begun: float
    ended: float

    def may_be_gone(self, now: float) -> bool:
        """Whether it removed, or was perhaps there and has expired."""
        return self.removes or (self.ttl is not None and now >= self.begun + self.ttl)

    def is_over(self, now: float, linger: float) -> bool:
        """Whether what it wrote has expired for sure."""
        return self.ttl is not None and now > self.ended + linger + self.ttl + SLACK


class Doubt(NamedTuple):
    """Something that broke a promise, unless a failover (or any fault) reaches into one of the spans."""

    kind: str
    what: str
    spans: tuple[Span, ...]
    excuse: str = "failover"


class Known:
    """What is known of one key: the last acknowledged write, and those that may still come to effect."""

    __slots__ = ("acknowledged", "issued", "unsettled")

    def __init__(self) -> None:
        """Begin with a key that never was."""
        self.issued = 0
        self.acknowledged: Write | None = None
        self.unsettled: dict[int, Write] = {}

    def possible(self, version: int) -> tuple[Write, float] | None:
        """Return the write that a version may be of, and how long it may linger; None: superseded."""
        if self.acknowledged and self.acknowledged.version == version:
            return self.acknowledged, 0.0
        write = self.unsettled.get(version)
        return write and (write, LINGER)


class Ledger:
    """All keys, what was doubtful about them, and counts."""

    def __init__(self) -> None:
        """Begin empty."""
        self.keys: dict[str, Known] = {}
        self._doubts: dict[tuple[str, str], Doubt] = {}
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._acknowledged: Counter[int] = Counter()
        self.longest = 0.0

    def issue(self, name: str) -> int:
        """Return the next version of a key."""
        known = self.keys.setdefault(name, Known())
        known.issued += 1
        return known.issued

    def enter(self, name: str, write: Write, *, acknowledged: bool) -> None:
        """Take in a write that has ended."""
        known = self.keys[name]
        self.took(write.begun)
        if not acknowledged:
            known.unsettled[write.version] = write
            self.counts["without an answer"] += 1
            return
        self.counts["acknowledged"] += 1
        self._acknowledged[int(write.ended)] += 1
        known.acknowledged = write
        known.unsettled = {
            version: other
            for version, other in known.unsettled.items()
            if other.ended + LINGER >= write.begun
        }

    def took(self, begun: float) -> None:
        """Take in how long a call was."""
        self.longest = max(self.longest, monotonic() - begun)

    def read(self, name: str, value: Any, begun: float) -> None:
        """Hold a value that was read against what is known of its key."""
        self.took(begun)
        self.counts["values read"] += 1
        now = monotonic()
        known = self.keys[name]
        version = value.get("version") if isinstance(value, dict) else None
        if not isinstance(version, int) or value != body(name, version) or version > known.issued:
            self.broken.append(f"{name}: held what was never written there: {str(value)[:100]}")
            return
        found = known.possible(version)
        if found is None:
            last = known.acknowledged
            spans = ((begun, now),) if last is None else ((last.begun, last.ended), (begun, now))
            self.doubt("stale", f"{name}: version {version} of {last}", *spans)
        elif found[0].is_over(begun, found[1]):
            self.doubt("expired", f"{name}: version {version} was to be gone", (begun, now))

    def missed(self, name: str, now: float) -> None:
        """Hold a key that is not there against what is known of it."""
        known = self.keys[name]
        last = known.acknowledged
        later = known.unsettled.values()
        if last and not last.may_be_gone(now) and not any(one.may_be_gone(now) for one in later):
            self.doubt("lost", f"{name}: {last}", (last.begun, last.ended))

    def doubt(self, kind: str, what: str, *spans: Span, excuse: str = "failover") -> None:
        """Take in what breaks a promise unless a failover, or any fault, excuses it.

        Of what is met again and again the last time counts: it is the hardest to excuse.
        """
        self._doubts[kind, what] = Doubt(kind, what, spans, excuse)
        if len(self._doubts) > MAX_DOUBTS:
            msg = f"more than {MAX_DOUBTS} doubts, the last: {kind}: {what}"
            raise RuntimeError(msg)

    def doubts(self, windows: dict[str, list[Span]]) -> tuple[list[str], Counter[str]]:
        """Return what nothing excuses, and how many of each kind a failover does.

        `windows` are the times that count as an excuse, by its name.
        """
        broken: list[str] = []
        excused: Counter[str] = Counter()
        for doubt in self._doubts.values():
            if not touches(doubt.spans, windows[doubt.excuse]):
                broken.append(f"{doubt.kind}: {doubt.what}")
            elif doubt.excuse == "failover":
                excused[doubt.kind] += 1
        return broken, excused

    def acknowledged_in(self, windows: list[Span]) -> int:
        """Return how many writes were acknowledged within these times, to the second."""
        return sum(
            count
            for second, count in self._acknowledged.items()
            if touches(((second, second + 1),), windows)
        )


def body(name: str, version: int) -> dict[str, Any]:
    """Return what a version of a key holds: it tells whose it is, and is of many sizes."""
    return {"key": name, "version": version, "rest": "x" * (version * 37 % 700)}


def touches(spans: tuple[Span, ...], windows: list[Span]) -> bool:
    """Whether any window reaches into any of the spans."""
    return any(begun <= end and start <= ended for start, end in spans for begun, ended in windows)
