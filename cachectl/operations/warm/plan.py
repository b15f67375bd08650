"""What a warm is to do: its options, and the requests ranked by how often they are asked."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, NamedTuple

from cachectl.config.settings import UNSET, NamespaceSettings, PythonOrigin, Unset
from cachectl.errors import InputError, UsageError
from cachectl.models import MAX_ERRORS, Batch, Problem, Request, RequestBatch
from cachectl.sources.feed import in_thread
from cachectl.sources.lines import entry_batches
from cachectl.sources.requests import request_batches


class Only(NamedTuple):
    """Which keys are written: `missing`, `all`, or those that expire `within` seconds."""

    which: Literal["missing", "all", "expiring"]
    within: float = 0.0


class MaxFailed(NamedTuple):
    """How many failed entries still count as done: a number, or a share of all."""

    number: int = 0
    share: float = 0.0

    def of(self, entries: int) -> int:
        """Return the number for so many entries."""
        return self.number + int(self.share * entries)


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
    max_failed: MaxFailed = MaxFailed()  # noqa: RUF009
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


class Ranked(NamedTuple):
    """Requests by key, most asked first, and the lines that were bad."""

    requests: list[Request]
    sources: dict[bytes, str]
    bad: int
    problems: list[Problem]

    @property
    def total(self) -> int:
        """The number of requests, each key as often as it is asked."""
        return sum(request.count for request in self.requests)


async def batches_of_entries(
    sources: Sequence[str], stdin: BinaryIO
) -> AsyncGenerator[Batch, None]:
    """Yield the entries of all sources, read in a thread."""

    def read() -> Iterator[Batch]:
        for source in sources:
            yield from entry_batches(source, stdin=stdin)

    async for batch in in_thread(read()):
        yield batch


async def rank(sources: Sequence[str], namespace: str | None, stdin: BinaryIO) -> Ranked:
    """Read all requests and return them by key, most asked first; equals stay in their order.

    Raises `InputError` for a source that cannot be read.
    """

    def read() -> Iterator[RequestBatch]:
        for source in sources:
            yield from request_batches(source, namespace=namespace, stdin=stdin)

    found: dict[bytes, Request] = {}
    names: dict[bytes, str] = {}
    problems: list[Problem] = []
    bad = 0
    async for batch in in_thread(read()):
        bad += len(batch.problems)
        problems += batch.problems[: MAX_ERRORS - len(problems)]
        for request in batch.requests:
            _add(found, names, request, batch.source)
    requests = sorted(found.values(), key=lambda request: -request.count)
    return Ranked(requests, names, bad, problems)


def _add(
    found: dict[bytes, Request], names: dict[bytes, str], request: Request, source: str
) -> None:
    before = found.get(request.key)
    if before is None:
        found[request.key] = request
        names[request.key] = source
    else:
        params: dict[str, Any] | None = before.params or request.params
        found[request.key] = before._replace(params=params, count=before.count + request.count)


async def read_sample(
    sources: Sequence[str], namespace: str | None, stdin: BinaryIO
) -> list[Request]:
    """Return the requests of a sample; raise `InputError` for the first bad line.

    A sample is what the proof stands on: one that is not wholly read proves something else.
    """
    ranked = await rank(sources, namespace, stdin)
    if ranked.problems:
        first = ranked.problems[0]
        msg = f"{first.source}:{first.line}: {first.message}"
        raise InputError(msg, "every line of a sample for --verify must be a request")
    return ranked.requests
