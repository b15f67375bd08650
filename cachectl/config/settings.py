"""The settings as frozen types. Durations are seconds, sizes bytes, shares 0 to 1.

`NamedTuple` rather than dataclass: defining one costs a fifth, and every command pays for it.
"""

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cachectl.config.secrets import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cachectl.config.url import Address
    from cachectl.errors import ConfigError

DEFAULT_TTL: Final = 86400.0
DEFAULT_URL: Final = "redis://localhost:6379/0"


class Tls(NamedTuple):
    """How a TLS server is verified. `ca_file` replaces the system's authorities."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    verify: bool = True


class Sentinel(NamedTuple):
    """How Sentinels let one in: they have users of their own. `tls` None: they speak without TLS."""

    credentials: Credentials
    tls: Tls | None = None


def sentinel_of(address: "Address", tls: Tls) -> Sentinel | None:
    """Return how the Sentinels of a URL let one in: as nobody, by TLS if its servers have it."""
    if address.kind != "sentinel":
        return None
    return Sentinel(Credentials(), tls if address.tls else None)


class ClientSettings(NamedTuple):
    """What `CacheClient` bears in applications."""

    pool_size: int = 10
    timeout: float = 0.1
    connect_timeout: float = 0.5
    attempts: int = 3
    backoff: float = 0.05


class CliSettings(NamedTuple):
    """What the commands bear: silence of the server, and attempts."""

    timeout: float = 5.0
    connect_timeout: float = 5.0
    attempts: int = 3


class CacheSettings(NamedTuple):
    """Whether the cache is used at all, and for how long values live; `None` is persistent."""

    enabled: bool = True
    ttl: float | None = DEFAULT_TTL


class Unset:
    """The type of `UNSET`: a TTL that was not given, where `None` means persistent."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the name of the one value."""
        return "UNSET"


UNSET: Final = Unset()


class NamespaceSettings(NamedTuple):
    """How one namespace is cached; `ttl_jitter` is the share by which a TTL may be shortened."""

    ttl: float | Unset | None = UNSET
    ttl_jitter: float = 0.0
    protected: bool = False


class Origin(NamedTuple):
    """Where the values of requests are computed, and what it is spared.

    Either `call` (`package.module:callable`) or `http` (a URL's scheme, host and port) is given.
    `workers` is where a synchronous callable runs: threads, processes, or the address of a Dask
    scheduler. With `fills` `application`, the service that is asked writes its cache by itself.
    `path` is what a request that brought no target of its own is asked by; `hosts` are those besides
    its own that it may redirect to. `rate` is calls a second, `timeout` seconds a call, `attempts` for
    what is worth another try. Once more than the share `breaker` of the last calls failed, it is left
    alone.
    """

    call: str | None = None
    http: str | None = None
    fills: str = "cachectl"
    path: str | None = None
    hosts: tuple[str, ...] = ()
    max_size: int = 16_000_000
    workers: str = "threads"
    concurrency: int = 20
    rate: float | None = None
    timeout: float = 30.0
    attempts: int = 3
    breaker: float = 0.5


class Moment(NamedTuple):
    """A time: Unix time in seconds, or so many seconds before now."""

    at: float | None = None
    ago: float | None = None


class Route(NamedTuple):
    """How a line of a log becomes a request: by `key`, or by `params`, both of templates.

    `path` is the pattern that the path must have; without one any path is taken.
    """

    path: str | None = None
    key: str | None = None
    params: dict[str, str] = {}  # noqa: RUF012 never changed


class LogFields(NamedTuple):
    """Where in a line of JSON the parts of a request stand; a point leads into an object."""

    method: str = "method"
    target: str = "target"
    status: str = "status"
    time: str = "time"
    size: str = "size"


class AccessLog(NamedTuple):
    """Access logs whose lines are requests; `format` None is found out from the first line."""

    log: tuple[str, ...] = ()
    route: Route = Route()
    format: str | None = None
    fields: LogFields = LogFields()
    method: tuple[str, ...] = ("GET",)
    status: tuple[int, ...] = (200,)
    since: Moment | None = None
    until: Moment | None = None


Requests = tuple[str, ...] | AccessLog
"""Files that hold requests: lists of keys and JSON Lines, or logs."""


def files_of(requests: Requests) -> tuple[str, ...]:
    """Return the files that hold requests."""
    return requests.log if isinstance(requests, AccessLog) else requests


class Verify(NamedTuple):
    """The sample of requests that a warm is verified against; `same` is the ranked requests."""

    requests: Requests | Literal["same"]
    min_hit_rate: float | None = None


