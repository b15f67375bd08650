"""A server that is killed in the middle and comes back, empty or from an old dump, or not at all."""

import json
import random
from pathlib import Path
from time import sleep
from typing import NamedTuple

import pytest

from tests.conftest import FreshServer
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    Ended,
    Operator,
    adds_up,
    executed,
    fill,
    keys_of,
    listed,
    seeds,
    until,
    value,
)
from tests.servers import ServerProcess

COUNT = 1500
OLD = 1000
"""So many keys are in the dump; the others are younger."""
RATE = ("--rate", "3000/s")


class Killed(NamedTuple):
    """A command whose server was killed half way, and what that server holds since."""

    operator: Operator
    server: ServerProcess
    ended: Ended
    saved: bool

    @property
    def there(self) -> set[bytes]:
        return keys_of(self.server, "n:*")


class Killer:
    """Kills a server at a random moment of a command, and starts it again a moment later."""

    def __init__(self, fresh_server: FreshServer, operator_at: OperatorAt) -> None:
        self.server = fresh_server(tcp=True)
        self.operator = operator_at(self.server)
        self.operator.entries(COUNT)
        sample = b"".join(b'{"key":"n:%d"}\n' % number for number in range(COUNT))
        self.operator.file("sample.jsonl", sample)

    def kill(self, seed: int, *words: str, back: bool = True) -> Killed:
        dice = random.Random(seed)
        saved = seed % 2 == 0
        self._prepare(words[0], saved=saved)
        run = self.operator.started(*words, *RATE)
        share = dice.uniform(0.2, 0.7)
        until(lambda: self._progress(words[0]) > share)
        self.server.kill9()
        assert not run.over
        if back:
            sleep(dice.uniform(0, 0.2))  # for so long nobody listens
            self.server.start()
        return Killed(self.operator, self.server, run.ended(), saved)

    def _prepare(self, command: str, *, saved: bool) -> None:
        if command != "warm":
            fill(self.server, "n:", OLD)
        fill(self.server, "else:", 100)
        if saved:
            self.server.raw("SAVE")
        if command != "warm":
            fill(self.server, "n:", COUNT)

    def _progress(self, command: str) -> float:
        """Return which share of the command is done, about."""
        if command in {"warm", "flush"}:
            done = float((self.server.raw("DBSIZE") - 100) / COUNT)
            return done if command == "warm" else 1 - done
        return executed(self.server)["scan"] / (COUNT / 100)


@pytest.fixture
def killer(fresh_server: FreshServer, operator_at: OperatorAt) -> Killer:
    return Killer(fresh_server, operator_at)


@pytest.mark.parametrize("seed", seeds())
def test_a_warm_says_that_entries_are_missing(killer: Killer, seed: int):
    """What was not acknowledged is sent again, what is gone is told, and a rerun brings it back."""
    killed = killer.kill(seed, *COMMANDS["warm"])
    report, code = killed.ended.report, killed.ended.code
    assert adds_up(report)
    assert (code, report["exit_code"], report["entries"]) == (3, 3, COUNT)
    assert (report["written"], report["unknown"], report["unsent"]) == (COUNT, 0, 0)
    assert "restarted or replaced" in report["error"]["message"]
    assert "may be gone" in report["error"]["message"]
    held = [b"n:%d" % number in killed.there for number in range(COUNT)]
    assert held == sorted(held)  # all from the first that the new server was sent
    assert not held[0]
    assert held[-1]
    rerun = killed.operator.ran("warm", "./entries.jsonl", "--only", "missing")
    assert (rerun.code, rerun.report["written"]) == (0, held.count(False))
    assert len(killed.there) == COUNT


@pytest.mark.parametrize("seed", seeds())
def test_a_server_that_came_back_without_its_entries_fails_the_gate(killer: Killer, seed: int):
    """Verify looks at the server that is there now: the hit rate is true, and not enough."""
    gate = ("--verify", "./sample.jsonl", "--min-hit-rate", "100%")
    killed = killer.kill(seed, *COMMANDS["warm"], *gate)
    rate = killed.ended.report["hit_rate"]
    assert (killed.ended.code, rate["met"], rate["requests"]) == (3, False, COUNT)
    assert rate["after"] == pytest.approx(len(killed.there) / COUNT)
    assert 0 < rate["after"] < 1


@pytest.mark.parametrize("seed", seeds())
def test_a_flush_never_ends_with_0_and_old_keys(killer: Killer, seed: int):
    """It begins anew by itself, and its counts are no more exact."""
    killed = killer.kill(seed, *COMMANDS["flush"])
    report = killed.ended.report
    assert (killed.ended.code, report["remaining"], killed.there) == (0, 0, set())
    assert report["passes"] >= 2
    assert not report["deleted_exact"]
    assert report["deleted"] <= report["matched"] <= COUNT + OLD
    assert len(keys_of(killed.server, "else:*")) == (100 if killed.saved else 0)


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("name", ["scan", "export", "export-to"])
def test_a_listing_is_never_short_with_0(killer: Killer, name: str, seed: int):
    """It begins anew, says so, and holds each key that the server has now."""
    killed = killer.kill(seed, *COMMANDS[name])
    ended = killed.ended
    assert ended.code == 0
    assert any("begins again: keys may come twice" in line for line in ended.warnings)
    rows = ended.lines
    if name == "export-to":
        assert (ended.report["restarts"] >= 1, ended.report["file"]) == (True, "out.jsonl")
        rows = lines_of(killed.operator.directory / "out.jsonl")
        assert ended.report["entries"] == len(rows)
    keys = listed(rows)
    assert len(killed.there) == (OLD if killed.saved else 0)
    assert killed.there <= keys.keys() <= {b"n:%d" % number for number in range(COUNT)}
    assert max(keys.values()) <= 1 + len(ended.warnings)
    if name != "scan":
        assert all(row["value"] == json.loads(value()) for row in rows)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("seed", seeds())
def test_stats_count_the_server_that_came_back_and_once(killer: Killer, seed: int):
    killed = killer.kill(seed, *COMMANDS["stats"])
    report = killed.ended.report
    assert (killed.ended.code, report["stopped"]) == (0, None)
    assert report["keys"] == len(killed.there) == (OLD if killed.saved else 0)
    assert report["passes"] >= 2


@pytest.mark.parametrize("name", ["warm", "flush", "scan", "stats", "export", "export-to"])
def test_a_server_that_does_not_come_back_is_waited_for_and_then_3(killer: Killer, name: str):
    """Within `--timeout` it could have come back; then it ends with what is known."""
    killed = killer.kill(1, *COMMANDS[name], "--timeout", "500ms", back=False)
    ended = killed.ended
    assert ended.code == 3
    if name in {"scan", "export"}:
        assert ended.error["code"] in {"unreachable", "connection_lost"}
        assert 0 < len(ended.lines) < COUNT
    else:
        report = ended.report
        assert (report["stopped"], report["exit_code"]) == ("connection", 3)
    if name == "warm":
        assert adds_up(report)
        assert report["written"] > 0 < report["unsent"]
    elif name == "flush":
        assert report["deleted"] > 0
        assert "remaining" in report["unknown_fields"]
    elif name == "stats":
        assert 0 < report["keys"] < COUNT
    assert not (killed.operator.directory / "out.jsonl").exists()
