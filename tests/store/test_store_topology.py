"""What happens to those who use a cluster while its nodes are busy, stopped, far away or changing."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, contextmanager
from time import monotonic
from typing import Any

import pytest

from cachectl.config.secrets import Credentials, Secret
from cachectl.errors import ConfigError, LostError, NotReadyError, UnreachableError
from cachectl.models import Entries, Entry
from cachectl.store.cluster import Cluster
from cachectl.store.detour import Detour, Stray
from cachectl.store.errors import RedirectError
from cachectl.store.lane import Lane
from cachectl.store.lanes import Sent
from cachectl.store.pace import Pace
from cachectl.store.pool import Pool
from cachectl.store.scan import Page
from cachectl.store.store import Store
from cachectl.store.tries import Patience, Tries
from cachectl.store.wire import Wire
from cachectl.store.writer import Writing
from cachectl.store.writing import write_command
from tests import clusters
from tests.members import wait_until
from tests.plans import Chunk, Step, rejects
from tests.proxies import Proxy
from tests.sentinels import SERVICE, SentinelTrio
from tests.servers import ReplyError, ServerProcess, pack
from tests.store.stores import PATIENT, run, store_on, until
from tests.store.test_store_cluster import THREE, cluster_of

HASTY = Patience(0.5, 0.5, 3, 0.01, 0.5)


@contextmanager
def busy(node: clusters.Node) -> Iterator[None]:
    """Keep a node at a script that does not end."""
    node.raw("CONFIG", "SET", "lua-time-limit", 10)

    def refuses() -> bool:
        try:
            node.raw("DBSIZE")
        except ReplyError as error:
            return "BUSY" in str(error)
        return False

    with node.connect() as connection:
        connection.send_bytes(pack("EVAL", "while true do end", "0"))
        try:
            wait_until("a busy node", refuses)
            yield
        finally:
            node.raw("SCRIPT", "KILL")


def test_a_busy_node_does_not_hold_up_the_others(cluster: clusters.Cluster) -> None:
    """The slots are asked for at another node than the one that is busy with a script."""
    first, second, _ = cluster.primaries()
    key = next(b"k%d" % i for i in range(99) if cluster.slot_of(b"k%d" % i) in second.slots())

    async def work(store: Store) -> None:
        await store.set(key, b"1")
        with busy(first):
            store._topology.node_for(key).connector.doubt()
            assert await store.get(key) == b"1"
            await store.ping()

    run(cluster.url, work)


def test_closing_a_store_cancels_nobody(cluster: clusters.Cluster) -> None:
    """Who waits for the slots when the store is closed is told so, and not cancelled."""

    async def main() -> None:
        store = store_on(cluster.url, HASTY)
        await store.get(b"k")
        store._topology.node_for(b"k").connector.doubt()
        with ExitStack() as stopped:
            for node in cluster.servers:
                node.sigstop()
                stopped.callback(node.sigcont)
            asking = asyncio.create_task(store.get(b"k"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await store.close()
            with pytest.raises(UnreachableError):
                await asyncio.wait_for(asking, 5)

    asyncio.run(main())


def test_a_store_closed_before_it_knew_the_cluster_leaves_nothing_behind(
    cluster: clusters.Cluster,
) -> None:
    """Who asked has left while the slots are asked for: closing the store ends that, too."""

    def silent_but_for_the_first(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up" or chunk.connection == 1:
            yield chunk.data

    async def main(proxy: Proxy) -> None:
        store = store_on(proxy)
        asking = asyncio.create_task(store.get(b"k"))
        await until(lambda: proxy.connections == 2)
        asking.cancel()
        await asyncio.wait({asking})
        await store.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Proxy(("127.0.0.1", cluster.servers[0].port), silent_but_for_the_first) as proxy:
        asyncio.run(main(proxy))


def test_a_brake_is_told_though_the_slots_were_not_told_at_first(
    cluster: clusters.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the latency asks again: work is not to go on without its brake."""
    primaries = Cluster.primaries
    asked: list[float] = []

    async def late(topology: Cluster, silence: float) -> list[Pool]:
        asked.append(silence)
        if len(asked) == 1:
            raise LostError("gone")  # noqa: EM101
        return await primaries(topology, silence)

    monkeypatch.setattr(Cluster, "primaries", late)

    async def work(store: Store) -> None:
        store.pace = Pace(max_latency=1.0)
        async with store.watched():
            for i in range(20):
                await store.get(b"k%d" % i)
            await until(lambda: store.pace.brake is not None and store.pace.brake.asked)

    run(cluster.url, work)


