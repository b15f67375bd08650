"""cachectl: operate Redis and Valkey caches, on the cache client that applications import."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CacheClient", "CachectlError", "Entry", "__version__", "make_key"]

if TYPE_CHECKING:
    from cachectl.client import CacheClient
    from cachectl.errors import CachectlError
    from cachectl.keys import make_key
    from cachectl.models import Entry

_HOMES = {
    "CacheClient": "cachectl.client",
    "CachectlError": "cachectl.errors",
    "Entry": "cachectl.models",
    "make_key": "cachectl.keys",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `cachectl --help` needs none of them."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
