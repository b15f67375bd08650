"""The URL of a server, parsed by our own rules.

Only what is written here is understood: nothing in a URL weakens TLS, a database is a number, and
no error repeats any part of the URL, because any part may turn out to be a piece of a password.
"""

import re
from contextlib import suppress
from typing import Final, Literal, NamedTuple, NoReturn

from cachectl.config.secrets import Secret
from cachectl.errors import ConfigError

DEFAULT_PORT: Final = 6379
MAX_PORT: Final = 65535
FORMS: Final = "redis://HOST:PORT/DB, rediss://…, unix:/PATH?db=N or embedded:"

_TCP: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_UNIX: Final = ("unix", "redis+unix", "redis+socket", "valkey+unix")
# Patterns are compiled, and kept, by `re` at their first use: `--help` needs none of them.
_HOST: Final = r"[^\s/?#@:\[\]%<>\"'\\^`{|}]+"
_IPV6: Final = r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]"
_CONTROL: Final = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
_RESERVED: Final = r"[%?#@\x00-\x1f\x7f-\x9f\u2028\u2029]|^ | $"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 compared, not bound


class Address(NamedTuple):
    """Where a server listens: a host and port, a Unix socket, or the embedded server's directory.

    `path` is `""` for the default embedded server. IPv6 hosts have no brackets.
    """

    kind: Literal["tcp", "unix", "embedded"]
    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    tls: bool = False

    @property
    def text(self) -> str:
        """The URL as it is shown to people: complete, but never with user information."""
        if self.kind == "embedded":
            return f"embedded:{self.path}"
        if self.kind == "unix":
            path = re.sub(_RESERVED, _percent_encode, self.path)
            return f"unix:{path}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"


class ParsedUrl(NamedTuple):
    """What a URL says: where the server is, and who logs in."""

    address: Address
    username: str | None = None
    password: Secret | None = None


def same_server(one: Address, other: Address) -> bool:
    """Tell whether two addresses name one server, whatever their database and TLS.

    The loopback names and addresses are one host; hosts are compared without case.
    """
    if one.kind != other.kind:
        return False
    if one.kind == "tcp":
        return one.port == other.port and _canonical(one.host) == _canonical(other.host)
    if not one.path or not other.path:
        return one.path == other.path
    import os

    return os.path.realpath(one.path) == os.path.realpath(other.path)


def parse_url(text: str) -> ParsedUrl:
    """Return what the URL of a server says.

    Raises `ConfigError` that says what is wrong without repeating any part of the URL.
    """
    if re.search(_CONTROL, text):
        _fail("it holds a control character or a line break")
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    if not colon or not (scheme in _TCP or scheme in _UNIX or scheme == "embedded"):
        _fail("its scheme is not known", f"write {FORMS}")
    if scheme == "embedded":
        return ParsedUrl(Address("embedded", path=_embedded_path(rest)))
    if "#" in rest:
        _fail("it holds a '#'", "a '#' in a password is written %23")
    rest, _, query = rest.partition("?")
    if "@" in query:
        _fail("there is an '@' behind its '?'", "a '?' in a password is written %3F")
    if scheme in _UNIX:
        return _parse_unix(rest, query)
    return _parse_tcp(rest, query, tls=_TCP[scheme])


def _parse_tcp(rest: str, query: str, *, tls: bool) -> ParsedUrl:
    if not rest.startswith("//"):
        _fail("'//' must follow its scheme", f"write {FORMS}")
    if query:
        _fail("it holds a query, and none is known here", "a database is written /1 at the end")
    authority, _, database = rest[2:].partition("/")
    if "@" in database:
        _fail("there is an '@' behind its '/'", "a '/' in a password is written %2F")
    user, _, location = authority.rpartition("@")
    host, port = _host_and_port(location)
    address = Address("tcp", host=host, port=port, db=_database(database), tls=tls)
    return ParsedUrl(address, *_user_information(user))


def _parse_unix(rest: str, query: str) -> ParsedUrl:
    user = ""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        user, _, host = authority.rpartition("@")
        if host:
            _fail("a host stands before the path of its socket", "write unix:///absolute/path")
        rest = slash + path.lstrip("/")
    if "@" in rest:
        _fail("there is an '@' in its path", "'/' in a password is written %2F, '@' in a path %40")
    if not rest.rstrip("/"):
        _fail("it names no socket", "write unix:/path/to.sock")
    database = ""
    if query:
        name, _, database = query.partition("=")
        if name != "db" or not database:
            _fail("its query is not known", "only ?db=NUMBER is, for a Unix socket")
    address = Address("unix", path=_decode(rest), db=_database(database))
    return ParsedUrl(address, *_user_information(user))


def _embedded_path(rest: str) -> str:
    if rest.startswith("///"):
        return "/" + rest.lstrip("/")
    if rest.startswith("//"):
        _fail("embedded: takes a directory, not a host", "write embedded: or embedded:DIRECTORY")
    return rest


def _host_and_port(location: str) -> tuple[str, int]:
    bracketed = re.match(_IPV6, location)
    if bracketed:
        host, rest = bracketed[1], location[bracketed.end() :]
        if not _is_ipv6(host) or (rest and not rest.startswith(":")):
            _fail("its IPv6 address is not one", "write redis://[::1]:6379/0")
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = location.partition(":")
        if ":" in port:
            _fail("it holds too many ':'", "an IPv6 address is written [::1], a ':' in a name %3A")
        if not host:
            _fail("it names no host", "write redis://localhost:6379/0")
        if not re.fullmatch(_HOST, host):
            _fail("its host is not a name or an address")
    if not colon:
        return host, DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= MAX_PORT:
        hint = "a '/', '?', '#' or '%' in a password is percent-encoded (%2F, %3F, %23, %25)"
        _fail("its port is not a number from 1 to 65535", hint)
    return host, int(port)


def _database(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", text):
        _fail("its database is not a whole number", "write redis://HOST:PORT/0 or unix:/PATH?db=0")
    return int(text)


def _user_information(text: str) -> tuple[str | None, Secret | None]:
    user, _, password = text.partition(":")
    return _decode(user) or None, Secret(_decode(password)) if password else None


def _decode(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        _fail("it holds a '%' that is not followed by two hex digits", "a '%' is written %25")
    data = re.sub(rb"%(..)", lambda match: bytes.fromhex(match[1].decode()), text.encode())
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        _fail("its percent-encoded bytes are not UTF-8")
    if "\0" in decoded:
        _fail("it holds a NUL byte")
    return decoded


def _percent_encode(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _is_ipv6(host: str) -> bool:
    import ipaddress

    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _canonical(host: str) -> str:
    host = host.lower().removesuffix(".")
    if ":" in host:
        import ipaddress

        host = str(ipaddress.IPv6Address(host))
    elif host.replace(".", "").replace("x", "").isalnum() and host[:1].isdigit():
        import socket

        with suppress(OSError):  # a name that begins with a digit
            host = socket.inet_ntoa(socket.inet_aton(host))  # 127.1 is 127.0.0.1
    if host.startswith("127."):
        return "localhost"
    return "localhost" if host in _LOOPBACK else host


def _fail(what: str, hint: str | None = None) -> NoReturn:
    msg = f"the URL of the server is not understood: {what}"
    raise ConfigError(msg, hint)
