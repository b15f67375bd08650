"""get, set, delete, key and inspect: the same answers wherever the cache lives."""

from base64 import b64decode
from pathlib import Path

from cachectl import make_key
from tests.cli.conftest import Run
from tests.contract.places import Place, about

ODD = (
    b"{user1}:a",
    b"{user1}:b",
    b"{}tag",
    b"n:\xff\xfe{\xff}",
    b"a*b[1]\\?",
    b"n: a line\nmore\x1b[31m",
    "n:Zürich".encode(),
    b"-n",
)
"""Keys with hash tags, and keys that patterns, terminals and text stumble over."""


def word(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def named(fields: dict[str, str]) -> bytes:
    return b64decode(fields["key_base64"]) if "key_base64" in fields else fields["key"].encode()


def test_get_gives_value_and_life(on: Run, place: Place):
    place.put("k", '{"a":  [1.50, null]}', ttl=100)
    place.put("forever", b"\xff")
    result = on("get", "k")
    assert (result.code, result.err) == (0, "")
    assert b'"value": {"a":  [1.50, null]}' in result.out
    assert result.json == {
        "key": "k",
        "value": {"a": [1.5, None]},
        "ttl": about(100),
    }
    assert on("get", "forever").json == {"key": "forever", "value_base64": "/w==", "ttl": None}


def test_get_says_what_is_not_there_and_what_is_no_string(on: Run, place: Place):
    """1 and 4; nothing on stdout, and the message names the place."""
    missing = on("get", "nope")
    assert (missing.code, missing.out) == (1, b"")
    assert missing.error["message"] == "not in the cache: nope"
    place.raw("k", "RPUSH", "k", "1")
    wrong = on("get", "k")
    assert (wrong.code, wrong.out) == (4, b"")
    assert wrong.error["code"] == "wrong_type"
    assert "list" in wrong.error["message"]
    assert "inspect" in wrong.error["hint"]


def test_set_writes_what_the_application_will_read(on: Run, place: Place, workdir: Path):
    """By key and by parameters, with a TTL, the namespace's TTL, or none."""
    place.settings(workdir, namespaces={"natal": {"ttl": "7d"}})
    result = on("set", "k", '{"a": 1}', "--ttl", "90s")
    assert (result.code, result.json, result.err) == (0, {"key": "k", "written": True}, "")
    assert on("set", "-n", "natal", "lat:=48.85", "[1]").code == 0
    assert on("set", "raw", "--raw", "--ttl", "none", "-", stdin=b"\x00\xff").code == 0
    assert place.value("k") == b'{"a": 1}'
    assert place.ttl("k") == about(90)
    key = make_key("natal", lat=48.85)
    assert (place.value(key), place.ttl(key)) == (b"[1]", about(7 * 86400))
    assert (place.value("raw"), place.ttl("raw")) == (b"\x00\xff", None)
    assert on("get", "-n", "natal", "lat:=48.85").json["value"] == [1]


def test_set_only_where_something_or_nothing_is(on: Run, place: Place):
    """Refused is 1, and what stands there stays; a kept TTL stays too."""
    place.put("k", "1", ttl=100)
    for words in (("k", "2", "--only", "missing"), ("other", "2", "--only", "existing")):
        result = on("set", *words)
        assert (result.code, result.json) == (1, {"key": words[0], "written": False})
    assert place.keys() == {b"k"}
    assert place.value("k") == b"1"
    assert on("set", "k", "3", "--only", "existing", "--ttl", "keep").code == 0
    assert on("set", "other", "4", "--only", "missing").code == 0
    assert (place.value("k"), place.ttl("k")) == (b"3", about(100))
    assert place.value("other") == b"4"


def test_delete_removes_keys_wherever_they_are(on: Run, place: Place, workdir: Path):
    """Of different slots in one command, from a file too; 1 when none of them was there."""
    for number in range(40):
        place.put(f"k{number}", "1")
    (workdir / "keys").write_text("".join(f"k{number}\n" for number in range(10, 30)))
    result = on("delete", *(f"k{number}" for number in range(10)), "nope")
    assert (result.code, result.json) == (0, {"deleted": 10, "missing": 1})
    result = on("delete", "--keys-from", "keys")
    assert (result.code, result.json) == (0, {"deleted": 20, "missing": 0})
    result = on("delete", "k0", "nope")
    assert (result.code, result.json) == (1, {"deleted": 0, "missing": 2})
    assert place.keys() == {b"k%d" % number for number in range(30, 40)}


def test_odd_keys_are_themselves(on: Run, place: Place):
    """Hash tags, patterns, control characters, bytes that are no text: set, found, got, removed."""
    for number, key in enumerate(ODD):
        assert on("set", "--", word(key), str(number)).code == 0
    assert place.keys() == set(ODD)
    for number, key in enumerate(ODD):
        fields = on("get", "--", word(key)).json
        assert (named(fields), fields["value"]) == (key, number)
    assert sorted(map(named, on("scan").lines)) == sorted(ODD)
    if place.slot("k") is not None:
        assert place.slot(ODD[0]) == place.slot(ODD[1]) == place.slot("user1")
    assert on("delete", "--", *map(word, ODD)).json == {"deleted": len(ODD), "missing": 0}
    assert place.keys() == set()


def test_key_is_the_same_everywhere(run: Run, on: Run, place: Place):
    """It asks no server: it answers where there is none."""
    key = make_key("natal", date="1990-05-17", lat=48.85, lon=2.35)
    words = ("key", "-n", "natal", "lat:=48.85", "lon:=2.35", "date=1990-05-17")
    assert key == "natal:652c49679deeadba"
    assert (on(*words).code, on(*words).json) == (0, {"key": key})
    assert run("-u", "redis://127.0.0.1:1/0", *words).text == f"{key}\n"


INSPECTED: dict[str, tuple[tuple[str, ...], int, dict[str, object]]] = {
    "string": (("SET", '{"a": [1]}'), 10, {"value": {"a": [1]}}),
    "list": (("RPUSH", "a", "b"), 2, {"preview": ["a", "b"]}),
    "set": (("SADD", "a"), 1, {"preview": ["a"]}),
    "hash": (("HSET", "field", "a"), 1, {"preview": [["field", "a"]]}),
    "zset": (("ZADD", "1.5", "a"), 1, {"preview": [["a", "1.5"]]}),
    "stream": (("XADD", "1-1", "f", "a"), 1, {"preview": [["1-1", [["f", "a"]]]]}),
}


def located(place: Place, key: str) -> dict[str, object]:
    """Return what differs from place to place: the server that has a key, and the slot, if any."""
    unknown = {"frequency": "tracked only under an LFU maxmemory-policy"}
    slot = place.slot(key)
    if slot is not None:
        return {"node": place.node(key), "slot": slot, "unknown_fields": unknown}
    unknown["slot"] = "standalone servers have no slots"
    return {"node": place.node(key), "unknown_fields": unknown}


def test_inspect_tells_where_a_key_lies_and_what_is_in_it(on: Run, place: Place):
    """Every data type: life, size, length, the value or a preview."""
    for kind, ((verb, *content), length, shown) in INSPECTED.items():
        key = f"n:{kind}"
        place.raw(key, verb, key, *content)
        place.raw(key, "EXPIRE", key, 100)
        result = on("inspect", key)
        fields = result.json
        assert (result.code, result.err) == (0, "")
        assert 20 < fields.pop("bytes") < 20_000
        assert 0 <= fields.pop("idle") < 60
        assert fields.pop("encoding") == place.raw(key, "OBJECT", "ENCODING", key).decode()
        said = {"key": key, "type": kind, "ttl": about(100), "length": length}
        assert fields == said | shown | located(place, key)
    missing = on("inspect", "nope")
    assert (missing.code, missing.out) == (1, b"")
    assert missing.error["code"] == "missing"
