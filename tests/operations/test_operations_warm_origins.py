"""Warms from services over HTTP, from processes and from a Dask cluster, in all their weathers."""

import asyncio
import errno
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from cachectl.config.settings import Origin
from cachectl.errors import UsageError
from cachectl.keys import make_key
from cachectl.models import Request
from cachectl.operations.stop import Stop
from cachectl.operations.warm import compute
from cachectl.operations.warm.plan import Only, Warm
from cachectl.reports.warm import WarmReport
from cachectl.sources.origins import limits
from cachectl.sources.origins import processes as local_processes
from cachectl.sources.origins.failure import OriginError, OriginGoneError
from cachectl.sources.origins.open import open_origin
from cachectl.store.store import Store
from tests.operations import callables
from tests.operations.operating import (
    keys_of,
    lines,
    origin,
    requests,
    run,
    soon,
    user_with,
    warm_with,
    warmed,
)
from tests.servers import ServerProcess
from tests.services import Answer, Service

PATH = "/v?n={n}"


def service_origin(service: Service, **more: Any) -> Origin:
    return Origin(http=service.url, **{"path": PATH, "timeout": 5.0, **more})


def asked(
    server: ServerProcess, tmp_path: Path, service: Service, count: int = 10, **more: Any
) -> WarmReport:
    """Warm `count` requests from a service, in bounded time; messages are of one line."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(count)])
    start = time.monotonic()
    report = warmed(server, source, namespace="q", origin=service_origin(service, **more))
    assert time.monotonic() - start < 10
    assert all("\n" not in problem.message for problem in report.errors)
    return report


def always(status: int = 200, text: str = "1", **more: Any) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(
            status=status, text=text, **{"content_type": "application/json", **more}
        )

    return answer


def test_values_are_stored_as_the_service_gave_them(server: ServerProcess, tmp_path: Path):
    """The body stands byte for byte, parameters are quoted, no cookie comes back, no proxy is used."""

    async def answer(request: web.Request) -> web.Response:
        body = b'{ "n" :  1.50, "q": "\xc3\xbc" }\n'
        return web.Response(
            body=body, headers={"Content-Type": "application/hal+json", "Set-Cookie": "a=b"}
        )

    source = requests(tmp_path / "r.jsonl", [{"n": "a/b&c ü"}, {"n": 48.0}])
    with Service(answer) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:9")
        report = warmed(
            server, source, namespace="q", origin=service_origin(service, concurrency=1)
        )
    assert (report.written, report.computed, report.statuses) == (2, 2, {200: 2})
    assert server.raw("GET", make_key("q", n=48.0)) == b'{ "n" :  1.50, "q": "\xc3\xbc" }\n'
    assert set(service.asked) == {"/v?n=a%2Fb%26c%20%C3%BC", "/v?n=48.0"}
    assert not any("Cookie" in headers for headers in service.headers)


@pytest.mark.parametrize(("attempts", "whole"), [(1, False), (4, True)])
def test_an_origin_that_fails_now_and_then(
    server: ServerProcess,
    tmp_path: Path,
    attempts: int,
    whole: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    """Every third first call is answered by 503: only retries make it whole."""
    monkeypatch.setattr(limits, "PAUSE", 0.005)
    seen: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        bad = int(request.query["n"]) % 3 == 0 and request.raw_path not in seen
        seen.add(request.raw_path)
        return await always(503 if bad else 200)(request)  # type: ignore[return-value]

    with Service(answer) as service:
        report = asked(server, tmp_path, service, 90, attempts=attempts)
    assert report.stopped is None
    assert (report.written, report.failed) == ((90, 0) if whole else (60, 30))
    if not whole:
        assert {p.message for p in report.errors} == {"the origin answered 503"}


def test_what_no_retry_mends_is_asked_once(server: ServerProcess, tmp_path: Path):
    """A 404 fails its request alone: it is no sign of sickness, however many there are."""
    with Service(always(404)) as service:
        report = asked(server, tmp_path, service, 60)
    assert (report.failed, report.stopped) == (60, None)
    assert set(service.asked.values()) == {1}


def test_a_sick_origin_is_left_alone(server: ServerProcess, tmp_path: Path):
    """Once more than the share of the last calls failed it is asked no more; the rest is unsent."""
    with Service(always(500)) as service:
        report = asked(server, tmp_path, service, 500, attempts=1, concurrency=5)
    assert (report.stopped, report.exit_code) == ("origin", 1)
    assert 20 <= report.failed < 30
    assert report.unsent == 500 - report.failed
    message = (
        "the origin failed 20 of its last 20 calls (the last: the origin answered 500): stopped"
    )
    assert report.errors[0].message == message


def test_a_service_that_hangs(server: ServerProcess, tmp_path: Path):
    """Each call ends at its timeout."""

    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    with Service(answer) as service:
        report = asked(server, tmp_path, service, 5, timeout=0.1, attempts=2)
    assert report.failed == 5
    assert {p.message for p in report.errors} == {"the origin took longer than 100ms"}
    assert set(service.asked.values()) == {2}


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_holds_all_calls_back(server: ServerProcess, tmp_path: Path, as_date: bool):
    """Nobody asks until the time is over, and no call's timeout runs meanwhile."""
    times: list[float] = []
    limited = True

    async def answer(request: web.Request) -> web.Response:
        nonlocal limited
        times.append(time.monotonic())
        if not limited:
            return await always()(request)  # type: ignore[return-value]
        limited = False
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return web.Response(status=429, headers={"Retry-After": until if as_date else "1"})

    with Service(answer) as service:
        report = asked(server, tmp_path, service, 20, timeout=0.5, concurrency=2)
    assert report.written == 20
    pauses = [after - before for before, after in pairwise(times)]
    assert max(pauses) > 0.9
    assert 0.9 < report.origin_held_back_seconds <= 2
    assert report.held_back_seconds == 0


