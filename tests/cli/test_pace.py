"""--pace, --rate, --max-latency: what is refused, what they bound, and what is never sent."""

import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.test_signals import Start, start, stopped_by, wait_until
from tests.plans import Chunk, Plan, Step
from tests.proxies import Proxy
from tests.servers import ServerProcess

__all__ = ["start"]

PUSHED = (["warm", "e.jsonl"], ["flush", "n", "--yes"], ["scan"], ["stats"], ["export", "--all"])
FATES = ("written", "skipped", "failed", "unknown", "unsent")
BLOCKS = {
    "keys", "del", "eval", "evalsha", "fcall", "sort", "flushall", "flushdb", "randomkey",
    "smembers", "hgetall", "save", "bgsave", "monitor", "debug", "swapdb", "wait", "client|pause",
    "eval_ro", "evalsha_ro", "fcall_ro", "sort_ro", "lrange", "script|load", "client|kill",
}  # fmt: skip
"""Commands that hold up the server, or others, for as long as there is data."""
ASIDE = {"hello", "client|setinfo", "client|setname", "info", "ping", "select", "role"}
"""What connecting, and asking who the server is, may take."""
DATA = {
    "set", "msetex", "restore", "unlink", "scan", "exists", "type", "pttl", "get", "dump", "strlen",
    "memory|usage", "pexpiretime",
}  # fmt: skip


def source(workdir: Path, count: int) -> Path:
    path = workdir / "e.jsonl"
    path.write_text("".join(f'{{"key":"n:{i}","value":{i},"ttl":900}}\n' for i in range(count)))
    return path


@pytest.mark.parametrize("words", PUSHED, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--pace", "fast"), "gentle or full"),
        (("--pace", ""), "gentle or full"),
        (("--rate", "0"), "rate"),
        (("--rate", "-5"), "rate"),
        (("--rate", "abc"), "rate"),
        (("--rate", "5/y"), "rate"),
        (("--rate", "inf"), "rate"),
        (("--max-latency", "0"), "--max-latency"),
        (("--max-latency", "soon"), "--max-latency"),
    ],
)
def test_what_is_no_pace_rate_or_latency_is_refused(
    on: Run, server: ServerProcess, workdir: Path, words: list[str], option: Any, says: str
) -> None:
    """Exit code 2, named, before the server is asked anything."""
    source(workdir, 3)
    server.raw("CONFIG", "RESETSTAT")
    result = on(*words, *option)
    assert (result.code, result.out) == (2, b"")
    assert says in result.err
    assert "cmdstat_hello" not in server.info("commandstats")


@pytest.mark.parametrize("pace", ["gentle", "full"])
def test_a_rate_is_a_bound_and_all_is_written(
    on: Run, server: ServerProcess, workdir: Path, pace: str
) -> None:
    """500 entries at 1000 a second take 0.4 s at least, and nothing was held back by the brake."""
    source(workdir, 500)
    start = time.monotonic()
    result = on("warm", "e.jsonl", "--rate", "1000/s", "--pace", pace, "-o", "json")
    assert time.monotonic() - start >= 0.4
    assert result.code == 0
    assert (result.json["written"], result.json["held_back_seconds"]) == (500, 0)
    assert server.raw("DBSIZE") == 500


@pytest.mark.parametrize("words", [["flush", "n", "--yes"], ["scan"], ["export", "n"]])
def test_a_rate_bounds_keys_as_well(on: Run, server: ServerProcess, words: list[str]) -> None:
    """300 keys at 600 a second take 0.3 s at least, and all of them are met."""
    server.fill("n:", 300)
    start = time.monotonic()
    result = on(*words, "--rate", "600/s", "--pace", "full")
    assert time.monotonic() - start >= 0.3
    assert result.code == 0
    if words[0] == "flush":
        assert server.raw("DBSIZE") == 0
    else:
        assert len(set(re.findall(rb"n:\d+", result.out))) == 300


@pytest.mark.parametrize("pace", ["gentle", "full"])
@pytest.mark.parametrize("rate", ["100/s", "2/s"])
def test_a_signal_in_a_slow_warm_reports_within_a_second(
    start: Start, server: ServerProcess, workdir: Path, pace: str, rate: str
) -> None:
    """130, and what waited for its turn is unsent: it was never on its way."""
    source(workdir, 1000)
    words = ["warm", "e.jsonl", "--rate", rate, "--pace", pace]
    process = start("-u", server.url, "-o", "json", *words)
    wait_until(lambda: server.raw("DBSIZE") >= (50 if rate == "100/s" else 2))
    ended, out, err, seconds = stopped_by(process, signal.SIGINT)
    report = json.loads(out)
    assert (ended, report["exit_code"], report["stopped"]) == (130, 130, "interrupted")
    assert seconds < 1.5  # a second, and the process's own end on a busy machine
    assert report["entries"] == sum(report[fate] for fate in FATES)
    assert report["unknown"] <= 5  # the step that was just sent
    there = server.raw("DBSIZE")
    assert report["written"] <= there <= report["written"] + report["unknown"]
    assert report["unsent"] == report["entries"] - report["written"] - report["unknown"] > 0
    assert b"Traceback" not in err


