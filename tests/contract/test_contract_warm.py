"""warm: entries, requests and an origin, the gate, and what keeps a warm from doing harm."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cachectl import make_key
from tests.cli.conftest import Run
from tests.contract.places import Place, about
from tests.members import wait_until
from tests.operations import callables

ORIGIN = ("--origin", "tests.operations.callables:plain", "-n", "n")
PARAMS = [{"lat": number / 2, "city": "Zürich"} for number in range(40)]
KEYS = [make_key("n", **params) for params in PARAMS]
COUNTS = ("entries", "written", "skipped", "failed", "unknown", "unsent")
REPORT: dict[str, Any] = {
    "job": None,
    "part": None,
    "exit_code": 0,
    "dry_run": False,
    "failed": 0,
    "unknown": 0,
    "unsent": 0,
    "computed": 0,
    "requests": None,
    "statuses": {},
    "hit_rate": None,
    "stopped": None,
    "errors": [],
    "error": None,
}
"""What of a report is the same for every warm that does its work."""


def lines(path: Path, rows: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def counts(fields: dict[str, Any]) -> list[int]:
    found = [fields[name] for name in COUNTS]
    assert found[0] == sum(found[1:])
    return found


@pytest.fixture(autouse=True)
def requests(workdir: Path) -> None:
    """Write requests, the first asked for most, and a sample that half of them are in."""
    callables.forget()
    rows = [{"params": params, "count": 40 - rank} for rank, params in enumerate(PARAMS)]
    lines(workdir / "requests.jsonl", rows)
    sample = [*KEYS[:20], *(f"n:other{number}" for number in range(20))]
    lines(workdir / "sample.jsonl", ({"key": key} for key in sample))


def test_entries_are_written_wherever_they_belong(on: Run, place: Place, workdir: Path):
    """By key, by parameters, by bytes; each with its TTL. A line that is none is 1 and names itself."""
    rows: list[dict[str, Any]] = [{"key": f"e:{{{n}}}", "value": n, "ttl": 60} for n in range(500)]
    rows += [{"namespace": "n", "params": PARAMS[0], "value": {"a": [1.5]}}]
    rows += [{"key": "raw", "value_base64": b64encode(b"\x00\xff").decode(), "ttl": None}]
    lines(workdir / "entries.jsonl", rows)
    result = on("warm", "./entries.jsonl", "--max-latency", "10s")
    fields = result.json
    assert result.code == 0
    assert counts(fields) == [502, 502, 0, 0, 0, 0]
    assert fields.items() >= (place.head("warm") | REPORT).items()
    assert {f"e:{{{n}}}".encode() for n in range(500)} < place.keys()
    assert (place.value("e:{7}"), place.ttl("e:{7}")) == (b"7", about(60))
    assert place.value(KEYS[0]) == b'{"a": [1.5]}'
    assert place.ttl(KEYS[0]) == about(86400)
    assert (place.value("raw"), place.ttl("raw")) == (b"\x00\xff", None)
    (workdir / "entries.jsonl").write_text('{"key": "x", "value": 1}\n{"key": "y"}\n')
    result = on("warm", "./entries.jsonl")
    assert (result.code, counts(result.json)) == (1, [2, 1, 0, 1, 0, 0])
    assert [(e["source"], e["line"], e["key"]) for e in result.json["errors"]] == [
        ("./entries.jsonl", 2, "y")
    ]
    assert on("warm", "./entries.jsonl", "--max-failed", "1").code == 0


def test_requests_are_computed_proven_and_not_computed_again(on: Run, place: Place):
    """The hit rate before and after is that of the sample; a rerun finds everything there."""
    words = ("warm", "requests.jsonl", *ORIGIN, "--verify", "sample.jsonl", "--min-hit-rate", "50%")
    result = on(*words, "--ttl", "1h")
    fields = result.json
    rate = fields.pop("hit_rate")
    assert result.code == 0
    assert counts(fields) == [40, 40, 0, 0, 0, 0]
    assert (fields["computed"], fields["requests"]["keys"]) == (40, 40)
    assert rate == {
        "before": 0.0, "after": 0.5, "requests": 40, "keys": 40, "sample": "separate",
        "required": 0.5, "met": True, "live": None,
    }  # fmt: skip
    assert place.keys() == {key.encode() for key in KEYS}
    assert json.loads(place.value(KEYS[1]) or b"")["é"] == PARAMS[1]
    assert place.ttl(KEYS[1]) == about(3600)
    assert len(callables.calls) == 40
    again = on(*words).json
    assert (counts(again), again["computed"]) == ([40, 0, 40, 0, 0, 0], 0)
    assert [again["hit_rate"][name] for name in ("before", "after")] == [0.5, 0.5]
    assert len(callables.calls) == 40


def test_the_gate_decides(on: Run, place: Place, workdir: Path):
    """A job of the settings: 1 below the required hit rate, and 0 with a warning if told so."""
    job = {
        "requests": "requests.jsonl",
        "origin": {"call": "tests.operations.callables:plain"},
        "namespace": "n",
        "limit": 10,
        "on_deploy": True,
        "verify": {"requests": "sample.jsonl", "min_hit_rate": "50%"},
    }
    place.settings(workdir, warm={"charts": job})
    result = on("warm", "charts")
    assert (result.code, counts(result.json)) == (1, [10, 10, 0, 0, 0, 0])
    assert result.json["job"] == "charts"
    rate = result.json["hit_rate"]
    assert [rate[name] for name in ("before", "after", "met")] == [0.0, 0.25, False]
    assert place.keys() == {key.encode() for key in KEYS[:10]}
    forgiven = on("warm", "--on-deploy", "--best-effort")
    assert (forgiven.code, forgiven.json["exit_code"]) == (0, 1)
    looked = on("warm", "--verify-only", "--verify", "sample.jsonl", "--min-hit-rate", "20%")
    assert (looked.code, looked.json["hit_rate"]["after"]) == (0, 0.25)
    assert counts(looked.json) == [0] * 6


def test_the_servers_own_hit_rate_is_that_of_all_primaries(on: Run, place: Place):
    """Followed after the warm, whoever asks; a rate that nobody's lookups gave is not met."""
    words = ("warm", "requests.jsonl", *ORIGIN, "--watch-hit-rate")
    result = on(*words, "1ms", "--min-hit-rate", "1%")
    rate = result.json["hit_rate"]
    assert (result.code, rate["met"], rate["live"].pop("seconds") > 0) == (1, False, True)
    nobody = {"rate": "nobody asked the server"}
    assert rate["live"] == {"hits": 0, "misses": 0, "anew": 0, "unknown_fields": nobody}
    with asking(place):
        result = on(*words, "200ms", "--min-hit-rate", "1%")
    live = result.json["hit_rate"]["live"]
    assert (result.code, live["rate"]) == (0, pytest.approx(0.5, abs=0.3))
    assert min(live["hits"], live["misses"]) > 0


