"""Short texts: durations, sizes, shares, rates, templates of routes, and the text of INFO."""

import re
from contextlib import suppress
from math import isfinite
from random import Random
from typing import Final, NamedTuple

from cachectl import units
from cachectl.config import kinds
from cachectl.config.settings import Route
from cachectl.errors import ConfigError, ServerError, UsageError
from cachectl.sources.routes import compiled, origin_form
from cachectl.store.info import identity, lookups, parse_info
from scripts.fuzzing.junk import TOKENS, damaged, demand

_NUMBERS: Final = (
    kinds.DURATION, kinds.PATIENCE, kinds.TTL, kinds.SIZE, kinds.SHARE, kinds.SHARE_OR_SIZE,
    kinds.RATE, kinds.MOMENT, kinds.ONLY, kinds.CALL, kinds.HTTP, kinds.DATABASE,
    kinds.SERVICE_NAME, kinds.NODES.item, kinds.SENTINELS.item, kinds.STATUS, kinds.WHOLE,
    kinds.WORKERS,
)  # fmt: skip
_TEXTS: Final = (
    "1h30m", "250ms", "1.5s", "7d 2h", "90", "512KB", "64MiB", "8EiB", "50%", "0.5", "0.9 %",
    "500/s", "30/m", "0.0001/h", "all", "expiring:5m", "a.b:c", "https://h:1/", "200", "18",
    "threads", "dask://h:1", "h:26379", "[::1]", "2026-01-31T12:00:00Z", "none", "2026-01-31",
    "0001-01-01T00:00:00+14:00", "2026-W01-1",
)  # fmt: skip
_TEMPLATES: Final = (
    "page:{target}", "{path}{{x}}", "{query.x:int}", "{query.x:float}", "{query.a b:bool}",
    "{id:int}-{rest}", "{id}", "{query.x:str}", "{", "}", "{}", "{id:", "{query.}",
)  # fmt: skip
_PATHS: Final = (
    None,
    "/a/{id}",
    "/{rest:path}",
    "/{id}/{rest:path}",
    "/a.b(c)*",
    "a",
    "/{id}{id}",
    "/{path}",
    "/{id}{rest}",
)
_TARGETS: Final = (
    "/a/42?x=1", "/a/%34%32?x=1.5&x=2", "/?a+b=on", "http://h/a/1", "*", "h:1", "/a?x=%FF",
    "/a/1e5?x=1e999", "//a//b", "/?x", "/a/x?x=" + "9" * 5000,
)  # fmt: skip
_INFO: Final = (
    "# Server\r\nredis_version:7.2.4\r\nrun_id:abc\r\n"
    "keyspace_hits:5\r\nkeyspace_misses:1\r\ntotal_commands_processed:9\r\n"
)


class Given(NamedTuple):
    """A text of one of the three kinds; templates have a path and a target that they are tried with."""

    data: bytes
    kind: str
    path: str | None
    target: bytes


def make(random: Random) -> Given:
    """Return a text, right or not."""
    kind, texts = random.choice([("number", _TEXTS), ("template", _TEMPLATES), ("info", (_INFO,))])
    text = random.choice(texts) + (random.choice(texts) if random.random() < 1 / 4 else "")
    target = damaged(random.choice(_TARGETS).encode(), random, TOKENS)
    return Given(damaged(text.encode(), random, TOKENS), kind, random.choice(_PATHS), target)


def judge(given: Given) -> bool:
    """Read it."""
    return _READERS[given.kind](given)


def _number(given: Given) -> bool:
    text = given.data.decode("utf-8", "surrogateescape")
    accepted = False
    for kind in _NUMBERS:
        try:
            value = kind.parse(text)
        except ConfigError as error:
            demand(error.message.startswith("the node is not understood: "), f"{error!r}")
            continue
        except ValueError as error:
            demand(
                str(error).startswith("expected "), f"an error in other words than ours: {error}"
            )
            continue
        accepted = True
        shown = kind.show(value)
        if kind in (kinds.DURATION, kinds.PATIENCE, kinds.SIZE):
            demand(kind.parse(shown) == value, f"{value!r} is shown as {shown!r}")
        if isinstance(value, int | float):
            demand(isfinite(value) and value >= 0, f"{value!r} is accepted")
            _shown(value)
    return accepted


def _shown(value: float) -> None:
    for text in (units.format_duration(value), units.format_size(value), units.format_share(value)):
        demand(re.match(r"[0-9]", text), f"{value!r} is shown as {text!r}")


def _template(given: Given) -> bool:
    text = given.data.decode("utf-8", "surrogateescape")
    target = origin_form(given.target)
    accepted = False
    for route in (Route(given.path, key=text), Route(given.path, params={"x": text})):
        with suppress(UsageError):
            router = compiled(route, "n")
            accepted = True
            routed = router(target) if target is not None else None
            demand(routed is None or (isinstance(routed[0], bytes) and routed[0]), f"{routed}")
    return accepted


def _info(given: Given) -> bool:
    info = parse_info(given.data)
    identity(info)
    try:
        lookups(info)
    except ServerError:
        return False
    return True


_READERS: Final = {"number": _number, "template": _template, "info": _info}
