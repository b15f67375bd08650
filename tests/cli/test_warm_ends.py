"""How warms end: by signals while others compute, by packages and machines that are not there."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cachectl.cli import progress
from tests.cli.conftest import Run
from tests.plans import delayed
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.services import Service

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
ORIGIN = """
import os, subprocess, time
def spins(n):
    if n < 5:
        return n
    child = subprocess.Popen(["sleep", "60"])
    for pid in (os.getpid(), child.pid):
        open(f"pid-{pid}", "w").close()
    while True:
        pass
def naps(n):
    time.sleep(0.05)
    return n
def dawdles(n):
    time.sleep(1.2)
    return n
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(workdir: Path) -> Iterator[Start]:
    """Start a program beside; it is killed with the test, with all that it has started."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, *map(str, words)]
        process = subprocess.Popen(command, env=ENV, start_new_session=True, **pipes)
        started.append(process)
        return process

    (workdir / "ends_origin.py").write_text(ORIGIN)
    yield start
    for process in started:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(happened: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def requests(count: int) -> None:
    Path("r.jsonl").write_text("".join(f'{{"params":{{"n":{n}}}}}\n' for n in range(count)))


def adds_up(report: dict[str, Any]) -> bool:
    parts = ("written", "skipped", "failed", "unknown", "unsent")
    return bool(report["entries"] == sum(report[part] for part in parts))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_processes_compute(
    start: Start, server: ServerProcess, workdir: Path, number: int, code: int
):
    """A report within a second, and neither the processes nor what they started outlive it."""
    requests(50)
    words = ["warm", "r.jsonl", "--origin", "ends_origin:spins", "-n", "t", "--workers"]
    process = start("-m", "cachectl", "-u", server.url, "-o", "json", *words, "processes")
    wait_until(lambda: len(list(workdir.glob("pid-*"))) >= 4 and server.raw("DBSIZE") == 5)
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 1.5
    report = json.loads(out)
    assert (process.returncode, report["exit_code"], report["stopped"]) == (
        code,
        code,
        "interrupted",
    )
    assert (report["written"], report["entries"]) == (5, 50)
    assert adds_up(report)
    assert err == b""
    pids = [int(path.name.removeprefix("pid-")) for path in workdir.glob("pid-*")]
    wait_until(lambda: not any(map(lives, pids)), 2)


def test_a_signal_while_a_stopped_warm_is_proven(
    start: Start, server: ServerProcess, workdir: Path
):
    """The first signal still ends with the report; it is its exit code that counts."""
    Path("e.jsonl").write_text("{}\n")
    Path("s.jsonl").write_text("".join(f'{{"key":"s{n}"}}\n' for n in range(3000)))
    words = ["warm", "e.jsonl", "--fail-fast", "--verify", "s.jsonl", "-o", "json"]
    with Proxy(server, delayed(0.1)) as proxy:
        process = start("-m", "cachectl", "-u", proxy.url, *words)

        def looks_again() -> bool:
            calls = re.search(r"calls=(\d+)", server.info("commandstats").get("cmdstat_exists", ""))
            return calls is not None and int(calls[1]) > 3000

        server.raw("CONFIG", "RESETSTAT")
        wait_until(looks_again)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert time.monotonic() - begun < 1.5
    report = json.loads(out)
    assert (process.returncode, report["exit_code"], report["stopped"]) == (130, 130, "fail_fast")
    assert "after" in report["hit_rate"]["unknown_fields"]


@pytest.fixture
def scheduler(start: Start, workdir: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Dask scheduler; give its process and its address as `--workers` takes it."""
    pytest.importorskip("distributed")
    dask = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", 0]
    process = start(*dask, "--host", "127.0.0.1", "--scheduler-file", "dask.json")
    wait_until(lambda: Path("dask.json").exists() and Path("dask.json").read_text())
    return process, str(json.loads(Path("dask.json").read_text())["address"])


@pytest.mark.parametrize("who", ["scheduler", "worker"])
def test_a_dask_that_dies_halfway(
    start: Start,
    server: ServerProcess,
    workdir: Path,
    scheduler: tuple[subprocess.Popen[bytes], str],
    who: str,
):
    """What was computed is written, the rest is told, soon; stderr holds no library's words."""
    process, address = scheduler
    dask = ["-m", "distributed.cli.dask_worker", address, "--nthreads", 1, "--no-nanny"]
    worker = start(*dask, "--no-dashboard", "--local-directory", workdir)
    requests(400)
    origin = ["--origin", "ends_origin:naps", "-n", "t", "--origin-timeout", "1s"]
    workers = ["--workers", address.replace("tcp", "dask")]
    command = ["-m", "cachectl", "-u", server.url, "-o", "json", "warm", "r.jsonl"]
    warm = start(*command, *origin, *workers)
    wait_until(lambda: server.raw("DBSIZE") > 5)
    (process if who == "scheduler" else worker).kill()
    out, err = warm.communicate(timeout=30)
    report = json.loads(out)
    assert (warm.returncode, report["stopped"]) == (1, "origin")
    assert adds_up(report)
    assert report["written"] == server.raw("DBSIZE")
    assert report["unsent"] > 100
    lost = "the Dask scheduler was lost"
    why = lost if who == "scheduler" else "no Dask worker had computed it within 1s"
    assert why in report["errors"][0]["message"]
    assert err == b""


