"""How a call of an origin fails, and what follows from it."""

from typing import NamedTuple

from cachectl.errors import CachectlError


class Failure(NamedTuple):
    """Why a call gave no value. It travels between processes, which exceptions do not always.

    `again` tells that another try may go well, `of_request` that the request itself is at fault, which
    says nothing about the origin's health. `wait` is for how many seconds the origin wants to be left
    alone.
    """

    message: str
    again: bool = False
    of_request: bool = False
    wait: float | None = None


class OriginError(CachectlError):
    """The origin gave no value for one request; the message is one line."""

    code = "origin"
    exit_code = 1

    def __init__(self, failure: Failure) -> None:
        """Say why."""
        super().__init__(failure.message)
        self.failure = failure


class OriginGoneError(CachectlError):
    """The origin as a whole cannot be reached; it is not the cache server, whose errors are others."""

    code = "origin"
    exit_code = 3