def test_what_an_origin_asked_for_beyond_the_end_is_not_told(server: ServerProcess, tmp_path: Path):
    """It asks for twenty seconds, and the warm is stopped before."""
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])

    async def stopped(store: Store) -> WarmReport:
        stop = Stop()
        plan = Warm((str(source),), namespace="q", origin=service_origin(service))
        work = asyncio.create_task(warm_with(store, plan, stop))
        await soon(lambda: service.asked)
        stop.set("interrupted")
        return await work

    with Service(always(429, headers={"Retry-After": "20"})) as service:
        report = run(server, stopped)
    assert report.origin_held_back_seconds <= report.seconds < 10


def test_an_origin_that_asks_for_an_hour_is_left_alone(server: ServerProcess, tmp_path: Path):
    """Nobody waits that long: the job ends and says so."""
    with Service(always(429, headers={"Retry-After": "3600"})) as service:
        report = asked(server, tmp_path, service, 50, concurrency=2)
    assert report.stopped == "origin"
    assert report.errors[0].message == (
        "the origin answered 429 and asks to be left alone for 1h: stopped"
    )
    assert service.asked.total() <= 2


def test_an_origin_that_dies_halfway(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was computed is written; connections that are refused from then on end the job."""
    monkeypatch.setattr(limits, "PAUSE", 0.005)

    async def answer(request: web.Request) -> web.Response:
        if service.asked.total() == 100:
            asyncio.ensure_future(service.close())  # noqa: RUF006 it ends with the loop
        return await always()(request)  # type: ignore[return-value]

    with Service(answer) as service:
        report = asked(server, tmp_path, service, 1000, attempts=2)
    assert report.stopped == "origin"
    assert 60 <= report.written <= 140
    assert report.written == len(keys_of(server))
    assert "the origin cannot be reached: " in report.errors[0].message


async def huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    if "gzip" in request.path:
        response.enable_compression(web.ContentCoding.gzip)
    await response.prepare(request)
    sent[0] = 0
    for _ in range(1600):
        await response.write(b" " * 65536)
        sent[0] += 65536
    return response


sent = [0]


@pytest.mark.parametrize("path", ["/plain?{n}", "/gzip?{n}"])
def test_an_answer_of_100_mb_is_cut_off(server: ServerProcess, tmp_path: Path, path: str):
    """It is not read to its end, packed or not."""
    with Service(huge) as service:
        report = asked(server, tmp_path, service, 1, path=path, max_size=1_000_000)
    assert [p.message for p in report.errors] == ["the answer is larger than 1.0 MB"]
    if "plain" in path:
        assert sent[0] < 50_000_000


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (always(text="<p>", content_type="text/html"), "answered text/html, which is not JSON"),
        (always(text="{"), "the answer is not JSON: Expecting property name"),
        (always(201), "the origin answered 201"),
        (always(text="no gzip", headers={"Content-Encoding": "gzip"}), "cannot be unpacked"),
    ],
)  # fmt: skip
def test_answers_that_are_no_value(
    server: ServerProcess, tmp_path: Path, answer: Answer, message: str
):
    """Nothing but JSON is stored."""
    with Service(answer) as service:
        report = asked(server, tmp_path, service, 1, attempts=1)
    assert (report.failed, keys_of(server)) == (1, set())
    assert message in report.errors[0].message


def moved(location: str) -> Answer:
    return always(302, headers={"Location": location})


def test_redirects(server: ServerProcess, tmp_path: Path):
    """Five are followed, to the same host or one that is named; another is never connected to."""

    async def hops(request: web.Request) -> web.StreamResponse:
        left = int(request.query["n"])
        return await (moved(f"/v?n={left - 1}")(request) if left else always()(request))

    with Service(hops) as service:
        report = asked(server, tmp_path, service, 8)
    assert (report.written, report.failed) == (6, 2)
    assert {p.message for p in report.errors} == {"the service redirects more than 5 times"}
    server.raw("FLUSHALL")
    with Service(always()) as other, Service(moved(f"{other.url}/x?secret")) as service:
        report = asked(server, tmp_path, service, 1)
        name = f"localhost:{other.port}"
        message = f"the service redirects to host {name}, which is not among the origin's hosts"
        assert [p.message for p in report.errors] == [message]
        assert other.asked.total() == 0
        assert asked(server, tmp_path, service, 1, hosts=(name,)).written == 1


@pytest.mark.parametrize("location", ["ftp://localhost:{port}/x", "file:///etc/passwd"])
def test_a_redirect_to_what_is_no_http(server: ServerProcess, tmp_path: Path, location: str):
    """Not even on the host of the service."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await moved(location.format(port=service.port))(request)

    with Service(answer) as service:
        report = asked(server, tmp_path, service, 1)
    message = "the service redirects to what is no URL of HTTP"
    assert [p.message for p in report.errors] == [message]


def test_a_redirect_hands_over_no_login(server: ServerProcess, tmp_path: Path):
    """What stands before the host of a Location is the service's word, and no one's password."""

    async def answer(request: web.Request) -> web.StreamResponse:
        there = f"http://user:secret@localhost:{service.port}/there"
        return await (always() if request.path == "/there" else moved(there))(request)

    with Service(answer) as service:
        assert asked(server, tmp_path, service, 1).written == 1
    assert len(service.headers) == 2
    assert not any("Authorization" in headers for headers in service.headers)


@pytest.mark.parametrize(
    ("target", "sent_as"),
    [
        ("//{other}/x", "//{other}/x"),
        ("http://{other}/x", None),
        ("@{other}/x", None),
        ("/a%2Fb/../c?q=ü x#f", "/a%2Fb/../c?q=%C3%BC%20x%23f"),
        ("/x\r\nHost: y", "/x%0D%0AHost:%20y"),
    ],
)
def test_a_target_never_leaves_the_service(
    server: ServerProcess, tmp_path: Path, target: str, sent_as: str | None
):
    """What a log holds is asked of the service and of nobody else, as it was asked."""

    async def once() -> None:
        settings = service_origin(service)
        async with open_origin(settings, ".") as opened:
            await opened.compute(Request(b"k", target=target.replace("{other}", name)))

    with Service(always()) as other, Service(always()) as service:
        name = f"localhost:{other.port}"
        if sent_as is None:
            with pytest.raises(OriginError, match="no path of the service"):
                asyncio.run(once())
        else:
            asyncio.run(once())
        assert list(service.asked) == (
            [] if sent_as is None else [sent_as.replace("{other}", name)]
        )
        assert other.asked.total() == 0


def test_a_certificate_that_nobody_vouches_for(server: ServerProcess, tmp_path: Path):
    """TLS is verified, and no retry is made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with Service(always(), context) as service:
        report = asked(server, tmp_path, service, 1)
    assert report.errors[0].message.startswith("the origin's certificate is not accepted: ")
    assert service.asked.total() == 0


def test_an_application_that_fills_its_cache(server: ServerProcess, tmp_path: Path):
    """It writes, the warm looks: what it did not cache has failed, whatever it answered."""

    async def answer(request: web.Request) -> web.Response:
        n = int(request.query["n"])
        if n % 2:
            server.raw("SET", make_key("q", n=n), "mine")
        return web.Response(status=500 if n == 9 else 204 if n == 1 else 200, text="<p>")

    with Service(answer) as service:
        report = asked(server, tmp_path, service, fills="application", attempts=1)
    assert (report.written, report.failed, report.size) == (4, 6, 0)
    assert report.statuses == {200: 8, 204: 1, 500: 1}
    messages = [p.message for p in report.errors]
    assert messages.count("the application answered 200 and did not cache it") == 5
    assert messages.count("the origin answered 500") == 1


def test_what_an_application_was_asked_for_is_unknown_once_nobody_may_look(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It may have cached them: neither written nor unsent."""
    monkeypatch.setattr(compute, "WRITES", 2)
    user = user_with(server, "+@all", "~*")
    answers: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        answers.append(int(request.query["n"]))
        if len(answers) == 20:
            server.raw("ACL", "SETUSER", user, "-exists")
        return web.Response(text="<p>")

    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(20)])
    with Service(answer) as service:
        own = service_origin(service, fills="application", concurrency=20)
        report = warmed(server, source, namespace="q", origin=own, user=user)
    assert report.entries == 20 == report.written + report.failed + report.unknown
    assert report.unknown > 0
    assert report.exit_code == 3


