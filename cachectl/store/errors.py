"""The driver's exceptions and the server's error words -> ours, and which are worth another try."""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable

import hiredis
from redis import exceptions as driver

from cachectl import errors
from cachectl.errors import CachectlError
from cachectl.store.members import SLOTS
from cachectl.values import safe

_WORDS: dict[str, type[CachectlError]] = {
    "OOM": errors.OutOfMemoryError,
    "NOPERM": errors.DeniedError,
    "WRONGTYPE": errors.WrongTypeError,
    "READONLY": errors.ReadOnlyServerError,
    "BUSY": errors.BusyError,
    "MISCONF": errors.BusyError,
    "NOREPLICAS": errors.BusyError,
    "LOADING": errors.NotReadyError,
    "MASTERDOWN": errors.NotReadyError,
    "CLUSTERDOWN": errors.NotReadyError,
    "TRYAGAIN": errors.NotReadyError,
    "NOAUTH": errors.LoginError,
    "WRONGPASS": errors.LoginError,
    "DENIED": errors.UnreachableError,
}
"""What the first word of an error reply means; all others are a plain ServerError."""

_SENTENCES: tuple[tuple[str, type[CachectlError]], ...] = (
    ("ERR max number of clients reached", errors.NotReadyError),
    ("ERR invalid password", errors.LoginError),
    ("ERR AUTH <password> called without any password", errors.LoginError),
    ("ERR Client sent AUTH, but no password is set", errors.LoginError),
)
"""Errors that say what they are only in their text (Redis before 6, and AUTH without a user)."""

_DRIVER: tuple[tuple[type[Exception], type[CachectlError]], ...] = (
    (driver.AuthenticationError, errors.LoginError),
    (driver.AuthenticationWrongNumberOfArgsError, errors.LoginError),
    (driver.AuthorizationError, errors.LoginError),
    (driver.ExternalAuthProviderError, errors.LoginError),
    (driver.BusyLoadingError, errors.NotReadyError),
    (driver.MaxConnectionsError, errors.NotReadyError),
    (driver.ConnectionError, errors.UnreachableError),
    (driver.TimeoutError, errors.SilenceError),
    (driver.MasterDownError, errors.NotReadyError),
    (driver.ClusterDownError, errors.NotReadyError),
    (driver.TryAgainError, errors.NotReadyError),
    (driver.OutOfMemoryError, errors.OutOfMemoryError),
    (driver.NoPermissionError, errors.DeniedError),
    (driver.ReadOnlyError, errors.ReadOnlyServerError),
    (driver.ResponseError, errors.ServerError),
    (driver.InvalidResponse, errors.UnreachableError),
    (hiredis.HiredisError, errors.UnreachableError),
    (driver.RedisError, errors.UnreachableError),
    (driver.RedisClusterException, errors.UnreachableError),
    (driver.ChildDeadlockedError, errors.UnreachableError),
    (driver.IncorrectPolicyType, errors.UnreachableError),
)
"""The driver's exceptions, most specific first: there AuthenticationError is a ConnectionError."""


_REDIRECT = re.compile(r"(?:MOVED|ASK) ([0-9]{1,5}) (\S*):([0-9]{1,5})(?: |$)")


def from_reply(text: str, where: str | None = None) -> CachectlError:
    """Return our error for the text of an error reply. It never holds a command's arguments.

    `where` is put before the server's words when they answered its greeting.
    """
    word = text.partition(" ")[0]
    redirect = _REDIRECT.match(text)
    if redirect and int(redirect[1]) < SLOTS:
        host = redirect[2] if redirect[2] != "?" else ""
        return RedirectError(text, int(redirect[1]), host, int(redirect[3]))
    kind = _WORDS.get(word)
    if kind is None:
        kind = next((k for start, k in _SENTENCES if text.startswith(start)), errors.ServerError)
    error = kind(f"{where}: {_shown(text)}" if where else _shown(text))
    if isinstance(error, errors.ServerError):
        error.word = word
    return error


def _shown(text: str) -> str:
    # "ERR unknown command 'X', with args beginning with: …" repeats keys, values and passwords
    return safe(text.partition(", with args beginning with")[0])[:200]


def from_driver(error: Exception, where: str) -> CachectlError:
    """Return our error for what connecting and greeting `where` raised."""
    if isinstance(error, CachectlError):
        return error
    reasons = (error.__cause__ or error.__context__, error)
    found = next((ours for r in reasons if r and (ours := _from_system(r, where))), None)
    return found or _from_greeting(error, where)


def _from_greeting(error: Exception, where: str) -> CachectlError:
    kind = next((ours for theirs, ours in _DRIVER if isinstance(error, theirs)), None)
    if kind is None:
        raise error
    if kind is errors.LoginError:
        return not_let_in(where)
    word = getattr(error, "status_code", None)
    if word or kind is errors.ServerError:
        # the server's own words, without the arguments that some of its errors repeat
        return from_reply(f"{word} {error}" if word else str(error), where)
    if isinstance(error, driver.InvalidResponse | hiredis.HiredisError):
        return not_redis(where)
    if kind is errors.UnreachableError:
        # The driver's own words repeat connection arguments: only its kind is told.
        return hung_up(where)
    return kind(f"{where}: {_shown(str(error))}")


