"""Durations, sizes, shares and rates: text <-> numbers.

Durations are seconds, sizes bytes, shares 0 to 1, rates a second. Each parser raises `ValueError`
whose text says what was expected and never repeats what was given.
"""

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_BYTES = {
    "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

# The server counts TTLs in milliseconds in a signed 64-bit integer and adds the present to them.
MAX_DURATION = 100 * 365 * 86400.0


def duration(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `1h30m`, `250ms` or a bare number of seconds."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            msg = "expected a duration like 90s, 15m, 2h, 7d, 1h30m or 250ms"
            raise ValueError(msg)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > MAX_DURATION:
        msg = "expected a duration of at most 100 years"
        raise ValueError(msg)
    return seconds


def positive_duration(text: str) -> float:
    """Return the seconds of a duration that must be longer than nothing."""
    seconds = duration(text)
    if seconds <= 0:
        msg = "expected a duration longer than 0"
        raise ValueError(msg)
    return seconds


def size(text: str) -> int:
    """Return the bytes of `512KB` (1000), `64MiB` (1024) or a bare number of bytes."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text)
    match = _SIZE.fullmatch(text)
    if match is None:
        msg = "expected a size like 512KB, 64MB or 1GiB"
        raise ValueError(msg)
    return int(float(match[1]) * _BYTES[match[2].lower()])


def share(text: str) -> float:
    """Return the share, 0 to 1, of `50%` or `0.5`."""
    text = text.strip()
    number, scale = (text[:-1], 100.0) if text.endswith("%") else (text, 1.0)
    if not _NUMBER.fullmatch(number) or not 0 <= float(number) / scale <= 1:
        msg = "expected a share like 50% or 0.5, from 0 to 1"
        raise ValueError(msg)
    return float(number) / scale


def rate(text: str) -> float:
    """Return how many a second `500/s`, `30/m` or a bare number means; more than 0."""
    number, _, unit = text.strip().partition("/")
    if not _NUMBER.fullmatch(number) or unit not in {"", "s", "m", "h"} or float(number) <= 0:
        msg = "expected a rate like 500/s or 30/m"
        raise ValueError(msg)
    return float(number) / _SECONDS[unit or "s"]


def format_duration(seconds: float) -> str:
    """Return a short text for people: `250ms`, `1.5s`, `2m 5s`, `3h 20m`, `7d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def format_size(count: float) -> str:
    """Return a short text for people in powers of 1000: `512 B`, `1.2 kB`, `3.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:  # noqa: PLR2004
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_share(value: float) -> str:
    """Return a share for people: `56.7 %`."""
    return f"{value * 100:.1f} %"
