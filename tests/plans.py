"""What a proxy does to the bytes that pass it: plans that cut, delay, split and hold back."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
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


Act = Step | Callable[[], object]
"""A step, or what the test does at that moment, in the proxy's thread."""


def acted(acts: Iterable[Act]) -> Iterator[Step]:
    """Do what the test does, in its place among the steps."""
    for act in acts:
        if callable(act):
            act()
        else:
            yield act


def at(word: bytes, *acts: Act, turn: int | None = None) -> Plan:
    """Act before a chunk with `word` goes up: each time, or only the `turn`th."""
    met = 0

    def plan(chunk: Chunk) -> Iterator[Step]:
        nonlocal met
        if chunk.direction == "up" and word in chunk.data:
            met += 1
            if turn in {None, met}:
                yield from acted(acts)
        yield chunk.data

    return plan


def since(word: bytes, *acts: Act, turn: int = 1) -> Plan:
    """Act before a chunk with `word` goes up the `turn`th time, and before every one that follows."""
    met = 0

    def plan(chunk: Chunk) -> Iterator[Step]:
        nonlocal met
        met += chunk.direction == "up" and word in chunk.data
        if met >= turn:
            yield from acted(acts)
        yield chunk.data

    return plan


def lost_reply(word: bytes, *acts: Act) -> Plan:
    """Break the connection where the first reply to `word` comes: the server has done it.

    The acts come right before.
    """
    asked: int | None = None
    lost = False

    def plan(chunk: Chunk) -> Iterator[Step]:
        nonlocal asked, lost
        if asked is None and chunk.direction == "up" and word in chunk.data:
            asked = chunk.connection
        if chunk.direction == "down" and chunk.connection == asked and not lost:
            lost = True
            yield from acted(acts)
            yield CUT
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
