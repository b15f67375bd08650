"""warm --report: several jobs in one file, what went wrong before and after the work."""

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Run
from tests.operations.operating import entries
from tests.servers import ServerProcess

JOBS = """
profiles:
  test: {url: "URL"}
default_profile: test
warm:
  good: {entries: good.jsonl, on_deploy: true}
  cold:
    entries: cold.jsonl
    verify: {requests: sample.jsonl, min_hit_rate: 50%}
    on_deploy: true
"""


@pytest.fixture
def jobs(settings: Callable[[str], Path], workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make two jobs: the entries of both are written, the second one's gate is not met."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    entries(workdir / "good.jsonl", 3)
    entries(workdir / "cold.jsonl", 2)
    (workdir / "sample.jsonl").write_text('{"key": "n:0"}\n{"key": "other", "count": 9}\n')
    return settings(JOBS)


def names(path: str) -> dict[str | None, list[str]]:
    """Return the tests of a JUnit file that did not succeed, by suite."""
    return {
        suite.get("name"): [str(c.get("name")) for c in suite.iter("testcase") if len(c)]
        for suite in ET.parse(path).iter("testsuite")
    }


def test_several_jobs_are_in_one_file_of_each_format(run: Run, jobs: Path):
    """And the exit code is the worst of them."""
    paths = ("r.md", "r.xml", "r.prom", "r.json")
    done = run("warm", "--on-deploy", *(word for path in paths for word in ("--report", path)))
    assert done.code == 1, done.err
    page = Path("r.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## `good`: passed",
        "## `cold`: failed",
    ]
    assert list(names("r.xml")) == ["good", "cold"]
    metrics = Path("r.prom").read_text()
    assert 'cachectl_warm_success{profile="test",warm_job="good"} 1.0' in metrics
    assert 'cachectl_warm_success{profile="test",warm_job="cold"} 0.0' in metrics
    assert [(one["job"], one["exit_code"]) for one in json.loads(Path("r.json").read_text())] == [
        ("good", 0),
        ("cold", 1),
    ]


def test_one_job_is_the_object_that_is_printed(run: Run, jobs: Path):
    done = run("-o", "json", "warm", "good", "--report", "r.json")
    assert done.code == 0, done.err
    assert json.loads(Path("r.json").read_text()) == done.json


def test_best_effort_does_not_gloss_over_the_report(run: Run, jobs: Path):
    """It keeps the true exit code, and that the gate was not met."""
    done = run("warm", "cold", "--best-effort", "--report", "r.json", "--report", "r.xml")
    assert done.code == 0
    report = json.loads(Path("r.json").read_text())
    assert (report["exit_code"], report["hit_rate"]["met"]) == (1, False)
    assert 'failures="1"' in Path("r.xml").read_text()


def test_a_server_that_is_not_there_is_told(run: Run, jobs: Path, server: ServerProcess):
    """A missing JUnit file would pass for a job that never ran; the error is in it.

    So is the second job, which the error of the first one kept from being warmed.
    """
    jobs.write_text(jobs.read_text().replace(server.url, "unix:///nowhere.sock"))
    done = run("warm", "--on-deploy", "--report", "r.xml", "--report", "r.json")
    assert done.code == 3
    assert done.err.count("error: ") == 1
    error, unbegun = ET.parse("r.xml").iter("error")
    assert "/nowhere.sock" in str(error.get("message"))
    assert unbegun.get("message") == "it was not warmed: the command had ended before"
    report, second = json.loads(Path("r.json").read_text())
    assert report["exit_code"] == 3
    assert report["error"]["message"] in str(error.get("message"))
    assert (second["job"], second["exit_code"], second["error"]["code"]) == ("cold", 1, "not_begun")


def test_with_best_effort_each_job_that_failed_is_told(run: Run, jobs: Path, server: ServerProcess):
    jobs.write_text(jobs.read_text().replace(server.url, "unix:///nowhere.sock"))
    done = run("warm", "--on-deploy", "--best-effort", "--report", "r.xml")
    assert done.code == 0
    assert list(names("r.xml")) == ["good", "cold"]


def test_a_source_whose_name_is_no_text_is_in_all_formats(on: Run):
    """A file's name may be any bytes: every report is written nevertheless, in UTF-8."""
    name = os.fsdecode(b"b\xff.jsonl")
    Path(name).write_text("{\n")
    paths = ("r.md", "r.xml", "r.prom", "r.json")
    done = on("warm", f"./{name}", *(word for path in paths for word in ("--report", path)))
    assert done.code == 1, done.err
    page, *_, report = [Path(path).read_text("utf-8") for path in paths]
    assert "`./b\\xff.jsonl:1`" in page
    assert json.loads(report)["errors"][0]["source"] == f"./{name}"


def test_a_report_that_cannot_be_is_said_before_anything_is_done(
    run: Run, jobs: Path, server: ServerProcess
):
    done = run("warm", "good", "--report", "r.txt")
    assert done.code == 2
    assert (
        "--report r.txt: its ending tells the format (one of .md, .xml, .prom, .json)" in done.err
    )
    assert server.raw("DBSIZE") == 0


@pytest.mark.parametrize("more", [[], ["--best-effort"]])
def test_a_report_that_could_not_be_written_is_1_after_the_warm(
    run: Run, jobs: Path, server: ServerProcess, more: list[str]
):
    """The disk is full: the work is done and shown, and the reason stands in one line."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        done = run("warm", "good", "--report", "r.md", *more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 1
    assert done.err == "error: r.md: file too large\n"
    assert "written  3" in done.text
    assert server.raw("DBSIZE") == 3
    assert not Path("r.md").exists()
