"""A short run of `scripts/fuzz`: whatever is read from outside, only our own errors come out."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from scripts.fuzzing import words
from scripts.fuzzing.runs import TARGETS, run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS)
def test_only_our_own_errors_come_out(target: str) -> None:
    """And what comes out otherwise is true; `scripts/fuzz` makes the same cases, and more of them."""
    tally = run(target, 1, range(300))
    assert not tally.broken, "\n\n".join(map(str, tally.faults))
    assert tally.accepted
    assert tally.refused


def test_a_case_comes_again() -> None:
    assert words.make(Random("words 1 7")) == words.make(Random("words 1 7"))


def test_a_fault_says_how_it_is_seen_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the target, the seed, the case, what was read and where it went wrong."""
    monkeypatch.setattr(words, "judge", lambda given: {}[given.kind])
    tally = run("words", 5, range(3, 5))
    assert (tally.accepted, tally.refused, tally.broken) == (0, 0, 2)
    shown = str(tally.faults[0])
    assert "scripts/fuzz --target words --seed 5 --case 3" in shown
    assert "KeyError" in shown
    assert "data in base64: " in shown


def test_the_script_ends_with_0_when_all_is_well() -> None:
    """A line for each target that was run."""
    done = subprocess.run(
        [ROOT / "scripts" / "fuzz", "--target", "urls", "--cases", "20"],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("urls           20 cases: ")