class WarmJob(NamedTuple):
    """One job of the `warm` section. Either `requests` (with an origin) or `entries` is given."""

    name: str
    requests: Requests = ()
    entries: tuple[str, ...] = ()
    origin: Origin | None = None
    namespace: str | None = None
    ttl: float | Unset | None = UNSET
    ttl_jitter: float | None = None
    only: str | None = None
    limit: int | None = None
    coverage: float | None = None
    budget: int | None = None
    max_memory: float | int | None = None
    verify: Verify | None = None
    on_deploy: bool = False


class Threshold(NamedTuple):
    """From which value on a check warns or is critical; `None`: never."""

    warning: float | None = None
    critical: float | None = None


DEFAULT_HEALTH: Final = {
    "latency": Threshold(0.1, 1.0),
    "memory": Threshold(0.85, 0.95),
    "evictions": Threshold(100.0, 1000.0),
    "hit_rate": Threshold(0.5, None),
    "persistence": Threshold(),  # whether saving is wanted is not told: it is judged when set
    "replication": Threshold(10.0, 60.0),
    "clients": Threshold(0.8, 0.95),
}
"""The thresholds of `health`: seconds, shares, keys a second; a hit rate alone is bad when low."""


class Profile(NamedTuple):
    """A named server with what belongs to it."""

    name: str
    address: "Address"
    credentials: Credentials
    tls: Tls = Tls()
    sentinel: Sentinel | None = None
    protected: bool = False
    read_only: bool = False
    client: ClientSettings = ClientSettings()
    cli: CliSettings = CliSettings()
    cache: CacheSettings = CacheSettings()


class Login(NamedTuple):
    """By which keys of a profile one gets in, at `path`."""

    path: tuple[str, ...]
    credentials: Credentials
    tls: Tls


class Server(NamedTuple):
    """The one server that a command works on, and which setting supplied it.

    `protected_by` names the profiles whose name confirms a removal there (empty: not protected).
    `said_by` is the option, variable or key that chose it. `warnings` are sentences that the
    command line shows at each use.
    """

    profile: str | None
    setting: str
    address: "Address"
    credentials: Credentials
    tls: Tls = Tls()
    sentinel: Sentinel | None = None
    protected_by: tuple[str, ...] = ()
    read_only_by: str | None = None
    client: ClientSettings = ClientSettings()
    cli: CliSettings = CliSettings()
    cache: CacheSettings = CacheSettings()
    warnings: tuple[str, ...] = ()
    namespaces: dict[str, NamespaceSettings] = {}  # noqa: RUF012 never changed
    said_by: str = ""

    @property
    def asks(self) -> bool:
        """Whether a password is still to be typed by a person: nothing can be opened before."""
        sentinel = self.sentinel
        return self.credentials.password_prompt or (
            sentinel is not None and sentinel.credentials.password_prompt
        )


class Settings(NamedTuple):
    """A settings file, read. Without a file, all is at its default.

    `profile_errors` and `warm_errors` hold what is wrong with a profile or job that is not used
    yet; a profile stands in `profiles` as soon as its address is known, whatever else it lacks.
    `lines` says on which line each setting stands. `trusted` is false for a found file that others
    may have written.
    """

    path: "Path | None" = None
    shown: str = ""
    default_profile: str | None = None
    profiles: "dict[str, Profile]" = {}  # noqa: RUF012 never changed
    profile_errors: "dict[str, ConfigError]" = {}  # noqa: RUF012 never changed
    client: ClientSettings = ClientSettings()
    cli: CliSettings = CliSettings()
    cache: CacheSettings = CacheSettings()
    namespaces: dict[str, NamespaceSettings] = {}  # noqa: RUF012 never changed
    warm: dict[str, WarmJob] = {}  # noqa: RUF012 never changed
    warm_errors: "dict[str, ConfigError]" = {}  # noqa: RUF012 never changed
    health: dict[str, Threshold] = DEFAULT_HEALTH
    lines: dict[tuple[str, ...], int] = {}  # noqa: RUF012 never changed
    trusted: bool = True


def logins_of(profile: Profile, settings: Settings) -> "Iterator[Login]":
    """Yield how a profile gets in at its servers, and at Sentinels with keys of their own."""
    path = ("profiles", profile.name)
    yield Login(path, profile.credentials, profile.tls)
    if profile.sentinel and (*path, "sentinel") in settings.lines:
        own = profile.sentinel
        yield Login((*path, "sentinel"), own.credentials, own.tls or Tls())


def out_of_order(check: str, threshold: Threshold) -> bool:
    """Tell whether a threshold is critical before it warns; the hit rate alone is bad when low."""
    if threshold.warning is None or threshold.critical is None:
        return False
    if check == "hit_rate":
        return threshold.critical > threshold.warning
    return threshold.critical < threshold.warning
