"""What `describe` shows of a key: every type, bounded, and honest about what it cannot know."""

import pytest

from cachectl.errors import DeniedError
from cachectl.reports.entries import KeyInfo
from cachectl.store.store import Store
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.store.stores import run

MB = 1_000_000


def describe(target: ServerProcess | Proxy, key: bytes) -> KeyInfo | None:
    """Describe one key."""

    async def work(store: Store) -> KeyInfo | None:
        return await store.describe(key)

    return run(target, work)


def described(target: ServerProcess | Proxy, key: bytes) -> KeyInfo:
    """Describe a key that is there."""
    info = describe(target, key)
    assert info is not None
    return info


def test_a_short_string_is_shown_whole(any_server: ServerProcess) -> None:
    """Type, encoding, TTL, memory, length, idle time, and the value."""
    key = b"\xff\x00binary"
    any_server.raw("SET", key, b"value\xfe", "PX", "60000")
    info = described(any_server, key)
    assert (info.key, info.type, info.encoding) == (key, "string", "embstr")
    assert info.ttl is not None
    assert 59 < info.ttl <= 60
    assert info.memory is not None
    assert info.memory > 6
    assert (info.length, info.value, info.preview) == (6, b"value\xfe", None)
    assert info.idle is not None
    assert info.frequency is None
    assert info.node == any_server.url
    assert set(info.unknown) == {"slot", "frequency"}
    assert "LFU" in info.unknown["frequency"]


def test_an_empty_string_is_a_value(any_server: ServerProcess) -> None:
    """Nothing in it is not nothing."""
    any_server.raw("SET", "k", "")
    info = described(any_server, b"k")
    assert (info.length, info.value, info.ttl) == (0, b"", None)


def test_every_type_is_shown_by_its_first_members(any_server: ServerProcess) -> None:
    """Lists, sets, hashes, sorted sets and streams: length and at most ten members."""
    for i in range(20):
        any_server.raw("RPUSH", "list", f"m{i}")
        any_server.raw("SADD", "set", f"m{i}")
        any_server.raw("HSET", "hash", f"f{i}", f"v{i}")
        any_server.raw("ZADD", "zset", i, f"m{i}")
        any_server.raw("XADD", "stream", f"{i + 1}-0", "f", f"v{i}", "g", "w")
    expected = {
        b"list": [b"m%d" % i for i in range(10)],
        b"zset": [(b"m%d" % i, b"%d" % i) for i in range(10)],
        b"stream": [(b"%d-0" % (i + 1), [(b"f", b"v%d" % i), (b"g", b"w")]) for i in range(10)],
    }
    for name in (b"list", b"set", b"hash", b"zset", b"stream"):
        info = described(any_server, name)
        assert (info.type, info.length, info.value) == (name.decode(), 20, None)
        assert len(info.preview) == 10
        if name in expected:
            assert info.preview == expected[name]
    assert set(described(any_server, b"set").preview) < {b"m%d" % i for i in range(20)}
    assert set(described(any_server, b"hash").preview) < {
        (b"f%d" % i, b"v%d" % i) for i in range(20)
    }


def test_a_key_that_is_not_there_is_none(any_server: ServerProcess) -> None:
    """No error and no empty description."""
    assert describe(any_server, b"gone") is None


@pytest.mark.parametrize("then", ["DEL", "RPUSH"])
def test_a_key_that_changes_between_the_round_trips(server: ServerProcess, then: str) -> None:
    """One that vanishes is not there; one that became a list is described as a list."""
    server.raw("SET", "k", "1")

    async def work(store: Store) -> KeyInfo | None:
        run_commands = store.run
        seen = 0

        async def change(
            commands: list[tuple[bytes, ...]], keys: list[bytes], *_: object
        ) -> object:
            nonlocal seen
            seen += 1
            if seen == 2:
                server.raw("DEL", "k")
                if then == "RPUSH":
                    server.raw("RPUSH", "k", "a", "b")
            return await run_commands(commands, keys)

        store.run = change  # type: ignore[method-assign, assignment]
        return await store.describe(b"k")

    info = run(server, work)
    if then == "DEL":
        assert info is None
    else:
        assert info is not None
        assert (info.type, info.length, info.preview) == ("list", 2, [b"a", b"b"])


