"""Charts hold against an independent library and against published positions."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import ephem
import pytest

from examples.natal.chart import BODIES, SIGNS, Chart, chart

from .conftest import NATAL, lines

BIRTHS = [pytest.param(line["params"], id=line["name"]) for line in lines("births.jsonl")]
TOLERANCE = 0.1
"""Degrees by which two independent theories may differ; they are far closer."""


def _apart(one: float, other: float) -> float:
    """Degrees between two longitudes, the short way round."""
    return abs((one - other + 180) % 360 - 180)


def _instant(date: str) -> ephem.Date:
    return ephem.Date(date.removesuffix("Z").replace("T", " ").replace("-", "/"))


def _body_longitude(name: str, date: str) -> float:
    """Return ephem's apparent geocentric ecliptic longitude of date in degrees."""
    at = _instant(date)
    body = getattr(ephem, name.capitalize())(at)
    # g_ra and g_dec are apparent and of date already; a and ra would be of 2000 or of a place.
    of_date = ephem.Equatorial(body.g_ra, body.g_dec, epoch=at)
    return math.degrees(ephem.Ecliptic(of_date, epoch=at).lon)


class _Sky:
    """The ecliptic above one place at one moment, from ephem's sidereal time and obliquity."""

    def __init__(self, date: str, lat: float, lon: float) -> None:
        observer = ephem.Observer()
        observer.lat, observer.lon = math.radians(lat), math.radians(lon)
        observer.date = _instant(date)
        self._lat = math.radians(lat)
        self._date = observer.date
        self._sidereal = float(observer.sidereal_time())

    def _equatorial(self, longitude: float) -> tuple[float, float]:
        """Return hour angle and declination in radians of a point of the ecliptic."""
        point = ephem.Ecliptic(math.radians(longitude), 0, epoch=self._date)
        equatorial = ephem.Equatorial(point, epoch=self._date)
        return self._sidereal - float(equatorial.ra), float(equatorial.dec)

    def _height(self, longitude: float) -> float:
        hour, dec = self._equatorial(longitude)
        level = math.cos(self._lat) * math.cos(dec) * math.cos(hour)
        return math.sin(self._lat) * math.sin(dec) + level

    def _side(self, longitude: float) -> float:
        return math.sin(self._equatorial(longitude)[0])

    def ascendant(self) -> float:
        """Find the point on the horizon in the east (its hour angle is negative) by bisection."""
        return next(root for root in _roots(self._height) if self._side(root) < 0)

    def midheaven(self) -> float:
        """Find the point on the meridian whose hour angle is 0, not 180 degrees, by bisection."""
        upper = (root for root in _roots(self._side) if math.cos(self._equatorial(root)[0]) > 0)
        return next(upper)


def _roots(f: Callable[[float], float]) -> list[float]:
    """Return the longitudes in degrees at which `f` changes its sign."""
    return [_bisect(f, low, low + 1.0) for low in range(360) if f(low) * f(low + 1.0) <= 0]


def _bisect(f: Callable[[float], float], low: float, high: float) -> float:
    sign = math.copysign(1, f(low))
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) * sign > 0 else (low, middle)
    return low


@pytest.mark.parametrize("params", BIRTHS)
def test_bodies_agree_with_ephem(params: dict[str, Any]) -> None:
    bodies = chart(**params)["bodies"]
    assert list(bodies) == list(BODIES)
    off = {n: _apart(b["longitude"], _body_longitude(n, params["date"])) for n, b in bodies.items()}
    assert {name: apart for name, apart in off.items() if apart > TOLERANCE} == {}


@pytest.mark.parametrize("params", BIRTHS)
def test_angles_agree_with_a_search_in_ephems_sky(params: dict[str, Any]) -> None:
    computed, sky = chart(**params), _Sky(**params)
    assert computed["ascendant"] is not None
    assert _apart(computed["ascendant"]["longitude"], sky.ascendant()) < TOLERANCE
    assert _apart(computed["midheaven"]["longitude"], sky.midheaven()) < TOLERANCE


@pytest.mark.parametrize("lat", [-89.0, -72.5, -60.0, 0.0, 66.0, 70.0, 85.0])
def test_the_ascendant_rises_at_every_latitude(lat: float) -> None:
    """In the east at all hours, inside the polar circles too, where the formula turns west."""
    for hour in range(24):
        date = f"2001-03-04T{hour:02}:30Z"
        rising = chart(date, lat, 25.0)["ascendant"]
        assert rising is not None
        assert _apart(rising["longitude"], _Sky(date, lat, 25.0).ascendant()) < TOLERANCE


@pytest.mark.parametrize("lat", [90.0, -90.0])
def test_nothing_rises_at_a_pole(lat: float) -> None:
    assert chart("2000-01-01T12:00Z", lat, 0.0)["ascendant"] is None


