"""A cluster is judged by what its nodes say of one another."""

from typing import Any

import pytest

from cachectl.errors import LostError
from cachectl.operations.health_cluster import heir_of, judge_cluster
from cachectl.store.members import Member
from cachectl.store.told import Vitals

WHOLE = ("0-8191", "8192-16383")


def member(
    name: str, *flags: str, primary: str | None = None, slots: tuple[str, ...] = ()
) -> Member:
    address = f"10.0.0.1:{ord(name[0])}"
    return Member(name, address, frozenset(flags), primary, "1", slots)


def seen(*members: Member) -> Vitals:
    return Vitals("redis://10.0.0.1:97/0", {"mode": "cluster"}, [0.001], {}, members)


A = member("a", "myself", "master", slots=WHOLE[:1])
B = member("b", "master", slots=WHOLE[1:])
HEIR = member("h", "slave", primary="b")


@pytest.mark.parametrize(
    ("members", "status", "words"),
    [
        ((A, B, HEIR), "ok", "16384 slots, 2 primaries"),
        ((A,), "critical", "8192 slots are served by nobody"),
        ((A, B._replace(flags=frozenset({"master", "fail"}))), "critical", "8192 slots"),
        (
            (A, B._replace(flags=frozenset({"master", "fail?"})), HEIR),
            "warning",
            "primary 10.0.0.1:98 fails: a replica is to take over",
        ),
        ((A, B, HEIR._replace(flags=frozenset({"slave", "fail"}))), "warning", "replica"),
        (
            (A._replace(slots=(*A.slots, "[7->-b]")), B),
            "warning",
            "slots are moving: 1 ends of moves are open",
        ),
    ],
)
def test_the_verdict(members: tuple[Member, ...], status: str, words: str) -> None:
    """Slots that nobody serves are critical; what is being mended, or moved, is a warning."""
    check = judge_cluster([seen(*members)])
    assert check.status == status
    assert words in check.message


def test_a_cluster_that_does_not_tell_is_not_judged() -> None:
    """CLUSTER NODES may be denied."""
    assert judge_cluster([seen()._replace(members=None)]).status == "skipped"


def test_the_heir_of_a_primary_that_is_away() -> None:
    """Others name the replica that is to take over; a failing one, or one that may not, is none."""
    failing: Any = B._replace(flags=frozenset({"master", "fail?"}))
    error = LostError("gone")
    away = Vitals("redis://10.0.0.1:98/0", {}, error, error, place=("10.0.0.1", 98))
    assert heir_of(away, [away, seen(A, failing, HEIR)]) == HEIR
    assert heir_of(away, [away, seen(A, B, HEIR)]) is None
    dead = HEIR._replace(flags=frozenset({"slave", "fail"}))
    assert heir_of(away, [away, seen(A, failing, dead)]) is None
    kept = HEIR._replace(flags=frozenset({"slave", "nofailover"}))
    assert heir_of(away, [away, seen(A, failing, kept)]) is None
