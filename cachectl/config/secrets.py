"""Secrets: held so that they are not shown by accident, read at the last moment."""

from typing import Final, NamedTuple, NoReturn, Self

from cachectl.errors import ConfigError

COMMAND_TIMEOUT: Final = 10.0
"""How many seconds a `password_command` may take."""

MAX_SECRET: Final = 65536
"""How many bytes a password may have; more is a wrong file."""


class Secret:
    """A text that shows itself as `***` everywhere; `reveal()` is the one way to it.

    Not a `str`, so that joining or formatting it by accident is an error or gives the mask.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep `text`."""
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the server alone."""
        return self._text

    def __repr__(self) -> str:
        """Return the mask."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same text."""
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        """Return a hash that fits the equality."""
        return hash(("Secret", self._text))

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: it never changes."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, which would write the text."""
        msg = "a Secret is not pickled"
        raise TypeError(msg)


class Credentials(NamedTuple):
    """Who logs in, and where the password comes from: at most one of the four is given."""

    username: str | None = None
    password: Secret | None = None
    password_file: str | None = None
    password_command: tuple[str, ...] = ()
    password_prompt: bool = False

    def __repr__(self) -> str:
        """Return the fields without the command's arguments, which may hold a secret."""
        command = f"({self.password_command[0]!r}, …)" if self.password_command else "()"
        return (
            f"Credentials(username={self.username!r}, password={self.password!r}, "
            f"password_file={self.password_file!r}, password_command={command}, "
            f"password_prompt={self.password_prompt!r})"
        )


def read(credentials: Credentials) -> tuple[str | None, Secret | None]:
    """Return the user and the password, reading its file or running its command (10 s) now.

    One newline at the end is dropped; an empty password is an error. Raises `ConfigError` that
    names the file or the program, never the secret.
    """
    if credentials.password_file is not None:
        where, text = credentials.password_file, _read_file(credentials.password_file)
    elif credentials.password_command:
        where, text = credentials.password_command[0], _run(credentials.password_command)
    else:
        return credentials.username, credentials.password
    return credentials.username, given(text.removesuffix("\n").removesuffix("\r"), where)


def given(text: str, where: str) -> Secret:
    """Return the password that `where` gave. Raises `ConfigError` for an empty one."""
    if not text:
        msg = f"{where}: gave an empty password"
        raise ConfigError(msg)
    return Secret(text)


def readable_by_others(path: str) -> bool:
    """Tell whether the file is there and every user of the machine can read it."""
    import os

    try:
        return bool(os.stat(path).st_mode & 0o044)
    except OSError:
        return False


def _read_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SECRET + 1)
    except OSError as error:
        msg = f"{path}: the password file cannot be read: {error.strerror}"
        raise ConfigError(msg, "check password_file and who may read it") from None
    return _decode(data, path)


def _run(command: tuple[str, ...]) -> str:
    import subprocess

    program = command[0]
    try:
        # Its stderr is not shown: a password manager may repeat there what it was given.
        done = subprocess.run(  # noqa: S603 the operator's own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a command"
        msg = f"{program}: the password command cannot be run: {reason}"
        raise ConfigError(msg, "check password_command") from None
    except subprocess.TimeoutExpired:
        msg = f"{program}: the password command gave no password within {COMMAND_TIMEOUT:g} s"
        raise ConfigError(msg, "run it once by hand: it may be waiting to be unlocked") from None
    if done.returncode:
        msg = f"{program}: the password command exited with {done.returncode}"
        raise ConfigError(msg, "run it by hand to see why")
    return _decode(done.stdout, program)


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_SECRET:
        msg = f"{where}: gave more than {MAX_SECRET} bytes, which is no password"
        raise ConfigError(msg)
    try:
        return data.decode()
    except UnicodeDecodeError:
        msg = f"{where}: gave a password that is not UTF-8"
        raise ConfigError(msg) from None
