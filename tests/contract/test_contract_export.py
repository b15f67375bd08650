"""export, and `export | warm`: a backup of every primary, and a copy from one place into another."""

import gzip
import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.contract.conftest import place_of
from tests.contract.places import Place, about
from tests.contract.test_contract_entries import ODD


def filled(place: Place) -> None:
    """Put 60 strings on all primaries, a few with odd keys, a list and a hash."""
    for number in range(60):
        place.put(f"n:{number}", f'{{"x":  {number}.50}}', ttl=None if number % 2 else 1000)
    for key in ODD:
        place.put(b"n:" + key, b"\xff" + key)
    place.raw("n:list", "RPUSH", "n:list", "a", "b")
    place.raw("n:hash", "HSET", "n:hash", "f", "v")
    place.raw("n:hash", "EXPIRE", "n:hash", 500)
    place.put("m", "1")


def content(place: Place) -> dict[bytes, Any]:
    """Return what is in a place: value and seconds left, which a copy keeps to the second."""
    found = {}
    for key in place.keys() - {b"m"}:
        kind = place.raw(key, "TYPE", key)
        reads = {b"list": ("LRANGE", key, 0, -1), b"hash": ("HGETALL", key)}
        value = place.raw(key, *reads.get(kind, ("GET", key)))
        ttl = place.ttl(key)
        found[key] = (value, ttl and about(ttl))
    return found


def test_export_writes_every_entry_of_all_primaries(on: Run, place: Place):
    """Values are not touched, lives are absolute times, what is no string is a dump."""
    filled(place)
    result = on("export", "n")
    assert result.code == 0
    lines = {line.get("key", line.get("key_base64")): line for line in result.lines}
    assert len(lines) == len(result.lines) == 60 + len(ODD) + 2
    assert b'{"key":"n:1","value":{"x":  1.50},"ttl":null}\n' in result.out
    assert lines["n:2"]["expires_at"] == about(time.time() + 1000)
    odd = b64encode(b"n:" + ODD[3]).decode()
    assert lines[odd]["value_base64"] == b64encode(b"\xff" + ODD[3]).decode()
    assert {"dump", "ttl"} <= lines["n:list"].keys()
    assert json.loads(result.err)["note"].startswith("exported ")


def test_export_to_a_file_reports(on: Run, place: Place, workdir: Path):
    """The report counts what is in the file; `warm` brings back what is not there any more."""
    filled(place)
    result = on("export", "n", "--to", "backup.jsonl.gz")
    fields = result.json
    told = {name: fields[name] for name in ("exit_code", "file", "entries", "failed", "stopped")}
    assert fields.items() >= place.head("export").items()
    assert (result.code, told) == (0, {
        "exit_code": 0, "file": "backup.jsonl.gz", "entries": 70, "failed": 0, "stopped": None,
    })  # fmt: skip
    assert len(gzip.decompress((workdir / "backup.jsonl.gz").read_bytes()).splitlines()) == 70
    held = (len(primary.raw("KEYS", "n:*")) for primary in place.primaries())
    assert sorted(row["keys"] for row in fields["nodes"]) == sorted(filter(None, held))
    before = content(place)
    for key in ("n:1", "n:2", "n:list"):
        place.raw(key, "UNLINK", key)
    place.put("n:3", "newer")
    fields = on("warm", "./backup.jsonl.gz", "--only", "missing").json
    counts = ("entries", "written", "skipped", "failed")
    assert [fields[name] for name in counts] == [70, 3, 67, 0]
    assert content(place) == before | {b"n:3": (b"newer", None)}


@pytest.mark.parametrize(("old", "new"), [("cluster", "valkey-9.1"), ("valkey-9.1", "cluster")])
def test_a_pipe_copies_from_place_to_place(
    run: Run, workdir: Path, request: pytest.FixtureRequest, old: str, new: str
):
    """Between a cluster and one server: keys, bytes, types and lives."""
    source, target = place_of(request, old), place_of(request, new)
    profiles = {"profiles": {"old": source.profile, "new": target.profile}}
    (workdir / "cachectl.yaml").write_text(json.dumps(profiles))
    filled(source)
    exported = run("-p", "old", "export", "n")
    warmed = run("-p", "new", "-o", "json", "warm", "-", stdin=exported.out)
    assert (exported.code, warmed.code) == (0, 0)
    assert [warmed.json[name] for name in ("entries", "written")] == [70, 70]
    assert content(target) == content(source)