def test_what_an_application_has_not_answered_is_unknown(server: ServerProcess, tmp_path: Path):
    """It may cache it when nobody waits any more; what waits for its turn was never sent."""
    asked: list[str] = []
    stop = Stop()
    loops: list[asyncio.AbstractEventLoop] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["n"])
        if len(asked) == 5:
            loops[0].call_soon_threadsafe(stop.set, "deadline")
        await asyncio.sleep(30)
        return web.Response(text="<p>")

    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(40)])
    with Service(answer) as service:
        own = service_origin(service, fills="application", concurrency=5, timeout=60.0)
        plan = Warm((str(source),), namespace="q", origin=own)

        async def work(store: Store) -> WarmReport:
            loops.append(asyncio.get_running_loop())
            return await warm_with(store, plan, stop)

        report = run(server, work)
    assert len(asked) == 5
    assert (report.unknown, report.unsent, report.exit_code) == (5, 35, 3)


@pytest.mark.parametrize("which", ["all", "expiring"])
def test_an_application_cannot_be_made_to_renew(tmp_path: Path, which: Any):
    """It answers from its cache, and nothing there is renewed: nobody is to be told that it was."""
    own = Origin(http="http://localhost", fills="application", path=PATH)
    plan = Warm(("r.jsonl",), origin=own, only=Only(which, 60.0))
    with pytest.raises(UsageError, match="answers from it"):
        plan.check()