@contextmanager
def asking(place: Place) -> Iterator[None]:
    """Let an application ask the last primary for a key that is there, and for one that is not."""
    last = place.primaries()[-1]
    names = (f"k{number}" for number in count())
    there, missing = islice((name for name in names if place.holder(name).url == last.url), 2)
    over = Event()

    def ask() -> None:
        with last.connect() as connection:
            while not over.is_set():
                connection.call("GET", there)
                connection.call("GET", missing)

    place.put(there, "1")
    with ThreadPoolExecutor() as threads:
        application = threads.submit(ask)
        try:
            yield
        finally:
            over.set()
            application.result()


def test_what_only_looks_writes_nothing(on: Run, place: Place):
    """A dry run looks up what is there; a plan asks nobody."""
    place.put(KEYS[0], "1")
    dry = on("warm", "requests.jsonl", *ORIGIN, "--dry-run")
    assert (dry.code, dry.json["dry_run"]) == (0, True)
    assert counts(dry.json) == [40, 0, 1, 0, 0, 39]
    plan = on("warm", "requests.jsonl", *ORIGIN, "--plan")
    assert plan.code == 0
    assert [plan.json["plan"][name] for name in ("requests", "keys")] == [820, 40]
    assert plan.json["plan"]["top"][0] == {"key": KEYS[0], "count": 40}
    assert callables.calls == []
    assert place.keys() == {KEYS[0].encode()}


def test_only_what_is_missing_or_runs_out_is_written(on: Run, place: Place, workdir: Path):
    """Entries are written over what is there, unless told otherwise."""
    lines(workdir / "e.jsonl", ({"key": f"n:{n}", "value": n, "ttl": 7200} for n in range(40)))
    for number in range(20):
        place.put(f"n:{number}", "0", ttl=100 if number < 5 else 5000)
    expiring = on("warm", "./e.jsonl", "--only", "expiring:10m")
    assert (expiring.code, counts(expiring.json)) == (0, [40, 25, 15, 0, 0, 0])
    assert [place.value(f"n:{number}") for number in (4, 5, 39)] == [b"4", b"0", b"39"]
    missing = on("warm", "./e.jsonl", "--only", "missing")
    assert (missing.code, counts(missing.json)) == (0, [40, 0, 40, 0, 0, 0])
    assert counts(on("warm", "./e.jsonl").json) == [40, 40, 0, 0, 0, 0]
    assert place.value("n:5") == b"5"


def test_a_lock_keeps_a_second_warm_away(on: Run, place: Place, workdir: Path):
    """It is one key of the cache; it is given back."""
    lines(workdir / "e.jsonl", [{"key": "n:1", "value": 1}])
    place.settings(workdir, warm={"static": {"entries": "e.jsonl"}})
    lock = "cachectl:lock:static"
    place.put(lock, '{"holder": "another", "since": 0}', ttl=100)
    result = on("warm", "static", "--lock")
    assert (result.code, result.json["stopped"]) == (1, "locked")
    assert counts(result.json) == [0] * 6
    assert "held by another" in result.json["errors"][0]["message"]
    assert place.keys() == {lock.encode()}
    place.raw(lock, "UNLINK", lock)
    result = on("warm", "static", "--lock")
    assert (result.code, counts(result.json)) == (0, [1, 1, 0, 0, 0, 0])
    wait_until("the end of the lock", lambda: place.value(lock) is None)
    assert place.keys() == {b"n:1"}


def test_a_warm_stops_before_any_primary_has_no_memory(on: Run, place: Place, workdir: Path):
    """The share is that of each primary's maxmemory; what stopped it names the primary."""
    lines(workdir / "e.jsonl", ({"key": f"n:{n}", "value": n} for n in range(100)))
    roomy = on("warm", "./e.jsonl", "--max-memory", "1GB")
    assert (roomy.code, counts(roomy.json)) == (0, [100, 100, 0, 0, 0, 0])
    shared = on("warm", "./e.jsonl", "--max-memory", "50%")
    assert (shared.code, shared.out) == (2, b"")
    assert "maxmemory" in shared.error["message"]
    for primary in place.primaries():
        primary.raw("CONFIG", "SET", "maxmemory", "1gb")
    short = place.primaries()[-1]
    short.raw("CONFIG", "SET", "maxmemory", int(short.info("memory")["used_memory"]) * 3 // 2)
    result = on("warm", "./e.jsonl", "--max-memory", "50%")
    assert (result.code, result.json["stopped"]) == (1, "memory")
    assert result.json["written"] == 0
    (told,) = result.json["errors"]
    assert f"used_memory of {short.url}" in told["message"]
