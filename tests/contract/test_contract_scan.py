"""scan and stats: every key of every primary, counted once."""

from tests.cli.conftest import Run
from tests.contract.places import Place, about


def filled(place: Place) -> None:
    """Put 60 keys that lie on all primaries: two thirds of them never expire, one is no string."""
    for number in range(40):
        place.put(f"n:a:{number}", '"%s"' % ("x" * number))
    for number in range(19):
        place.put(f"n:b:{number}", "1", ttl=1000)
    place.raw("n:b:list", "RPUSH", "n:b:list", "1", "2")
    place.raw("n:b:list", "EXPIRE", "n:b:list", 1000)
    place.put("nothing", "1")
    assert all(primary.raw("DBSIZE") > 5 for primary in place.primaries())


def test_scan_lists_every_key_once(on: Run, place: Place):
    """A namespace, all, a pattern; over all primaries."""
    filled(place)
    result = on("scan", "n")
    assert (result.code, result.err) == (0, "")
    assert sorted(line["key"].encode() for line in result.lines) == sorted(
        place.keys() - {b"nothing"}
    )
    assert len(on("scan").lines) == len(place.keys()) == 61
    assert len(on("scan", "n", "--match", "n:b:1?").lines) == 9
    assert on("scan", "none") == (0, b"", "")


def test_scan_tells_type_life_and_size(on: Run, place: Place):
    """What `--long` tells is what each server tells of its keys."""
    filled(place)
    lines = {line["key"]: line for line in on("scan", "n", "--long").lines}
    assert len(lines) == 60
    for key, kind, ttl in (
        ("n:a:7", "string", None),
        ("n:b:7", "string", 1000),
        ("n:b:list", "list", 1000),
    ):
        assert lines[key] == {
            "key": key,
            "type": kind,
            "ttl": ttl and about(ttl),
            "bytes": place.raw(key, "MEMORY", "USAGE", key),
        }


def test_stats_counts_over_all_primaries(on: Run, place: Place):
    """Keys, memory, lives and the biggest keys of a namespace are those of the whole."""
    filled(place)
    result = on("stats", "n")
    assert (result.code, result.err) == (0, "")
    fields = result.json
    keys = place.keys() - {b"nothing"}
    sizes = {key: place.raw(key, "MEMORY", "USAGE", key) for key in keys}
    assert fields.items() >= place.head("stats").items()
    totals = {
        name: fields[name] for name in ("exit_code", "keys", "bytes", "persistent", "sampled")
    }
    assert totals == {
        "exit_code": 0,
        "keys": 60,
        "bytes": sum(sizes.values()),
        "persistent": 40,
        "sampled": False,
    }
    a, b = sorted(fields["namespaces"], key=lambda row: row["namespace"])
    assert (a["namespace"], a["keys"], a["persistent"], a["ttl"]) == ("n:a", 40, 40, None)
    assert (b["namespace"], b["keys"], b["persistent"]) == ("n:b", 20, 0)
    assert b["ttl"]["min"] <= b["ttl"]["max"] == about(1000)
    largest = max(size for key, size in sizes.items() if key.startswith(b"n:a:"))
    assert a["largest"]["bytes"] == sizes[a["largest"]["key"].encode()] == largest
    told = {large["key"].encode(): large["bytes"] for large in fields["largest_keys"]}
    assert told.items() <= sizes.items()
    assert list(told.values()) == sorted(sizes.values(), reverse=True)[: len(told)]


def test_stats_of_nothing_is_nothing(on: Run, place: Place):
    """No keys are 0, without a TTL."""
    result = on("stats", "n")
    fields = result.json
    assert (result.code, fields["keys"], fields["bytes"], fields["persistent"]) == (0, 0, 0, 0)
    assert (fields["ttl"], fields["namespaces"], fields["largest_keys"]) == (None, [], [])
