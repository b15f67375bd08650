"""flush: gone from every primary, nothing else touched, and only when it was meant."""

from pathlib import Path
from typing import Any

from tests.cli.conftest import Run
from tests.contract.places import Place

KEPT = {b"m:1", b"n", b"nn:1"}
TIMES = ("seconds", "rate", "held_back_seconds")
FLUSHED: dict[str, Any] = {
    "exit_code": 0,
    "matched": 60,
    "deleted": 60,
    "deleted_exact": True,
    "written_meanwhile": 0,
    "remaining": 0,
    "failed": 0,
    "passes": 1,
    "dry_run": False,
    "stopped": None,
    "errors": [],
    "error": None,
}


def filled(place: Place) -> None:
    for number in range(40):
        place.put(f"n:a:{number}", "1")
    for number in range(20):
        place.put(f"n:{{tag{number}}}:b", "1", ttl=1000)
    for key in KEPT:
        place.put(key, "1")
    assert all(primary.raw("DBSIZE") > 5 for primary in place.primaries())


def counts(fields: dict[str, Any]) -> dict[str, int]:
    return {row["namespace"]: row["keys"] for row in fields["namespaces"]}


def contracted(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the contract whose values are the same each time."""
    return {name: fields[name] for name in FLUSHED}


def test_a_namespace_is_removed_from_all_primaries(on: Run, place: Place):
    """The report is the same whole, and says what was shown before."""
    filled(place)
    result = on("flush", "n", "--yes")
    assert result.code == 0
    assert contracted(result.json) == FLUSHED
    assert counts(result.json) == {"n": 60}
    assert result.json.items() >= place.head("flush").items()
    assert all(result.json[name] >= 0 for name in TIMES)
    assert f"removing from {place.server} (profiles.here of cachectl.yaml" in result.err
    assert place.keys() == KEPT
    again = on("flush", "n", "--yes", "--require-match", "--until-empty")
    assert (again.code, again.json["matched"], again.json["deleted"]) == (1, 0, 0)


def test_a_dry_run_counts_and_removes_nothing(on: Run, place: Place):
    """By direct sub-namespace; nobody has to confirm it."""
    filled(place)
    before = place.keys()
    fields = on("flush", "n", "--dry-run").json
    assert contracted({**fields, "written_meanwhile": 0, "remaining": 0}) == FLUSHED | {
        "deleted": 0, "passes": 0, "dry_run": True,
    }  # fmt: skip
    assert fields["unknown_fields"].keys() == {"written_meanwhile", "remaining"}
    assert counts(fields) == {"n:a": 40} | {f"n:{{tag{number}}}": 1 for number in range(20)}
    assert place.keys() == before


def test_all_is_the_whole_keyspace(on: Run, place: Place):
    """Until nothing is left on any primary."""
    filled(place)
    result = on("flush", "--all", "--yes", "--until-empty")
    assert (result.code, result.json["deleted"], result.json["remaining"]) == (0, 63, 0)
    assert place.keys() == set()


def test_what_is_protected_wants_its_name(on: Run, place: Place, workdir: Path):
    """Profile, namespace, read-only and nobody to ask: 5 and nothing removed."""
    filled(place)
    before = place.keys()
    assert on("flush", "n").error["code"] == "refused"
    place.settings(workdir, namespaces={"n:a": {"protected": True}})
    for name in ("n", "--all", "n:a"):
        result = on("flush", name, "--yes")
        assert (result.code, result.out) == (5, b"")
    place.profile |= {"protected": True}
    place.settings(workdir)
    for said in (("--yes",), ("--confirm", "elsewhere")):
        result = on("flush", "n", *said)
        assert (result.code, result.out) == (5, b"")
    assert on("delete", "m:1").code == 5
    assert place.keys() == before
    assert on("flush", "n", "--confirm", "here").json["deleted"] == 60
    place.profile |= {"read_only": True}
    place.settings(workdir)
    for words in (("flush", "m", "--confirm", "here"), ("delete", "m:1", "--confirm", "here")):
        assert on(*words).code == 5
    assert on("set", "x", "1").code == 5
    assert on("warm", "-", stdin=b'{"key":"x","value":1}\n').code == 5
    assert place.keys() == KEPT
