"""Every cachectl command of docs/ci.md works as it stands there, with what its CI would set.

The scripts are run whole; programs of others (pip, kubectl) are stubs that do nothing.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.servers import ServerProcess

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ci.md"
CACHE = "rediss://cache.example.com:6379/0"
TEXTFILES = "/var/lib/node_exporter/textfile_collector"
SET_BY_CI = {"GITHUB_STEP_SUMMARY", "CI_NODE_INDEX", "CI_NODE_TOTAL", "JOB_COMPLETION_INDEX"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")


class Recipes(NamedTuple):
    """The blocks of the page: YAML by the name in its first line, and shell scripts."""

    files: dict[str, Any]
    scripts: list[str]


def recipes() -> Recipes:
    files, scripts = {}, []
    for language, text in _BLOCK.findall(PAGE.read_text()):
        if language == "yaml":
            files[text.partition("\n")[0].removeprefix("# ")] = yaml.safe_load(text)
        else:
            assert language == "sh"
            scripts.append(text)
    return Recipes(files, scripts)


def commands(node: Any) -> Iterator[str]:
    """Yield the shell scripts that a CI runs: the texts under run, script and command, in order."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "command":
                yield shlex.join(map(str, value))
            elif name in {"run", "script", "before_script"}:
                yield value if isinstance(value, str) else "\n".join(value)
            else:
                yield from commands(value)
    elif isinstance(node, list):
        for value in node:
            yield from commands(value)


class Ended(NamedTuple):
    """How a script ended, and with which words it called cachectl."""

    code: int
    err: str
    calls: list[str]


Run = Callable[..., Ended]


@pytest.fixture
def checkout(workdir: Path, server: ServerProcess) -> Path:
    """Make the application's checkout: its settings lead to the test's server."""
    server.raw("ACL", "SETUSER", "cachectl", "on", ">secret", "~*", "+@all")
    text = next(t for _, t in _BLOCK.findall(PAGE.read_text()) if t.startswith("# cachectl.yaml"))
    (workdir / "cachectl.yaml").write_text(text.replace(CACHE, server.url))
    (workdir / "cachectl.yaml").chmod(0o600)
    for name in ("births.jsonl", "last-hour.jsonl"):
        (workdir / name).write_bytes((ROOT / "examples" / "natal" / name).read_bytes())
    (workdir / "examples").symlink_to(ROOT / "examples")
    return workdir


