"""The exceptions of cachectl and the exit code each of them ends a command with.

    CachectlError                 70  a bug, unless a class below says otherwise
    ├── UsageError                 2  the command line
    │   ├── ConfigError            2  the settings
    │   ├── InputError             2  a file of entries or requests
    │   └── DependencyError        2  an optional package is not installed
    ├── RefusedError               5  protected, read-only, or not confirmed
    ├── DisabledError              1  the cache is switched off
    ├── MissingError               1  the key is not in the cache
    ├── OutputError                1  what is to hold the result cannot be written
    ├── UnreachableError           3  the server cannot be reached, or was lost
    │   ├── SilenceError           3  no byte came for as long as is borne
    │   ├── LostError              3  the connection broke
    │   ├── LoginError             3  wrong user or password
    │   └── NotReadyError          3  LOADING, MASTERDOWN, CLUSTERDOWN
    └── ServerError                4  the server answered with an error
        ├── WrongTypeError         4  the key holds another type
        ├── DeniedError            4  NOPERM: the ACL forbids it
        ├── ReadOnlyServerError    4  a replica that takes no writes
        ├── OutOfMemoryError       4  maxmemory is reached and nothing may be evicted
        └── BusyError              4  BUSY (a script runs), MISCONF (it cannot save)

A message says what happened and where, the hint what to do next; neither holds a value or a secret.
"""


class CachectlError(Exception):
    """The root of all errors that cachectl raises on purpose."""

    code = "internal"
    exit_code = 70

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Keep `message` (what and where) apart from `hint` (what to do next)."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def sentence(self) -> str:
        """The message with the hint, for a list of what went wrong."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def as_dict(self) -> dict[str, str | None]:
        """Return the fields of the JSON form: `code`, `message`, `hint`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(CachectlError):
    """The command line asks for something that cannot be."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The settings are wrong; the message names file, line and path."""

    code = "config"


class InputError(UsageError):
    """A source of entries or requests cannot be read at all."""

    code = "input"


class DependencyError(UsageError):
    """An optional package is missing; the hint is the command that installs it."""

    code = "dependency"


class RefusedError(CachectlError):
    """Refused for safety: protected, read-only, or not confirmed."""

    code = "refused"
    exit_code = 5


class DisabledError(CachectlError):
    """The cache is switched off by ENABLE_CACHE or `cache.enabled`."""

    code = "disabled"
    exit_code = 1


class MissingError(CachectlError):
    """The key is not in the cache."""

    code = "missing"
    exit_code = 1


class OutputError(CachectlError):
    """What is to hold the result (a file, stdout) cannot be written: a full disk."""

    code = "output"
    exit_code = 1


class UnreachableError(CachectlError):
    """The server cannot be reached, or was lost on the way.

    `maybe_applied` tells that a write was sent and never answered.
    """

    code = "unreachable"
    exit_code = 3
    maybe_applied = False


class SilenceError(UnreachableError):
    """The server sent no byte for as long as its silence is borne."""

    code = "timeout"


class LostError(UnreachableError):
    """The connection broke after it stood."""

    code = "connection_lost"


class LoginError(UnreachableError):
    """The server did not accept the user or the password. Never tried again."""

    code = "authentication"


class NotReadyError(UnreachableError):
    """The server is there and does not serve yet: LOADING, MASTERDOWN, CLUSTERDOWN."""

    code = "not_ready"


class ServerError(CachectlError):
    """The server answered a command with an error; `word` is its first word."""

    code = "server_error"
    exit_code = 4
    word = "ERR"


class WrongTypeError(ServerError):
    """The key holds another data type than the command wants."""

    code = "wrong_type"


class DeniedError(ServerError):
    """The user's ACL forbids the command or the key."""

    code = "denied"


class ReadOnlyServerError(ServerError):
    """A replica that takes no writes."""

    code = "read_only_replica"


class OutOfMemoryError(ServerError):
    """`maxmemory` is reached and the policy evicts nothing."""

    code = "out_of_memory"


class BusyError(ServerError):
    """The server is busy with a script (BUSY) or refuses writes (MISCONF)."""

    code = "busy"
