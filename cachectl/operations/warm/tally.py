"""The account of a warm while it runs. It outlives work that is cancelled, and it always adds up."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING

from cachectl.errors import BusyError, CachectlError, InputError, ReadOnlyServerError
from cachectl.models import MAX_ERRORS, Entry, Observer, Problem, Progress, Request, Stopped
from cachectl.operations.stop import Stop
from cachectl.store.pace import Pace
from cachectl.store.stream import UNKNOWN, UNSENT, Outcomes
from cachectl.store.writer import Writing

if TYPE_CHECKING:
    from cachectl.operations.warm.memory import MemoryGuard
    from cachectl.sources.origins.limits import Origin

_NEVER_ANSWERED = "never answered: it may be written or not"


SourceOf = Callable[[Entry], str]
"""Which source an entry came from."""


@dataclass(slots=True)
class Tally:
    """Counts; every entry that was read and has no other fate is `unsent`.

    `in_flight` is what is being written: should that be cancelled, what was sent and not answered is
    unknown. `begun` tells that something was sent: from then on work ends with a report, whatever
    happens. `server` is the identity of the one that is written to, None until it is known. `guard`
    admits the entries to the server's memory, None: all. `pace` and `origin` tell for how long they were
    held back.
    """

    stop: Stop
    observe: Observer
    fail_fast: bool
    total: int | None = None
    begun: bool = False
    entries: int = 0
    written: int = 0
    skipped: int = 0
    failed: int = 0
    unknown: int = 0
    in_flight: dict[Writing, SourceOf] = field(default_factory=dict)
    by_node: Counter[str] = field(default_factory=Counter)
    size: int = 0
    computed: int = 0
    looked: int = 0
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None
    server: tuple[object, ...] | None = None
    guard: "MemoryGuard | None" = None
    pace: Pace | None = None
    origin: "Origin | None" = None
    ranked_requests: int = 0
    """How many the ranked requests are, repeated ones counted each time; 0 without any."""
    requests_there: int = 0
    """How many of these find their key in the cache by now."""
    counts: dict[bytes, int] = field(default_factory=dict)
    """How often each key is asked for that is to come."""
    statuses: dict[int, int] = field(default_factory=dict)
    """How often a service answered with each status."""

    @property
    def unsent(self) -> int:
        """Entries that were read and never sent."""
        settled = self.written + self.skipped + self.failed + self.unknown
        return self.entries - settled

    def fail(self, problem: Problem) -> None:
        """Count one failed entry, and stop at the first if that is wanted."""
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(problem)
        if self.fail_fast:
            self.stop.set("fail_fast")

    def skip(self, count: int) -> None:
        """Count entries that need not be written."""
        self.skipped += count

    def follow(self, requests: Sequence[Request], there: Sequence[bool], total: int) -> None:
        """Tell a hit rate from now on: of `total` ranked requests, these find their key `there` or not.

        What is in neither counts as not there.
        """
        self.ranked_requests = total
        self.requests_there = sum(request.count for request in compress(requests, there))
        absent = compress(requests, (not found for found in there))
        self.counts = {request.key: request.count for request in absent}

    def begin(self, writing: Writing, source_of: SourceOf) -> None:
        """Note what is about to be sent."""
        self.begun = True
        self.in_flight[writing] = source_of

    def settle(self, writing: Writing) -> None:
        """Enter what became of entries that were sent."""
        self._enter(writing, writing.outcomes)
        if writing.outcomes.error is not None:
            self.end(writing.outcomes.error)
        self.tell()

    def _enter(self, writing: Writing, outcomes: Outcomes) -> None:
        source_of = self.in_flight.pop(writing)
        replies = outcomes.replies
        if replies.count(True) == len(replies):
            self.written += len(replies)
            self.by_node.update(writing.by_node())
            self.size += writing.size
            if self.counts:
                self._arrived(writing.entries.keys)
            return
        arrived = []
        self.by_node.update(writing.by_node([reply is True for reply in replies]))
        for entry, reply in zip(writing.entries, replies, strict=True):
            if reply is True:
                self.written += 1
                self.size += len(entry.key) + len(entry.value)
                arrived.append(entry.key)
            elif reply is False:
                self.skipped += 1
                arrived.append(entry.key)
            elif reply is UNKNOWN:
                self.unknown += 1
                self.note(Problem(_NEVER_ANSWERED, source_of(entry), entry.line, entry.key))
            elif reply is not UNSENT:
                problem = Problem(reply.sentence, source_of(entry), entry.line, entry.key)
                self._refused(reply, problem)
        self._arrived(arrived)

    def _arrived(self, keys: Iterable[bytes]) -> None:
        """Count the requests for keys that are there now, each once."""
        self.requests_there += sum(self.counts.pop(key, 0) for key in keys)

    def end(self, error: CachectlError) -> None:
        """Let the work end with an error; the first one stays."""
        self.error = self.error or error
        self.stop.set("input" if isinstance(error, InputError) else "connection")

    def close(self) -> None:
        """Enter what was cancelled while it was in flight, as far as it had come."""
        for writing in list(self.in_flight):
            self._enter(writing, writing.so_far())

    def _refused(self, reply: CachectlError, problem: Problem) -> None:
        self.fail(problem)
        if isinstance(reply, ReadOnlyServerError | BusyError):
            # refused as a whole, not for this entry: nothing that follows would be taken either
            self.end(reply)

    def note(self, problem: Problem) -> None:
        """List a problem, if there is room."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(problem)

    def halt(self, reason: Stopped, message: str) -> None:
        """Ask for the end, and list why before all else."""
        self.stop.set(reason)
        self.errors = [Problem(message), *self.errors][:MAX_ERRORS]

    @property
    def hit_rate(self) -> float | None:
        """The share of the ranked requests whose key is known to be there; None without any."""
        return self.requests_there / self.ranked_requests if self.ranked_requests else None

    @property
    def origin_held_back(self) -> float:
        """Seconds for which the origin asked to be left alone."""
        return 0.0 if self.origin is None else self.origin.held_back

    def tell(self) -> None:
        """Tell whoever looks on."""
        done = self.written + self.skipped + self.failed + self.unknown
        held_back = self.origin_held_back + (0.0 if self.pace is None else self.pace.held_back)
        self.observe(Progress("warming", done, self.total, self.failed, self.hit_rate, held_back))