@pytest.mark.parametrize(
    ("date", "body", "longitude", "within"),
    [
        # Meeus, Astronomical Algorithms, examples 25.b and 47.a; his are 59 s of time earlier.
        ("1992-10-13T00:00Z", "sun", 199.9060, 0.001),
        ("1992-04-12T00:00Z", "moon", 133.1673, 0.02),
        # The March equinox of 2000; the great conjunction of 2020 at 0.49 degrees of Aquarius.
        ("2000-03-20T07:35Z", "sun", 0.0, 0.001),
        ("2020-12-21T18:20Z", "jupiter", 300.49, 0.01),
        ("2020-12-21T18:20Z", "saturn", 300.49, 0.01),
    ],
)
def test_published_positions(date: str, body: str, longitude: float, within: float) -> None:
    assert _apart(chart(date, 0.0, 0.0)["bodies"][body]["longitude"], longitude) < within


@pytest.mark.parametrize(
    ("name", "sun", "moon", "ascendant"),
    [
        ("Albert Einstein", "Pisces", "Sagittarius", "Cancer"),
        ("Marilyn Monroe", "Gemini", "Aquarius", "Leo"),
        ("Elizabeth II", "Taurus", "Leo", "Capricorn"),
        ("Steve Jobs", "Pisces", "Aries", "Virgo"),
        ("Diana, Princess of Wales", "Cancer", "Aquarius", "Sagittarius"),
        ("Barack Obama", "Leo", "Gemini", "Aquarius"),
        ("Muhammad Ali", "Capricorn", "Aquarius", "Leo"),
    ],
)
def test_published_signs(name: str, sun: str, moon: str, ascendant: str) -> None:
    found = next(line["params"] for line in lines("births.jsonl") if line["name"] == name)
    computed = chart(**found)
    assert computed["bodies"]["sun"]["sign"] == sun
    assert computed["bodies"]["moon"]["sign"] == moon
    assert computed["ascendant"] is not None
    assert computed["ascendant"]["sign"] == ascendant


def test_a_chart_survives_json_and_signs_follow_longitudes() -> None:
    asked = {"date": "1955-02-25T03:15Z", "lat": 37.77, "lon": -122.42}
    computed = chart("1955-02-25T03:15Z", 37.77, -122.42)
    assert json.loads(json.dumps(computed)) == computed
    assert asked.items() <= computed.items()
    for position in _positions(computed):
        assert 0 <= position["longitude"] < 360
        assert position["longitude"] == round(position["longitude"], 4)
        assert position["sign"] == SIGNS[int(position["longitude"] // 30)]


def _positions(computed: Chart) -> list[Any]:
    return [*computed["bodies"].values(), computed["ascendant"], computed["midheaven"]]


def test_a_date_alone_means_noon() -> None:
    alone, noon = chart("1990-05-17", 48.85, 2.35), chart("1990-05-17T12:00Z", 48.85, 2.35)
    assert alone["bodies"] == noon["bodies"]
    assert alone["ascendant"] == noon["ascendant"]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"date": "yesterday"}, "date must be UTC like"),
        ({"date": ""}, "date must be UTC like"),
        ({"date": 19550225}, "date must be UTC like"),
        ({"date": "1955-02-25T03:15"}, "date must be UTC like"),
        ({"date": "1955-02-25T03:15:00Z"}, "date must be UTC like"),
        ({"date": "1955-02-25T03:15Z\n"}, "date must be UTC like"),
        ({"date": "\n" * 500}, "date must be UTC like"),
        ({"date": "1955-02-30T03:15Z"}, "does not exist"),
        ({"date": "1955-02-25T24:15Z"}, "does not exist"),
        ({"date": "0000-01-01"}, "does not exist"),
        ({"date": "1452-04-15T21:30Z"}, "years 1600 to 2200"),
        ({"lat": 90.01}, "lat must be a number of degrees from -90 to 90, not 90.01"),
        ({"lat": math.nan}, "lat must be"),
        ({"lat": True}, "lat must be"),
        ({"lat": "37.77"}, "lat must be"),
        ({"lon": -180.5}, "lon must be a number of degrees from -180 to 180, not -180.5"),
        ({"lon": math.inf}, "lon must be"),
        ({"lon": None}, "lon must be"),
    ],
)
def test_what_is_no_date_or_place_is_refused_in_one_line(params: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {"date": "1955-02-25T03:15Z", "lat": 37.77, "lon": -122.42}
    with pytest.raises(ValueError, match=says) as refused:
        chart(**(asked | params))
    assert len(str(refused.value).splitlines()) == 1


FIRST_CHARTS = """
import sys, threading
from examples.natal.chart import chart
sys.setswitchinterval(1e-6)
start, results = threading.Barrier(16), []
def compute():
    start.wait()
    results.append(chart("1955-02-25T03:15Z", 37.77, -122.42))
threads = [threading.Thread(target=compute) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(results), all(r == chart("1955-02-25T03:15Z", 37.77, -122.42) for r in results))
"""


def test_the_first_charts_of_a_process_may_be_computed_in_threads() -> None:
    """The library fills a table on first use; threads that come meanwhile wait for it."""
    command = [sys.executable, "-c", FIRST_CHARTS]
    root = NATAL.parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "16 True\n")
