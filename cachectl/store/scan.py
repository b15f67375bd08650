"""Cycles of SCAN that know when they are not to be trusted.

A cursor does not survive its server: after a restart or a failover SCAN accepts the old cursor and
leaves keys out without a word. So a cycle holds one connection from its first page until its last was
dealt with, and then asks whether the server is still the one it began on; any doubt begins it anew.
"""

from collections.abc import AsyncGenerator
from typing import NamedTuple

from cachectl.errors import CachectlError, LostError, UnreachableError
from cachectl.store.info import parse_info
from cachectl.store.pool import Pool
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Wire

CYCLES = 5
"""So many cycles may break before the scan is given up."""


class Page(NamedTuple):
    """The keys of one SCAN reply, each once. `anew`: a broken cycle has begun again with this page."""

    keys: list[bytes]
    anew: bool


async def pages(
    pool: Pool, patience: Patience, match: bytes | None, count: int
) -> AsyncGenerator[Page, None]:
    """Yield pages until one cycle ran unbroken; every key that stood all the while is in that cycle.

    A page is dealt with when the next one is asked for: the last one is followed by the proof that the
    server is still the same. Raises the last of our errors after `CYCLES` broken cycles, or when the
    server stays away longer than `patience` bears.
    """
    tries = Tries(patience)
    broken = 0
    while True:
        try:
            async with pool.lend(tries.connect) as wire:
                identity = await _identity(wire, tries)
                cursor, anew = b"0", broken > 0
                while True:
                    command = [b"SCAN", cursor, b"COUNT", b"%d" % count]
                    if match is not None:
                        command += [b"MATCH", match]
                    cursor, keys = await _call(wire, tries, *command)
                    tries.progress()
                    yield Page(list(dict.fromkeys(keys)), anew)
                    anew = False
                    if cursor == b"0":
                        break
                if await _identity(wire, tries) == identity:
                    return
                msg = f"{wire.where} changed its role or was replaced while it was scanned"
                raise LostError(msg)
        except CachectlError as error:
            broken += 1
            if broken >= CYCLES:
                raise _never_clean(error) from error
            if not await tries.again(error, idempotent=True, known=pool.connected):
                raise


def _never_clean(error: CachectlError) -> UnreachableError:
    return UnreachableError(
        f"{CYCLES} scans were broken off, the last one because: {error.message}",
        "nothing is proven about the keys: run it again when the server is stable",
    )


async def run_id(wire: Wire, silence: float) -> str | None:
    """Return the id of the server's run, or None when INFO is denied."""
    info = await wire.call(b"INFO", b"server", silence=silence)
    if not isinstance(info, bytes):
        return None
    return parse_info(info).get("run_id")


async def _identity(wire: Wire, tries: Tries) -> tuple[str | None, object]:
    """Return the server's run and role as far as it tells them: a user may lack INFO, not HELLO."""
    run = await run_id(wire, tries.answer)
    greeting = await wire.call(b"HELLO", b"2", silence=tries.answer)
    role = None
    if isinstance(greeting, list) and b"role" in greeting:
        role = greeting[greeting.index(b"role") + 1]
    return run, role


async def _call(wire: Wire, tries: Tries, *command: bytes) -> tuple[bytes, list[bytes]]:
    reply = await wire.call(*command, silence=tries.answer)
    if isinstance(reply, CachectlError):
        raise reply
    cursor, keys = reply
    return cursor, keys
