"""warm: sources, jobs, the gate, and the report that scripts read."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachectl.operations.warm import compute
from tests.cli.conftest import Run
from tests.servers import ServerProcess

ORIGIN = """
import sys
def chart(**params):
    print("noise on stdout")
    return {"params": params}
"""


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_whole_report_as_json(on: Run, server: ServerProcess, workdir: Path):
    lines(workdir / "e.jsonl", {"key": "a", "value": 1}, {"key": "b", "value": [2], "ttl": 60}, {})
    result = on("warm", "e.jsonl", "-o", "json")
    fields = result.json
    assert result.code == 1
    assert fields.pop("seconds") > 0
    assert fields.pop("rate") > 0
    assert fields == {
        "command": "warm",
        "profile": None,
        "server": server.url,
        "job": None,
        "part": None,
        "exit_code": 1,
        "dry_run": False,
        "entries": 3,
        "written": 2,
        "skipped": 0,
        "failed": 1,
        "unknown": 0,
        "unsent": 0,
        "bytes": 6,
        "computed": 0,
        "requests": None,
        "statuses": {},
        "hit_rate": None,
        "stopped": None,
        "held_back_seconds": 0.0,
        "origin_held_back_seconds": 0.0,
        "errors": [{"source": "e.jsonl", "line": 3, "key": None, "message": "no key"}],
        "error": None,
        "nodes": [{"node": server.url, "keys": 2}],
    }
    assert server.raw("TTL", "b") in {60, 59}
    assert server.raw("TTL", "a") in {86400, 86399}


def test_several_sources_are_one_report(on: Run, server: ServerProcess, workdir: Path):
    lines(workdir / "e.jsonl", {"key": "a", "value": 1})
    (workdir / "e.csv").write_text('key,value,ttl\nb,"{""x"": 1}",60\n')
    (workdir / "e.jsonl.gz").write_bytes(gzip.compress(b'{"key":"c","value":3}\n'))
    result = on("warm", "e.jsonl", "./e.csv", "e.jsonl.gz", "-", stdin=b'{"key":"d","value":4}\n')
    assert result.code == 0
    assert "4 entries" in result.text
    assert server.raw("MGET", "a", "b", "c", "d") == [b"1", b'{"x": 1}', b"3", b"4"]


def test_an_empty_file_is_0_entries_and_0(on: Run, workdir: Path):
    (workdir / "e.jsonl").write_bytes(b"")
    result = on("warm", "e.jsonl")
    assert result.code == 0
    assert "0 entries" in result.text


def test_requests_are_computed_verified_and_gated(on: Run, server: ServerProcess, workdir: Path):
    (workdir / "natal_origin.py").write_text(ORIGIN)
    lines(workdir / "r.jsonl", *({"params": {"n": n}} for n in range(4)))
    lines(workdir / "s.jsonl", {"params": {"n": 0}, "count": 3}, {"params": {"n": 99}, "count": 2})
    words = ["warm", "r.jsonl", "--origin", "natal_origin:chart", "-n", "t", "--verify", "s.jsonl"]
    dry = on(*words, "--dry-run", "-o", "json").json
    assert (dry["unsent"], dry["written"], server.raw("DBSIZE")) == (4, 0, 0)
    result = on(*words, "--min-hit-rate", "60%", "-o", "json")
    assert result.code == 0
    assert result.json["hit_rate"] == {
        "before": 0.0,
        "after": 0.6,
        "requests": 5,
        "keys": 2,
        "sample": "separate",
        "required": 0.6,
        "met": True,
        "live": None,
    }
    assert result.json["computed"] == result.json["written"] == 4
    assert "noise on stdout" in result.err
    again = on(*words, "--min-hit-rate", "61%", "-o", "json")
    assert (again.code, again.json["exit_code"], again.json["skipped"]) == (1, 1, 4)
    assert again.json["hit_rate"]["met"] is False
    text = on(*words, "--min-hit-rate", "61%").text
    assert "60.0 % before, 60.0 % after" in text
    assert "NOT met" in text
    best = on(*words, "--min-hit-rate", "61%", "--best-effort", "-o", "json")
    assert (best.code, best.json["exit_code"]) == (0, 1)
    assert "--best-effort" in best.err


def test_verify_only_measures_and_writes_nothing(on: Run, server: ServerProcess, workdir: Path):
    server.raw("SET", "a", "1")
    lines(workdir / "s.jsonl", {"key": "a", "count": 3}, {"key": "b"})
    words = ["warm", "--verify-only", "--verify", "s.jsonl", "-o", "json", "--min-hit-rate"]
    assert on(*words, "75%").code == 0
    result = on(*words, "0.76")
    assert result.code == 1
    assert result.json["hit_rate"]["after"] == 0.75
    assert server.raw("DBSIZE") == 1


def test_a_sample_without_lookups_does_not_meet_the_gate(on: Run, workdir: Path):
    (workdir / "s.jsonl").write_bytes(b"")
    result = on("warm", "--verify-only", "--verify", "s.jsonl", "--min-hit-rate", "0", "-o", "json")
    assert result.code == 1
    assert result.json["hit_rate"]["unknown_fields"].keys() == {"before", "after"}


JOBS = """
default_profile: p
profiles: {p: {url: 'URL'}}
namespaces: {t: {ttl: 1h}}
warm:
  computed:
    requests: data/r.jsonl
    origin: {call: "natal_origin2:chart"}
    namespace: t
    verify: {requests: data/s.jsonl, min_hit_rate: 50%}
    on_deploy: true
  loaded: {entries: [data/e.jsonl], ttl: 10m, on_deploy: true}
  other: {entries: data/none.jsonl}
  unproven: {entries: data/e.jsonl, verify: {requests: data/nosample.jsonl}}
