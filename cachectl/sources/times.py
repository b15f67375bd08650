"""The times of logs: Unix numbers, ISO text, or text as in the common log format."""

import re
from datetime import UTC, datetime, timedelta, timezone
from math import inf

from cachectl.config.settings import AccessLog, Moment
from cachectl.sources.fields import MAX_EXPIRES_AT, LineError

MANY = 100_000
"""How many times are remembered: lines that stand together mostly have the same."""

_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]*)?")
_CLF = re.compile(
    r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-][0-9]{2})([0-9]{2})"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Window(dict[bytes, bool]):
    """Whether times are wanted, by their text: from `since` on and before `until`."""

    def __init__(self, log: AccessLog, now: float) -> None:
        """Count a moment that is given as an age from `now`."""
        super().__init__()
        self._since = _at(log.since, now, -inf)
        self._until = _at(log.until, now, inf)
        self.open = log.since is None and log.until is None

    def __missing__(self, text: bytes) -> bool:
        """Look at a time that was not seen before; raise `LineError`."""
        if len(self) >= MANY:
            self.clear()
        wanted = self[text] = self.holds(unix_time(text.decode(errors="replace")))
        return wanted

    def holds(self, at: float) -> bool:
        """Whether a Unix time is wanted; raise `LineError` for one that is none, like milliseconds."""
        if not abs(at) <= MAX_EXPIRES_AT:
            msg = "the time is not in Unix seconds"
            raise LineError(msg)
        return self._since <= at < self._until


def unix_time(text: str) -> float:
    """Return the Unix time of `1431857103.5`, `2015-05-17T10:05:03Z` or `17/May/2015:10:05:03 +0000`.

    ISO text without a zone is UTC, as in the settings. Raises `LineError`.
    """
    try:
        return float(text) if _NUMBER.fullmatch(text) else _date(text).timestamp()
    except (ValueError, OverflowError):
        msg = "the time is neither Unix seconds nor ISO nor like 17/May/2015:10:05:03 +0000"
        raise LineError(msg) from None


def _date(text: str) -> datetime:
    # %b of strptime means the months of the locale
    match = _CLF.fullmatch(text)
    if match is None:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    day, month, year, hour, minute, second, hours, minutes = match.groups()
    east = timedelta(hours=int(hours), minutes=int(hours[0] + minutes))
    return datetime(
        int(year),
        _MONTHS.index(month) + 1,
        int(day),
        int(hour),
        int(minute),
        min(int(second), 59),  # a leap second
        tzinfo=timezone(east),
    )


def _at(moment: Moment | None, now: float, otherwise: float) -> float:
    if moment is None:
        return otherwise
    return moment.at if moment.at is not None else now - (moment.ago or 0.0)
