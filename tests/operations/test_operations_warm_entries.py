import base64
import gzip
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from cachectl.config.settings import NamespaceSettings
from cachectl.errors import DeniedError, InputError, ReadOnlyServerError, UsageError
from cachectl.operations.stop import Stop
from cachectl.operations.warm.plan import MaxFailed, Only, Warm
from cachectl.operations.warm.run import disabled, warm
from tests.conftest import FreshServer
from tests.operations.operating import (
    dump_of,
    entries,
    keys_of,
    lines,
    origin,
    run,
    user_with,
    warm_with,
    warmed,
)
from tests.servers import ServerProcess


def test_several_sources_of_every_kind_are_one_report(any_server: ServerProcess, tmp_path: Path):
    """JSON Lines, CSV, gzip and stdin are written as they stand, on every version."""
    one = lines(tmp_path / "one.jsonl", b'{"key": "a:1", "value": {"x":  [1, 2.50]}}')
    two = tmp_path / "two.csv"
    two.write_text('key,value,ttl\na:2,"{""y"": 1}",60\n')
    three = tmp_path / "three.jsonl.gz"
    three.write_bytes(gzip.compress(b'{"key": "a:3", "value": null}\n'))
    stdin = b'{"namespace": "a", "params": {"q": 1}, "value_base64": "//4="}\n'
    report = warmed(any_server, one, two, three, "-", stdin=stdin)
    assert (report.entries, report.written, report.exit_code) == (4, 4, 0)
    values = [any_server.raw("GET", f"a:{n}") for n in (1, 2, 3)]
    assert values == [b'{"x":  [1, 2.50]}', b'{"y": 1}', b"null"]
    (computed,) = keys_of(any_server) - {b"a:1", b"a:2", b"a:3"}
    assert any_server.raw("GET", computed) == b"\xff\xfe"
    assert report.size == sum(len(k) + len(any_server.raw("GET", k)) for k in keys_of(any_server))
    assert report.stopped is None
    assert report.hit_rate is None


def test_an_empty_source_is_done_at_once(server: ServerProcess, tmp_path: Path):
    """Nothing to do is done, and nothing is unknown."""
    (tmp_path / "empty.jsonl").touch()
    report = warmed(server, tmp_path / "empty.jsonl")
    assert (report.entries, report.exit_code, report.stopped) == (0, 0, None)
    assert report.rate == 0


NAMESPACES = {
    "n": NamespaceSettings(ttl=500.0),
    "n:inner": NamespaceSettings(ttl=None),
    "j": NamespaceSettings(ttl=400.0, ttl_jitter=0.5),
    "bare": NamespaceSettings(),
}


@pytest.mark.parametrize(
    ("line", "options", "low", "high"),
    [
        ({"key": "n:1", "ttl": 70}, {"ttl": 90.0}, 70, 70),
        ({"key": "n:1", "ttl": 70}, {"ttl": 90.0, "ttl_jitter": 0.9}, 70, 70),
        ({"key": "n:1"}, {"ttl": 90.0}, 90, 90),
        ({"key": "n:1"}, {"ttl": 90.0, "ttl_jitter": 0.5}, 45, 90),
        ({"key": "j:1"}, {"ttl": 90.0}, 45, 90),
        ({"key": "j:1"}, {"ttl": 90.0, "ttl_jitter": 0.0}, 90, 90),
        ({"key": "n:1"}, {}, 500, 500),
        ({"key": "n:1"}, {"ttl_jitter": 0.5}, 250, 500),
        ({"key": "j:1"}, {}, 200, 400),
        ({"key": "n:inner:1"}, {}, -1, -1),
        ({"key": "n:inner:1"}, {"ttl_jitter": 0.5}, -1, -1),
        ({"key": "bare:1"}, {}, 600, 600),
        ({"key": "bare:1"}, {"ttl_jitter": 0.5}, 300, 600),
        ({"key": "other"}, {}, 600, 600),
        ({"key": "other"}, {"ttl_jitter": 0.5}, 300, 600),
        ({"key": "n:1", "ttl": None}, {"ttl": 90.0}, -1, -1),
        ({"key": "n:1"}, {"ttl": None}, -1, -1),
        ({"key": "other"}, {"fallback_ttl": None}, -1, -1),
    ],
)
def test_the_entrys_ttl_wins_over_the_plans_the_namespaces_and_the_caches(
    server: ServerProcess,
    tmp_path: Path,
    line: dict[str, Any],
    options: dict[str, Any],
    low: float,
    high: float,
):
    """Own TTL, then flag or job, then namespace, then cache; jitter shortens, and never an own TTL."""
    source = lines(tmp_path / "e.jsonl", {**line, "value": 1})
    plan = {"namespaces": NAMESPACES, "fallback_ttl": 600.0, **options}
    assert warmed(server, source, **plan).written == 1
    left = server.raw("PTTL", line["key"])
    assert left == -1 if low < 0 else (low - 2) * 1000 <= left <= high * 1000


