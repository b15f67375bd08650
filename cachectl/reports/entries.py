"""What is known of one key, and what became of those that were deleted."""

from dataclasses import dataclass, field
from typing import Any

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
