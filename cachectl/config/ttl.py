"""How long a key lives when nobody says: its namespace's TTL, else the cache's; and jitter."""

from collections.abc import Mapping
from random import uniform

from cachectl.config.settings import UNSET, NamespaceSettings, Unset
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


def _inherited(
    key: str, namespaces: Mapping[str, NamespaceSettings]
) -> tuple[float | None | Unset, float]:
    """Return TTL and jitter of the innermost namespaces that set them: they nest."""
    ttl: float | None | Unset = UNSET
    jitter = 0.0
    name = key
    while (found := settings_for(name, namespaces)) is not None:
        name, settings = found
        if isinstance(ttl, Unset):
            ttl = settings.ttl
        jitter = jitter or settings.ttl_jitter
    return ttl, jitter


def jittered(ttl: float | None, jitter: float) -> float | None:
    """Return `ttl` shortened by a random part of up to `jitter` of it, to at least a second.

    Entries written together then do not expire together. Jitter never lengthens.
    """
    if ttl is None or not jitter:
        return ttl
    return max(uniform(ttl * (1 - jitter), ttl), min(ttl, 1.0))  # noqa: S311 no secret


def default_ttl(
    key: str, namespaces: Mapping[str, NamespaceSettings], fallback: float | None
) -> float | None:
    """Return the TTL in seconds for a key whose writer named none; `None` is persistent."""
    return planned_ttl(key, namespaces, fallback, UNSET, None)


def planned_ttl(
    key: str,
    namespaces: Mapping[str, NamespaceSettings],
    fallback: float | None,
    ttl: float | None | Unset,
    jitter: float | None,
) -> float | None:
    """Return the TTL in seconds, where `ttl` and `jitter` of a command or job win over settings."""
    inherited, own_jitter = _inherited(key, namespaces) if namespaces else (UNSET, 0.0)
    wanted = inherited if isinstance(ttl, Unset) else ttl
    seconds = fallback if isinstance(wanted, Unset) else wanted
    return jittered(seconds, own_jitter if jitter is None else jitter)