def test_jitter_spreads_over_its_whole_range_and_keeps_a_second(
    server: ServerProcess, tmp_path: Path
):
    """TTLs lie all over ttl times (1 - jitter) to ttl; nothing is below a second."""
    warmed(server, entries(tmp_path / "e.jsonl", 400), ttl=1000.0, ttl_jitter=0.2)
    left = sorted(server.raw("PTTL", f"n:{i}") for i in range(400))
    assert 790_000 < left[0] < 820_000
    assert 980_000 < left[-1] <= 1_000_000
    warmed(server, entries(tmp_path / "e.jsonl", 50), ttl=2.0, ttl_jitter=1.0)
    assert min(server.raw("PTTL", f"n:{i}") for i in range(50)) > 500


@pytest.mark.parametrize(
    ("only", "written"),
    [
        (None, {"gone", "soon", "late", "ever"}),
        (Only("all"), {"gone", "soon", "late", "ever"}),
        (Only("missing"), {"gone"}),
        (Only("expiring", 100), {"gone", "soon"}),
        (Only("expiring", 0), {"gone"}),
    ],
)
def test_only_says_which_keys_are_written(
    server: ServerProcess, tmp_path: Path, only: Only | None, written: set[str]
):
    """All, those that are missing, or those that expire within a time; the others are skipped."""
    for key, ttl in (("soon", "50"), ("late", "5000")):
        server.raw("SET", key, "old", "EX", ttl)
    server.raw("SET", "ever", "old")
    names = ("gone", "soon", "late", "ever")
    source = lines(tmp_path / "e.jsonl", *({"key": name, "value": 1} for name in names))
    report = warmed(server, source, only=only)
    assert {name for name in names if server.raw("GET", name) == b"1"} == written
    assert (report.written, report.skipped) == (len(written), 4 - len(written))
    assert report.exit_code == 0


def test_a_backup_does_not_overwrite_newer_data_unless_asked(
    any_server: ServerProcess, tmp_path: Path
):
    """Entries with `expires_at` or `dump` are for missing keys; what has expired since is skipped."""
    any_server.raw("RPUSH", "source", "a", "b")
    dump = dump_of(any_server, "source")
    any_server.raw("DEL", "source")
    any_server.raw("SET", "there", "newer")
    any_server.raw("SET", "list", "newer")
    text, soon = base64.b64encode(dump).decode(), time.time() + 100
    source = lines(
        tmp_path / "backup.jsonl",
        {"key": "there", "value": 1, "expires_at": soon},
        {"key": "absent", "value": 1, "expires_at": soon},
        {"key": "past", "value": 1, "expires_at": time.time() - 1},
        {"key": "list", "dump": text},
        {"key": "list2", "dump": text, "expires_at": soon},
        {"key": "list3", "dump": text, "ttl": 50},
        {"key": "list4", "dump": text, "expires_at": None},
    )
    report = warmed(any_server, source)
    assert (report.written, report.skipped, report.failed) == (4, 3, 0)
    assert any_server.raw("GET", "there") == any_server.raw("GET", "list") == b"newer"
    assert any_server.raw("LRANGE", "list2", 0, -1) == [b"a", b"b"]
    assert 90_000 < any_server.raw("PTTL", "absent") <= 100_000
    assert 90_000 < any_server.raw("PTTL", "list2") <= 100_000
    assert 40_000 < any_server.raw("PTTL", "list3") <= 50_000
    assert any_server.raw("PTTL", "list4") == -1
    report = warmed(any_server, source, only=Only("all"))
    assert (report.written, report.skipped) == (6, 1)
    assert any_server.raw("GET", "there") == b"1"
    assert any_server.raw("TYPE", "list") == b"list"


