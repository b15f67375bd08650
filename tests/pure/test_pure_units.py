"""Durations, sizes, shares and rates: what is understood, what is refused, what is shown."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl import units

UNDERSTOOD: list[tuple[Callable[[str], float], str, float]] = [
    (units.duration, "90s", 90),
    (units.duration, "15m", 900),
    (units.duration, "2h", 7200),
    (units.duration, "7d", 604800),
    (units.duration, "1h30m", 5400),
    (units.duration, "250ms", 0.25),
    (units.duration, "1m30s500ms", 90.5),
    (units.duration, " 1.5h ", 5400),
    (units.duration, "2m 5s", 125),
    (units.duration, "2w", 1209600),
    (units.duration, "0", 0),
    (units.duration, "1.25", 1.25),
    (units.positive_duration, "1ms", 0.001),
    (units.size, "512KB", 512_000),
    (units.size, "64MB", 64_000_000),
    (units.size, "1GiB", 2**30),
    (units.size, "1.5kb", 1500),
    (units.size, "3 B", 3),
    (units.size, "1tib", 2**40),
    (units.size, "9223372036854774783", 9223372036854774783),
    (units.size, "0" * 5000 + "7", 7),
    (units.size, "999999999199999999B", 999999999199999999),
    (units.share, "50%", 0.5),
    (units.share, "0.5", 0.5),
    (units.share, "56.7 %", 0.567),
    (units.share, "0.9%", 0.009),
    (units.share, "0", 0),
    (units.share, "100%", 1),
    (units.rate, "500/s", 500),
    (units.rate, "30/m", 0.5),
    (units.rate, "7200/h", 2),
    (units.rate, " 50 ", 50),
]
REFUSED: dict[Callable[[str], float], list[str]] = {
    units.duration: ["", "x7q", "-7s", "7y", "7S", "s7", "7s x", "7.s", "1e7", "\u0667s", "7s,8s",
                     "7777777777777", "7" * 5000, "7" * 400 + "w"],
    units.positive_duration: ["0", "0s", "0.0ms", "x7q"],
    units.size: ["", "x7q", "-7", "7ib", "7kbit", "7.7", "1e7", "\u0667", "7 7", "7" * 5000 + "x",
                 "7" * 5000, "7" * 400 + "KB", "9223372036854775807", "8192PB"],
    units.share: ["", "x7q", "-7%", "107%", "1.7", "\u0667%", "%", "7e-1", "7" * 400, "nan"],
    units.rate: ["", "x7q", "0", "0/s", "-7/s", "7/", "7/d", "7/ms", "7 / s", "\u0667/s", "7" * 400,
                 "0." + "0" * 400 + "7/h"],
}  # fmt: skip
REASONS = {
    "expected a duration like 90s, 15m, 2h, 7d, 1h30m or 250ms",
    "expected a duration of at most 100 years",
    "expected a duration longer than 0",
    "expected a size like 512KB, 64MB or 1GiB",
    "expected a size of less than 8 EiB",
    "expected a share like 50% or 0.5, from 0 to 1",
    "expected a rate like 500/s or 30/m",
}


@pytest.mark.parametrize(("parse", "text", "wanted"), UNDERSTOOD)
def test_understood(parse: Callable[[str], float], text: str, wanted: float) -> None:
    """Seconds, bytes, 0 to 1, a second."""
    assert parse(text) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("parse", "text"), [(parse, text) for parse, texts in REFUSED.items() for text in texts]
)
def test_refused_without_repeating_it(parse: Callable[[str], float], text: str) -> None:
    """The reason says what was expected; what was given may be a secret in the wrong place."""
    with pytest.raises(ValueError, match=r"^expected a ") as raised:
        parse(text)
    assert str(raised.value) in REASONS


@given(st.text())
def test_nothing_but_a_value_error(text: str) -> None:
    """Any text at all gives a number or a ValueError that does not repeat it."""
    for parse in REFUSED:
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert str(error) in REASONS  # noqa: PT017


@given(st.floats(0, units.MAX_DURATION))
def test_a_shown_duration_is_understood(seconds: float) -> None:
    """To the two parts that are shown: within half a millisecond, or a part in sixty."""
    shown = units.format_duration(seconds)
    assert units.duration(shown) == pytest.approx(seconds, rel=0.06, abs=0.0005)


@given(st.integers(0, 10**15))
def test_a_shown_size_is_understood(count: int) -> None:
    """To its one digit."""
    assert units.size(units.format_size(count)) == pytest.approx(count, rel=0.06)


@given(st.floats(0, 1))
def test_a_shown_share_is_understood(value: float) -> None:
    """To a tenth of a percent."""
    assert units.share(units.format_share(value)) == pytest.approx(value, abs=0.0006)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0ms"), (0.25, "250ms"), (0.9994, "999ms"), (0.9996, "1s"), (1, "1s"), (1.5, "1.5s"),
        (59.94, "59.9s"), (59.96, "1m"), (60, "1m"), (125, "2m 5s"), (3599.6, "1h"),
        (12000, "3h 20m"), (604800, "7d"), (90061, "1d 1h"), (86400 + 59, "1d 59s"),
    ],
)  # fmt: skip
def test_durations_for_people(seconds: float, shown: str) -> None:
    """Two parts at most, never 60 of one."""
    assert units.format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"), (512, "512 B"), (999, "999 B"), (999.7, "1.0 kB"), (1000, "1.0 kB"),
        (1234, "1.2 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (3_400_000_000, "3.4 GB"),
        (5 * 10**12, "5.0 TB"), (5 * 10**15, "5000.0 TB"),
    ],
)  # fmt: skip
def test_sizes_for_people(count: float, shown: str) -> None:
    """Powers of 1000, never 1000 of one."""
    assert units.format_size(count) == shown
