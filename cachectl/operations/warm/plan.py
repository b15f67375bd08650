"""What a warm is to do: its options, and which of them exclude each other."""

import math
from dataclasses import dataclass
from itertools import compress
from typing import Literal, NamedTuple

from cachectl.config.settings import (
    UNSET,
    AccessLog,
    NamespaceSettings,
    Origin,
    Requests,
    Unset,
    files_of,
)
from cachectl.errors import UsageError
from cachectl.sources.reading import STDIN
from cachectl.sources.requests import lists_requests
from cachectl.values import safe


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


class Part(NamedTuple):
    """One of `of` shares of a warm that several machines do together; `number` counts from 1."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        """Return it as it is written: `3/8`."""
        return f"{self.number}/{self.of}"


class Lock(NamedTuple):
    """What keeps other warms of this `name` away; these are waited for, at most `wait` seconds."""

    name: str
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Warm:
    """One warm: where entries or requests come from and how they are written and proven.

    With an origin the sources are requests, without one they are entries. `only` None means the
    default: requests `missing`, entries `all`, entries of a backup `missing`. Of the ranked requests
    at most `limit` keys are warmed, those that reach the share `coverage` of the requests, those that
    bring most hits in `budget` bytes; `part` takes its share of these. `sample` names the requests of a
    separate sample; `same` verifies against the ranked requests. `max_memory` is bytes, or a share of
    the server's maxmemory (a float). For `watch` seconds the server's own hits and misses are followed
    afterwards.
    """

    sources: Requests = ()
    job: str | None = None
    origin: Origin | None = None
    directory: str = "."
    namespace: str | None = None
    ttl: float | None | Unset = UNSET
    ttl_jitter: float | None = None
    only: Only | None = None
    limit: int | None = None
    coverage: float | None = None
    budget: int | None = None
    part: Part = Part()  # noqa: RUF009 it is frozen
    max_memory: float | int | None = None
    lock: Lock | None = None
    sample: Requests | Literal["same"] | None = None
    required: float | None = None
    watch: float | None = None
    verify_only: bool = False
    dry_run: bool = False
    max_failed: MaxFailed = MaxFailed()  # noqa: RUF009 it is frozen
    fail_fast: bool = False
    namespaces: dict[str, NamespaceSettings] | None = None
    fallback_ttl: float | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The sources' names; `-` is stdin."""
        return files_of(self.sources)

    def check(self) -> None:
        """Raise `UsageError` for what cannot be done together."""
        if self.required is not None and self.sample is None and self.watch is None:
            msg = "a required hit rate needs a sample to be measured on"
            raise UsageError(msg, "add --verify FILE, or --verify same")
        if self.sample == "same" and self.origin is None:
            msg = "the sample 'same' is the ranked requests, and entries are none"
            raise UsageError(msg, "name a file of requests: --verify FILE")
        if self.origin is None and (self.coverage, self.budget) != (None, None):
            word = "--budget" if self.coverage is None else "--coverage"
            msg = f"{word} chooses among requests, and entries are none"
            raise UsageError(msg, "--limit takes the first entries")
        fills_itself = self.origin is not None and self.origin.fills == "application"
        if fills_itself and self.only is not None and self.only.which != "missing":
            msg = "an application that fills its cache answers from it: nothing there is renewed"
            raise UsageError(msg, "leave --only out, or flush first")
        if 0 in {self.coverage, self.budget}:
            msg = "a coverage or a budget of 0 chooses nothing"
            raise UsageError(msg, "to warm nothing, and only measure: --verify-only")
        if self.verify_only and self.sample is None and self.watch is None:
            msg = "there is nothing to verify against"
            raise UsageError(msg, "add --verify FILE")
        if not self.verify_only and not self.files:
            msg = "there is nothing to warm"
            raise UsageError(msg, "name a file of entries, or a job of the settings")
        if self.read.count(STDIN) > 1:
            msg = "stdin is named twice, and can be read once"
            raise UsageError(msg)

    @property
    def read(self) -> tuple[str, ...]:
        """Every source that will be read."""
        if self.sample is None or self.sample == "same":
            return self.files
        sample = files_of(self.sample)
        return sample if self.verify_only else self.files + sample


def log_like(log: AccessLog, files: tuple[str, ...]) -> Requests:
    """Return files as requests: as logs with the route of `log`, unless they list requests themselves.

    Raises `UsageError` where some do and others do not.
    """
    lists = [lists_requests(file, log) for file in files]
    if not any(lists):
        return log._replace(log=files)
    if not all(lists):
        listed = safe(next(compress(files, lists)))
        msg = f"the samples are logs and lists of requests ({listed}) together"
        raise UsageError(msg, "name files of one kind")
    return files