@pytest.mark.parametrize(("limit", "problems"), [(1, 0), (2, 1), (3, 1), (5, 3), (9, 3)])
def test_a_limit_counts_entries_and_not_bad_lines(
    server: ServerProcess, tmp_path: Path, limit: int, problems: int
):
    """Of the entries the first N are written; bad lines after the last of them are not met."""
    rows: list[Any] = [{"key": f"k{i}", "value": i} for i in range(6)]
    rows[1:1] = [b"bad"]
    rows[4:4] = [b"worse", b"worst"]
    report = warmed(server, lines(tmp_path / "e.jsonl", *rows), limit=limit)
    assert (report.written, report.failed) == (min(limit, 6), problems)
    assert len(keys_of(server)) == min(limit, 6)


def test_a_limit_reaches_over_batches_with_more_bad_lines_than_it(
    server: ServerProcess, tmp_path: Path
):
    """A first batch full of bad lines does not let a second one through whole."""
    bad = [b"bad"] * 490
    rows = [{"key": f"k{i}", "value": i} for i in range(700)]
    report = warmed(server, lines(tmp_path / "e.jsonl", *rows[:10], *bad, *rows[10:]), limit=20)
    assert (report.written, report.failed) == (20, 490)


def test_a_dry_run_looks_and_writes_nothing(server: ServerProcess, tmp_path: Path):
    """It reads every line and tells what is there; what would be written is unsent."""
    server.raw("SET", "there", "old")
    source = lines(
        tmp_path / "e.jsonl",
        {"key": "there", "value": 1},
        {"key": "new", "value": 1},
        {"key": "there", "value": 1, "expires_at": time.time() + 99},
        {"key": "past", "value": 1, "expires_at": 1},
        b"bad",
    )
    report = warmed(server, source, dry_run=True)
    assert (report.entries, report.skipped, report.failed, report.unsent) == (5, 2, 1, 2)
    assert report.dry_run
    assert report.exit_code == 1
    assert warmed(server, source, dry_run=True, only=Only("missing")).unsent == 1
    assert warmed(server, source, dry_run=True, only=Only("expiring", 5)).unsent == 1
    assert keys_of(server) == {b"there"}
    assert server.raw("GET", "there") == b"old"


def test_a_dry_run_is_allowed_on_a_replica(server: ServerProcess, tmp_path: Path):
    """It needs no writing."""
    server.raw("REPLICAOF", "127.0.0.1", "1")
    assert warmed(server, entries(tmp_path / "e.jsonl", 3), dry_run=True).unsent == 3


def test_bad_lines_are_counted_with_source_and_line(server: ServerProcess, tmp_path: Path):
    """Good entries around them are written; the report lists the first twenty and counts all."""
    rows = [b"bad"] * 30 + [{"key": "good", "value": 1}] + [b'{"key": "k"}']
    source = lines(tmp_path / "e.jsonl", *rows)
    report = warmed(server, source)
    assert (report.written, report.failed, report.exit_code) == (1, 31, 1)
    assert len(report.errors) == 20
    assert [(p.source, p.line) for p in report.errors] == [(str(source), n) for n in range(1, 21)]


