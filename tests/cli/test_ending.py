"""How commands end when something is wrong that no test of a single command meets."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cachectl.errors import ServerError
from cachectl.store.store import Store
from tests.cli.conftest import Run


def raising(error: BaseException) -> Callable[..., object]:
    """Return a `Store.get` that ends so."""

    async def get(*_: object) -> object:
        raise error

    return get


def test_no_error_steers_a_terminal(on: Run, monkeypatch: pytest.MonkeyPatch):
    """Whoever words it may have forgotten that a name in it comes from outside."""
    monkeypatch.setattr(Store, "get", raising(ServerError("a\x1b[31m\nb", "see\u202ec")))
    result = on("get", "k")
    assert (result.code, result.err) == (4, "error: a\\x1b[31m\\nb (see\\u202ec)\n")


def test_a_bug_is_told_as_one_without_what_it_said(on: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Store, "get", raising(KeyError("c4n4ry")))
    result = on("get", "k")
    assert (result.code, result.out) == (70, b"")
    assert re.fullmatch(
        r"error: this is a bug in cachectl: KeyError at \w+\.py:\d+ \(.*\)\n", result.err
    )
    assert "c4n4ry" not in result.err
    assert on("get", "k", "-o", "json").error["code"] == "internal"


def test_ctrl_c_before_anything_runs_is_130(on: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cachectl.cli.session.read_settings", raise_interrupt)
    assert on("get", "k").code == 130


def raise_interrupt(_said: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("words", [["-o", "json"], ["-ojson"], ["--output=json"]])
def test_usage_errors_are_json_when_json_is_wanted(run: Run, words: list[str]):
    for wrong in (["get"], ["get", "--nonsense"], ["nonsense"]):
        result = run(*words, *wrong)
        assert (result.code, result.out) == (2, b"")
        assert json.loads(result.err)["error"].keys() == {"code", "message", "hint"}
        assert json.loads(run(*wrong, *words).err)["error"]["code"] == "usage"


def test_the_deadline_is_a_duration(run: Run):
    for word in ("0", "x", "-5"):
        assert run("get", "k", "--deadline", word).code == 2


def test_only_expiring_writes_what_is_about_to_go(on: Run, workdir: Path):
    (workdir / "e.jsonl").write_text('{"key": "k", "value": 1}\n')
    words = ["warm", "e.jsonl", "--ttl", "10m", "-o", "json", "--only"]
    assert on(*words, "expiring:1h").json["written"] == 1
    assert on(*words, "expiring:5m").json["skipped"] == 1
