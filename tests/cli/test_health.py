"""health: the answers that monitoring systems act on."""

import json

import pytest

from tests.cli.conftest import Run
from tests.clusters import Cluster
from tests.servers import ServerProcess

CHECKS = [
    "reachable", "latency", "role", "loading", "memory", "evictions", "hit_rate",
    "persistence", "replication", "clients",
]  # fmt: skip


def test_a_healthy_server_is_0_with_every_check(on: Run, server: ServerProcess):
    result = on("health", "--interval", "50ms", "-o", "json")
    assert result.code == 0
    fields = result.json
    assert fields["status"] == "ok"
    assert fields["server"] == server.url
    assert [check["name"] for check in fields["checks"]] == CHECKS
    for check in fields["checks"]:
        assert check.keys() == {
            "name", "status", "value", "unit", "warning", "critical", "message",
        }  # fmt: skip
    text = on("health", "--interval", "50ms").text.splitlines()
    assert text[0] == f"OK {server.url}"
    assert len(text) == 1 + len(CHECKS)


def test_thresholds_of_the_settings_decide(run: Run, settings):
    settings(
        "default_profile: p\nprofiles: {p: {url: 'URL'}}\n"
        "health: {clients: {warning: 0.0001%, critical: 99%}}\n"
    )
    result = run("health", "--interval", "50ms", "-o", "json")
    assert (result.code, result.json["status"]) == (1, "warning")
    assert run("health", "--interval", "50ms").text.startswith("WARNING ")


def test_a_replica_without_its_primary_is_critical(on: Run, server: ServerProcess):
    server.raw("REPLICAOF", "127.0.0.1", "1")
    result = on("health", "--interval", "50ms", "-o", "json")
    found = {check["name"]: check["status"] for check in result.json["checks"]}
    assert result.code == 2
    assert (found["role"], found["replication"]) == ("warning", "critical")


def test_an_unreachable_server_is_a_result(run: Run):
    result = run("-u", "redis://127.0.0.1:1/0", "health", "-o", "json")
    assert result.code == 2
    (check,) = result.json["checks"]
    assert (check["name"], check["status"]) == ("reachable", "critical")
    assert "refused" in check["message"]


def test_a_wrong_password_is_critical_and_shows_none(run: Run, server: ServerProcess):
    url = server.url.replace("://", "://nobody:c4n4ry@")
    result = run("-u", url, "health")
    assert result.code == 2
    assert "refused the user or the password" in result.text
    assert "c4n4ry" not in result.text + result.err


@pytest.mark.parametrize(
    "words",
    [["health", "--nonsense"], ["health", "--interval", "x"], ["-p", "nope", "health"]],
)
def test_usage_and_settings_errors_are_unknown(run: Run, words: list[str]):
    result = run(*words)
    assert (result.code, result.out) == (3, b"")
    assert json.loads(run(*words, "-o", "json").err)["error"]["code"] == "usage"


def test_what_the_server_denies_is_skipped(run: Run, server: ServerProcess):
    server.raw("ACL", "SETUSER", "u", "on", "nopass", "+get", "~*")
    url = server.url.replace("://", "://u:x@")
    result = run("-u", url, "health", "--interval", "50ms", "-o", "json")
    found = {check["name"]: check["message"] for check in result.json["checks"]}
    assert result.code == 0
    assert found["memory"] == found["latency"] == "denied"
    headline = run("-u", url, "health", "--interval", "50ms").text.splitlines()[0]
    assert headline == f"OK {server.url} (8 checks denied)"


def test_a_node_that_tells_nothing_is_not_taken_for_a_good_one(run: Run, cluster: Cluster):
    """The others are; what could not be looked at there stands in the first line, and in its own."""
    first, *others = cluster.primaries()
    for node in cluster.primaries():
        node.raw("ACL", "SETUSER", "u", "on", "nopass", "+@all", "~*")
    first.raw("ACL", "SETUSER", "u", "-info", "-ping")
    url = first.url.replace("://", "://u:x@")
    lines = run("-u", url, "health", "--interval", "50ms").text.splitlines()
    assert lines[0] == f"OK {first.url} (8 checks denied)"
    assert f"  ok       {first.url} (8 checks denied)" in lines
    assert all(f"  ok       {node.url}" in lines for node in others)
    told = run("-u", url, "health", "--interval", "50ms", "-o", "json").json["checks"]
    blind = [check["name"] for check in told if "denied on 1 of 3 nodes" in check["message"]]
    assert len(blind) == 8
    assert "memory" in blind


def test_wait_ends_when_the_time_is_over(run: Run):
    result = run("-u", "redis://127.0.0.1:1/0", "health", "--wait", "300ms")
    assert result.code == 2
