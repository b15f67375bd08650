"""What a warm is to do: its options, and which of them exclude each other."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cachectl.config.settings import UNSET, NamespaceSettings, PythonOrigin, Unset
from cachectl.errors import UsageError
from cachectl.sources.reading import STDIN


class Only(NamedTuple):
    """Which keys are written: `missing`, `all`, or those that expire `within` seconds."""

    which: Literal["missing", "all", "expiring"]
    within: float = 0.0


class MaxFailed(NamedTuple):
    """How many failed entries still count as done: a number, or a share of all."""

    number: int = 0
    share: float = 0.0

    def of(self, entries: int) -> int:
        """Return the number for so many entries; 29 % of 100 are 29, whatever floats make of it."""
        return self.number + math.floor(self.share * entries + 1e-9)


@dataclass(frozen=True, slots=True)
class Warm:
    """One warm: where entries or requests come from and how they are written and proven.

    `only` None means the default: requests `missing`, entries `all`, entries of a backup `missing`.
    `sample` names the files of a separate sample; `same` verifies against the ranked requests.
    """

    sources: tuple[str, ...] = ()
    job: str | None = None
    origin: PythonOrigin | None = None
    directory: str = "."
    namespace: str | None = None
    ttl: float | None | Unset = UNSET
    ttl_jitter: float | None = None
    only: Only | None = None
    limit: int | None = None
    sample: tuple[str, ...] | Literal["same"] | None = None
    required: float | None = None
    verify_only: bool = False
    dry_run: bool = False
    max_failed: MaxFailed = MaxFailed()  # noqa: RUF009 it is frozen
    fail_fast: bool = False
    namespaces: dict[str, NamespaceSettings] | None = None
    fallback_ttl: float | None = None

    def check(self) -> None:
        """Raise `UsageError` for what cannot be done together."""
        if self.required is not None and self.sample is None:
            msg = "a required hit rate needs a sample to be measured on"
            raise UsageError(msg, "add --verify FILE, or --verify same")
        if self.sample == "same" and self.origin is None:
            msg = "the sample 'same' is the ranked requests, and entries are none"
            raise UsageError(msg, "name a file of requests: --verify FILE")
        if self.verify_only and self.sample is None:
            msg = "there is nothing to verify against"
            raise UsageError(msg, "add --verify FILE")
        if not self.verify_only and not self.sources:
            msg = "there is nothing to warm"
            raise UsageError(msg, "name a file of entries, or a job of the settings")
        if self._read().count(STDIN) > 1:
            msg = "stdin is named twice, and can be read once"
            raise UsageError(msg)

    def _read(self) -> tuple[str, ...]:
        """Return every source that will be read."""
        if self.sample is None or self.sample == "same":
            return self.sources
        return self.sample if self.verify_only else self.sources + self.sample
