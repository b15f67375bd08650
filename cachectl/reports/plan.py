"""What a log or a list asks for, and what hit rate the most asked of it promise."""

from dataclasses import dataclass

from cachectl.models import Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """What the requests of a warm were: `requests` in all, for `keys`.

    Of a log, `bad` lines could not be parsed, no route took the `unrouted` ones, and the `filtered`
    ones were of another method, status or time.
    """

    requests: int
    keys: int
    bad: int
    unrouted: int
    filtered: int


@dataclass(frozen=True, slots=True)
class PlanPoint:
    """The hit rate that the `limit` most asked keys promise, and the memory they take if it is known."""

    limit: int
    hit_rate: float
    size: int | None


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a warm would be worth: the ranking, and the share of its requests that its top brings.

    `top` are the most asked keys with their counts; `chosen` is what limit, coverage and budget take of
    the ranking, None without any of them.
    """

    job: str | None
    asked: Asked
    curve: tuple[PlanPoint, ...]
    top: tuple[tuple[bytes, int], ...]
    chosen: PlanPoint | None
    problems: tuple[Problem, ...] = ()
