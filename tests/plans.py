"""What a proxy does to the bytes that pass it: plans that cut, delay, split and hold back."""

import random
import threading
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

Direction = Literal["up", "down"]


class Chunk(NamedTuple):
    """Bytes on their way: `up` to the server or `down` to the client, after `offset` others.

    `connection` counts from 1 over the proxy's life.
    """

    connection: int
    direction: Direction
    offset: int
    data: bytes


class Cut(NamedTuple):
    """The step that breaks the connection on both sides."""


CUT: Final = Cut()

Step = bytes | float | threading.Event | Cut
"""Deliver these bytes, wait these seconds, wait for the event, or break the connection."""

Plan = Callable[[Chunk], Iterator[Step]]
"""What happens to a chunk, step by step. Bytes that are not yielded are lost."""


def passes(chunk: Chunk) -> Iterator[Step]:
    """Deliver everything as it comes."""
    yield chunk.data


def byte_by_byte(chunk: Chunk) -> Iterator[Step]:
    """Deliver everything in writes of a single byte."""
    for index in range(len(chunk.data)):
        yield chunk.data[index : index + 1]


def cut_after(count: int, direction: Direction = "down", connections: int | None = 1) -> Plan:
    """Break each of the first `connections` (None: all) after exactly `count` bytes of one way."""

    def plan(chunk: Chunk) -> Iterator[Step]:
        left = count - chunk.offset
        concerned = connections is None or chunk.connection <= connections
        if concerned and chunk.direction == direction and left <= len(chunk.data):
            yield chunk.data[: max(left, 0)]
            yield CUT
        else:
            yield chunk.data

    return plan


def delayed(seconds: float, direction: Direction = "down") -> Plan:
    """Deliver each chunk of one way after a pause (the proxy's `latency` holds nothing up)."""

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == direction:
            yield seconds
        yield chunk.data

    return plan


def held(gate: threading.Event, after: int = 0, direction: Direction = "down") -> Plan:
    """Deliver `after` bytes of one way and hold back the rest until the test sets `gate`."""

    def plan(chunk: Chunk) -> Iterator[Step]:
        now = max(after - chunk.offset, 0) if chunk.direction == direction else len(chunk.data)
        yield chunk.data[:now]
        if chunk.data[now:]:
            yield gate
            yield chunk.data[now:]

    return plan


def random_cuts(seed: int, share: float = 0.05) -> Plan:
    """Split chunks anywhere and break the connection at a `share` of the seams."""
    dice = random.Random(seed)

    def plan(chunk: Chunk) -> Iterator[Step]:
        seam = dice.randint(0, len(chunk.data))
        yield chunk.data[:seam]
        if dice.random() < share:
            yield CUT
        yield chunk.data[seam:]

    return plan