@pytest.mark.parametrize("pace", ["gentle", "full"])
def test_a_signal_in_a_slow_flush_reports_within_a_second(
    start: Start, server: ServerProcess, pace: str
) -> None:
    """130; what it says is removed is what is gone, though the next page waits for its turn."""
    server.fill("n:", 1000)
    words = ["flush", "n", "--yes", "--rate", "20/s", "--pace", pace]
    process = start("-u", server.url, "-o", "json", *words)
    wait_until(lambda: server.raw("DBSIZE") < 980)
    time.sleep(0.1)  # in the middle of a pause
    ended, out, err, seconds = stopped_by(process, signal.SIGINT)
    report = json.loads(out)
    assert (ended, report["stopped"]) == (130, "interrupted")
    assert seconds < 1.5
    assert report["deleted"] == 1000 - server.raw("DBSIZE") > 0
    assert b"Traceback" not in err


@pytest.mark.parametrize("words", [["warm", "e.jsonl"], ["flush", "n", "--yes"]])
def test_the_report_tells_what_the_brake_took(
    run: Run, server: ServerProcess, workdir: Path, words: list[str]
) -> None:
    """A limit under the line's own latency holds back, with a limit far above nothing is."""
    source(workdir, 60)
    if words[0] == "flush":
        server.fill("n:", 60)
    with Proxy(server, latency=0.005) as proxy:
        held = run("-u", proxy.url, *words, "--max-latency", "1ms", "-o", "json")
    assert held.code == 0
    assert held.json["held_back_seconds"] > 0
    if words[0] == "flush":
        server.fill("n:", 60)
    free = run("-u", server.url, *words, "--max-latency", "60s", "-o", "json")
    assert free.code == 0
    assert free.json["held_back_seconds"] < 0.1


def called(server: ServerProcess) -> Counter[str]:
    """Return the commands that were called since the start, by name."""
    told = server.info("commandstats").items()
    return Counter(
        {name[len("cmdstat_") :]: int(re.findall(r"calls=(\d+)", stats)[0]) for name, stats in told}
    )


def counts(seen: list[int]) -> Plan:
    """Note the COUNT of each SCAN that goes by."""

    def plan(chunk: Chunk) -> Iterator[Step]:
        if chunk.direction == "up":
            seen.extend(map(int, re.findall(rb"\$5\r\nCOUNT\r\n\$\d+\r\n(\d+)\r\n", chunk.data)))
        yield chunk.data

    return plan


@pytest.mark.parametrize(
    ("words", "verbs"),
    [
        (["warm", "e.jsonl"], {"msetex"}),
        (["warm", "e.jsonl", "--only", "missing"], {"set"}),
        (["warm", "e.jsonl", "--only", "expiring:1h", "--verify", "s.jsonl"], {"pttl", "exists"}),
        (["scan"], {"scan"}),
        (["scan", "--long"], {"scan", "type", "pttl", "memory|usage"}),
        (["stats"], {"scan", "memory|usage"}),
        (["export", "--all"], {"scan", "get"}),
        (["flush", "n", "--dry-run"], {"scan"}),
        (["flush", "n", "--yes"], {"scan", "unlink"}),
        (["flush", "--all", "--yes", "--until-empty"], {"scan", "unlink"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("pace", ["gentle", "full"])
def test_nothing_that_blocks_the_server_is_ever_sent(
    run: Run, server: ServerProcess, workdir: Path, words: list[str], verbs: set[str], pace: str
) -> None:
    """Among keys of all types, no command but those known to be short, no SCAN over 1000 keys."""
    source(workdir, 3000)
    (workdir / "s.jsonl").write_text('{"key":"n:1"}\n{"key":"n:2"}\n')
    server.fill("n:", 5000)
    server.raw("RPUSH", "n:list", *range(2000))
    server.raw("SADD", "n:set", *range(2000))
    server.raw("HSET", "n:hash", *range(2000))
    server.raw("CONFIG", "RESETSTAT")
    seen: list[int] = []
    with Proxy(server, counts(seen)) as proxy:
        result = run("-u", proxy.url, *words, "--pace", pace, "-o", "json")
    sent = called(server)
    assert result.code == 0, result.err
    assert verbs <= set(sent)
    assert not set(sent) & BLOCKS
    assert set(sent) <= DATA | ASIDE | {"config|resetstat"}
    assert max(seen, default=0) <= 1000
    if "scan" in verbs:
        assert sent["scan"] == len(seen) >= 5  # no SCAN went by unseen


def test_a_sample_that_must_be_met_blocks_nothing_either(
    run: Run, server: ServerProcess, workdir: Path
) -> None:
    """Computed values, and the hit rate before and after: the same few commands."""
    (workdir / "pace_origin.py").write_text("def value(n):\n    return n\n")
    (workdir / "r.jsonl").write_text("".join(f'{{"params":{{"n":{n}}}}}\n' for n in range(300)))
    server.raw("CONFIG", "RESETSTAT")
    words = ["warm", "r.jsonl", "-n", "n", "--origin", "pace_origin:value", "--pace", "full"]
    result = run("-u", server.url, *words, "--verify", "same", "-o", "json")
    assert result.code == 0, result.err
    assert set(called(server)) <= DATA | ASIDE | {"config|resetstat"}


def test_a_look_at_the_latency_goes_on_besides_the_work(
    run: Run, server: ServerProcess, workdir: Path
) -> None:
    """With --max-latency there is a PING now and then, and without it there is none."""
    source(workdir, 300)
    server.raw("CONFIG", "RESETSTAT")
    words = ["warm", "e.jsonl", "--rate", "1000/s"]
    assert run("-u", server.url, *words).code == 0
    assert called(server)["ping"] == 0
    assert run("-u", server.url, *words, "--max-latency", "1s").code == 0
    assert called(server)["ping"] > 2
    assert threading.active_count() < 20
