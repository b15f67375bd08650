"""The one description of the settings: which keys there are, of what kind, and what they mean.

The reader walks a file beside it, the schema for editors is made of it, and what is shown of the
settings follows it. Defaults stand in the types of `settings.py` and nowhere else.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from cachectl.config.kinds import (
    CALL,
    COMMAND,
    DATABASE,
    DURATION,
    FILES,
    FILLS,
    FLAG,
    FORMAT,
    HTTP,
    MOMENT,
    NODES,
    ONLY,
    PATH,
    PATIENCE,
    RATE,
    SECRET,
    SENTINELS,
    SERVICE_NAME,
    SHARE,
    SHARE_OR_SIZE,
    SIZE,
    STATUS,
    TEXT,
    TTL,
    URL,
    URL_PATH,
    WHOLE,
    WORKERS,
    Kind,
    Many,
    or_null,
)
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
    Tls,
    Verify,
    WarmJob,
)


class Field(NamedTuple):
    """One key: its kind, a sentence for people, and whether it must be there.

    With `inherits`, what is not given comes from the section of the same name at the top.
    """

    kind: "Kind | Many | Either | Section | Table | Words"
    doc: str
    required: bool = False
    inherits: bool = False


class Either(NamedTuple):
    """A list of values, or keys with values in its place."""

    many: Many
    section: "Section"


class Section(NamedTuple):
    """A fixed set of keys, and the defaults of those that have one.

    Of the keys `one_of`, if there are any, exactly one must be given.
    """

    fields: Mapping[str, Field]
    defaults: Mapping[str, Any] = MappingProxyType({})
    one_of: tuple[str, ...] = ()


class Table(NamedTuple):
    """Names that the user chooses, each with a section; `name` is the pattern of a name."""

    each: Section
    what: str
    name: str = r".+"
    expects: str = "a name"


class Words(NamedTuple):
    """Names that the user chooses, each with a single value."""

    each: Kind


CLIENT: Final = Section(
    {
        "pool_size": Field(WHOLE, "Connections of one client; callers wait when all are busy."),
        "timeout": Field(PATIENCE, "For one attempt's answer."),
        "connect_timeout": Field(PATIENCE, "To connect and greet."),
        "attempts": Field(WHOLE, "How often a read or an idempotent write is tried."),
        "backoff": Field(DURATION, "The pause before the second attempt; doubles, with jitter."),
    },
    ClientSettings._field_defaults,
)
CLI: Final = Section(
    {
        "timeout": Field(PATIENCE, "The longest silence of the server, all attempts together."),
        "connect_timeout": Field(PATIENCE, "To connect and greet; never longer than timeout."),
        "attempts": Field(WHOLE, "How often a read or an idempotent write is tried."),
    },
    CliSettings._field_defaults,
)
CACHE: Final = Section(
    {
        "enabled": Field(FLAG, "false: clients miss and skip writes; warm and set do nothing."),
        "ttl": Field(TTL, "How long a value lives when nothing else says so; null: for ever."),
    },
    CacheSettings._field_defaults,
)
TLS: Final = Section(
    {
        "ca_file": Field(PATH, "Certificate authorities (PEM), in place of the system's."),
        "cert_file": Field(PATH, "The client's certificate (PEM), where the server wants one."),
        "key_file": Field(PATH, "The key of cert_file (PEM), unless it is in that file."),
        "server_name": Field(TEXT, "The name in the server's certificate, if not the URL's host."),
        "verify": Field(FLAG, "false: trust any certificate; warned about at each use."),
    },
    Tls._field_defaults,
)
_LOGIN: Final = {
    "username": Field(TEXT, "Who logs in (an ACL user)."),
    "password": Field(SECRET, "The password, best as ${NAME} from the environment."),
    "password_file": Field(PATH, "A file that holds the password."),
    "password_command": Field(COMMAND, "A program and its arguments that print the password."),
    "password_prompt": Field(FLAG, "true: the commands ask for the password on the terminal."),
}
SENTINEL: Final = Section(
    {
        "service": Field(SERVICE_NAME, "What the Sentinels call it.", required=True),
        "nodes": Field(SENTINELS, "The Sentinels: HOST:PORT, by default 26379.", required=True),
        **_LOGIN,
        "tls": Field(TLS, "The Sentinels have TLS, and how they are verified; may be {}."),
    },
    {**Sentinel._field_defaults, **Credentials._field_defaults},
)
PROFILE: Final = Section(
    {
        "url": Field(URL, "Where the server is."),
        "sentinel": Field(SENTINEL, "In its place: Sentinels that know the primary; their login."),
        "cluster": Field(NODES, "In its place: nodes of a cluster, HOST:PORT, by default 6379."),
        "db": Field(DATABASE, "The database, where no url says it."),
        **_LOGIN,
        "tls": Field(TLS, "How the server is verified; without url also that it has TLS."),
        "protected": Field(FLAG, "true: removing wants this profile's name as confirmation."),
        "read_only": Field(FLAG, "true: every write is refused."),
        "client": Field(CLIENT, "What this profile changes of client.", inherits=True),
        "cli": Field(CLI, "What this profile changes of cli.", inherits=True),
        "cache": Field(CACHE, "What this profile changes of cache.", inherits=True),
    },
    {**Profile._field_defaults, **Credentials._field_defaults, "db": 0},
    one_of=("url", "sentinel", "cluster"),
)
NAMESPACE: Final = Section(
    {
        "ttl": Field(TTL, "How long a value of this namespace lives; null: for ever."),
        "ttl_jitter": Field(SHARE, "By which share at most a TTL is shortened at random."),
        "protected": Field(FLAG, "true: removing wants this namespace's name as confirmation."),
    },
    NamespaceSettings._field_defaults,
)
ROUTE: Final = Section(
    {
        "path": Field(TEXT, "The path of the lines it takes, with names: /users/{id}/profile."),
        "key": Field(TEXT, "The key: page:{target} (path and query) or page:{path}."),
        "params": Field(Words(TEXT), 'The parameters: "{query.lat:float}", "{id:int}", or a text.'),
    },
    Route._field_defaults,
)
LOG_FIELDS: Final = Section(
    {
        "method": Field(TEXT, "The request's method."),
        "target": Field(TEXT, "Path and query, as asked."),
        "status": Field(TEXT, "The answer's status."),
        "time": Field(TEXT, "When: Unix time, or a text like 2026-01-31T12:00:00Z."),
        "size": Field(TEXT, "The bytes of the answer."),
    },
    LogFields._field_defaults,
)
LOG: Final = Section(
    {
        "log": Field(FILES, "Access logs, as they are or as .gz.", required=True),
        "route": Field(ROUTE, "How a line becomes a request.", required=True),
        "format": Field(FORMAT, "common, combined or json; by default what the first line is."),
        "fields": Field(LOG_FIELDS, "Where in a line of JSON the parts stand; a.b leads inside."),
        "method": Field(Many(TEXT, alone=True), "Which methods count."),
        "status": Field(Many(STATUS, alone=True), "Which statuses count."),
        "since": Field(MOMENT, "Only lines from then on: 24h (ago), or a time."),
        "until": Field(MOMENT, "Only lines before then."),
    },
    AccessLog._field_defaults,
)
ORIGIN: Final = Section(
    {
        "call": Field(CALL, "The Python callable that computes a value."),
        "http": Field(HTTP, "In its place: the service that is asked for it."),
        "fills": Field(FILLS, "Who writes the cache: cachectl, or the application by itself."),
        "path": Field(
            URL_PATH, "What is asked for where no log says: /chart?date={date}&lat={lat}."
        ),
        "hosts": Field(Many(TEXT), "Hosts besides its own that it may redirect to."),
        "max_size": Field(SIZE, "The largest answer that is taken."),
        "workers": Field(WORKERS, "Where a plain function runs: threads, processes, dask://…"),
        "concurrency": Field(WHOLE, "How many calls run at a time."),
        "rate": Field(RATE, "At most so many calls a second."),
        "timeout": Field(PATIENCE, "For one call; one that hangs is left behind."),
        "attempts": Field(WHOLE, "How often a call is tried that failed for a while only."),
        "breaker": Field(SHARE, "It is left alone once more of its last calls failed."),
    },
    Origin._field_defaults,
)
VERIFY: Final = Section(
    {
        "requests": Field(
            Either(Many(PATH, alone=True, word="same"), LOG),
            "The sample: files, a log, or same: the job's own requests.",
            required=True,
        ),
        "min_hit_rate": Field(SHARE, "The share of the sample that must find its key."),
    },
    Verify._field_defaults,
)
JOB: Final = Section(
    {
        "requests": Field(Either(FILES, LOG), "What will be asked for: files, or a log."),
        "entries": Field(FILES, "Entries that are ready to be written."),
        "origin": Field(ORIGIN, "Where the values of requests come from."),
        "namespace": Field(TEXT, "The namespace of requests that name none."),
        "ttl": Field(TTL, "How long the values live, unless an entry says; null: for ever."),
        "ttl_jitter": Field(SHARE, "By which share at most a TTL is shortened at random."),
        "only": Field(ONLY, "Which keys are written: missing, all, or expiring:DURATION."),
        "limit": Field(WHOLE, "How many keys, the most asked first."),
        "coverage": Field(SHARE, "As few keys as are this share of the requests."),
        "budget": Field(SIZE, "The keys that bring most hits in so much memory."),
        "max_memory": Field(SHARE_OR_SIZE, "Stop before the server uses more of its maxmemory."),
        "verify": Field(VERIFY, "What the warm is measured by afterwards."),
        "on_deploy": Field(FLAG, "true: warm --on-deploy runs it."),
    },
    WarmJob._field_defaults,
)


def _check(name: str, kind: Kind, doc: str) -> Field:
    kind = kind._replace(nullable=True, json=or_null(kind.json))
    fields = {
        "warning": Field(kind, "From which value on the check warns; null: never."),
        "critical": Field(kind, "From which value on the check is critical; null: never."),
    }
    return Field(Section(fields, DEFAULT_HEALTH[name]._asdict()), doc)


HEALTH: Final = Section(
    {
        "latency": _check("latency", DURATION, "The time of one answer."),
        "memory": _check("memory", SHARE, "The share of maxmemory that is used."),
        "evictions": _check("evictions", RATE, "Keys evicted a second."),
        "hit_rate": _check(
            "hit_rate", SHARE, "The share of lookups that found their key; low is bad."
        ),
        "persistence": _check("persistence", DURATION, "The time since the data was last saved."),
        "replication": _check("replication", DURATION, "How far a replica is behind."),
        "clients": _check("clients", SHARE, "The share of maxclients that is connected."),
    }
)
ROOT: Final = Section(
    {
        "default_profile": Field(TEXT, "The profile that is used when none is named."),
        "profiles": Field(Table(PROFILE, "profile"), "Servers by name."),
        "client": Field(CLIENT, "What CacheClient bears in applications."),
        "cli": Field(CLI, "What the commands bear."),
        "cache": Field(CACHE, "The cache as a whole."),
        "namespaces": Field(
            Table(NAMESPACE, "namespace", r".*[^:*]", "a name that does not end in ':' or '*'"),
            "How namespaces are cached, by their literal name.",
        ),
        "warm": Field(
            Table(JOB, "job", r"(?!-$)[^/.]+", "a name without '/' and '.', which is not '-'"),
            "Warming jobs by name.",
        ),
        "health": Field(HEALTH, "Thresholds of the health checks."),
    },
    Settings._field_defaults,
)
