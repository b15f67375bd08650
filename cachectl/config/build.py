"""Makes the frozen settings of what a file gives."""

import os
from typing import Any, Final

from cachectl.config.find import Found
from cachectl.config.reader import Problem, Reader, dotted
from cachectl.config.secrets import Credentials
from cachectl.config.settings import (
    DEFAULT_HEALTH,
    AccessLog,
    CacheSettings,
    ClientSettings,
    CliSettings,
    LogFields,
    NamespaceSettings,
    Origin,
    Profile,
    Route,
    Sentinel,
    Settings,
    Threshold,
    Tls,
    Verify,
    WarmJob,
    out_of_order,
    sentinel_of,
)
from cachectl.config.url import Address, ParsedUrl
from cachectl.errors import ConfigError
from cachectl.templates import route_problem

_PASSWORDS: Final = ("password", "password_file", "password_command", "password_prompt")
_ORIGINS: Final = {"call": ("workers",), "http": ("fills", "path", "hosts", "max_size")}
_KINDS: Final = {"call": "a call", "http": "an http"}
_UNTRUSTED: Final = (
    "the file was found, not named, and belongs to or can be written by somebody else"
)


def waits(problem: Problem) -> bool:
    """Tell whether a problem matters only once its profile or job is used."""
    room = problem.path[0] if len(problem.path) > 1 else ""
    waiting = {"profiles": {"late"}, "warm": {"value", "late"}}
    return problem.weight in waiting.get(room, ())


def errors_of(room: str, problems: list[Problem]) -> dict[str, ConfigError]:
    """Return the first error that waits for each name in `profiles` or `warm`."""
    errors: dict[str, ConfigError] = {}
    for problem in problems:
        if waits(problem) and problem.path[0] == room:
            errors.setdefault(problem.path[1], problem.error)
    return errors


