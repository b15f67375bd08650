"""The example's files of requests are what they say: well formed, distinct, an honest sample."""

import json
import re
from datetime import datetime
from typing import Any

import pytest

from examples.natal.chart import check

Lines = list[dict[str, Any]]


def _params(lines: Lines) -> list[str]:
    return [json.dumps(line["params"], sort_keys=True) for line in lines]


def test_births_are_many_and_all_different(births: Lines) -> None:
    assert len(births) >= 60
    assert len(set(_params(births))) == len(births)
    assert len({line["name"] for line in births}) == len(births)


def test_every_birth_names_a_person_and_a_place(births: Lines) -> None:
    for line in births:
        assert set(line) == {"params", "name", "place"}
        assert line["name"]
        assert line["place"]


def test_every_sampled_request_is_different_and_has_a_count(last_hour: Lines) -> None:
    assert len(set(_params(last_hour))) == len(last_hour)
    for line in last_hour:
        assert set(line) == {"params", "count"}
        assert type(line["count"]) is int
        assert line["count"] > 0


@pytest.mark.parametrize("name", ["births", "last_hour"])
def test_parameters_have_one_spelling(name: str, request: pytest.FixtureRequest) -> None:
    """A date in UTC to the minute and two floats: another spelling would be another key."""
    for line in request.getfixturevalue(name):
        params = line["params"]
        assert list(params) == ["date", "lat", "lon"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", params["date"])
        assert datetime.fromisoformat(params["date"]).utcoffset() is not None
        assert type(params["lat"]) is float
        assert type(params["lon"]) is float
        check(**params)


def test_the_sample_is_mostly_foreseen_but_not_all(births: Lines, last_hour: Lines) -> None:
    """A warm with all births meets a gate of 50 % clearly and cannot reach 100 %."""
    foreseen = set(_params(births))
    counts = [line["count"] for line in last_hour]
    known = (params in foreseen for params in _params(last_hour))
    hits = sum(count for count, hit in zip(counts, known, strict=True) if hit)
    assert 0.75 < hits / sum(counts) < 0.95
    assert max(counts) > 10 * min(counts)
