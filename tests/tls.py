"""Certificates, and a real server that speaks TLS: a distribution's, for the wheels' do not."""

import ssl
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trustme

from tests.servers import ServerProcess, binaries, free_port


class Certificates(NamedTuple):
    """A throw-away authority and what it signed; all are files in PEM."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    client_cert_file: Path
    client_key_file: Path

    def server_context(self, *, client_certificate: bool = False) -> ssl.SSLContext:
        """Return the server's side of TLS; `client_certificate` asks for one."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
        context.load_cert_chain(self.cert_file, self.key_file)
        if client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(directory: Path, *names: str) -> Certificates:
    """Make an authority, a server certificate for `names` (default: localhost), and a client's."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    client = authority.issue_cert("client@example.com")
    files = Certificates(
        *(directory / f"{name}.pem" for name in ("ca", "cert", "key", "client-cert", "client-key"))
    )
    authority.cert_pem.write_to_path(files.ca_file)
    server.cert_chain_pems[0].write_to_path(files.cert_file)
    server.private_key_pem.write_to_path(files.key_file)
    client.cert_chain_pems[0].write_to_path(files.client_cert_file)
    client.private_key_pem.write_to_path(files.client_key_file)
    return files


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