@pytest.mark.parametrize(
    ("allowed", "code"),
    [
        (MaxFailed(), 1),
        (MaxFailed(28), 1),
        (MaxFailed(29), 0),
        (MaxFailed(share=0.28), 1),
        (MaxFailed(share=0.29), 0),
        (MaxFailed(share=1.0), 0),
    ],
)
def test_so_many_failures_may_be_borne(
    server: ServerProcess, tmp_path: Path, allowed: MaxFailed, code: int
):
    """A number or a share of all: 29 % of 100 are 29."""
    rows = [b"bad"] * 29 + [{"key": f"k{i}", "value": i} for i in range(71)]
    report = warmed(server, lines(tmp_path / "e.jsonl", *rows), max_failed=allowed)
    assert (report.failed, report.exit_code) == (29, code)


def test_fail_fast_stops_at_the_first_failure(server: ServerProcess, tmp_path: Path):
    """The batch with the bad line is the last one that is looked at."""
    rows = [{"key": f"k{i}", "value": i} for i in range(5000)]
    source = lines(tmp_path / "e.jsonl", *rows[:3000], b"bad", *rows[3000:])
    report = warmed(server, source, fail_fast=True)
    assert report.stopped == "fail_fast"
    assert report.exit_code == 1
    assert report.written == 2000
    assert report.failed == 1


def test_out_of_memory_fails_entries_one_by_one(fresh_server: FreshServer, tmp_path: Path):
    """Each entry that found no room is failed with the server's reason; 1, whatever there is first."""
    server = fresh_server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    rows = [{"key": f"k{i}", "value": "x" * 10_000} for i in range(500)]
    source = lines(tmp_path / "e.jsonl", *rows)
    report = warmed(server, source)
    assert report.failed > 100
    assert report.written == server.raw("DBSIZE") > 0
    assert report.exit_code == 1
    assert report.stopped is None
    assert "OOM" in report.errors[0].message
    assert report.errors[0].line is not None
    again = warmed(server, source, fail_fast=True)
    assert again.stopped == "fail_fast"


def test_keys_that_an_acl_forbids_fail_and_the_others_are_written(
    any_server: ServerProcess, tmp_path: Path
):
    """Permissions are the entries' own failures: 1, and the reason is told."""
    user = user_with(any_server, "+set", "~a:*")
    rows = [{"key": f"{name}:{i}", "value": i} for i in range(5) for name in "ab"]
    report = warmed(any_server, lines(tmp_path / "e.jsonl", *rows), user=user)
    assert (report.written, report.failed, report.exit_code) == (5, 5, 1)
    assert {p.key for p in report.errors} == {b"b:%d" % i for i in range(5)}
    user_with(any_server, "+get", "~*")
    report = warmed(any_server, tmp_path / "e.jsonl", user=user)
    assert (report.written, report.failed, report.exit_code) == (0, 10, 1)