def test_an_lfu_server_tells_the_frequency(any_server: ServerProcess) -> None:
    """Under an LFU policy the frequency is known and the idle time is not."""
    any_server.raw("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    any_server.raw("SET", "k", "1")
    info = described(any_server, b"k")
    assert isinstance(info.frequency, int)
    assert info.idle is None
    assert "LFU" in info.unknown["idle"]


def test_what_is_denied_is_named_as_denied(any_server: ServerProcess) -> None:
    """With the least rights a field that may not be known is told as denied, never as 0."""
    any_server.raw("SET", "k", "1")
    any_server.raw("RPUSH", "l", "1")
    any_server.raw("ACL", "SETUSER", "default", "-@all", "+type", "+select", "+auth")
    for key in (b"k", b"l"):
        info = described(any_server, key)
        assert info.memory is None
        assert info.length is None
        assert info.preview is None
        denied = {name for name, why in info.unknown.items() if why == "denied"}
        assert denied >= {"encoding", "ttl", "bytes", "idle", "frequency", "length"}


def test_without_the_right_to_type_it_is_an_error(server: ServerProcess) -> None:
    """Not even the type: the refusal, with the rule that would allow it."""
    server.raw("ACL", "SETUSER", "default", "-@all", "+get")
    with pytest.raises(DeniedError) as caught:
        describe(server, b"k")
    assert caught.value.hint == "allow it on the server: ACL SETUSER default +type"


def test_a_string_of_100_mb_is_never_fetched(server: ServerProcess) -> None:
    """Its beginning is shown, and little more than that crosses the line."""
    server.raw("SETRANGE", "huge", 100 * MB - 1, "x")
    with Proxy(server) as proxy:
        info = described(proxy, b"huge")
        assert proxy.bytes["down"] < 5000
    assert info.length == 100 * MB
    assert info.value is None
    assert info.preview == bytes(1024)


def huge_members(server: ServerProcess, kind: str) -> None:
    """Make a collection of ten members of 20 MB each."""
    value = b"x" * 20 * MB
    for i in range(10):
        member = value + b"%d" % i
        command = {
            "list": ("RPUSH", "huge", member),
            "set": ("SADD", "huge", member),
            "hash": ("HSET", "huge", f"f{i}", member),
            "zset": ("ZADD", "huge", i, member),
            "stream": ("XADD", "huge", "*", "f", member),
        }[kind]
        server.raw(*command)


@pytest.mark.parametrize("kind", ["list", "set", "hash", "zset", "stream"])
@pytest.mark.parametrize("may_weigh", [True, False], ids=["weighed", "not weighed"])
def test_huge_members_are_not_fetched(server: ServerProcess, kind: str, *, may_weigh: bool) -> None:
    """Ten members of 20 MB: the length is told, the preview left out, and the line stays quiet."""
    huge_members(server, kind)
    if not may_weigh:
        server.raw("ACL", "SETUSER", "default", "-memory")
    with Proxy(server) as proxy:
        info = described(proxy, b"huge")
        assert proxy.bytes["down"] < 8 * MB
        if may_weigh and kind != "stream":
            assert proxy.bytes["down"] < 5000
    assert (info.type, info.length, info.preview) == (kind, 10, None)
    assert "larger than" in info.unknown["preview"]


def test_one_huge_value_among_small_ones_is_not_fetched(server: ServerProcess) -> None:
    """What the average hides, the bound on the reply catches."""
    for i in range(2000):
        server.raw("RPUSH", "list", f"m{i}")
    server.raw("LSET", "list", 0, b"x" * 50 * MB)
    server.raw("CONFIG", "SET", "maxmemory", "0")
    with Proxy(server) as proxy:
        info = described(proxy, b"list")
        assert proxy.bytes["down"] < 8 * MB
    assert info.length == 2000
    assert info.preview is None
    assert "preview" in info.unknown


def test_a_set_of_a_million_members_is_shown_by_ten(server: ServerProcess) -> None:
    """A bounded look, however many there are."""
    script = "for i = 1, 1000 do local t = {} for j = 1, 1000 do t[j] = 'm' .. (i * 1000 + j) end "
    server.raw("EVAL", script + "redis.call('sadd', 'set', unpack(t)) end", 0)
    with Proxy(server) as proxy:
        info = described(proxy, b"set")
        assert proxy.bytes["down"] < 10_000
    assert info.length == MB
    assert len(info.preview) == 10
