"""What a flush has met, removed, and been refused so far."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from cachectl.errors import CachectlError, ReadOnlyServerError, UnreachableError
from cachectl.models import MAX_ERRORS, Problem, Stopped
from cachectl.operations.targets import Name, Target, among
from cachectl.reports.counts import NamespaceCount, NodeCount
from cachectl.reports.flush import FlushReport
from cachectl.store.scan import Page
from cachectl.store.stream import UNKNOWN

REMEMBERED = 100_000
"""So many keys that stay are told apart: SCAN gives a key twice while its table shrinks."""


@dataclass(slots=True)
class Account:
    """What happened so far; it outlives the work that is cancelled.

    `in_flight` are keys whose UNLINK was sent and is not settled, `just_settled`
    those of a node's last page whose group was refused: they went one by one, while the next was
    scanned already. `begun` tells
    that a key was, or may have been, removed: from then on work ends with a report. `left` is what the
    last look found.
    `doubtful` are keys whose UNLINK has no answer: a page or two for each broken walk. `refusal` is why
    no more is asked to go: a refusal that holds for all, as far as can be told until something went.
    """

    targets: Sequence[Target]
    matched: Counter[Name] = field(default_factory=Counter)
    by_node: Counter[str] = field(default_factory=Counter)
    failed: Counter[Name] = field(default_factory=Counter)
    deleted: int = 0
    in_flight: set[bytes] = field(default_factory=set)
    just_settled: dict[str, set[bytes]] = field(default_factory=dict)
    exact: bool = True
    begun: bool = False
    passes: int = 0
    found: int = 0
    left: int | None = None
    proven: bool = False
    refused: set[bytes] = field(default_factory=set)
    doubtful: set[bytes] = field(default_factory=set)
    refusal: CachectlError | None = None
    errors: list[Problem] = field(default_factory=list)
    error: CachectlError | None = None

    def begin_pass(self) -> None:
        """Begin a pass: it will meet again what could not be removed before."""
        self.passes += 1
        self.found = 0
        self.matched -= self.failed
        self.failed.clear()
        self.refused.clear()
        self.just_settled.clear()
        self.errors.clear()

    def doubt(self) -> None:
        """Note that keys which were removed may have come back, and be counted twice."""
        self.exact = self.exact and not self.deleted

    def choose(self, keys: list[bytes]) -> list[bytes]:
        """Return the keys of a page that are to be unlinked now, and count them."""
        for met in filter(None, (self.refused, self.in_flight, *self.just_settled.values())):
            keys = [key for key in keys if key not in met]  # twice while its table shrinks
        found = among(keys, self.targets)
        self.found += len(found)
        self.matched.update([name for key, name in found if key not in self.doubtful])
        chosen = [key for key, _ in found]
        self.in_flight.update(chosen)
        return chosen

    def settle(self, page: Page) -> None:
        """Enter what became of the keys of a page, and whether that says more than of one key.

        A key without an answer is met again by the next walk if it is still there.
        """
        self.exact = self.exact and page.exact
        self.in_flight.difference_update(page.keys)
        self.just_settled[page.node] = set()
        if set(map(type, page.replies)) == {int}:
            self._removed(sum(page.replies), page.node)
            return
        self.just_settled[page.node].update(page.keys)
        refusals = []
        for key, reply in zip(page.keys, page.replies, strict=True):
            if isinstance(reply, int):
                self._removed(reply, page.node)
            elif isinstance(reply, CachectlError):
                refusals.append(reply)
                self._refuse(key, reply)
            elif reply is UNKNOWN:
                self.doubtful.add(key)  # met again, if it is still there: it is counted already
                self.exact = False
                self.begun = True
            elif key not in self.doubtful:
                ((_, name),) = among([key], self.targets)
                self.matched[name] -= 1  # never asked to go, or "not now"
        whole = next((r for r in refusals if isinstance(r, ReadOnlyServerError)), None)
        if whole is not None or (refusals and not self.begun):
            self.refusal = self.refusal or whole or refusals[0]

    def _removed(self, count: int, node: str) -> None:
        self.deleted += count
        self.by_node[node] += count
        self.begun = True

    def _refuse(self, key: bytes, reply: CachectlError) -> None:
        ((_, name),) = among([key], self.targets)
        self.failed[name] += 1
        if len(self.refused) < REMEMBERED:
            self.refused.add(key)
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Problem(reply.sentence, key=key))

    def report(
        self,
        start: float,
        stopped: Stopped | None,
        *,
        dry_run: bool = False,
        must_be_empty: bool = False,
        must_match: bool = False,
    ) -> FlushReport:
        """Return the report of the work that began at `start` (`perf_counter`)."""
        lost = isinstance(self.error, UnreachableError)
        left = self.left if self.proven else None
        return FlushReport(
            namespaces=tuple(NamespaceCount(*item) for item in self.matched.most_common()),
            matched=self.matched.total(),
            deleted=self.deleted,
            deleted_exact=self.exact and not self.in_flight,
            written_meanwhile=None if left is None else max(left - self.failed.total(), 0),
            remaining=left,
            failed=self.failed.total(),
            passes=self.passes,
            seconds=perf_counter() - start,
            dry_run=dry_run,
            stopped=stopped or ("connection" if lost else None),
            errors=tuple(self.errors),
            proven=self.proven,
            must_be_empty=must_be_empty,
            must_match=must_match,
            error=self.error,
            nodes=tuple(NodeCount(*item) for item in sorted(self.by_node.items())),
        )
