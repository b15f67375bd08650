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
SENTINEL_PORT: Final = 26379
MAX_PORT: Final = 65535
SERVICE: Final = r"[A-Za-z0-9._-]+"
"""What the name of a service is made of: Sentinel's own rule."""
FORMS: Final = (
    "redis://HOST:PORT/DB, rediss://…, redis+sentinel://HOST:PORT,…/SERVICE/DB, "
    "redis+cluster://HOST:PORT,…/DB, unix:/PATH?db=N or embedded:"
)

_Network = Literal["tcp", "sentinel", "cluster"]
_TLS: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_KINDS: Final[dict[str, _Network]] = {"": "tcp", "+sentinel": "sentinel", "+cluster": "cluster"}
_NETWORK: Final = {
    start + end: (kind, tls) for start, tls in _TLS.items() for end, kind in _KINDS.items()
}
_UNIX: Final = ("unix", "redis+unix", "redis+socket", "valkey+unix")
# Patterns are compiled, and kept, by `re` at their first use: `--help` needs none of them.
_HOST: Final = r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff/?#@:,\[\]%<>\"'\\^`{|}]+"
_IPV6: Final = r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]"
_CONTROL: Final = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
_RESERVED: Final = r"[%?#@\x00-\x1f\x7f-\x9f\u2028\u2029]|^ |\s\Z"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 compared, not bound


class Address(NamedTuple):
    """Where a server listens: a host and port, a Unix socket, or the embedded server's directory.

    A cluster is found by any of its `nodes`; the primary of a Sentinel `service` by asking any of the
    Sentinels, which are the `nodes` then. `path` is `""` for the default embedded server. IPv6 hosts
    have no brackets. `tls` is how the servers are spoken to.
    """

    kind: Literal["tcp", "unix", "embedded", "sentinel", "cluster"]
    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    tls: bool = False
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""

    @property
    def text(self) -> str:
        """The URL as it is shown to people: complete, but never with user information."""
        if self.kind == "embedded":
            return f"embedded:{self.path}"
        if self.kind == "unix":
            path = re.sub(_RESERVED, _percent_encode, self.path)
            return f"unix:{path}" + (f"?db={self.db}" if self.db else "")
        scheme = "rediss" if self.tls else "redis"
        if self.kind == "tcp":
            return f"{scheme}://{node_text((self.host, self.port))}/{self.db}"
        nodes = ",".join(map(node_text, self.nodes))
        service = f"/{self.service}" if self.kind == "sentinel" else ""
        return f"{scheme}+{self.kind}://{nodes}{service}/{self.db}"


class ParsedUrl(NamedTuple):
    """What a URL says: where the server is, and who logs in."""

    address: Address
    username: str | None = None
    password: Secret | None = None


def same_server(one: Address, other: Address) -> bool:
    """Tell whether two addresses name one server, whatever their database and TLS.

    The loopback names and addresses are one host; hosts are compared without case. A cluster is the
    same by any node that both name, one node alone included; a service by its name and any Sentinel.
    Which host is a service's primary only its Sentinels know: that a host is it cannot be told here.
    """
    if {one.kind, other.kind} <= {"tcp", "cluster"}:
        return not _places(one).isdisjoint(_places(other))
    if one.kind != other.kind:
        return False
    if one.kind == "sentinel":
        return one.service == other.service and not _places(one).isdisjoint(_places(other))
    if not one.path or not other.path:
        return one.path == other.path
    import os

    return os.path.realpath(one.path) == os.path.realpath(other.path)


def parse_url(text: str) -> ParsedUrl:
    """Return what the URL of a server says.

    Raises `ConfigError` that says what is wrong without repeating any part of the URL.
    """
    try:
        return _parse(text)
    except ConfigError as error:
        msg = f"the URL of the server is not understood: {error.message}"
        raise ConfigError(msg, error.hint) from None


def parse_node(text: str, default: int) -> tuple[str, int]:
    """Return the host and port of a node, which is on port `default` unless it says its own.

    Raises `ConfigError` that does not repeat any part of it.
    """
    try:
        return _node(text, default)
    except ConfigError as error:
        msg = f"the node is not understood: {error.message}"
        raise ConfigError(msg, f"write HOST:{default} or [::1]:{default}, no more") from None