"""


@pytest.fixture
def jobs(settings: Callable[[str], Path], workdir: Path) -> Path:
    data = workdir / "data"
    data.mkdir()
    (workdir / "natal_origin2.py").write_text(ORIGIN)
    lines(data / "r.jsonl", {"params": {"n": 1}})
    lines(data / "s.jsonl", {"params": {"n": 1}})
    lines(data / "e.jsonl", {"key": "e", "value": 1})
    return settings(JOBS)


def test_jobs_of_the_settings(run: Run, server: ServerProcess, jobs: Path):
    result = run("warm", "computed", "loaded", "-o", "json")
    assert result.code == 0
    assert [row["job"] for row in result.lines] == ["computed", "loaded"]
    assert [row["written"] for row in result.lines] == [1, 1]
    assert result.lines[0]["profile"] == "p"
    assert server.raw("TTL", "e") in {600, 599}


def test_on_deploy_runs_the_marked_jobs_and_reports_the_worst_exit(run: Run, jobs: Path):
    assert [row["job"] for row in run("warm", "--on-deploy", "-o", "json").lines] == [
        "computed",
        "loaded",
    ]
    lines(jobs.parent / "data/e.jsonl", {"key": "e"})
    result = run("warm", "--on-deploy", "-o", "json")
    assert [row["exit_code"] for row in result.lines] == [0, 1]
    assert result.code == 1


def test_options_on_the_line_win_over_the_job(run: Run, server: ServerProcess, jobs: Path):
    assert run("warm", "loaded", "--ttl", "none").code == 0
    assert server.raw("TTL", "e") == -1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nojob"], "no job 'nojob'"),
        (["loadd"], "loaded"),
        (["loaded", "data/e.jsonl"], "files and jobs"),
        (["loaded", "--on-deploy"], "exclude"),
        (["loaded", "--origin", "m:f"], "--origin is for files"),
        (["other"], "none.jsonl"),
        (["-", "-"], "stdin is named twice"),
        (["data/e.jsonl", "--only", "some"], "--only takes"),
        (["data/e.jsonl", "--workers", "processes"], "--workers is of an origin"),
        (["data/e.jsonl", "--workers", "foo"], "--workers is of an origin"),
        (["data/e.jsonl", "--origin-timeout", "1s"], "--origin-timeout is of an origin"),
        (["loaded", "--origin-concurrency", "2"], "--origin-concurrency is of an origin"),
        (["computed", "--plan", "--report", "r.md"], "--report is of a warm"),
        (["computed", "--coverage", "0%"], "chooses nothing"),
        (["data/e.jsonl", "--only", "expiring:x"], "duration"),
        (["data/e.jsonl", "--only", ""], "--only takes"),
        (["data/r.jsonl", "--origin", ""], "--origin is empty"),
        (["data/r.jsonl", "--origin", "natal_origin2:chart", "-n", ""], "--namespace is empty"),
        (["loaded", "unproven"], "nosample.jsonl"),
        (["data/e.jsonl", "--max-failed", "x"], "--max-failed takes"),
        (["data/e.jsonl", "--ttl", "0"], "longer than 0"),
        (["data/e.jsonl", "--verify", "same"], "same"),
        (["data/e.jsonl", "--min-hit-rate", "50%"], "--verify FILE"),
        (["data/e.jsonl", "--min-hit-rate", "150%"], "share"),
        (["data/r.jsonl", "--origin", "nomodule:f"], "nomodule"),
        (["data/r.jsonl", "--origin", "natal_origin2:nofunction"], "nofunction"),
        (["data/r.jsonl", "--origin", "natal_origin2:sys"], "not callable"),
        (["data/r.jsonl", "--origin", "natal_origin2"], "package.module:callable"),
        (["data"], "no job"),
        (["./data"], "directory"),
        ([], "nothing to warm"),
        (["--verify-only"], "nothing to verify"),
    ],
)
def test_what_cannot_be_is_2_and_nothing_is_attempted(
    run: Run, server: ServerProcess, jobs: Path, words: list[str], says: str
):
    result = run("warm", *words)
    assert (result.code, result.out) == (2, b"")
    assert says in result.err
    assert len(result.err.splitlines()) == 1
    assert server.raw("DBSIZE") == 0


def test_more_calls_at_a_time_than_requests_are_not_begun(
    on: Run, workdir: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each caller is a task: a number that is too large by far would use up memory and time."""
    begun = []
    each = compute._call

    def call(*given: Any) -> Any:
        begun.append(given)
        return each(*given)

    monkeypatch.setattr(compute, "_call", call)
    (workdir / "natal_origin2.py").write_text(ORIGIN)
    lines(workdir / "r.jsonl", {"params": {"n": 1}}, {"params": {"n": 2}})
    words = ("--origin", "natal_origin2:chart", "-n", "t", "--origin-concurrency", "5000")
    assert on("warm", "r.jsonl", *words).code == 0
    assert len(begun) == 2


