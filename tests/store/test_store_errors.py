"""The driver's exceptions and the server's error words: all known, none with a value in it."""

import asyncio
import inspect
import socket
import ssl

import hiredis
import pytest
from redis import exceptions as driver

from cachectl import errors
from cachectl.store.errors import (
    AddressError,
    TlsError,
    from_driver,
    from_reply,
    is_worth_another_try,
)

WHERE = "redis://cache:6379/0"
CANARY = "canary-3f9"


def classes() -> list[type[Exception]]:
    """Return every exception class of redis-py and hiredis."""
    found = [
        value
        for module in (driver, hiredis)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    ]
    assert len(found) > 30
    return found


def made(kind: type[Exception]) -> Exception:
    """Return an exception of the class, with a value of somebody's in it."""
    if issubclass(kind, driver.AskError):
        return kind("1234 127.0.0.1:7000")
    return kind(CANARY)


OURS = {
    driver.AuthenticationError: errors.LoginError,
    driver.AuthorizationError: errors.LoginError,
    driver.AuthenticationWrongNumberOfArgsError: errors.LoginError,
    driver.ExternalAuthProviderError: errors.LoginError,
    driver.BusyLoadingError: errors.NotReadyError,
    driver.MaxConnectionsError: errors.NotReadyError,
    driver.ClusterDownError: errors.NotReadyError,
    driver.MasterDownError: errors.NotReadyError,
    driver.TryAgainError: errors.NotReadyError,
    driver.ConnectionError: errors.LostError,
    driver.TimeoutError: errors.SilenceError,
    driver.InvalidResponse: errors.UnreachableError,
    hiredis.ProtocolError: errors.UnreachableError,
}
"""What matters; every other is one of ours too."""


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_driver_is_one_of_ours(kind: type[Exception]) -> None:
    """None is unmapped, none is a bug of cachectl (70), and the server is named."""
    error = from_driver(made(kind), WHERE)
    assert isinstance(error, OURS.get(kind, errors.CachectlError))
    assert error.exit_code in {3, 4}
    if not isinstance(error, errors.ServerError):
        assert WHERE in error.message


def test_an_error_that_is_no_drivers_stays_a_bug() -> None:
    """What nobody foresaw is not dressed up as an unreachable server."""
    with pytest.raises(ZeroDivisionError):
        from_driver(ZeroDivisionError(), WHERE)
    ours = errors.ConfigError("x")
    assert from_driver(ours, WHERE) is ours


SYSTEM = [
    (ssl.SSLCertVerificationError("x"), TlsError),
    (ssl.SSLError("x"), TlsError),
    (socket.gaierror(-2, "x"), AddressError),
    (TimeoutError(), errors.SilenceError),
    (asyncio.IncompleteReadError(b"", 1), errors.LostError),
    (ConnectionResetError(), errors.LostError),
    (BrokenPipeError(), errors.LostError),
    (FileNotFoundError(), AddressError),
    (ConnectionRefusedError(), errors.UnreachableError),
    (OSError(101, "Network is unreachable"), errors.UnreachableError),
    (OSError(), errors.UnreachableError),
]