async def walked(store: Store, meanwhile: Any, after: int = 1) -> list[Page]:
    """Return the pages of a walk, with something that happens after so many of them."""
    found: list[Page] = []
    async with aclosing(store.pages(count=100)) as pages:
        async for page in pages:
            found.append(page)
            if len(found) == after:
                meanwhile()
    assert len(found) > after
    return found


def test_a_replica_that_goes_moves_no_slots(cluster: clusters.Cluster) -> None:
    """A walk goes on when a replica fails under it: every key is where it was."""
    cluster.fill("k", 2000)

    def lose_a_replica() -> None:
        cluster.kill(cluster.replicas()[0])
        cluster.settle()

    async def work(store: Store) -> None:
        pages = await walked(store, lose_a_replica)
        assert not any(page.anew for page in pages)
        assert sum(len(page.keys) for page in pages) == 2000

    run(cluster.url, work)


def test_keys_that_move_are_noticed_without_cluster_nodes(cluster: clusters.Cluster) -> None:
    """A user who may not ask CLUSTER NODES: what was moved behind the walk's back is found anew."""
    source, target, _ = cluster.primaries()
    tags = sorted(
        (tag for tag in map(str, range(100)) if cluster.slot_of(tag) in source.slots()),
        key=cluster.slot_of,
    )
    early, late = tags[0], tags[-1]  # a walk meets the slots of a node in their order
    moved = [b"{%b}%d" % (late.encode(), i) for i in range(40)]
    slot = cluster.slot_of(late)
    with source.connect() as connection:
        many = [b"{%b}%d" % (early.encode(), i) for i in range(3000)]
        connection.send_bytes(b"".join(pack("SET", key, 1) for key in (*many, *moved)))
        for _ in range(3040):
            connection.read()
    for node in cluster.servers:
        node.raw("ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-cluster|nodes")
    cluster.begin_move(slot, target)

    async def work(store: Store) -> None:
        pages = await walked(store, lambda: cluster.move_keys(slot, target), after=12)
        assert any(page.anew for page in pages)
        assert set(moved) <= {key for page in pages for key in page.keys}

    try:
        run(cluster.url, work, credentials=Credentials("u", Secret("p")))
    finally:
        cluster.end_move(slot, target)


