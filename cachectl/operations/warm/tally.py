"""The account of a warm while it runs. It outlives work that is cancelled, and it always adds up."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cachectl.errors import BusyError, CachectlError, InputError, ReadOnlyServerError
from cachectl.models import MAX_ERRORS, Entry, Observer, Problem, Progress
from cachectl.operations.stop import Stop
from cachectl.store.stream import UNKNOWN, UNSENT, Outcomes
from cachectl.store.writer import Writing

_NEVER_ANSWERED = "never answered: it may be written or not"


SourceOf = Callable[[Entry], str]
"""Which source an entry came from."""


@dataclass(slots=True)
class Tally:
    """Counts; every entry that was read and has no other fate is `unsent`.

    `in_flight` is what is being written: should that be cancelled, what was sent and not answered is
    unknown. `begun` tells that something was sent: from then on work ends with a report, whatever
    happens. `server` is the identity of the one that is written to, None until it is known.
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
    size: int = 0
    computed: int = 0
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None
    server: tuple[str | None, ...] | None = None

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
            self.size += writing.size
            return
        for entry, reply in zip(writing.entries, replies, strict=True):
            if reply is True:
                self.written += 1
                self.size += len(entry.key) + len(entry.value)
            elif reply is False:
                self.skipped += 1
            elif reply is UNKNOWN:
                self.unknown += 1
                self.note(Problem(_NEVER_ANSWERED, source_of(entry), entry.line, entry.key))
            elif reply is not UNSENT:
                problem = Problem(reply.message, source_of(entry), entry.line, entry.key)
                self._refused(reply, problem)

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

    def tell(self) -> None:
        """Tell whoever looks on."""
        done = self.written + self.skipped + self.failed + self.unknown
        self.observe(Progress("warming", done, self.total, self.failed))
