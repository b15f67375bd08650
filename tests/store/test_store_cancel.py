"""Cancelled and expired calls: no stale value, no slot lost, no cancellation ignored."""

import asyncio
import random
from itertools import count

import pytest

from cachectl.store.store import Store
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import PATIENT, entry, final, run, unix

KEYS = 20


async def one_call(store: Store, key: bytes, dice: random.Random) -> None:
    """Read or write one key, or a few, whose values are their names."""
    match dice.randrange(4):
        case 0:
            assert await store.get(key) == key
        case 1:
            assert await store.set(key, key)
        case 2:
            outcomes = await store.write([entry(key, key)] * 3)
            assert final(outcomes) == [True] * 3
        case _:
            many = [key, b"none", key]
            assert final(await store.get_many(many)) == [key, None, key]


async def disturb(store: Store, dice: random.Random, *, cancels: int, expiries: int) -> None:
    """Cancel calls and let their deadlines expire at random moments; every answer must be right."""
    met = {"cancelled": 0, "expired": 0}
    names = count()

    async def caller() -> None:
        while met["cancelled"] < cancels or met["expired"] < expiries:
            key = b"key-%d" % (next(names) % KEYS)
            moment = dice.random() * 0.002
            if met["expired"] < expiries and dice.random() < 0.4:
                try:
                    async with asyncio.timeout(moment):
                        await one_call(store, key, dice)
                except TimeoutError:
                    met["expired"] += 1
                continue
            task = asyncio.create_task(one_call(store, key, dice))
            await asyncio.sleep(moment)
            was_running = task.cancel()
            try:
                await task
                assert not was_running, "a cancellation was ignored"
            except asyncio.CancelledError:
                met["cancelled"] += 1

    await asyncio.gather(*(caller() for _ in range(15)))
    assert met["cancelled"] >= cancels
    assert met["expired"] >= expiries


async def every_slot_is_there(store: Store, size: int) -> None:
    """Borrow all connections of the pool at once, and use them."""
    node = store._topology.node_for(b"")
    async with asyncio.timeout(5):
        wires = await asyncio.gather(*(node.borrow(1.0) for _ in range(size)))
    assert node._slots.locked()
    for number, wire in enumerate(wires):
        key = b"key-%d" % number
        assert await wire.call(b"GET", key, silence=1.0) == key
        node.give_back(wire)
    assert len(node._idle) == size


@pytest.mark.parametrize("way", ["tcp", "unix", "far"])
def test_300_cancellations_and_100_deadlines(server: ServerProcess, way: str) -> None:
    """A pool of 10, 15 tasks: every value that comes is the one that was asked for."""
    for i in range(KEYS):
        server.raw("SET", f"key-{i}", f"key-{i}")
    dice = random.Random(way)

    async def work(store: Store) -> None:
        await disturb(store, dice, cancels=300, expiries=100)
        await every_slot_is_there(store, 10)

    if way == "far":
        with Proxy(server, latency=0.0005) as proxy:
            run(proxy, work)
    else:
        run(server.url if way == "tcp" else unix(server), work)


def test_cancelled_while_waiting_for_a_connection(server: ServerProcess) -> None:
    """Those who wait for a slot and are cancelled take none with them."""

    async def work(store: Store) -> None:
        node = store._topology.node_for(b"")
        for i in range(KEYS):
            await store.set(b"key-%d" % i, b"key-%d" % i)
        async with node.lend(1.0):
            waiting = [asyncio.create_task(store.get(b"key-1")) for _ in range(50)]
            await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
            done = await asyncio.gather(*waiting[::2], return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in done)
        assert await asyncio.gather(*waiting[1::2]) == [b"key-1"] * 25
        await every_slot_is_there(store, 1)

    run(server, work, pool_size=1)


def test_a_store_that_is_closed_keeps_no_connection(server: ServerProcess) -> None:
    """What comes back after the end is closed, not kept."""

    async def work(store: Store) -> None:
        node = store._topology.node_for(b"")
        wire = await node.borrow(1.0)
        await store.close()
        node.give_back(wire)
        assert not wire.clean
        assert node._idle == []

    run(server, work, PATIENT)
