"""The settings as frozen types. Durations are seconds, sizes bytes, shares 0 to 1.

`NamedTuple` rather than dataclass: defining one costs a fifth, and every command pays for it.
"""

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from cachectl.config.secrets import Credentials
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


class PythonOrigin(NamedTuple):
    """A Python callable that computes values: `package.module:callable`."""

    call: str
    concurrency: int = 20
    timeout: float = 30.0


class Verify(NamedTuple):
    """The sample of requests that a warm is verified against; `same` is the ranked requests."""

    requests: tuple[str, ...] | Literal["same"]
    min_hit_rate: float | None = None


class WarmJob(NamedTuple):
    """One job of the `warm` section. Either `requests` (with an origin) or `entries` is given."""

    name: str
    requests: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    origin: PythonOrigin | None = None
    namespace: str | None = None
    ttl: float | Unset | None = UNSET
    ttl_jitter: float | None = None
    only: str | None = None
    limit: int | None = None
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
    credentials: "Credentials"
    tls: Tls = Tls()
    protected: bool = False
    read_only: bool = False
    client: ClientSettings = ClientSettings()
    cli: CliSettings = CliSettings()
    cache: CacheSettings = CacheSettings()


class Server(NamedTuple):
    """The one server that a command works on, and which setting supplied it.

    `protected_by` names the profiles whose name confirms a removal there (empty: not protected).
    `said_by` is the option, variable or key that chose it. `warnings` are sentences that the
    command line shows at each use.
    """

    profile: str | None
    setting: str
    address: "Address"
    credentials: "Credentials"
    tls: Tls = Tls()
    protected_by: tuple[str, ...] = ()
    read_only_by: str | None = None
    client: ClientSettings = ClientSettings()
    cli: CliSettings = CliSettings()
    cache: CacheSettings = CacheSettings()
    warnings: tuple[str, ...] = ()
    namespaces: dict[str, NamespaceSettings] = {}  # noqa: RUF012 never changed
    said_by: str = ""


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


def out_of_order(check: str, threshold: Threshold) -> bool:
    """Tell whether a threshold is critical before it warns; the hit rate alone is bad when low."""
    if threshold.warning is None or threshold.critical is None:
        return False
    if check == "hit_rate":
        return threshold.critical > threshold.warning
    return threshold.critical < threshold.warning
