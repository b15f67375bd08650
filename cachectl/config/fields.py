"""The one description of the settings: which keys there are, of what kind, and what they mean.

The reader walks a file beside it, the schema for editors is made of it, and what is shown of the
settings follows it. Defaults stand in the types of `settings.py` and nowhere else.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from cachectl import units
from cachectl.config.secrets import Secret
from cachectl.config.settings import (
    DEFAULT_HEALTH,
    CacheSettings,
    ClientSettings,
    CliSettings,
    NamespaceSettings,
    Profile,
    PythonOrigin,
    Settings,
    Tls,
    Verify,
    WarmJob,
)
from cachectl.config.url import parse_url

_VARIABLE: Final = r"\$\{"
_TEXT: Final = frozenset({"str"})
_NUMBER: Final = frozenset({"str", "int", "float"})


class Kind(NamedTuple):
    """What a single value must be.

    `tags` is what YAML may take it for, `parse` turns its text into the value or raises
    `ValueError` with what was expected, `json` is its JSON Schema, and `show` makes text for people
    of a value.
    """

    expects: str
    parse: Callable[[str], Any]
    json: Mapping[str, Any]
    show: Callable[[Any], str] = str
    tags: frozenset[str] = _TEXT
    nullable: bool = False
    path: bool = False


class Many(NamedTuple):
    """A list of values. With `alone` a single one needs no list; `word` stands for itself."""

    item: Kind
    alone: bool = False
    word: str | None = None


class Field(NamedTuple):
    """One key: its kind, a sentence for people, and whether it must be there.

    With `inherits`, what is not given comes from the section of the same name at the top.
    """

    kind: "Kind | Many | Section | Table"
    doc: str
    required: bool = False
    inherits: bool = False


class Section(NamedTuple):
    """A fixed set of keys, and the defaults of those that have one."""

    fields: Mapping[str, Field]
    defaults: Mapping[str, Any] = MappingProxyType({})


class Table(NamedTuple):
    """Names that the user chooses, each with a section; `name` is the pattern of a name."""

    each: Section
    what: str
    name: str = r".+"
    expects: str = "a name"


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        msg = "expected true or false"
        raise ValueError(msg)
    return text.lower() == "true"


def _whole(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        msg = "expected a whole number from 1"
        raise ValueError(msg)
    return int(text)


def _ttl(text: str) -> float | None:
    return None if text == "none" else units.positive_duration(text)


def _only(text: str) -> str:
    word, colon, duration = text.partition(":")
    if text not in {"missing", "all"} and (word != "expiring" or not colon):
        msg = "expected missing, all or expiring:DURATION"
        raise ValueError(msg)
    if colon:
        units.positive_duration(duration)
    return text


def _call(text: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", text):
        msg = "expected package.module:callable"
        raise ValueError(msg)
    return text


def _text(text: str) -> str:
    if not text or "\0" in text:
        msg = "expected a text that is not empty and has no NUL"
        raise ValueError(msg)
    return text


def _show_flag(value: object) -> str:
    return str(value).lower()


def show_duration(seconds: float | None) -> str:
    """Return a duration as it is written in a settings file, exactly; `null` for None."""
    if seconds is None:
        return "null"
    text = units.format_duration(seconds).replace(" ", "")
    return text if units.duration(text) == seconds else f"{seconds!r}s"


def _show_share(value: float | None) -> str:
    return "null" if value is None else f"{value * 100:.6g}%"


def _show_rate(value: float | None) -> str:
    return "null" if value is None else f"{value:.15g}/s"


def _text_or_number(pattern: str) -> dict[str, Any]:
    pattern = f"^({pattern})$|{_VARIABLE}"
    return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}]}


_DURATION = _text_or_number(r"[0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|[smhdw]))+")
_SHARE = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?%?$|{_VARIABLE}"},
    ]
}
_RATE = _text_or_number(r"[0-9]+(\.[0-9]+)?(/[smh])?")
_STRING = {"type": "string", "minLength": 1}


def _or_null(json: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*json["anyOf"], {"type": "null"}]}


TEXT: Final = Kind("text", _text, _STRING)
PATH: Final = Kind("the path of a file", _text, _STRING, path=True)
URL: Final = Kind("the URL of a server", parse_url, _STRING)
SECRET: Final = Kind("text", Secret, {"type": "string"}, lambda _: "***")
FLAG: Final = Kind("true or false", _flag, {"type": "boolean"}, _show_flag, frozenset({"bool"}))
WHOLE: Final = Kind(
    "a whole number from 1", _whole, {"type": "integer", "minimum": 1}, str, frozenset({"int"})
)
DURATION: Final = Kind(
    "a duration like 90s or 250ms", units.duration, _DURATION, show_duration, _NUMBER
)
PATIENCE: Final = DURATION._replace(parse=units.positive_duration)
TTL: Final = Kind(
    "a duration like 15m or 7d, or null", _ttl,
    {"anyOf": [*_DURATION["anyOf"], {"type": "null"}, {"const": "none"}]},
    show_duration, _NUMBER, nullable=True,
)  # fmt: skip
SHARE: Final = Kind("a share like 50% or 0.5", units.share, _SHARE, _show_share, _NUMBER)
RATE: Final = Kind("a rate like 500/s", units.rate, _RATE, _show_rate, _NUMBER)
ONLY: Final = Kind(
    "missing, all or expiring:DURATION", _only,
    {"type": "string", "pattern": rf"^(missing|all|expiring:.+)$|{_VARIABLE}"},
)  # fmt: skip
CALL: Final = Kind(
    "package.module:callable", _call, {"type": "string", "pattern": rf"^[\w.]+:[\w.]+$|{_VARIABLE}"}
)
COMMAND: Final = Many(TEXT)
FILES: Final = Many(PATH, alone=True)
SAMPLE: Final = Many(PATH, alone=True, word="same")

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
PROFILE: Final = Section(
    {
        "url": Field(URL, "Where the server is.", required=True),
        "username": Field(TEXT, "Who logs in (an ACL user)."),
        "password": Field(SECRET, "The password, best as ${NAME} from the environment."),
        "password_file": Field(PATH, "A file that holds the password."),
        "password_command": Field(COMMAND, "A program and its arguments that print the password."),
        "tls": Field(TLS, "How a server with TLS (rediss://) is verified."),
        "protected": Field(FLAG, "true: removing wants this profile's name as confirmation."),
        "read_only": Field(FLAG, "true: every write is refused."),
        "client": Field(CLIENT, "What this profile changes of client.", inherits=True),
        "cli": Field(CLI, "What this profile changes of cli.", inherits=True),
        "cache": Field(CACHE, "What this profile changes of cache.", inherits=True),
    },
    Profile._field_defaults,
)
NAMESPACE: Final = Section(
    {
        "ttl": Field(TTL, "How long a value of this namespace lives; null: for ever."),
        "ttl_jitter": Field(SHARE, "By which share at most a TTL is shortened at random."),
        "protected": Field(FLAG, "true: removing wants this namespace's name as confirmation."),
    },
    NamespaceSettings._field_defaults,
)
ORIGIN: Final = Section(
    {
        "call": Field(CALL, "The Python callable that computes a value.", required=True),
        "concurrency": Field(WHOLE, "How many calls run at a time."),
        "timeout": Field(PATIENCE, "For one call; one that hangs is left behind."),
    },
    PythonOrigin._field_defaults,
)
VERIFY: Final = Section(
    {
        "requests": Field(SAMPLE, "The sample, or same: the job's own requests.", required=True),
        "min_hit_rate": Field(SHARE, "The share of the sample that must find its key."),
    },
    Verify._field_defaults,
)
JOB: Final = Section(
    {
        "requests": Field(FILES, "What will be asked for; values come from origin."),
        "entries": Field(FILES, "Entries that are ready to be written."),
        "origin": Field(ORIGIN, "Where the values of requests come from."),
        "namespace": Field(TEXT, "The namespace of requests that name none."),
        "ttl": Field(TTL, "How long the values live, unless an entry says; null: for ever."),
        "ttl_jitter": Field(SHARE, "By which share at most a TTL is shortened at random."),
        "only": Field(ONLY, "Which keys are written: missing, all, or expiring:DURATION."),
        "limit": Field(WHOLE, "How many keys, the most asked first."),
        "verify": Field(VERIFY, "What the warm is measured by afterwards."),
        "on_deploy": Field(FLAG, "true: warm --on-deploy runs it."),
    },
    WarmJob._field_defaults,
)


def _check(name: str, kind: Kind, doc: str) -> Field:
    kind = kind._replace(nullable=True, json=_or_null(kind.json))
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
