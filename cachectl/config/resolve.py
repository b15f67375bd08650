"""Chooses the one server that a command works on, and the jobs that a warm runs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cachectl.config.secrets import Credentials, readable_by_others
from cachectl.config.settings import (
    DEFAULT_URL,
    Profile,
    Server,
    Settings,
    Tls,
    WarmJob,
    logins_of,
    sentinel_of,
)
from cachectl.config.url import parse_url, same_server
from cachectl.errors import ConfigError, UsageError

_SWITCH: Final = {"true": True, "1": True, "false": False, "0": False}


def resolve(
    settings: Settings | None,
    *,
    profile: str | None = None,
    url: str | None = None,
    env: Mapping[str, str],
) -> Server:
    """Return the server that the flags `profile` and `url`, the environment and the file name.

    The flags first, then CACHECTL_PROFILE, CACHECTL_URL, `default_profile`, REDIS_URL, the default.
    An empty variable counts as unset. Raises `UsageError` for both flags, an unknown profile or a
    wrong ENABLE_CACHE, `ConfigError` for a URL or a profile that cannot be used.
    """
    settings = settings or Settings()
    enabled = _enabled(env)
    if profile is not None and url is not None:
        msg = "--profile and --url exclude each other"
        raise UsageError(msg, "keep one: a URL never receives a profile's credentials")
    if profile is not None:
        server = _of_profile(settings, profile, "--profile")
    elif url is not None:
        server = _of_url(settings, url, "--url")
    elif env.get("CACHECTL_PROFILE"):
        server = _of_profile(settings, env["CACHECTL_PROFILE"], "CACHECTL_PROFILE")
    elif env.get("CACHECTL_URL"):
        server = _of_url(settings, env["CACHECTL_URL"], "CACHECTL_URL")
    elif settings.default_profile is not None:
        server = _of_profile(settings, settings.default_profile, "default_profile")
    elif env.get("REDIS_URL"):
        server = _of_url(settings, env["REDIS_URL"], "REDIS_URL")
    else:
        server = _of_url(settings, DEFAULT_URL, "default")
    # Either switch turns the cache off: a rollback in the environment, or the file's.
    return server._replace(cache=server.cache._replace(enabled=server.cache.enabled and enabled))


def job(settings: Settings | None, name: str) -> WarmJob:
    """Return the warming job of that name. Raises `UsageError` if there is none, or its error."""
    settings = settings or Settings()
    if name not in settings.warm:
        error = unknown("job", name, settings.warm, settings)
        raise error
    if name in settings.warm_errors:
        raise settings.warm_errors[name]
    return settings.warm[name]


def deploy_jobs(settings: Settings | None) -> tuple[WarmJob, ...]:
    """Return the jobs marked `on_deploy` in the order of the file; raises the error of one."""
    settings = settings or Settings()
    return tuple(job(settings, name) for name, one in settings.warm.items() if one.on_deploy)


def _enabled(env: Mapping[str, str]) -> bool:
    text = env.get("ENABLE_CACHE", "true").strip().lower()
    if text not in _SWITCH:
        msg = "ENABLE_CACHE is neither true nor false"
        raise UsageError(msg, "set it to true, false, 1 or 0, or unset it")
    return _SWITCH[text]


def _of_profile(settings: Settings, name: str, said_by: str) -> Server:
    if name in settings.profile_errors:
        raise settings.profile_errors[name]
    found = settings.profiles.get(name)
    if found is None:
        error = unknown("profile", name, settings.profiles | settings.profile_errors, settings)
        if said_by == "default_profile":
            line = settings.lines["default_profile",]
            error = ConfigError(f"{settings.shown}:{line}: {error.message}", error.hint)
        raise error
    setting = f"profiles.{name} of {settings.shown} ({said_by})"
    server = Server(
        profile=name,
        setting=setting,
        address=found.address,
        credentials=found.credentials,
        tls=found.tls,
        sentinel=found.sentinel,
        client=found.client,
        cli=found.cli,
        cache=found.cache,
        warnings=tuple(_warnings(found, settings)),
        said_by=said_by,
    )
    return _guarded(server, settings)


def _of_url(settings: Settings, text: str, said_by: str) -> Server:
    try:
        parsed = parse_url(text)
    except ConfigError as error:
        msg = f"{said_by}: {error.message}"
        raise ConfigError(msg, error.hint) from None
    warnings: tuple[str, ...] = ()
    if said_by == "--url" and parsed.password:
        warning = (
            "the password in --url is seen in the list of processes and the shell's history: "
            "use CACHECTL_URL or a profile"
        )
        warnings = (warning,)
    server = Server(
        profile=None,
        setting=said_by,
        address=parsed.address,
        credentials=Credentials(parsed.username, parsed.password),
        sentinel=sentinel_of(parsed.address, Tls()),
        client=settings.client,
        cli=settings.cli,
        cache=settings.cache,
        warnings=warnings,
        said_by=said_by,
    )
    return _guarded(server, settings)


def _guarded(server: Server, settings: Settings) -> Server:
    """Return the server with what the profiles say that name the same one."""
    same = [
        profile
        for profile in settings.profiles.values()
        if same_server(profile.address, server.address)
    ]
    # The resolved profile first: it is the name that a person expects to confirm.
    same.sort(key=lambda profile: profile.name != server.profile)
    return server._replace(
        protected_by=tuple(profile.name for profile in same if profile.protected),
        read_only_by=next((profile.name for profile in same if profile.read_only), None),
        namespaces=settings.namespaces,
    )


def _warnings(profile: Profile, settings: Settings) -> Iterator[str]:
    for path, credentials, tls in logins_of(profile, settings):
        if not tls.verify:
            yield (
                f"{'.'.join(path)}.tls.verify is false: "
                "anybody between here and the server can read and change everything"
            )
        file = credentials.password_file
        if file and readable_by_others(file):
            yield f"{file}: other users can read this password file (chmod 600)"


def unknown(what: str, name: str, known: Iterable[str], settings: Settings) -> UsageError:
    """Return the error for a name that the settings do not have, with those there are."""
    from difflib import SequenceMatcher

    start, url, _ = name.partition("://")
    text = f"{start}{url}…" if url else name  # a URL in place of a name may hold a password
    shown = "".join(char if char.isprintable() else "?" for char in text[:60])
    names = sorted(known, key=lambda one: -SequenceMatcher(None, one, name).ratio())
    if settings.path is None:
        msg = f"there is no {what} {shown!r}: no settings file was found"
        return UsageError(msg, "name one with --config, or write ./cachectl.yaml")
    msg = f"there is no {what} {shown!r} in {settings.shown}"
    return UsageError(
        msg, f"there are: {', '.join(names)}" if names else f"it has no {what} at all"
    )
