"""What an export has written."""

from dataclasses import dataclass

from cachectl.errors import CachectlError
from cachectl.models import Problem, Stopped
from cachectl.reports.counts import NodeCount


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
