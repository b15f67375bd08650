"""health: one verdict of all primaries, and what it says when a place cannot be reached."""

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.contract.places import Place

CHECKS = [
    "reachable", "latency", "role", "loading", "memory", "evictions", "hit_rate", "persistence",
    "replication", "clients",
]  # fmt: skip
MORE = {"cluster": ["cluster"]}
"""The checks that a place has besides."""
THRESHOLDS = {"latency": {"warning": "9s", "critical": "10s"}}
"""A slow machine is no ill server."""


def test_a_healthy_place_is_0_with_every_check(on: Run, place: Place, workdir: Path):
    """The checks of the contract in their order, and those that belong to the place."""
    place.settings(workdir, health=THRESHOLDS)
    result = on("health", "--interval", "50ms")
    fields = result.json
    assert (result.code, fields["status"]) == (0, "ok")
    assert fields.items() >= place.head("health").items()
    assert [check["name"] for check in fields["checks"]] == CHECKS + MORE.get(place.name, [])
    for check in fields["checks"]:
        assert check.keys() == {
            "name", "status", "value", "unit", "warning", "critical", "message",
        }  # fmt: skip
        assert check["status"] == ("skipped" if check["name"] == "hit_rate" else "ok")
    assert on("health", "--interval", "50ms", "--wait", "1s").code == 0


def test_the_worst_primary_decides(on: Run, place: Place, workdir: Path):
    """Its value, its verdict, 2; the others are well. Denied is skipped."""
    place.settings(workdir, health=THRESHOLDS)
    ill = place.primaries()[-1]
    ill.raw("CONFIG", "SET", "maxmemory-policy", "noeviction")
    ill.raw("CONFIG", "SET", "maxmemory", int(ill.info("memory")["used_memory"]))
    result = on("health", "--interval", "50ms")
    checks = {check["name"]: check for check in result.json["checks"]}
    assert (result.code, result.json["status"]) == (2, "critical")
    assert checks["memory"]["status"] == "critical"
    assert checks["memory"]["value"] > 0.9
    assert {check["status"] for name, check in checks.items() if name != "memory"} == {
        "ok", "skipped",
    }  # fmt: skip


def test_nobody_there_is_critical_for_health_and_3_for_the_rest(
    on: Run, place: Place, workdir: Path
):
    """The message names the place that was asked, and no secret; nothing is told as empty."""
    nobody: dict[str, object] = {"url": "redis://127.0.0.1:1/0"}
    if "cluster" in place.profile:
        nobody = {"cluster": ["127.0.0.1:1"]}
    if "sentinel" in place.profile:
        nobody = {"sentinel": place.profile["sentinel"] | {"nodes": ["127.0.0.1:1"]}}
    if "tls" in place.profile:
        nobody = place.profile | {"url": "rediss://127.0.0.1:1/0"}
    place.profile = nobody
    place.settings(workdir)
    health = on("health")
    (check,) = health.json["checks"]
    assert (health.code, health.json["status"], check["name"]) == (2, "critical", "reachable")
    assert "127.0.0.1:1/0" in check["message"]
    for words in (
        ("get", "k"),
        ("set", "k", "1"),
        ("delete", "k"),
        ("inspect", "k"),
        ("scan",),
        ("stats",),
        ("export", "n"),
        ("flush", "n", "--yes"),
    ):
        result = on(*words)
        assert (words, result.code) == (words, 3)
        error = json.loads(result.err.splitlines()[-1])["error"]
        assert "127.0.0.1:1/0" in error["message"]
        assert "canary" not in result.text + result.err