def test_a_replica_is_refused_before_anything(server: ServerProcess, tmp_path: Path):
    """READONLY: 4, naming the primary."""
    server.raw("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ReadOnlyServerError) as caught:
        warmed(server, entries(tmp_path / "e.jsonl", 3))
    assert caught.value.exit_code == 4
    assert "127.0.0.1:1" in (caught.value.hint or "")


def test_a_server_that_becomes_a_replica_ends_the_work_with_a_report(
    server: ServerProcess, tmp_path: Path
):
    """What was written is told, the refusal is the error, nothing more is tried."""
    source = entries(tmp_path / "e.jsonl", 20_000)
    plan = Warm(sources=(str(source),))
    seen = 0

    async def demoted(store: Any) -> Any:
        def observe(progress: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == 10:
                server.raw("REPLICAOF", "127.0.0.1", "1")

        return await warm(store, plan, Stop(), observe, io.BytesIO())

    report = run(server, demoted)
    assert report.written > 0
    assert report.failed > 0
    assert report.entries < 20_000
    assert (report.stopped, report.exit_code) == ("connection", 4)
    assert report.error.code == "read_only_replica"
    assert report.written + report.failed + report.unsent == report.entries


def test_a_source_that_is_missing_is_told_before_another_is_written(
    server: ServerProcess, tmp_path: Path
):
    """The second file is looked for before the first is written: nothing was attempted, 2."""
    good = entries(tmp_path / "good.jsonl", 3)
    for name in ("missing.jsonl", "nul\0"):
        with pytest.raises(InputError) as caught:
            warmed(server, good, tmp_path / name)
        assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="no such file"):
        warmed(server, good, tmp_path / "missing.jsonl")
    assert keys_of(server) == set()


def test_a_file_cut_off_in_the_middle_ends_with_the_report_of_what_was_written(
    server: ServerProcess, tmp_path: Path
):
    """Entries before the cut stay written and reported: stopped `input`, 1, the reason is the error."""
    dice = random.Random(1)
    rows = [{"key": f"k{i}", "value": dice.random()} for i in range(20_000)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    source = tmp_path / "cut.jsonl.gz"
    source.write_bytes(whole[: len(whole) // 2])
    report = warmed(server, source)
    assert 5000 < report.written < 15_000
    assert report.written == server.raw("DBSIZE") == report.entries
    assert (report.stopped, report.exit_code) == ("input", 1)
    assert report.error is not None
    assert "cut off in line" in report.error.message
    sample = lines(tmp_path / "sample.jsonl", {"key": "k1"}, {"key": "none"})
    report = warmed(server, source, sample=(str(sample),), required=0.5)
    assert report.hit_rate is not None
    assert (report.hit_rate.after, report.hit_rate.met, report.exit_code) == (0.5, True, 1)


def test_a_file_cut_off_before_its_first_entry_is_an_input_error(
    server: ServerProcess, tmp_path: Path
):
    """Nothing was sent: 2, as for any file that cannot be read."""
    source = tmp_path / "cut.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"key": "k", "value": 1}\n' * 50)[:-30])
    with pytest.raises(InputError):
        warmed(server, source)


def test_a_look_that_is_denied_ends_before_anything(server: ServerProcess, tmp_path: Path):
    """A user without PTTL cannot warm what expires soon: the refusal is raised, nothing is written."""
    user = user_with(server, "+set", "~*")
    with pytest.raises(DeniedError):
        warmed(server, entries(tmp_path / "e.jsonl", 3), user=user, only=Only("expiring", 5))
    with pytest.raises(DeniedError):
        warmed(server, entries(tmp_path / "e.jsonl", 3), user=user, dry_run=True)
    assert keys_of(server) == set()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"required": 0.5}, "needs a sample"),
        ({"sample": "same"}, "entries are none"),
        ({"verify_only": True}, "nothing to verify"),
        ({"sources": ()}, "nothing to warm"),
        ({"sources": ("-", "-")}, "stdin is named twice"),
        ({"sources": ("-",), "sample": ("-",)}, "stdin is named twice"),
        ({"verify_only": True, "sample": ("-", "-")}, "stdin is named twice"),
    ],
)
def test_what_cannot_be_done_together_is_refused(options: dict[str, Any], text: str):
    """A plan is checked before anything is opened."""
    plan = Warm(**{"sources": ("e.jsonl",), **options})
    with pytest.raises(UsageError, match=text):
        run("redis://127.0.0.1:1/0", lambda store: warm_with(store, plan))


def test_stdin_may_be_named_in_sources_that_are_not_read():
    """A plan that only verifies reads the sample alone; the sample `same` reads nothing more."""
    Warm(sources=("-",), sample=("-",), verify_only=True).check()
    Warm(sources=("-",), sample="same", origin=origin("plain")).check()


def test_a_disabled_cache_is_reported_as_such():
    """Nothing written, `stopped: disabled`, 0: a rollback deploys; there is no hit rate."""
    report = disabled(Warm(sources=("e.jsonl",), sample=("s.jsonl",), required=0.5, job="charts"))
    assert (report.stopped, report.exit_code, report.entries) == ("disabled", 0, 0)
    assert report.hit_rate is None
    assert report.job == "charts"