class Builder:
    """Makes the frozen types of what was given, and checks what one key alone cannot tell."""

    def __init__(self, reader: Reader, given: dict[str, Any], *, trusted: bool) -> None:
        """Take what the reader gave; `trusted` files may run commands and import code."""
        self._reader = reader
        self._given = given
        self._trusted = trusted
        self._client = ClientSettings(**given.get("client", {}))
        self._cli = CliSettings(**given.get("cli", {}))
        self._cache = CacheSettings(**given.get("cache", {}))

    def settings(self, found: Found) -> Settings:
        """Return the settings; what is wrong is added to the reader's problems."""
        given = self._given
        profiles = {
            name: profile
            for name, values in given.get("profiles", {}).items()
            if (profile := self._profile(name, values))
        }
        jobs = {name: self._job(name, values) for name, values in given.get("warm", {}).items()}
        namespaces = given.get("namespaces", {}).items()
        return Settings(
            path=found.path,
            shown=found.shown,
            default_profile=given.get("default_profile"),
            profiles=profiles,
            client=self._client,
            cli=self._cli,
            cache=self._cache,
            namespaces={name: NamespaceSettings(**values) for name, values in namespaces},
            warm=jobs,
            health=self._health(given.get("health", {})),
            # Last, when every problem has been met.
            profile_errors=errors_of("profiles", self._reader.problems),
            warm_errors=errors_of("warm", self._reader.problems),
            lines=self._reader.lines,
            trusted=self._trusted,
        )

    def _profile(self, name: str, given: dict[str, Any]) -> Profile | None:
        path = ("profiles", name)
        place = self._place(path, given)
        credentials = self._credentials(path, given, place)
        tls = self._tls(path, given.get("tls"), place)
        sentinel = self._sentinel((*path, "sentinel"), given.get("sentinel"))
        if place is None:
            return None
        return Profile(
            name=name,
            address=self._address(place.address),
            credentials=credentials,
            tls=tls,
            sentinel=sentinel or sentinel_of(place.address, tls),
            protected=given.get("protected", False),
            read_only=given.get("read_only", False),
            client=self._client._replace(**given.get("client", {})),
            cli=self._cli._replace(**given.get("cli", {})),
            cache=self._cache._replace(**given.get("cache", {})),
        )

    def _place(self, path: tuple[str, ...], given: dict[str, Any]) -> ParsedUrl | None:
        """Return what a profile says of where its server is, if that is known."""
        if (*path, "url") in self._reader.lines:
            if (*path, "db") in self._reader.lines:
                hint = "write it there: redis://HOST:PORT/NUMBER, or unix:/PATH?db=NUMBER"
                self._fail((*path, "db"), "the url says the database", hint)
            return given.get("url")
        db, tls = given.get("db", 0), "tls" in given
        if "cluster" in given:
            return ParsedUrl(Address("cluster", nodes=given["cluster"], db=db, tls=tls))
        said = given.get("sentinel", {})
        if not {"service", "nodes"} <= said.keys():
            return None
        service, nodes = said["service"], said["nodes"]
        return ParsedUrl(Address("sentinel", nodes=nodes, service=service, db=db, tls=tls))

    def _sentinel(self, path: tuple[str, ...], given: dict[str, Any] | None) -> Sentinel | None:
        if given is None:
            return None
        credentials = self._credentials(path, given, None)
        return Sentinel(
            credentials, self._tls(path, given["tls"], None) if "tls" in given else None
        )

    def _address(self, address: Address) -> Address:
        if not address.path:
            return address
        folder = self._reader.folder
        path = os.path.expanduser(address.path)
        return address._replace(path=os.path.join(folder, path))

    def _credentials(
        self, path: tuple[str, ...], given: dict[str, Any], url: ParsedUrl | None
    ) -> Credentials:
        password = given.get("password")
        in_url = url.password if url else None
        lines = self._reader.lines
        sources = [
            name
            for name in _PASSWORDS
            if (*path, name) in lines and given.get(name) is not False  # which asks nobody
        ]
        if in_url:
            sources.insert(0, "url")
        if len(sources) > 1:
            message = f"the password is given by {sources[0]} too"
            self._fail((*path, sources[1]), message, "keep one of them")
        if url and url.username and "username" in given:
            self._fail((*path, "username"), "the url names a user too", "keep one of them")
        command = given.get("password_command", ())
        if command and not self._trusted:
            self._refuse((*path, "password_command"), "run a command")
        return Credentials(
            username=given.get("username") or (url.username if url else None),
            # An empty password, as of an empty variable, is none: no login is tried.
            password=in_url or (password if password and password.reveal() else None),
            password_file=given.get("password_file"),
            password_command=self._command(command),
            password_prompt=given.get("password_prompt", False),
        )

    def _command(self, command: tuple[str, ...]) -> tuple[str, ...]:
        if command and "/" in command[0]:
            return (os.path.join(self._reader.folder, command[0]), *command[1:])
        return command

    def _fail(self, path: tuple[str, ...], message: str, hint: str | None = None) -> None:
        """Keep a problem; one that hangs on a url from the environment waits as that does."""
        late = (*path[:2], "url") in self._reader.expanded
        weight = "late" if late else "value"
        self._reader.fail(path, f"{dotted(path)}: {message}", hint, weight=weight)

    def _refuse(self, path: tuple[str, ...], deed: str) -> None:
        hint = f"name it with --config, or make it yours and writable by you alone: {_UNTRUSTED}"
        # Weighs as `late`: the rest of such a file may be used.
        message = f"{dotted(path)}: may not {deed} from this file"
        self._reader.fail(path, message, hint, weight="late")

    def _tls(
        self, path: tuple[str, ...], given: dict[str, Any] | None, url: ParsedUrl | None
    ) -> Tls:
        tls = Tls(**(given or {}))
        if given and url and not url.address.tls:
            self._fail((*path, "tls"), "the url is not one of TLS", "begin the url with rediss")
        if tls.key_file and not tls.cert_file:
            self._fail((*path, "tls", "key_file"), "has no cert_file beside it", "give both")
        return tls

    def _job(self, name: str, given: dict[str, Any]) -> WarmJob:
        path = ("warm", name)
        lines = self._reader.lines
        values = dict(given)
        if "origin" in values:
            values["origin"] = self._origin((*path, "origin"), values["origin"])
        if "requests" in values:
            values["requests"] = self._requests((*path, "requests"), values["requests"])
        if "verify" in values:
            verify = {"requests": (), **values["verify"]}
            here = (*path, "verify", "requests")
            verify["requests"] = self._requests(here, verify["requests"])
            values["verify"] = Verify(**verify)
        has = {word for word in ("requests", "entries", "origin") if (*path, word) in lines}
        if not has & {"requests", "entries"}:
            self._fail(path, "needs requests or entries", "name a file")
        elif {"requests", "entries"} <= has:
            self._fail(path, "has both requests and entries", "keep one")
        elif "requests" in has and "origin" not in has:
            hint = "add origin: {call: package.module:callable}, or {http: https://…}"
            self._fail(path, "requests need an origin", hint)
        elif {"entries", "origin"} <= has:
            self._fail(path, "entries have their values already", "drop the origin")
        if (*path, "on_deploy") in lines:
            # One that cannot be read must stop a deploy rather than be left out of it.
            values.setdefault("on_deploy", True)
        return WarmJob(name=name, **values)

    def _requests(self, path: tuple[str, ...], given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        route = Route(**given.get("route", {}))
        problem = route_problem(route.path, route.key, route.params)
        if (*path, "route") in self._reader.lines and problem:
            self._fail((*path, "route"), problem, 'as in key: "page:{target}"')
        made = {"route": route, "fields": LogFields(**given.get("fields", {}))}
        return AccessLog(**{**given, **made})

    def _origin(self, path: tuple[str, ...], given: dict[str, Any]) -> Origin:
        lines = self._reader.lines
        has = [word for word in ("call", "http") if (*path, word) in lines]
        if len(has) != 1:
            self._fail(path, "needs either call or http", "as in call: package.module:callable")
        for kind, words in _ORIGINS.items():
            for word in words:
                if kind not in has and (*path, word) in lines:
                    self._fail((*path, word), f"is for {_KINDS[kind]} origin", "drop it")
        if not self._trusted and "call" in given:
            self._refuse((*path, "call"), "import code")
        return Origin(**given)

    def _health(self, given: dict[str, Any]) -> dict[str, Threshold]:
        health = dict(DEFAULT_HEALTH)
        for name, values in given.items():
            threshold = health[name]._replace(**values)
            health[name] = threshold
            if out_of_order(name, threshold):
                hint = "critical lies beyond warning; null is never"
                self._fail(("health", name), "is critical before it warns", hint)
        return health