def test_a_dask_scheduler_that_is_not_there_is_not_the_cache_server(on: Run, workdir: Path):
    """3, and the message names no setting of the server."""
    pytest.importorskip("distributed")
    (workdir / "ends_origin.py").write_text(ORIGIN)
    requests(1)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        dask = f"dask://127.0.0.1:{held.getsockname()[1]}"
        words = ["--origin", "ends_origin:naps", "-n", "t", "--origin-timeout", "300ms"]
        result = on("warm", "r.jsonl", *words, "--workers", dask)
    assert (result.code, result.out) == (3, b"")
    assert "did not answer within 300ms" in result.err
    assert "server from" not in result.err


WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from cachectl.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("blocked", "origin", "extra"),
    [
        ({"aiohttp", "yarl"}, '{http: "http://localhost:1", path: "/{n}"}', "http"),
        ({"distributed"}, '{call: "ends_origin:naps", workers: "dask://localhost:1"}', "dask"),
    ],
)
@pytest.mark.parametrize("how", [[], ["--dry-run"]])
def test_an_extra_that_is_not_installed(
    start: Start,
    server: ServerProcess,
    settings: Callable[[str], Path],
    workdir: Path,
    blocked: set[str],
    origin: str,
    extra: str,
    how: list[str],
):
    """The command that installs it is named, and nothing is attempted: not the job before it either."""
    requests(2)
    Path("e.jsonl").write_text('{"key":"a","value":1}\n')
    jobs = (
        f"  a: {{entries: e.jsonl}}\n  b: {{requests: r.jsonl, origin: {origin}, namespace: t}}\n"
    )
    settings(f"default_profile: p\nprofiles: {{p: {{url: 'URL'}}}}\nwarm:\n{jobs}")
    process = start("-c", WITHOUT.format(blocked=blocked), "warm", "a", "b", *how)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, b"")
    assert f"pip install 'cachectl[{extra}]'".encode() in err
    assert len(err.splitlines()) == 1
    assert server.raw("DBSIZE") == 0


@pytest.mark.parametrize("how", [(), ("--best-effort",)])
def test_a_deadline_that_passes_before_the_work_begins_is_no_success(
    start: Start, server: ServerProcess, workdir: Path, how: tuple[str, ...]
):
    """The origin takes longer to import: 1, in the report as well, unless that is forgiven."""
    Path("slow_origin.py").write_text("import time\ntime.sleep(1.5)\ndef f(n): return n\n")
    requests(2)
    words = ["--deadline", "1s", "warm", "r.jsonl", "--origin", "slow_origin:f", "-n", "t"]
    process = start("-m", "cachectl", "-u", server.url, *words, *how, "--report", "r.json")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0 if how else 1, b"")
    assert b"the warm was not begun" in err
    told = json.loads(Path("r.json").read_text())
    assert (told["exit_code"], told["error"]["code"]) == (1, "not_begun")
    assert server.raw("DBSIZE") == 0


def test_a_second_signal_is_told_in_the_report(start: Start, server: ServerProcess, workdir: Path):
    """What was written is not counted any more, but nobody says that nothing was."""
    requests(2000)
    words = ["warm", "r.jsonl", "--origin", "ends_origin:naps", "-n", "t", "--report", "r.json"]
    process = start("-m", "cachectl", "-u", server.url, *words)
    wait_until(lambda: server.raw("DBSIZE") > 20)
    server.sigstop()  # the report would wait for it a moment
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)  # the first one is heard: two at once would be one
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    server.sigcont()
    assert process.returncode == 130
    told = json.loads(Path("r.json").read_text())
    assert (told["exit_code"], told["error"]["code"]) == (130, "cut_short")


def test_a_measurement_is_disabled_with_the_rest(
    on: Run, workdir: Path, monkeypatch: pytest.MonkeyPatch
):
    """The gate that follows the warm in a pipeline lets a rollback deploy, too."""
    Path("s.jsonl").write_text('{"key": "a"}\n')
    monkeypatch.setenv("ENABLE_CACHE", "false")
    words = ["--verify-only", "--verify", "s.jsonl", "--min-hit-rate", "50%", "-o", "json"]
    result = on("warm", *words)
    assert (result.code, result.json["stopped"]) == (0, "disabled")