@pytest.fixture
def script(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a script in bash where `cachectl` is this one; it notes its calls."""
    programs = tmp_path_factory.mktemp("bin")
    calls = programs / "calls"
    cachectl = f'echo "$@" >> {calls}\nexec {shlex.quote(sys.executable)} -m cachectl "$@"'
    for name, text in {"cachectl": cachectl, "pip": "", "kubectl": ""}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)

    def run(text: str, **variables: str) -> Ended:
        calls.write_text("")
        known = {"CACHE_PASSWORD": "secret", "PATH": f"{programs}:{os.environ['PATH']}"}
        ours = {name: value for name, value in os.environ.items() if name not in SET_BY_CI}
        env = {**ours, "PYTHONPATH": str(ROOT), **known, **variables}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=checkout,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stderr, calls.read_text().splitlines())

    return run


def unfit(checkout: Path) -> None:
    """Let the sample be of charts that nobody warms."""
    requests = [{"params": {"date": "2001-01-01T00:00Z", "lat": i, "lon": i}} for i in range(50)]
    text = "".join(json.dumps(request) + "\n" for request in requests)
    (checkout / "last-hour.jsonl").write_text(text)


def cases_in(report: Path) -> dict[str | None, list[str]]:
    """Return what became of each test in a JUnit file: nothing, or failure, error, skipped."""
    return {
        case.get("name"): [fate.tag for fate in case if fate.tag != "system-out"]
        for case in ET.parse(report).iter("testcase")
    }


def test_github_warms_and_holds_the_gate(checkout: Path, script: Run):
    """The summary of the run has the report; what is uploaded is there."""
    workflow = recipes().files[".github/workflows/warm.yml"]
    variables = literal(workflow["jobs"]["warm"]["env"])
    summary = checkout / "summary"
    [install, warm] = commands(workflow)
    assert script(install, **variables).code == 0
    done = script(warm, **variables, GITHUB_STEP_SUMMARY=str(summary))
    assert (done.code, len(done.calls)) == (0, 1), done.err
    assert cases_in(checkout / "warm.xml") == {"entries": [], "hit rate": []}
    assert (checkout / "warm.md").read_text() in summary.read_text()
    assert json.loads((checkout / "warm.json").read_text())["hit_rate"]["met"] is True
    assert warm.count("--report warm.") == 3


def test_a_failed_gate_fails_the_job_and_is_reported(checkout: Path, script: Run):
    """Exit code 1; `if: always()` uploads reports that are there."""
    workflow = recipes().files[".github/workflows/warm.yml"]
    unfit(checkout)
    [_, warm] = commands(workflow)
    done = script(warm, **literal(workflow["jobs"]["warm"]["env"]))
    assert done.code == 1
    assert cases_in(checkout / "warm.xml") == {"entries": [], "hit rate": ["failure"]}
    assert "## `charts`: failed" in (checkout / "warm.md").read_text()


def test_a_server_that_is_not_there_is_reported(checkout: Path, script: Run):
    """The JUnit file exists: an error, not a missing file."""
    workflow = recipes().files[".github/workflows/warm.yml"]
    settings = checkout / "cachectl.yaml"
    settings.write_text(re.sub("url: .*", "url: unix:///nowhere.sock", settings.read_text()))
    [_, warm] = commands(workflow)
    done = script(warm, **literal(workflow["jobs"]["warm"]["env"]))
    assert done.code == 3
    assert cases_in(checkout / "warm.xml")["entries"] in (["error"], ["failure"])
    assert json.loads((checkout / "warm.json").read_text())["exit_code"] == 3


def test_gitlab_warms_in_parts_and_then_holds_the_gate(
    checkout: Path, script: Run, server: ServerProcess
):
    """The parts write every chart once; each leaves the reports that are its artifacts."""
    pipeline = recipes().files[".gitlab-ci.yml"]
    common, warm, gate = (pipeline[name] for name in (".cachectl", "warm", "hit-rate"))
    parts = []
    for index in range(1, warm["parallel"] + 1):
        env = {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(warm["parallel"])}
        done = script(next(commands(warm)), **literal(common["variables"]), **env)
        assert (done.code, len(done.calls)) == (0, 1), done.err
        [suite] = ET.parse(checkout / common["artifacts"]["reports"]["junit"]).iter("testsuite")
        parts.append(suite.get("name"))
    assert parts == [f"charts {n}/4" for n in range(1, 5)]
    assert len(server.raw("KEYS", "natal:*")) == charts(checkout)
    done = script(next(commands(gate)), **literal(common["variables"]))
    assert (done.code, len(done.calls)) == (0, 1), done.err
    assert cases_in(checkout / "warm.xml") == {"entries": [], "hit rate": []}
    for path in common["artifacts"]["paths"]:
        assert (checkout / path).exists()


def test_gitlabs_gate_fails_for_a_cold_cache(script: Run):
    pipeline = recipes().files[".gitlab-ci.yml"]
    done = script(
        next(commands(pipeline["hit-rate"])), **literal(pipeline[".cachectl"]["variables"])
    )
    assert done.code == 1


def test_kubernetes_warms_in_parts_and_then_holds_the_gate(
    checkout: Path, script: Run, server: ServerProcess
):
    """As many parts as there are completions; the settings are named, for they may be root's."""
    files = recipes().files
    warm, gate = files["warm.yaml"], files["warm-gate.yaml"]
    completions = warm["spec"]["completions"]
    [part] = commands(warm)
    assert part.endswith(f"--part auto/{completions}")
    for index in range(completions):
        done = script(part, **container(warm, checkout), JOB_COMPLETION_INDEX=str(index))
        assert (done.code, len(done.calls)) == (0, 1), done.err
    assert len(server.raw("KEYS", "natal:*")) == charts(checkout)
    [verify] = commands(gate)
    done = script(verify, **container(gate, checkout))
    assert (done.code, len(done.calls)) == (0, 1), done.err
    unfit(checkout)
    assert script(verify, **container(gate, checkout)).code == 1


def test_the_files_that_kubectl_applies_are_on_the_page(script: Run):
    """Under the names of their jobs, for which it waits."""
    page = recipes()
    [rollout] = [text for text in page.scripts if "kubectl" in text]
    assert script(rollout) == Ended(0, "", [])
    for file in re.findall(r"apply -f (\S+)", rollout):
        assert f"kubectl wait job/{page.files[file]['metadata']['name']} " in rollout


def deploy_scripts(checkout: Path) -> list[str]:
    """Return the scripts of a deploy, with this machine's folder and a shorter watch."""
    texts = [text for text in recipes().scripts if "cachectl" in text and "kubectl" not in text]
    return [text.replace(TEXTFILES, str(checkout)).replace("60s", "0.1s") for text in texts]


def test_the_deploy_script_warms_and_watches(checkout: Path, script: Run):
    """Two commands; node_exporter's file is whole and readable."""
    [deploy, *_] = deploy_scripts(checkout)
    done = script(deploy)
    assert (done.code, len(done.calls)) == (0, 2), done.err
    metrics = checkout / "cachectl_warm.prom"
    assert (
        'cachectl_warm_success{profile="production",warm_job="charts"} 1.0' in metrics.read_text()
    )
    assert metrics.stat().st_mode & 0o777 == 0o644
    assert "Live, as the server counts:" in (checkout / "live.md").read_text()


def test_the_deploy_script_stops_at_the_gate(checkout: Path, script: Run):
    """`set -e`: what comes after the gate is not reached; with --best-effort it is."""
    unfit(checkout)
    deploy, best_effort, _ = deploy_scripts(checkout)
    done = script(deploy)
    assert (done.code, len(done.calls)) == (1, 1), done.err
    env = {"CACHECTL_PROFILE": "production"}
    done = script(best_effort, **env)
    assert (done.code, len(done.calls)) == (0, 1), done.err
    report = (checkout / "warm.md").read_text()
    assert "exit code 1." in report
    assert "**not met**" in report


def test_a_rollback_deploys(checkout: Path, script: Run, server: ServerProcess):
    """ENABLE_CACHE=false: nothing is warmed, the gate is not asked for, exit code 0."""
    *_, rollback = deploy_scripts(checkout)
    done = script(rollback, CACHECTL_PROFILE="production")
    assert (done.code, len(done.calls)) == (0, 1), done.err
    assert "the cache is disabled" in done.err
    assert "**disabled**" in (checkout / "warm.md").read_text()
    assert server.raw("DBSIZE") == 0


def test_the_alert_is_of_metrics_that_a_report_has(checkout: Path, script: Run):
    [group] = recipes().files["rules.yml"]["groups"]
    names = re.findall(r"cachectl_\w+", group["rules"][0]["expr"])
    [deploy, *_] = deploy_scripts(checkout)
    assert script(deploy).code == 0
    report = (checkout / "cachectl_warm.prom").read_text()
    assert names
    assert [name for name in names if f"\n{name}{{" not in report] == []


def test_links_lead_somewhere():
    """To pages that are there, and to headings that they have."""
    for target, heading in _LINK.findall(PAGE.read_text()):
        page = PAGE.parent / target if target else PAGE
        assert page.exists()
        headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
        anchors = [re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in headings]
        assert not heading or heading in anchors


def literal(variables: Mapping[str, str]) -> dict[str, str]:
    """Leave out the variables that the CI's own secrets fill."""
    return {name: value for name, value in variables.items() if "${{" not in value}


def container(job: Any, checkout: Path) -> dict[str, str]:
    """Return the variables of a job's container; /app is the checkout."""
    [one] = job["spec"]["template"]["spec"]["containers"]
    given = {v["name"]: v["value"] for v in one["env"] if "value" in v}
    return {name: value.replace("/app", str(checkout)) for name, value in given.items()}


def charts(checkout: Path) -> int:
    """Return how many different charts are asked for."""
    return len(set((checkout / "births.jsonl").read_text().splitlines()))
