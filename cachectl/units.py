"""Durations, sizes, shares and rates: text <-> numbers.

Durations are seconds, sizes bytes, shares 0 to 1, rates a second. Each parser raises `ValueError`
whose text says what was expected and never repeats what was given.
"""

import re
from math import inf

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
# Patterns are compiled, and kept, by `re` at their first use: `--help` needs none of them.
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = rf"({_NUMBER})(ms|[smhdw])"
_SIZE = rf"([0-9]+)|({_NUMBER})\s*([KMGTkmgt][Ii]?[Bb]|[Bb])"
_RATE = rf"({_NUMBER})(?:/([smh]))?"

# The server counts TTLs in milliseconds in a signed 64-bit integer and adds the present to them.
MAX_DURATION = 100 * 365 * 86400.0
MAX_SIZE = 2**63
"""So many bytes the server cannot count."""


def duration(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `1h30m`, `250ms` or a bare number of seconds."""
    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        seconds = float(text)
    else:
        if not re.fullmatch(rf"(?:{_DURATION}\s*)+", text):
            msg = "expected a duration like 90s, 15m, 2h, 7d, 1h30m or 250ms"
            raise ValueError(msg)
        seconds = sum(
            float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION, text)
        )
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
    """Return the bytes of `512KB` (1000), `64MiB` (1024) or a bare whole number of bytes."""
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        msg = "expected a size like 512KB, 64MB or 1GiB"
        raise ValueError(msg)
    number, unit = match[1] or match[2], _BYTES[(match[3] or "b").lower()]
    count = float(number) * unit
    if count >= MAX_SIZE:
        msg = "expected a size of less than 8 EiB"
        raise ValueError(msg)
    # a whole number stays exact, where a float is not any more
    return int(count) if "." in number else int(number.lstrip("0") or 0) * unit


def share(text: str) -> float:
    """Return the share, 0 to 1, of `50%` or `0.5`."""
    text = text.strip()
    number, scale = (text[:-1].rstrip(), "e-2") if text.endswith("%") else (text, "")
    # the decimal point is moved in the text: 0.9 / 100 is a little more than 0.009
    if not re.fullmatch(_NUMBER, number) or not 0 <= float(number + scale) <= 1:
        msg = "expected a share like 50% or 0.5, from 0 to 1"
        raise ValueError(msg)
    return float(number + scale)


def rate(text: str) -> float:
    """Return how many a second `500/s`, `30/m` or a bare number means; more than 0."""
    match = re.fullmatch(_RATE, text.strip())
    found = float(match[1]) / _SECONDS[match[2] or "s"] if match else 0.0
    if not 0 < found < inf:
        msg = "expected a rate like 500/s or 30/m"
        raise ValueError(msg)
    return found


def format_duration(seconds: float) -> str:
    """Return a short text for people: `250ms`, `1.5s`, `2m 5s`, `3h 20m`, `7d`."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f}ms"
    if round(seconds, 1) < 60:  # noqa: PLR2004 the next unit
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
    if round(count) < 1000:  # noqa: PLR2004 the next unit
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if round(count, 1) < 1000:  # noqa: PLR2004 the next unit
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def format_share(value: float) -> str:
    """Return a share for people: `56.7 %`."""
    return f"{value * 100:.1f} %"