def test_a_rate_is_kept(server: ServerProcess, tmp_path: Path):
    """Calls are spread: 20 at 40 a second take no less than half a second."""
    times: list[float] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        times.append(time.monotonic())
        return await always()(request)

    with Service(answer) as service:
        assert asked(server, tmp_path, service, 20, rate=40.0).written == 20
    assert times[-1] - times[0] > 0.4


def processes(name: str, **more: Any) -> Origin:
    given = {"workers": "processes", "concurrency": 2, "timeout": 10.0, "attempts": 1, **more}
    return origin(name, **given)


def children() -> set[str]:
    done = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {line for line in done.stdout.splitlines() if "origins.worker" in line}


def by_number(report: WarmReport) -> dict[int, str]:
    return {(problem.line or 1) - 1: problem.message for problem in report.errors}


def test_processes_that_crash_hang_and_raise(server: ServerProcess, tmp_path: Path):
    """Each fails its own call only, and none is left over at the end."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(20)])
    plan = processes("troubled", timeout=1.0)
    report = warmed(server, source, namespace="q", origin=plan)
    told = by_number(report)
    assert (report.written, report.failed, sorted(told)) == (15, 5, [3, 5, 7, 11, 13])
    assert told[3] == "the origin's process ended with exit code 3"
    assert told[5] == "the origin took longer than 1s"
    assert told[7].startswith("the origin raised Unpicklable at callables.py:")
    assert told[11] == "the origin's process was killed by SIGKILL"
    assert told[13] == "the origin returned something that is not JSON (function)"
    assert not children()


def test_processes_are_others(server: ServerProcess, tmp_path: Path):
    """The calls are made elsewhere, in as many processes as cores at most."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(20)])
    warmed(server, source, namespace="q", origin=processes("pid"), only=Only("all"))
    pids = {server.raw("GET", key) for key in keys_of(server)}
    assert 1 <= len(pids) <= 2
    assert str(os.getpid()).encode() not in pids