def test_a_stalled_warm_still_tells_where_it_is(
    on: Run, workdir: Path, monkeypatch: pytest.MonkeyPatch
):
    """A log gets its line when it is time, also before the first news and while nothing happens."""
    monkeypatch.setattr(progress, "LOG_PAUSE", 0.3)
    monkeypatch.setattr(progress, "LOG_TICK", 0.01)
    (workdir / "ends_origin.py").write_text(ORIGIN)
    requests(1)
    words = ["warm", "r.jsonl", "--origin", "ends_origin:dawdles", "-n", "t", "--workers"]
    told = on(*words, "threads").err.splitlines()
    assert told.count("warming: 0 of 1 (0%), 0/s, hit rate 0.0 % so far") >= 2
    assert on("-q", *words, "threads", "--only", "all").err == ""


SERVICE = """
warm:
  pages:
    requests: {requests}
    origin: {{http: "http://localhost:1", path: "/v?n={{n}}&m={{m}}"}}
    namespace: t
"""


def test_a_dry_run_sees_what_the_path_of_an_origin_lacks(
    on: Run, settings: Callable[[str], Path], server: ServerProcess
):
    """The warm could not ask for it either."""
    Path("r.jsonl").write_text('{"params":{"n":1}}\n{"params":{"n":1,"m":2}}\n')
    settings(SERVICE.format(requests="r.jsonl"))
    report = on("warm", "pages", "--dry-run", "-o", "json").json
    assert (report["failed"], report["unsent"], report["exit_code"]) == (1, 1, 1)
    assert report["errors"][0]["message"] == (
        "the origin's path needs {m}, which the request does not have"
    )
    assert report["errors"][0]["line"] == 1


LOG = '1.2.3.4 - - [17/May/2025:10:05:03 +0000] "GET {} HTTP/1.1" 200 5\n'
JSON_LOG = '{{"method": "GET", "target": "{}", "status": 200, "params": {{"a": 1}}}}\n'
LISTS = {
    "s.jsonl": '{"key": "page:/a", "count": 3}\n{"key": "page:/b"}\n',
    "params": '\n {"namespace": "t", "params": {"n": 1}}\n',
    "s.txt": "page:/a\npage:/b\n",
}
LOGS = {
    "common.log": LOG.format("/a") + LOG.format("/b"),
    "json.log": JSON_LOG.format("/a") + JSON_LOG.format("/b"),
}


@pytest.fixture
def log_job(settings: Callable[[str], Path], workdir: Path) -> None:
    """A job of a log, and samples of every kind."""
    (workdir / "first.log").write_text(LOG.format("/a"))
    for name, text in (LISTS | LOGS).items():
        (workdir / name).write_text(text)
    settings(SERVICE.format(requests='{log: first.log, route: {key: "page:{target}"}}'))


@pytest.mark.parametrize("name", [*LISTS, *LOGS])
def test_the_sample_of_a_log_job_is_a_log_or_a_list(
    on: Run, server: ServerProcess, log_job: None, name: str
):
    """Its first line tells, whatever its name is."""
    server.raw("SET", "page:/a", "1")
    result = on("warm", "pages", "--verify-only", "--verify", name, "-o", "json")
    assert result.code == 0, result.err
    rate = result.json["hit_rate"]
    expected = {"s.jsonl": (0.75, 2), "params": (0.0, 1)}.get(name, (0.5, 2))
    assert (rate["after"], rate["keys"]) == expected


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("/caf\\xe9", "/caf%E9"), ("/caf\u00e9?q=\u20ac", "/caf%C3%A9?q=%E2%82%AC")],
)
def test_a_target_of_any_bytes_is_asked_for(
    on: Run, server: ServerProcess, settings: Callable[[str], Path], asked: str, sent: str
):
    """As it was asked: nginx writes bytes that are no UTF-8 as \\xE9."""
    Path("first.log").write_text(LOG.format("/a") + LOG.format(asked))
    raw: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        raw.append(request.raw_path)
        return web.json_response(1)

    with Service(answer) as service:
        job = SERVICE.replace("http://localhost:1", service.url)
        settings(job.format(requests='{log: first.log, route: {key: "page:{target}"}}'))
        result = on("warm", "pages", "-o", "json")
    assert (result.code, result.json["written"]) == (0, 2), result.err
    assert sorted(raw) == sorted(["/a", sent])


def test_a_gate_without_a_sample_names_the_job(on: Run, log_job: None):
    """Of several jobs one may lack it."""
    result = on("warm", "pages", "--min-hit-rate", "50%")
    assert result.code == 2
    assert "the job pages: a required hit rate needs a sample" in result.err


def test_samples_of_two_kinds_are_2(on: Run, log_job: None):
    """They would be two samples."""
    words = ["--verify", "common.log", "--verify", "s.jsonl"]
    result = on("warm", "pages", "--verify-only", *words)
    assert result.code == 2
    assert "logs and lists of requests (s.jsonl) together" in result.err
