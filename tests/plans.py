"""What a proxy does to the bytes that pass it: plans that cut, delay, split and hold back."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

import pytest

from tests.servers import ReplyError, ServerProcess

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


def rejects(count: int, mark: bytes) -> Plan:
    """Take the first `count` commands out of the chunk that first holds `mark`: BUSY for each."""
    met: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up" and not met and mark in chunk.data:
            met.append(chunk.connection)
            commands = chunk.data.split(b"*3\r\n")[1:]
            yield b"".join(b"*3\r\n" + command for command in commands[count:])
        elif chunk.direction == "down" and len(met) == 1:
            met.append(chunk.connection)
            yield b"-BUSY a script is running\r\n" * count + chunk.data
        else:
            yield chunk.data

    return plan


def busy_for_the_first(server: ServerProcess, first: bytes) -> Plan:
    """Let a script run while the first bytes of a batch arrive, up to and with `first`."""
    server.raw("CONFIG", "SET", "lua-time-limit", "1")
    met: list[int] = []

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "down" or met or first not in chunk.data:
            yield chunk.data
            return
        end = chunk.data.find(first) + len(first) + len(b"\r\n")
        met.append(chunk.connection)
        with server.connect() as script:
            script.send("EVAL", "while true do end", 0)
            time.sleep(0.1)  # the script's time limit has passed
            yield chunk.data[:end]
            yield 0.2
            server.raw("SCRIPT", "KILL")
            with pytest.raises(ReplyError):
                script.read()  # only now it has ended
        yield chunk.data[end:]

    return plan