def test_a_process_that_leaves_a_child_behind(server: ServerProcess, tmp_path: Path):
    """Its end is seen at once, though the child goes on: the child does not hold its line."""
    start = time.monotonic()
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    report = warmed(server, source, namespace="q", origin=processes("leaves_a_child"))
    assert by_number(report) == {0: "the origin's process ended with exit code 4"}
    assert time.monotonic() - start < 8  # the call's own timeout is 10 s


def test_processes_that_cannot_be_started(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No more processes, or descriptors: the requests fail, the report comes."""

    def full(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(local_processes, "_Process", full)
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(3)])
    report = warmed(server, source, namespace="q", origin=processes("pid"))
    why = "the origin's process cannot be started: resource temporarily unavailable"
    assert [problem.message for problem in report.errors] == [why] * 3


def test_processes_that_do_not_start_in_time(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They are killed, not used for the next call, while a thread still listens to them."""
    started = []

    class Counted(local_processes._Process):
        def __init__(self, spec: str, directory: str) -> None:
            started.append(spec)
            super().__init__(spec, directory)

    monkeypatch.setattr(local_processes, "START", 0.001)
    monkeypatch.setattr(local_processes, "_Process", Counted)
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(6)])
    report = warmed(server, source, namespace="q", origin=processes("pid"))
    why = "the origin's process did not start in time"
    assert [problem.message for problem in report.errors] == [why] * 6
    assert len(started) == 6
    assert not children()


def test_params_that_no_process_can_be_sent(server: ServerProcess):
    """They are the request's fault, and no time is waited for."""
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]

    async def once() -> OriginError:
        async with open_origin(processes("plain"), str(Path.cwd())) as opened:
            with pytest.raises(OriginError) as caught:
                await opened.compute(Request(b"k", {"n": deep}))
        return caught.value

    failure = asyncio.run(once()).failure
    assert failure.message == "the parameters cannot be sent to a process: RecursionError"
    assert failure.of_request


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path):
    """Even while a call is under way that never ends."""
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from cachectl.models import Request
from cachectl.sources.origins.processes import ProcessesOrigin
async def main():
    spec = "tests.operations.callables:tells_and_spins"
    origin = ProcessesOrigin(spec, ".", concurrency=1, timeout=60)
    await origin.compute(Request(b"k", {{"path": {str(tmp_path / "pid")!r}}}))
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", script])
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not running(pid))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Any, timeout: float = 10) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_workers_are_for_plain_functions(server: ServerProcess, tmp_path: Path):
    source = requests(tmp_path / "r.jsonl", [{"n": 1}])
    with pytest.raises(UsageError, match="is a coroutine function"):
        warmed(server, source, namespace="q", origin=processes("coroutine"))


@contextmanager
def cluster() -> Iterator[str]:
    """Start two Dask workers, processes, and give the scheduler as an origin names it."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as local:
        yield local.scheduler_address.replace("tcp://", "dask://")


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster(server: ServerProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Values come from its workers; what raises or hangs there fails its call; stderr stays clean."""
    source = requests(tmp_path / "r.jsonl", [{"n": n} for n in range(20)])
    with cluster() as workers:
        plan = processes("raises_and_hangs", workers=workers, timeout=3.0, concurrency=4)
        report = warmed(server, source, namespace="q", origin=plan, directory=str(Path.cwd()))
    told = by_number(report)
    assert (report.written, sorted(told)) == (18, [7, 19])
    assert told[7].startswith("the origin raised Unpicklable at callables.py:")
    assert told[19] == "no Dask worker had computed it within 3s"
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there(server: ServerProcess, tmp_path: Path):
    """It is told within the origin's timeout, before anything is written."""
    callables.forget()
    source = lines(tmp_path / "r.jsonl", {"params": {"n": 1}})
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        start = time.monotonic()
        plan = processes("plain", workers=f"dask://127.0.0.1:{port}", timeout=0.5)
        with pytest.raises(OriginGoneError, match="did not answer within 500ms"):
            warmed(server, source, namespace="q", origin=plan)
        assert time.monotonic() - start < 5
    assert not callables.calls
