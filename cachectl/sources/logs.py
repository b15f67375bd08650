"""Access logs: lines in common, combined or JSON format -> requests, by a route.

What was asked for is counted as it stands in the log, and the route is applied once to each distinct
target. So that targets that never come again do not fill the memory, they become requests by and by.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from operator import itemgetter
from time import time
from typing import Any, BinaryIO

from cachectl.config.settings import AccessLog
from cachectl.errors import InputError
from cachectl.keys import to_text
from cachectl.models import Request, RequestBatch
from cachectl.sources.log_json import JsonReader
from cachectl.sources.log_lines import FILTERED, Asked, Bad, ClfReader
from cachectl.sources.reading import Block, line_blocks, named
from cachectl.sources.routes import Router, compiled, origin_form
from cachectl.sources.times import Window

MANY = 100_000
"""How many distinct targets are counted before they become requests."""
BATCH = 5_000
"""How many targets become requests at a time: a few hundredths of a second."""
FORMATS = "common, combined and json (its fields are named by requests.fields)"


async def log_batches(
    source: str, log: AccessLog, *, namespace: str | None, stdin: BinaryIO
) -> AsyncGenerator[RequestBatch, None]:
    """Yield the requests of a log, counted, and its bad lines as problems.

    `source` is a path, or `-` for stdin, gzip or not. A request has the first target of its key, the
    line of that, and as `size` the first that is known and not 0. Several batches may have one key.
    Raises `UsageError` for a route that cannot be, before anything is read, and while iterating
    `InputError` for a log that cannot be read or has bad lines only.
    """
    counted = _Counted(source, compiled(log.route, namespace))
    reader: ClfReader | JsonReader | None = None
    window = Window(log, time())
    async with aclosing(line_blocks(source, stdin=stdin)) as blocks:
        async for block in blocks:
            if block.problem is not None:
                counted.bad.add(block.first, block.problem)
            elif reader is not None or block.data.strip():
                reader = reader or _reader(log, block, window, counted.bad)
                counted.add(block, reader.read(block))
                if len(counted) >= MANY:
                    for batch in counted.requests():
                        yield batch
    counted.check(log.format or ("json" if isinstance(reader, JsonReader) else "common"))
    for batch in counted.requests():
        yield batch


def _reader(log: AccessLog, block: Block, window: Window, bad: Bad) -> ClfReader | JsonReader:
    """Return what reads the format of a log, which is that of its first line unless it is said."""
    is_json = log.format == "json" or (log.format is None and block.data.lstrip()[:1] == b"{")
    return JsonReader(log, window, bad) if is_json else ClfReader(log, window, bad)


class _Counted:
    """What a log asks for, by target: how often, where first, and how large an answer is."""

    def __init__(self, source: str, route: Router) -> None:
        self.bad = Bad(source)
        self._source = source
        self._route = route
        self._good = 0
        self._unrouted = self._filtered = 0
        self._counts: Counter[bytes | None] = Counter()
        self._lines: dict[bytes, int] = {}
        self._sizes: dict[bytes, int] = {}
        self._unsized: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, block: Block, found: list[Asked]) -> None:
        """Count what the lines of a block ask for."""
        # The hot loop of a log, too: what is new is looked at, the rest is counted.
        targets = [target for target, _ in found]
        counts, before = self._counts, len(self._counts)
        counts.update(targets)
        filtered, absent = counts.pop(FILTERED, 0), counts.pop(None, 0)
        self._filtered += filtered
        self._good += len(found) - absent
        if len(counts) > before:
            new: list[Any] = list(islice(reversed(counts), len(counts) - before))
            numbers = range(block.first + len(found) - 1, block.first - 1, -1)
            lines = dict(zip(reversed(targets), numbers, strict=True))
            self._lines.update((target, lines[target]) for target in new)
            self._unsized.update(new)
        if self._unsized:
            sizes: dict[Any, bytes] = dict(filter(itemgetter(1), reversed(found)))
            for target in self._unsized & sizes.keys():
                self._sizes[target] = int(sizes[target])
                self._unsized.remove(target)

    def check(self, read_as: str) -> None:
        """Raise `InputError` if there were lines and every one of them is bad."""
        if not self._good and (number := self.bad.count):
            first = self.bad.problems[0]
            reason = f"read as {read_as}, line {first.line}: {first.message}"
            msg = f"{named(self._source)}: not one of {number} lines is of an access log ({reason})"
            raise InputError(msg, f"the formats are {FORMATS}")

    def requests(self) -> Iterator[RequestBatch]:
        """Yield all that was counted as requests, in the order of their lines, and forget it."""
        lines, counts, sizes = self._lines, self._counts, self._sizes
        self._lines, self._counts, self._sizes, self._unsized = {}, Counter(), {}, set()
        targets = sorted(lines, key=lines.__getitem__)
        for start in range(0, len(targets), BATCH):
            found: dict[bytes, Request] = {}
            for raw in targets[start : start + BATCH]:
                self._enter(found, raw, counts[raw], lines[raw], sizes.get(raw))
            yield self._batch(list(found.values()))
        if not targets:
            yield self._batch([])

    def _enter(
        self, found: dict[bytes, Request], raw: bytes, count: int, line: int, size: int | None
    ) -> None:
        """Apply the route to a target that came `count` times."""
        target = origin_form(raw)
        routed = self._route(target) if target is not None else None
        if target is None or routed is None:
            self._unrouted += count
            return
        key, params = routed
        first = found.get(key)
        if first is None:
            found[key] = Request(key, params, count, line, to_text(target), size)
        else:
            known = size if first.size is None else first.size
            found[key] = first._replace(count=first.count + count, size=known)

    def _batch(self, requests: list[Request]) -> RequestBatch:
        """Return requests with all that was met since the last ones."""
        bad, problems = self.bad.taken()
        batch = RequestBatch(self._source, requests, problems, bad, self._unrouted, self._filtered)
        self._unrouted = self._filtered = 0
        return batch
