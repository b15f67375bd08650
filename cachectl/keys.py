"""Keys and namespaces: how applications name what they cache.

A key is bytes, as the server knows it. A key given as text (an argument, a settings file) becomes
bytes by UTF-8 with `surrogateescape`, so that any byte can be named on a command line.
"""

import json
from hashlib import sha256

SEPARATOR = ":"
MAX_KEY = 512 * 1024 * 1024
"""The longest key in bytes: `proto-max-bulk-len`'s default, 512 MB."""

_GLOB = b"\\*?["
_SORTED = json.JSONEncoder(sort_keys=True)  # made once: `json.dumps` would make one for each key


def make_key(namespace: str, /, **params: object) -> str:
    """Return the key under which `namespace` caches the value for `params`.

    `namespace + ":" +` the first 16 hex digits of the SHA-256 of the parameters as JSON with sorted
    keys. Applications have stored values under these keys, so the formula can never change.
    Raises `TypeError` for a parameter that JSON does not know.
    """
    digest = sha256(_SORTED.encode(params).encode()).hexdigest()
    return f"{namespace}{SEPARATOR}{digest[:16]}"


def to_bytes(text: str) -> bytes:
    """Return the bytes of a key or namespace given as text."""
    return text.encode("utf-8", "surrogateescape")


def to_text(key: bytes) -> str:
    """Return the text that `to_bytes` turns into `key` again."""
    return key.decode("utf-8", "surrogateescape")


def prefix(namespace: bytes) -> bytes:
    """Return the literal prefix of all keys in `namespace`."""
    return namespace + SEPARATOR.encode()


def namespace_of(key: str) -> str:
    """Return the namespace that directly holds `key`: all before its last separator, or `""`."""
    return key.rpartition(SEPARATOR)[0]


def escape_glob(literal: bytes) -> bytes:
    r"""Return a SCAN pattern that matches `literal` and nothing else.

    A backslash before each of ``\ * ? [``: right for any bytes on Redis and Valkey, unlike ``[*]``,
    which fails on backslashes.
    """
    return b"".join(b"\\" + bytes([c]) if c in _GLOB else bytes([c]) for c in literal)
