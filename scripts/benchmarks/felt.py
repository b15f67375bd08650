"""What another client of the same server feels: 1,000 GETs a second, from a process of its own."""

import subprocess
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import NamedTuple

from scripts.benchmarks.processes import Place, expect, program
from tests.servers import ServerProcess

KEYS = 1000  # as many as the program asks for
VALUE_SIZE = 200


class Answers(NamedTuple):
    """When GETs were due (perf_counter, ascending), and how many seconds later each was answered."""

    due: Sequence[float]
    delays: Sequence[float]

    def between(self, begin: float, end: float) -> "Answers":
        """Return those that were due in this time; raise `RuntimeError` if there are none."""
        part = slice(bisect_left(self.due, begin), bisect_left(self.due, end))
        expect("GETs in a time that counts", bool(self.due[part]), wanted=True)
        return Answers(self.due[part], self.delays[part])

    def quantile(self, share: float) -> float:
        """Return the delay that this share of the GETs did not exceed."""
        return quantile(self.delays, share)

    def recent(self, share: float, window: float) -> Iterator[tuple[float, float]]:
        """Yield for each GET when it was answered, and the quantile of the last `window` seconds."""
        for last, (due, delay) in enumerate(zip(self.due, self.delays, strict=True)):
            first = bisect_left(self.due, due - window)
            yield due + delay, quantile(self.delays[first : last + 1], share)


def quantile(delays: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed."""
    return sorted(delays)[max(ceil(share * len(delays)) - 1, 0)]


class OtherClient:
    """The program, and what it felt once it has ended."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.answers = Answers((), ())


@contextmanager
def other_client(place: Place, server: ServerProcess) -> Iterator[OtherClient]:
    """Let another client ask its own keys meanwhile; afterwards `answers` are there."""
    for number in range(KEYS):
        server.raw("SET", f"probe:{number}", "x" * VALUE_SIZE)
    file = place.path / "felt"
    process = place.start(program("other_client", server.port, file), stdout=subprocess.PIPE)
    client = OtherClient()
    with process:
        try:
            expect("the other client", process.stdout and process.stdout.readline(), b"ready\n")
            yield client
        finally:
            process.terminate()
    expect("exit code of the other client", process.returncode, 0)
    pairs = array("d", file.read_bytes())
    client.answers = Answers(pairs[::2], pairs[1::2])


@contextmanager
def company(place: Place, *commands: list[str]) -> Iterator[None]:
    """Let programs run meanwhile that end only when they are ended."""
    processes = [place.start(words) for words in commands]
    try:
        yield
        expect("programs that gave up", [p.args for p in processes if p.poll() is not None], [])
    finally:
        for process in processes:
            process.kill()
            process.wait()