def test_many_nodes_far_away_are_asked_side_by_side(
    cluster: clusters.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk's questions to all nodes take as long as those to one: patience is for silence."""
    call = Wire.call

    async def far_away(wire: Wire, *command: bytes, **how: Any) -> Any:
        await asyncio.sleep(0.1)
        return await call(wire, *command, **how)

    async def work(store: Store) -> float:
        await store.ping()
        monkeypatch.setattr(Wire, "call", far_away)
        begun = monotonic()
        async with aclosing(store.pages()) as pages:
            assert [page async for page in pages]
        return monotonic() - begun

    # twice the slots, once a greeting at the most, twice three questions; one after the other: 26
    assert run(cluster.url, work) < 20 * 0.1


@pytest.fixture(scope="module")
def one_apart() -> Iterator[clusters.Cluster]:
    """A cluster whose first primary hears nothing of the others any more, and was replaced by them."""
    with clusters.Cluster() as cluster:
        for server in cluster.servers:
            server.config = (*server.config, "--enable-debug-command", "yes")
        cluster.start()
        first = cluster.servers[0]
        heir = cluster.replica_of(first)
        first.raw("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-2")
        wait_until("a new primary", lambda: heir.replicates is None and heir.slots())
        witness = cluster.servers[1]
        wait_until("all others to know", lambda: len(witness.view()) and not apart(witness, first))
        yield cluster


def apart(witness: clusters.Node, first: clusters.Node) -> bool:
    """Whether a node still takes another for the primary of its slots."""
    return any(row.slots for row in witness.view() if row.id == first.id)


def in_first_slots(cluster: clusters.Cluster, count: int) -> list[bytes]:
    """Return keys whose slots were those of the first primary."""
    names = (b"k%d" % i for i in range(100 * count))
    return [name for name in names if cluster.slot_of(name) in clusters.SLOTS[0]][:count]


def test_a_primary_that_is_cut_off_from_the_others_is_not_believed(
    one_apart: clusters.Cluster,
) -> None:
    """It is asked first, says that it serves what it served, and holds none of what is written now."""
    first = one_apart.servers[0]
    heir = next(node for node in one_apart.servers[3:] if node.replicates is None)
    keys = in_first_slots(one_apart, 50)
    assert first.slots() == heir.slots() == set(clusters.SLOTS[0])
    for key in keys:
        heir.raw("SET", key, "1")

    async def found(store: Store) -> list[bytes]:
        async with aclosing(store.pages(b"k*")) as pages:
            return [key async for page in pages for key in page.keys]

    async def set_one(store: Store) -> bool:
        return await store.set(keys[0], b"2")

    assert sorted(run(first.url, found)) == sorted(keys)
    assert run(first.url, set_one)
    assert heir.raw("GET", keys[0]) == b"2"


def test_nodes_that_disagree_prove_nothing(
    one_apart: clusters.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody but the one that is cut off were ever asked for the slots."""

    async def walk(store: Store) -> None:
        await store._known()
        monkeypatch.setattr(Cluster, "refresh", nothing)
        async with aclosing(store.pages()) as pages:
            assert [page async for page in pages]

    async def nothing(_cluster: Cluster, _silence: float) -> None:
        pass

    with pytest.raises(NotReadyError, match="the nodes of the cluster disagree"):
        run(one_apart.servers[0].url, walk, HASTY)


def test_a_write_that_is_sent_again_does_not_overtake_one_that_went_elsewhere(
    cluster: clusters.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is lost on its way, the slot goes and comes back: the second stands, on either node."""
    send = Wire.send
    lost: list[Wire] = []

    async def lossy(wire: Wire, packed: bytes, count: int, *, silence: float) -> None:
        if b"first" in packed and not lost:
            lost.append(wire)
            wire._pending += count
        else:
            await send(wire, packed, count, silence=silence)

    monkeypatch.setattr(Wire, "send", lossy)
    slot = cluster.slot_of(b"k")
    here = cluster.owner_of(slot)
    there = next(node for node in cluster.primaries() if node is not here)

    async def work(store: Store) -> None:
        batches = [
            Writing(Entries.of([Entry(b"k", value, None)]), only_missing=False)
            for value in (b"first", b"second")
        ]
        async with store.writer() as writer:
            await writer.send(batches[0])
            cluster.move_slot(slot, there)
            await store.writable()  # a look at the slots, as for a lock that is renewed meanwhile
            sending = asyncio.create_task(writer.send(batches[1]))
            await asyncio.sleep(0.1)
            cluster.move_slot(slot, here)
            lost[0]._writer.transport.abort()
            await sending
            await writer.land()
        assert [batch.outcomes.replies for batch in batches] == [[True], [True]]

    run(cluster.url, work)
    assert here.raw("GET", "k") == b"second"


def test_a_node_keeps_its_one_pool_when_it_takes_over_slots() -> None:
    """What is on its way to it is not overtaken by another pool; and pools do not add up."""
    cluster = cluster_of(THREE)
    first, second = cluster._pools[0], cluster._pools[6000]
    second_alone = THREE[1]._replace(start=0)
    cluster._enter([second_alone, THREE[2]])
    assert {cluster._pools[0], cluster._pools[6000]} == {second} != {first}
    for i in range(5):
        cluster._enter([THREE[1]._replace(start=0, end=16383, nodes=((f"10.1.0.{i}", 7),))])
    assert list(cluster._shards.values()) == [second]


def test_what_was_rejected_on_a_detour_does_not_overtake(server: ServerProcess) -> None:
    """BUSY for the first of two referred writes of a key: the second goes out again behind it."""
    writes = [Entry(b"k", b"value-0", None), Entry(b"k", b"value-1", None)]
    sent = Sent([write_command(one, only_missing=False) for one in writes])
    sent.last_wins = [b"k", b"k"]
    detour = Detour()
    for place in range(2):
        detour.add(Stray(sent, place, RedirectError("MOVED 1 h:1", 1, "h", 1)))
    with Proxy(server, rejects(1, b"value-0")) as proxy:

        async def work(store: Store) -> None:
            await store.ping()
            lane = Lane(store._topology.node_for(b"k"), Tries(PATIENT), Pace())
            await lane.send(detour.work())
            await lane.land()
            detour.enter()

        run(proxy, work)
    assert sent.outcomes.replies == [b"OK", b"OK"]
    assert server.raw("GET", "k") == b"value-1"


def test_a_sentinel_that_was_not_set_up_is_passed_over(sentinels: SentinelTrio) -> None:
    """It knows no such service, the others do; that none knows it is told as what it is."""
    address = f"redis+sentinel://{','.join(sentinels.nodes)}"
    sentinels.sentinels[0].raw("SENTINEL", "REMOVE", SERVICE)

    async def work(store: Store) -> None:
        assert await store.set(b"k", b"1")

    try:
        run(f"{address}/{SERVICE}", work)
        with pytest.raises(ConfigError, match="watches no service 'other'"):
            run(f"{address}/other", work)
    finally:
        sentinels.start()
