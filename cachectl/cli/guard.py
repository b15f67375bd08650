"""What stands between a person and a removal: protected, read-only, confirmed."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cachectl.cli.session import Session
from cachectl.config.settings import NamespaceSettings
from cachectl.errors import RefusedError
from cachectl.keys import prefix, to_bytes
from cachectl.values import safe

if TYPE_CHECKING:
    from cachectl.store.store import Store


def guard_keys(session: Session, keys: Sequence[bytes], confirmed: Sequence[str]) -> None:
    """Raise `RefusedError` unless these keys may be removed: `delete` never asks."""
    session.refuse_read_only()
    needed = {
        name
        for name in protected_namespaces(session.server.namespaces)
        if any(key.startswith(prefix(to_bytes(name))) for key in keys)
    }
    check_names(session, confirmed, known=needed)
    refuse_unconfirmed(session, confirmed, needed)
    show_server(session)


def refuse_unconfirmed(
    session: Session, confirmed: Sequence[str], namespaces: Iterable[str]
) -> None:
    """Raise `RefusedError` for a protected server or namespace that is not confirmed by name."""
    server = session.server
    if server.protected_by and not set(server.protected_by) & set(confirmed):
        name = server.protected_by[0]
        msg = f"{server.address.text} is protected by the profile {name}"
        raise RefusedError(msg, f"confirm it by name: --confirm {name}")
    missing = sorted(set(namespaces) - set(confirmed))
    if missing:
        msg = f"the namespace {safe(missing[0])} is protected"
        raise RefusedError(msg, f"confirm it by name: --confirm {safe(missing[0])}")


def check_names(session: Session, confirmed: Sequence[str], known: Iterable[str]) -> None:
    """Raise `RefusedError` for a confirmation of something else than what is worked on."""
    allowed = {*session.server.protected_by, *known}
    if session.server.profile is not None:
        allowed.add(session.server.profile)
    for name in confirmed:
        if name not in allowed:
            msg = f"--confirm {safe(name)} names neither this server's profile nor what is removed"
            raise RefusedError(msg, f"this is {session.server.address.text}")


def protected_namespaces(namespaces: dict[str, NamespaceSettings]) -> list[str]:
    """Return the names of the protected namespaces."""
    return [name for name, settings in namespaces.items() if settings.protected]


def warn_of_del(session: Session, store: "Store") -> None:
    """Warn that keys were removed in the way that is dear to the server."""
    if store.removes_with_del:
        session.warn(
            "UNLINK is denied or unknown: keys were removed with DEL, which holds the server up"
            " while it frees a big value"
        )


def show_server(session: Session) -> None:
    """Show, before anything is removed, from which server, and which setting supplied it."""
    session.insist(f"removing from {session.server.address.text} ({session.server.setting})")
