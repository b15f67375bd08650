"""Compute a natal chart: where Sun, Moon and planets stood, seen from a place at a moment.

Positions come from astronomy-engine: VSOP87 and a lunar theory in pure Python, no download. The two
angles follow J. Meeus, *Astronomical Algorithms*, 2nd ed., chapters 13 and 14.
"""

import math
import re
import threading
from datetime import UTC, datetime
from typing import Final, TypedDict

import astronomy

SIGNS: Final = (
    "Aries",
    "Taurus",
    "Gemini",
    "Cancer",
    "Leo",
    "Virgo",
    "Libra",
    "Scorpio",
    "Sagittarius",
    "Capricorn",
    "Aquarius",
    "Pisces",
)
BODIES: Final = {
    "sun": astronomy.Body.Sun,
    "moon": astronomy.Body.Moon,
    "mercury": astronomy.Body.Mercury,
    "venus": astronomy.Body.Venus,
    "mars": astronomy.Body.Mars,
    "jupiter": astronomy.Body.Jupiter,
    "saturn": astronomy.Body.Saturn,
    "uranus": astronomy.Body.Uranus,
    "neptune": astronomy.Body.Neptune,
    "pluto": astronomy.Body.Pluto,
}

# Before 1600 most dates in books are Julian, and would silently be read as Gregorian ones.
FIRST_YEAR: Final = 1600
LAST_YEAR: Final = 2200

_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)Z)?", re.ASCII)
_NO_DIRECTION: Final = 1e-9

# The library fills its table of Pluto's orbit on first use: a second thread would see it half full.
_PLUTO: Final = threading.Lock()


class Position(TypedDict):
    """A point of the ecliptic: longitude in degrees, 0 to under 360, and the sign it lies in."""

    longitude: float
    sign: str


class Chart(TypedDict):
    """A natal chart, ready for JSON; `ascendant` is `None` where no point of the ecliptic rises."""

    date: str
    lat: float
    lon: float
    bodies: dict[str, Position]
    ascendant: Position | None
    midheaven: Position


def chart(date: str, lat: float, lon: float) -> Chart:
    """Compute the chart for a moment and a place.

    `date` is UTC, `2000-01-31T23:59Z`, or a date alone, which means noon UTC. `lat` and `lon` are
    geographic degrees, north and east positive. Longitudes are geocentric, apparent, of the true
    ecliptic and equinox of date, in degrees with four decimals. Raises `ValueError` in one line for
    a date outside the calendar or the years 1600 to 2200, or a place that is not on Earth.
    """
    check(date, lat, lon)
    time = _time(date)
    bodies = {name: _position(_longitude(body, time)) for name, body in BODIES.items()}
    sidereal = math.radians(15 * astronomy.SiderealTime(time) + lon)
    obliquity = _obliquity(time)
    rising = _ascendant(sidereal, obliquity, math.radians(lat))
    return {
        "date": date,
        "lat": lat,
        "lon": lon,
        "bodies": bodies,
        "ascendant": None if rising is None else _position(rising),
        "midheaven": _position(_midheaven(sidereal, obliquity)),
    }


def check(date: str, lat: float, lon: float) -> None:
    """Raise `ValueError` unless there is a chart for this date and place; computes nothing."""
    _moment(date)
    _check_degrees("lat", lat, 90)
    _check_degrees("lon", lon, 180)


def _moment(date: str) -> datetime:
    match = _DATE.fullmatch(date) if isinstance(date, str) else None
    if match is None:
        msg = f"date must be UTC like 2000-01-31T23:59Z or 2000-01-31, not {_shown(date)}"
        raise ValueError(msg)
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '12:00'}").replace(tzinfo=UTC)
    except ValueError:
        msg = f"date {date} does not exist in the calendar or on the clock"
        raise ValueError(msg) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        msg = f"date must lie in the years {FIRST_YEAR} to {LAST_YEAR}, not in {date[:4]}"
        raise ValueError(msg)
    return moment


def _check_degrees(name: str, value: float, limit: int) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A comparison with NaN is false, so that this refuses it as well.
    if not (number and -limit <= value <= limit):
        msg = f"{name} must be a number of degrees from -{limit} to {limit}, not {_shown(value)}"
        raise ValueError(msg)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 - what fits a line


def _time(date: str) -> astronomy.Time:
    at = _moment(date)
    return astronomy.Time.Make(at.year, at.month, at.day, at.hour, at.minute, 0.0)


def _longitude(body: astronomy.Body, time: astronomy.Time) -> float:
    """Return the apparent geocentric longitude in degrees.

    Light time and aberration are in the vector, precession and nutation in its turn to ecliptic.
    """
    if body is astronomy.Body.Pluto:
        with _PLUTO:
            vector = astronomy.GeoVector(body, time, aberration=True)
    else:
        vector = astronomy.GeoVector(body, time, aberration=True)
    return float(astronomy.Ecliptic(vector).elon)


def _obliquity(time: astronomy.Time) -> float:
    """Return the true obliquity of date in radians, read off the turn of ecliptic to equator."""
    rows = astronomy.Rotation_ECT_EQD(time).rot
    return math.atan2(rows[1][2], rows[1][1])


def _midheaven(sidereal: float, obliquity: float) -> float:
    """Return the longitude in degrees of the ecliptic's point on the upper meridian.

    Its right ascension is the local sidereal time; angles are in radians. Meeus, chapter 13, for a
    point of the ecliptic. Inside the polar circles it may be below the horizon; it is left there.
    """
    return math.degrees(math.atan2(math.sin(sidereal), math.cos(sidereal) * math.cos(obliquity)))


def _ascendant(sidereal: float, obliquity: float, latitude: float) -> float | None:
    """Return the longitude in degrees of the ecliptic's point that rises; angles are in radians.

    Meeus, chapter 14, gives the two points where ecliptic and horizon meet. Outside the polar
    circles the same one is always in the east. Inside them the other is there for a part of the
    day, and is taken then: the ascendant is the point that rises. At a pole there is none.
    """
    # The zenith as a unit vector: x to the equinox, then turned from equator to ecliptic about x.
    x = math.cos(latitude) * math.cos(sidereal)
    along, north = math.cos(latitude) * math.sin(sidereal), math.sin(latitude)
    y = along * math.cos(obliquity) + north * math.sin(obliquity)
    z = north * math.cos(obliquity) - along * math.sin(obliquity)
    # (-y, x) is on the horizon: the ecliptic's pole cross the zenith. East is the Earth's pole
    # cross the zenith; the product of the two tells on which side the point lies.
    east = math.cos(obliquity) - z * north
    if abs(east) < _NO_DIRECTION:
        return None
    return math.degrees(math.atan2(x, -y) if east > 0 else math.atan2(-x, y))


def _position(longitude: float) -> Position:
    # Rounded before it is folded: 359.99996 is 0.0, in Aries.
    degrees = round(longitude, 4) % 360
    return {"longitude": round(degrees, 4), "sign": SIGNS[int(degrees // 30)]}
