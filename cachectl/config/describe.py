"""Shows the settings that hold, and where each came from; secrets are masked."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cachectl.config import fields, kinds
from cachectl.config.fields import Either, Section, Words
from cachectl.config.kinds import Kind, Many
from cachectl.config.reader import Path, dotted
from cachectl.config.secrets import Credentials, Secret
from cachectl.config.settings import UNSET, Sentinel, Server, Settings
from cachectl.config.url import Address, node_text


class Effective(NamedTuple):
    """One setting that holds: its path, its text for people, where it came from, its JSON value.

    `origin` is a file with its line, an option, a variable, or `default`. Durations are seconds and
    shares 0 to 1 in `value`. A secret is `***` in both.
    """

    path: str
    text: str
    origin: str
    value: Any


def describe(settings: Settings | None, server: Server, env: Mapping[str, str]) -> list[Effective]:
    """Return every setting that holds for `server`, in the order of the example file."""
    shown = _Description(settings or Settings(), server)
    rows = [*shown.server(), *shown.shared(), *shown.tables()]
    # What `resolve` has checked: the variable only ever switches the cache off.
    if env.get("ENABLE_CACHE", "").strip().lower() in {"false", "0"}:
        return [
            row._replace(origin="ENABLE_CACHE") if row.path == "cache.enabled" else row
            for row in rows
        ]
    return rows


class _Description:
    def __init__(self, settings: Settings, server: Server) -> None:
        self._settings = settings
        self._server = server
        self._profile: Path | None = ("profiles", server.profile) if server.profile else None

    def server(self) -> Iterator[Effective]:
        """Yield which server it is, who logs in, and what guards it."""
        server = self._server
        if server.profile:
            origin = server.said_by
            if origin == "default_profile":
                origin = self._origin([("default_profile",)])
            yield Effective("profile", server.profile, origin, server.profile)
        yield Effective("url", server.address.text, self._own("url"), server.address.text)
        yield from self._nodes(server)
        yield from self._login((), server.credentials)
        if server.address.tls:
            yield from self._rows(("tls",), fields.TLS, server.tls, self._places("tls"))
        protected_by = server.protected_by[0] if server.protected_by else None
        guards = {"protected": protected_by, "read_only": server.read_only_by}
        for name, guard in guards.items():
            places: list[Path] = [("profiles", guard or server.profile or "", name)]
            yield self._row((name,), kinds.FLAG, guard is not None, self._origin(places))

    def _nodes(self, server: Server) -> Iterator[Effective]:
        """Yield what a profile says key by key and a URL in one text, and the Sentinels' login."""
        by_keys = [name for name in ("sentinel", "cluster") if self._given(self._places(name))]
        if server.sentinel:
            yield from self._sentinel(server.address, server.sentinel)
        elif by_keys:
            yield self._list_of_nodes(("cluster",), server.address)
        if by_keys:
            origin = self._origin(self._places("db"))
            yield self._row(("db",), kinds.DATABASE, server.address.db, origin)

    def _sentinel(self, address: Address, sentinel: Sentinel) -> Iterator[Effective]:
        # A URL says in one word that its Sentinels have TLS too: they are verified as the servers.
        tls = self._places("tls")
        if self._given(self._places("sentinel")):
            tls = self._places("sentinel", "tls")
            path = ("sentinel", "service")
            origin = self._origin(self._places(*path))
            yield self._row(path, kinds.SERVICE_NAME, address.service, origin)
            yield self._list_of_nodes(("sentinel", "nodes"), address)
        yield from self._login(("sentinel",), sentinel.credentials)
        if sentinel.tls:
            yield from self._rows(("sentinel", "tls"), fields.TLS, sentinel.tls, tls)

    def _list_of_nodes(self, path: Path, address: Address) -> Effective:
        row = self._row(path, kinds.NODES, address.nodes, self._origin(self._places(*path)))
        return row._replace(value=[node_text(node) for node in address.nodes])

    def _login(self, path: Path, credentials: Credentials) -> Iterator[Effective]:
        for name, value in credentials._asdict().items():
            if value:
                kind = fields.PROFILE.fields[name].kind
                # The arguments of the command may hold a secret.
                row = self._row((*path, name), kind, value, self._own(*path, name))
                yield row._replace(value=[value[0]]) if kind is kinds.COMMAND else row

    def shared(self) -> Iterator[Effective]:
        """Yield what a profile may change, and the thresholds."""
        for name in ("client", "cli", "cache"):
            places = [*self._places(name), (name,)]
            section = fields.ROOT.fields[name].kind
            yield from self._rows((name,), section, getattr(self._server, name), places)
        for name, threshold in self._settings.health.items():
            here = ("health", name)
            yield from self._rows(here, fields.HEALTH.fields[name].kind, threshold, [here])

    def tables(self) -> Iterator[Effective]:
        """Yield the namespaces and the jobs."""
        for name, namespace in self._settings.namespaces.items():
            here = ("namespaces", name)
            yield from self._rows(here, fields.NAMESPACE, namespace, [here])
        for name, job in self._settings.warm.items():
            yield from self._rows(("warm", name), fields.JOB, job, [("warm", name)])

    def _rows(
        self, path: Path, section: Any, values: Any, places: list[Path]
    ) -> Iterator[Effective]:
        for name, field in section.fields.items():
            value = getattr(values, name)
            here = [(*place, name) for place in places]
            given = self._given(here)
            if value is UNSET or value == () or (value is None and not given):
                continue
            kind = field.kind
            if isinstance(kind, Either):
                kind = (
                    kind.section
                    if isinstance(value, tuple) and hasattr(value, "_fields")
                    else kind.many
                )
            if isinstance(kind, Section):
                yield from self._rows((*path, name), kind, value, here)
            elif isinstance(kind, Words):
                for word, text in value.items():
                    place = self._origin([(*one, word) for one in here])
                    yield self._row((*path, name, word), kind.each, text, place)
            else:
                yield self._row((*path, name), kind, value, self._origin(here))

    def _row(self, path: Path, kind: Any, value: Any, origin: str) -> Effective:
        return Effective(dotted(path), _text(kind, value), origin, _json(value))

    def _own(self, *path: str) -> str:
        """Return where a setting of the server came from; a URL may bring user and password."""
        if self._profile is None:
            return self._server.said_by
        whole = [place for name in ("url", "sentinel", "cluster") for place in self._places(name)]
        return self._origin([*self._places(*path), *whole])

    def _places(self, *path: str) -> list[Path]:
        return [(*self._profile, *path)] if self._profile else []

    def _given(self, places: list[Path]) -> bool:
        return any(place in self._settings.lines for place in places)

    def _origin(self, places: list[Path]) -> str:
        for place in places:
            if place in self._settings.lines:
                return f"{self._settings.shown}:{self._settings.lines[place]}"
        return "default"


def _text(kind: Kind | Many, value: Any) -> str:
    if kind is kinds.COMMAND:
        return f"{value[0]} …" if len(value) > 1 else str(value[0])
    if isinstance(kind, Many):
        return value if isinstance(value, str) else ", ".join(map(kind.item.show, value))
    return kind.show(value)


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, Secret) else value
