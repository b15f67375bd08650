"""Values on their way out of the cache, group after group, each with how long it lives."""

from collections import Counter
from collections.abc import Mapping, Sequence
from time import time
from typing import Any, TypeVar

from cachectl.store.lanes import Lanes, Sent
from cachectl.store.writing import asked, seconds_left

T = TypeVar("T")

_LIFE = 12
"""Bytes that a PTTL is answered with."""


class Reading(Sent):
    """Keys whose values are read together: strings as they are, or anything by DUMP.

    `size` is how many bytes the values are taken for.
    """

    __slots__ = ("dump", "keys", "sent_at")

    def __init__(self, keys: Sequence[bytes], size: float, *, dump: bool = False) -> None:
        """Ask for the value of each key, and right behind it for its life."""
        values = asked(b"DUMP" if dump else b"GET", keys)
        commands = _in_turn(values, asked(b"PTTL", keys))
        super().__init__(commands, size / len(commands) + _LIFE)
        self.keys = keys
        self.dump = dump
        self.sent_at = 0.0

    def found(self) -> tuple[list[Any], list[Any]]:
        """Return the values, and the Unix times when they end: None for never, False for gone.

        A value is None for a key that is not there; an error or an `Unanswered` stands in its place.
        A life is counted from the sending: its reply may have waited for us to read it, and nobody's
        life is to be lengthened.
        """
        replies = self.outcomes.replies
        values, lives = replies[::2], replies[1::2]
        if not self.outcomes.resent and set(map(type, lives)) == {int} and min(lives) >= 0:
            sent_at = self.sent_at
            return values, [sent_at + life / 1000 for life in lives]
        return values, [self._end(2 * place + 1, life) for place, life in enumerate(lives)]

    def sources(self, keys: Sequence[bytes]) -> Mapping[str, int]:
        """Return how many of these keys were read from which node."""
        if len(self.went) == 1:
            return {self.went[0][0]: len(keys)}
        nodes = dict(zip(self.keys, self.nodes()[::2], strict=True))
        return Counter(map(nodes.__getitem__, keys))

    def torn(self, place: int) -> bool:
        """Whether one was asked again of the value and the life of a key: they may be of two values."""
        resent = self.outcomes.resent
        return (2 * place in resent) != (2 * place + 1 in resent)

    def _end(self, place: int, life: Any) -> Any:
        left = seconds_left(life) if isinstance(life, int) else life
        if isinstance(left, float):
            return left + (time() if place in self.outcomes.resent else self.sent_at)
        return left


class Reader:
    """Reads groups one behind the other, without waiting for the replies to each."""

    def __init__(self, lanes: Lanes) -> None:
        """Read by `lanes`."""
        self._lanes = lanes

    async def send(self, reading: Reading) -> list[Reading]:
        """Ask for a group; return those that are settled by now, in order."""
        reading.sent_at = time()
        keys = _in_turn(reading.keys, reading.keys)  # one for each command
        return _readings(await self._lanes.send(reading, keys))

    async def land(self) -> list[Reading]:
        """Wait for the replies to all that was asked, and return the groups that these settle."""
        return _readings(await self._lanes.land())


def _in_turn(first: Sequence[T], second: Sequence[T]) -> list[T]:
    """Return one of the first, one of the second, and so on."""
    both = [*first, *second]
    both[::2], both[1::2] = first, second
    return both


def _readings(settled: Sequence[Sent]) -> list[Reading]:
    return [sent for sent in settled if isinstance(sent, Reading)]
