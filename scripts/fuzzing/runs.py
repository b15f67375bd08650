"""Runs the cases of a target; each is made of the seed and its number alone, so that it comes again."""

import signal
import traceback
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from random import Random
from time import perf_counter
from types import FrameType
from typing import Any, Final, NamedTuple

TARGETS: Final = {
    "settings": "settings files",
    "entries": "entries in JSON Lines and CSV",
    "requests": "requests in lists of keys and JSON Lines",
    "logs": "access logs with routes",
    "replies": "replies of a server",
    "urls": "URLs of servers",
    "words": "durations, sizes, shares, rates, templates and INFO",
}
"""Each is a module with `make`, which draws what is read, and `judge`, which reads it."""

MAX_SHOWN: Final = 5
"""How many faults of a target are kept; all are counted."""

MAX_CPU: Final = 10.0
"""How many seconds of the processor a case may take: a thousand times what any needs."""


class Broken(Exception):  # noqa: N818 a finding, not an error of the program
    """A promise that did not hold; the text says which."""


class Fault(NamedTuple):
    """A case that went wrong, and how it is seen again."""

    target: str
    seed: int
    case: int
    given: Any
    trace: str

    def __str__(self) -> str:
        """Return it for people."""
        data = b64encode(self.given.data).decode() if self.given else "it could not be made"
        others = [f"{n}={v!r}" for n, v in self.given._asdict().items() if n != "data"]
        return (
            f"{self.trace}case {self.case} of {self.target}, seed {self.seed}\n"
            f"  data in base64: {data}\n  {' '.join(others)[:2000]}\n"
            f"  again: scripts/fuzz --target {self.target} --seed {self.seed} --case {self.case}"
        )


class Tally(NamedTuple):
    """What came of the cases of a target."""

    target: str
    accepted: int
    refused: int
    broken: int
    faults: list[Fault]
    seconds: float

    def __str__(self) -> str:
        """Return it in a line."""
        cases = self.accepted + self.refused + self.broken
        return (
            f"{self.target:9} {cases:7} cases: {self.accepted:6} accepted, {self.refused:6} refused, "
            f"{self.broken} broken, {self.seconds:.1f} s"
        )


def run(name: str, seed: int, numbers: Iterable[int]) -> Tally:
    """Return what came of the cases with these numbers."""
    target = import_module(f"scripts.fuzzing.{name}")
    ends = {True: 0, False: 0}
    faults: list[Fault] = []
    broken = 0
    start = perf_counter()
    for number in numbers:
        given = None
        try:
            with _bounded():
                given = target.make(Random(f"{name} {seed} {number}"))  # noqa: S311 no secret
                ends[target.judge(given)] += 1
        except Exception:  # noqa: BLE001 that is what is looked for
            broken += 1
            if len(faults) < MAX_SHOWN:
                faults.append(Fault(name, seed, number, given, traceback.format_exc(limit=-6)))
    return Tally(name, ends[True], ends[False], broken, faults, perf_counter() - start)


@contextmanager
def _bounded() -> Iterator[None]:
    """Break what keeps the processor busy; time that passes elsewhere does not count."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        msg = f"it took more than {MAX_CPU:g} s of the processor"
        raise Broken(msg)

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
