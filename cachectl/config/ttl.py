"""How long a key lives when nobody says: its namespace's TTL, else the cache's; and jitter."""

from collections.abc import Mapping
from random import uniform

from cachectl.config.settings import NamespaceSettings, Unset
from cachectl.keys import SEPARATOR


def settings_for(
    key: str, namespaces: Mapping[str, NamespaceSettings]
) -> tuple[str, NamespaceSettings] | None:
    """Return the innermost configured namespace that holds `key`, with its settings."""
    name = key
    while SEPARATOR in name:
        name = name.rpartition(SEPARATOR)[0]
        found = namespaces.get(name)
        if found is not None:
            return name, found
    return None


def jittered(ttl: float | None, jitter: float) -> float | None:
    """Return `ttl` shortened by a random part of up to `jitter` of it, to at least a second.

    Entries written together then do not expire together. Jitter never lengthens.
    """
    if ttl is None or not jitter:
        return ttl
    return max(uniform(ttl * (1 - jitter), ttl), min(ttl, 1.0))  # noqa: S311


def default_ttl(
    key: str, namespaces: Mapping[str, NamespaceSettings], fallback: float | None
) -> float | None:
    """Return the TTL in seconds for a key whose writer named none; `None` is persistent."""
    found = settings_for(key, namespaces) if namespaces else None
    if found is None:
        return fallback
    ttl = found[1].ttl
    return jittered(fallback if isinstance(ttl, Unset) else ttl, found[1].ttl_jitter)
