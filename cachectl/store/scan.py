"""Cycles of SCAN that know when they are not to be trusted.

A cursor does not survive its server: after a restart or a failover SCAN accepts the old cursor and
leaves keys out without a word. So a cycle holds one connection from its first page until its last was
dealt with, and then asks whether the server is still the one it began on; any doubt begins it anew.
"""

from collections.abc import AsyncGenerator
from typing import NamedTuple

from cachectl.errors import CachectlError, LostError, UnreachableError
from cachectl.store.info import identity, parse_info
from cachectl.store.pool import Pool
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Greeting, Wire

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
    tries = await pool.tries(patience)
    broken = 0
    while True:
        told = False
        try:
            async with pool.lend(tries.connect) as wire:
                began_on = await _identity(wire, tries)
                cursor = b""
                while cursor != b"0":
                    cursor, keys = await _page(wire, tries, cursor or b"0", match, count)
                    yield Page(list(dict.fromkeys(keys)), anew=broken > 0 and not told)
                    told = True
                    tries.progress()  # whoever took the page took their time, not the server's
                if await _identity(wire, tries) == began_on:
                    return
                msg = f"{wire.where} changed its role or was replaced while it was scanned"
                raise LostError(msg)
        except CachectlError as error:
            broken += told
            if broken >= CYCLES:
                raise _never_clean(error) from error
            if not await tries.again(error, idempotent=True, known=pool.connected):
                raise (tries.reason or error) from None


def _never_clean(error: CachectlError) -> UnreachableError:
    return UnreachableError(
        f"{CYCLES} scans were broken off, the last one because: {error.message}",
        "nothing is proven about the keys: run it again when the server is stable",
    )


async def _identity(wire: Wire, tries: Tries) -> tuple[str | None, ...]:
    """Return the server's run, data set and role as far as it tells: a user may lack INFO, not HELLO.

    A replica that takes over another data set keeps its run and its connections.
    """
    info = await wire.call(b"INFO", b"everything", silence=tries.answer)
    told = parse_info(info) if isinstance(info, bytes) else {}
    greeting = Greeting.told(await wire.call(b"HELLO", b"2", silence=tries.answer))
    return identity(told), greeting.role


async def _page(
    wire: Wire, tries: Tries, cursor: bytes, match: bytes | None, count: int
) -> tuple[bytes, list[bytes]]:
    command = [b"SCAN", cursor, b"COUNT", b"%d" % count]
    if match is not None:
        command += [b"MATCH", match]
    reply = await wire.call(*command, silence=tries.answer)
    if isinstance(reply, CachectlError):
        raise reply
    cursor, keys = reply
    return cursor, keys