def node_text(node: tuple[str, int]) -> str:
    """Return a host and port as they are written: `[::1]:6379`."""
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse(text: str) -> ParsedUrl:
    if re.search(_CONTROL, text):
        _fail("it holds a control character or a line break")
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    if not colon or not (scheme in _NETWORK or scheme in _UNIX or scheme == "embedded"):
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
    kind, tls = _NETWORK[scheme]
    return _parse_network(rest, query, kind, tls=tls)


def _parse_network(rest: str, query: str, kind: _Network, *, tls: bool) -> ParsedUrl:
    if not rest.startswith("//"):
        _fail("'//' must follow its scheme", f"write {FORMS}")
    if query:
        _fail("it holds a query, and none is known here", "a database is written /1 at the end")
    authority, _, path = rest[2:].partition("/")
    if "@" in path:
        _fail("there is an '@' behind its '/'", "a '/' in a password is written %2F")
    user, _, location = authority.rpartition("@")
    if "@" in user and kind != "tcp":
        # What stands between two may be a node, or a piece of the password.
        hint = "the user stands once, before the first host; an '@' in a password is written %40"
        _fail("it holds more than one '@'", hint)
    address = _address(kind, location, path)._replace(tls=tls)
    return ParsedUrl(address, *_user_information(user))


def _address(kind: _Network, location: str, path: str) -> Address:
    if kind == "tcp":
        if "," in location:
            _fail("it names several hosts", "they are for redis+sentinel:// and redis+cluster://")
        host, port = _host_and_port(location, DEFAULT_PORT)
        return Address(kind, host=host, port=port, db=_database(path))
    if kind == "cluster":
        return Address(kind, nodes=_nodes(location, DEFAULT_PORT), db=_database(path))
    service, _, database = path.partition("/")
    if not re.fullmatch(SERVICE, service):
        hint = "write redis+sentinel://HOST:PORT,…/SERVICE, of letters, digits, '.', '-' and '_'"
        _fail("it names no service", hint)
    nodes = _nodes(location, SENTINEL_PORT)
    return Address(kind, nodes=nodes, service=service, db=_database(database))


def _nodes(locations: str, default: int) -> tuple[tuple[str, int], ...]:
    nodes = tuple(_node(location, default) for location in locations.split(","))
    if len(set(nodes)) < len(nodes):
        _fail("it names a host and port twice", "keep one of them")
    return nodes


def _node(location: str, default: int) -> tuple[str, int]:
    host, port = _host_and_port(location, default)
    return host.lower(), port


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
    # Slashes are one however they are written: behind '//' a host would stand.
    path = re.sub(r"\A/+", "/", _decode(rest))
    if not path.strip("/"):
        _fail("it names no socket", "write unix:/path/to.sock")
    database = ""
    if query:
        name, _, database = query.partition("=")
        if name != "db" or not database:
            _fail("its query is not known", "only ?db=NUMBER is, for a Unix socket")
    address = Address("unix", path=path, db=_database(database))
    return ParsedUrl(address, *_user_information(user))


def _embedded_path(rest: str) -> str:
    if rest.startswith("///"):
        return "/" + rest.lstrip("/")
    if rest.startswith("//"):
        _fail("embedded: takes a directory, not a host", "write embedded: or embedded:DIRECTORY")
    return rest


def _host_and_port(location: str, default: int) -> tuple[str, int]:
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
        return host, default
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= MAX_PORT:
        hint = "a '/', '?', '#' or '%' in a password is percent-encoded (%2F, %3F, %23, %25)"
        _fail("its port is not a number from 1 to 65535", hint)
    return host, int(port)


def _database(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", text):
        hint = "it is /0 at the end of a URL, ?db=0 of a Unix socket's"
        _fail("its database is not a whole number", hint)
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


def _places(address: Address) -> set[tuple[str, int]]:
    """Return the hosts and ports that an address names, those of one host under one name."""
    nodes = address.nodes or ((address.host, address.port),)
    return {(_canonical(host), port) for host, port in nodes}


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
    raise ConfigError(what, hint)