def not_let_in(where: str) -> errors.LoginError:
    """Return the error for a server that wants another user or password, or any at all."""
    return errors.LoginError(
        f"{where} refused the user or the password",
        "check username and password (password_file, password_command) of the profile",
    )


def hung_up(where: str) -> errors.LostError:
    """Return the error for a connection that was closed before the server had greeted."""
    tls = where.startswith("rediss")
    return errors.LostError(
        f"{where} closed the connection while greeting",
        "does it want a certificate of yours (tls.cert_file, tls.key_file)? Is it the right port?"
        if tls
        else "is it the right port? A TLS port wants rediss://",
    )


def not_redis(where: str) -> errors.UnreachableError:
    """Return the error for a server that talks something else than the Redis protocol."""
    return StrangerError(
        f"{where} does not speak the Redis protocol",
        "is it the right port? A TLS port wants rediss://",
    )


def _from_system(error: BaseException, where: str) -> errors.UnreachableError | None:  # noqa: PLR0911 a table with tests
    """Return our error for one of the operating system's or of TLS, else None."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsError(
            f"{where}: the TLS certificate was not accepted: {safe(error.verify_message)[:200]}",
            "check tls.ca_file and tls.server_name of the profile",
        )
    if isinstance(error, ssl.SSLError):
        return TlsError(
            f"{where}: no TLS handshake ({safe(getattr(error, 'reason', None) or 'failed')[:100]})",
            "does the port speak TLS? redis:// is without, rediss:// with TLS",
        )
    if isinstance(error, socket.gaierror):
        return AddressError(f"{where}: the host name is not known", "check the host of the URL")
    if isinstance(error, TimeoutError):
        return errors.SilenceError(f"{where} did not answer in time")
    if isinstance(error, asyncio.IncompleteReadError | ConnectionResetError | BrokenPipeError):
        return hung_up(where)
    if isinstance(error, FileNotFoundError):
        return AddressError(f"{where}: there is no such socket", "is the server running?")
    if isinstance(error, ConnectionRefusedError):
        return errors.UnreachableError(f"{where}: connection refused", "is the server running?")
    if isinstance(error, OSError) and not isinstance(error, driver.RedisError):
        reason = error.strerror or "cannot connect"
        return errors.UnreachableError(f"{where}: {safe(reason)[:200].lower()}")
    return None


class RedirectError(errors.ServerError):
    """Another node of the cluster serves this slot, from now on (MOVED) or for this key (ASK).

    Nothing was applied. `host` is empty where it is that of the node which said so. Source: the
    specification of Redis Cluster, "MOVED Redirection" and "ASK redirection".
    """

    code = "redirected"

    def __init__(self, text: str, slot: int, host: str, port: int) -> None:
        """Take the server's words, `MOVED 3999 127.0.0.1:6381`, and what they say."""
        super().__init__(_shown(text), "the slots of the cluster are moving: run it again")
        self.word = text.partition(" ")[0]
        self.slot = slot
        self.host = host
        self.port = port

    @property
    def asks(self) -> bool:
        """Whether it holds for this command alone, which ASKING must precede."""
        return self.word == "ASK"


class TogetherError(CachectlError):
    """Commands were refused as a group: none of them was applied, and alone they may be taken."""


class TlsError(errors.UnreachableError):
    """The TLS handshake failed. Never tried again: a certificate does not mend itself."""

    code = "tls"


class StrangerError(errors.UnreachableError):
    """It does not speak the Redis protocol. Never tried again: each try would show it the password."""

    code = "protocol"


class AddressError(errors.UnreachableError):
    """The host name or the socket's path does not exist."""

    code = "address"


_FINAL = (errors.LoginError, TlsError, StrangerError)
_REJECTED = (errors.NotReadyError, errors.BusyError)


def any_refused(replies: Iterable[object]) -> bool:
    """Whether one of our errors is among replies: quick where none is, as nearly always."""
    return any_error(set(map(type, replies)))


def any_error(kinds: Iterable[type]) -> bool:
    """Whether one of our errors is among the types of replies."""
    return any(issubclass(kind, CachectlError) for kind in kinds)


def is_rejected(error: object) -> bool:
    """Whether the server said "not now": nothing was applied, and waiting may help."""
    return isinstance(error, _REJECTED)


def may_be_applied(error: object) -> bool:
    """Whether the command was sent and its answer never came."""
    return isinstance(error, errors.UnreachableError) and error.maybe_applied


def is_worth_another_try(error: CachectlError, *, idempotent: bool, known: bool) -> bool:
    """Whether the same command may be sent again.

    Never for a login, a certificate, a stranger, permissions, WRONGTYPE or OOM; for an address only if
    a server was there before (`known`: its socket comes back with it); after a cut or a silence only if
    sending it twice does what sending it once does.
    """
    if is_rejected(error):
        return True
    if not isinstance(error, errors.UnreachableError) or isinstance(error, _FINAL):
        return False
    if isinstance(error, AddressError) and not known:
        return False
    return idempotent or not error.maybe_applied