def test_on_deploy_without_a_marked_job_is_2(on: Run):
    assert on("warm", "--on-deploy").code == 2


def test_the_rollback_switch_lets_a_deploy_pass(
    run: Run, server: ServerProcess, jobs: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ENABLE_CACHE", "0")
    result = run("warm", "--on-deploy", "-o", "json")
    assert result.code == 0
    assert {row["stopped"] for row in result.lines} == {"disabled"}
    assert server.raw("DBSIZE") == 0


def test_failures_that_are_allowed(on: Run, workdir: Path):
    lines(workdir / "e.jsonl", {"key": "a", "value": 1}, {}, {}, {"key": "b", "value": 1})
    assert on("warm", "e.jsonl", "--max-failed", "1").code == 1
    assert on("warm", "e.jsonl", "--max-failed", "2").code == 0
    assert on("warm", "e.jsonl", "--max-failed", "50%").code == 0
    assert on("warm", "e.jsonl", "--max-failed", "49%").code == 1
    fast = on("warm", "e.jsonl", "--fail-fast", "-o", "json")
    assert (fast.code, fast.json["stopped"]) == (1, "fail_fast")


def test_oom_fails_entries_with_1_and_a_replica_refuses_with_4(
    on: Run, server: ServerProcess, workdir: Path
):
    lines(workdir / "e.jsonl", *({"key": f"k{n}", "value": "x" * 1000} for n in range(100)))
    server.raw("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    result = on("warm", "e.jsonl", "-o", "json")
    assert (result.code, result.json["failed"]) == (1, 100)
    assert len(result.json["errors"]) == 20
    assert "OOM" in result.json["errors"][0]["message"]
    server.raw("CONFIG", "SET", "maxmemory", "0")
    server.raw("REPLICAOF", "127.0.0.1", "1")
    refused = on("warm", "e.jsonl")
    assert (refused.code, refused.out) == (4, b"")
    assert "127.0.0.1:1" in refused.err


def test_nobody_there_is_3_and_best_effort_makes_it_0(run: Run, workdir: Path):
    lines(workdir / "e.jsonl", {"key": "a", "value": 1})
    words = ["-u", "redis://127.0.0.1:1/0", "warm", "e.jsonl"]
    assert run(*words).code == 3
    forgiven = run(*words, "--best-effort")
    assert forgiven.code == 0
    assert "connection refused" in forgiven.err
    assert "warning" in forgiven.err


def test_a_job_that_cannot_be_keeps_the_others_from_writing(
    run: Run, server: ServerProcess, jobs: Path
):
    """2 means that nothing was attempted, whichever job comes first."""
    for words in (["loaded", "other"], ["other", "loaded"]):
        result = run("warm", *words)
        assert (result.code, result.out) == (2, b"")
    assert server.raw("DBSIZE") == 0


def test_the_deadline_is_of_all_jobs_together(
    run: Run, server: ServerProcess, jobs: Path, workdir: Path
):
    (workdir / "natal_origin2.py").write_text(
        "import asyncio\nasync def chart(**params):\n    await asyncio.sleep(30)\n"
    )
    sys.modules.pop("natal_origin2", None)
    result = run("--deadline", "300ms", "warm", "computed", "loaded", "-o", "json")
    sys.modules.pop("natal_origin2", None)
    assert result.code == 1
    assert [row["job"] for row in result.lines] == ["computed"]
    assert "loaded was not begun" in result.err
    assert server.raw("DBSIZE") == 0


def test_read_only_lets_a_dry_run_and_a_measurement_through(
    run: Run, settings, server: ServerProcess, workdir: Path
):
    settings("default_profile: p\nprofiles: {p: {url: 'URL', read_only: true}}\n")
    lines(workdir / "e.jsonl", {"key": "a", "value": 1})
    lines(workdir / "s.jsonl", {"key": "a"})
    assert run("warm", "e.jsonl", "--dry-run").code == 0
    assert run("warm", "--verify-only", "--verify", "s.jsonl").code == 0
    assert run("warm", "e.jsonl").code == 5
    assert server.raw("DBSIZE") == 0
