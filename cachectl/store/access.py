"""What lets one in: user and password, and the TLS context, each read once for all nodes alike."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

from cachectl.config.secrets import Credentials, read
from cachectl.config.settings import Server, Tls
from cachectl.errors import ConfigError
from cachectl.values import safe


class Access:
    """What lets one in: credentials and the TLS context, each read once, for all nodes alike."""

    def __init__(self, server: Server) -> None:
        """Take the server; nothing is read yet."""
        self._credentials = server.credentials
        self._tls = server.tls
        self._context: ssl.SSLContext | None = None
        self._login: dict[str, str | None] | None = None
        self._reading = asyncio.Lock()

    @property
    def user(self) -> str:
        """The user as the server's access rules call it."""
        return self._credentials.username or "default"

    async def login(self) -> dict[str, str | None]:
        """Return user and password; a `password_command` takes its time, not the server's."""
        credentials = self._credentials
        if self._login is None and not credentials.password_command:
            self._login = _login(credentials)
        if self._login is None:
            async with self._reading:
                self._login = self._login or await _aside(lambda: _login(credentials))
        return self._login

    def context(self) -> ssl.SSLContext:
        """Return the TLS context; raise `ConfigError` for files that cannot be used."""
        if self._context is None:
            self._context = tls_context(self._tls)
        return self._context


async def _aside(read: Callable[[], dict[str, str | None]]) -> dict[str, str | None]:
    """Return what `read` returns, from a thread that nobody waits for.

    `asyncio.to_thread`'s would keep the process from ending while a `password_command` hangs.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[dict[str, str | None]] = loop.create_future()

    def deliver(outcome: dict[str, str | None] | Exception) -> None:
        if answer.done():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    def work() -> None:
        outcome: dict[str, str | None] | Exception
        try:
            outcome = read()
        except Exception as error:  # noqa: BLE001 it is raised to who asked
            outcome = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=work, daemon=True).start()
    return await answer


def _login(credentials: Credentials) -> dict[str, str | None]:
    username, password = read(credentials)
    return {"username": username, "password": password.reveal() if password else None}


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the context that verifies as `tls` says; raise `ConfigError` for unusable files."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        msg = f"tls.ca_file cannot be used: {safe(str(tls.ca_file))}: {_reason(error)}"
        raise ConfigError(msg, "it wants certificates in PEM form") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        _prove_by(context, tls.cert_file, tls.key_file)
    return context


def _prove_by(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    """Load a certificate of ours; raise `ConfigError`."""
    try:
        # without the third, a key with a pass phrase would ask for it at the terminal
        context.load_cert_chain(cert_file, key_file, lambda: b"")
    except (OSError, ssl.SSLError) as error:
        which = "tls.cert_file" if key_file is None else "tls.cert_file and tls.key_file"
        files = ", ".join(safe(file) for file in (cert_file, key_file) if file is not None)
        msg = f"{which} cannot be used: {files}: {_reason(error)}"
        beside = ", or tls.key_file beside it" if key_file is None else ""
        hint = f"a certificate and its key without a pass phrase are wanted, in PEM form{beside}"
        raise ConfigError(msg, hint) from None


def _reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or error.strerror or "not readable").lower()