@pytest.mark.parametrize(("cause", "ours"), SYSTEM, ids=lambda x: getattr(x, "__name__", repr(x)))
def test_the_operating_systems_reason_counts_more_than_the_drivers(
    cause: Exception, ours: type[errors.CachectlError]
) -> None:
    """The driver wraps them all in its ConnectionError; what lies beneath decides."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        cause.verify_message = "self-signed certificate"
    wrapped = driver.ConnectionError(CANARY)
    wrapped.__cause__ = cause
    for error in (from_driver(wrapped, WHERE), from_driver(cause, WHERE)):
        assert type(error) is ours
        assert WHERE in error.message
        assert CANARY not in error.message


WORDS = {
    "OOM command not allowed when used memory > 'maxmemory'.": errors.OutOfMemoryError,
    "NOPERM User a has no permissions to run the 'get' command": errors.DeniedError,
    "WRONGTYPE Operation against a key holding the wrong kind of value": errors.WrongTypeError,
    "READONLY You can't write against a read only replica.": errors.ReadOnlyServerError,
    "BUSY Redis is busy running a script.": errors.BusyError,
    "MISCONF Redis is configured to save RDB snapshots": errors.BusyError,
    "NOREPLICAS Not enough good replicas to write.": errors.BusyError,
    "LOADING Redis is loading the dataset in memory": errors.NotReadyError,
    "MASTERDOWN Link with MASTER is down": errors.NotReadyError,
    "CLUSTERDOWN Hash slot not served": errors.NotReadyError,
    "TRYAGAIN Multiple keys request during rehashing": errors.NotReadyError,
    "NOAUTH Authentication required.": errors.LoginError,
    "WRONGPASS invalid username-password pair": errors.LoginError,
    "DENIED Redis is running in protected mode": errors.UnreachableError,
    "ERR max number of clients reached": errors.NotReadyError,
    "ERR invalid password": errors.LoginError,
    "ERR AUTH <password> called without any password configured": errors.LoginError,
    "ERR Client sent AUTH, but no password is set": errors.LoginError,
    "ERR syntax error": errors.ServerError,
    "BUSYKEY Target key name already exists.": errors.ServerError,
    "": errors.ServerError,
}


@pytest.mark.parametrize("text", WORDS, ids=lambda text: " ".join(text.split()[:2]))
def test_the_first_word_of_a_reply_says_what_it_is(text: str) -> None:
    """Its words are passed on, its kind decides the exit code."""
    error = from_reply(text)
    assert type(error) is WORDS[text]
    assert error.message == text
    if isinstance(error, errors.ServerError):
        assert error.word == text.partition(" ")[0]


def test_a_reply_that_repeats_arguments_is_cut() -> None:
    """Keys, values and passwords are in "with args beginning with", for Redis and Valkey alike."""
    for quote in "'`":
        told = f"{quote}GET{quote}, with args beginning with: {quote}{CANARY}{quote}"
        text = f"ERR unknown command {told}"
        assert CANARY not in from_reply(text).message
        status = driver.ResponseError(text.removeprefix("ERR "), status_code="ERR")
        for error in (from_driver(driver.ResponseError(text), WHERE), from_driver(status, WHERE)):
            assert CANARY not in error.message
            assert "unknown command" in error.message
            assert WHERE in error.message


def test_a_reply_cannot_steer_a_terminal() -> None:
    """Escapes are shown escaped, and a novel is cut."""
    error = from_reply("ERR \x1b[31mred\x07" + "x" * 5000)
    assert error.message.startswith("ERR \\x1b[31mred\\x07")
    assert len(error.message) <= 200


AGAIN = [
    (errors.NotReadyError("x"), False, True, True),
    (errors.BusyError("x"), False, True, True),
    (errors.LoginError("x"), True, False, False),
    (TlsError("x"), True, False, False),
    (AddressError("x"), True, False, True),
    (errors.DeniedError("x"), True, False, False),
    (errors.OutOfMemoryError("x"), True, False, False),
    (errors.WrongTypeError("x"), True, False, False),
    (errors.ReadOnlyServerError("x"), True, False, False),
    (errors.LostError("x"), True, True, True),
    (errors.SilenceError("x"), True, True, True),
    (errors.UnreachableError("x"), False, True, True),
]


@pytest.mark.parametrize(
    ("error", "idempotent", "at_first", "once_known"), AGAIN, ids=lambda x: type(x).__name__
)
def test_what_is_worth_another_try(
    error: errors.CachectlError, *, idempotent: bool, at_first: bool, once_known: bool
) -> None:
    """The table of retries: never what does not mend itself, never twice what must not be doubled."""
    for known, wanted in ((False, at_first), (True, once_known)):
        assert is_worth_another_try(error, idempotent=idempotent, known=known) is wanted
    if isinstance(error, errors.UnreachableError) and at_first:
        error.maybe_applied = True
        rejected = isinstance(error, errors.NotReadyError)
        assert is_worth_another_try(error, idempotent=False, known=True) is rejected
        assert is_worth_another_try(error, idempotent=True, known=True)
