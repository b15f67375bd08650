"""What a flush removed, or would remove."""

from dataclasses import dataclass

from cachectl.errors import CachectlError
from cachectl.models import Problem, Stopped
from cachectl.reports.counts import NamespaceCount, NodeCount


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
