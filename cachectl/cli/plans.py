"""What was said to `warm`, and the plans that it and the settings' jobs make together."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from cachectl.config.kinds import share_or_size, workers_of
from cachectl.config.resolve import deploy_jobs, job
from cachectl.config.settings import (
    AccessLog,
    Origin,
    Requests,
    Server,
    Settings,
    Unset,
    Verify,
    WarmJob,
    files_of,
)
from cachectl.errors import UsageError
from cachectl.operations.warm.parts import parse_part
from cachectl.operations.warm.plan import Lock, MaxFailed, Only, Part, Warm, log_like
from cachectl.units import positive_duration, share
from cachectl.values import safe

T = TypeVar("T")


class Options(NamedTuple):
    """The options of `warm` that its plans are made of, as they were given."""

    names: list[str] | None = None
    on_deploy: bool = False
    origin: str | None = None
    origin_timeout: float | None = None
    concurrency: int | None = None
    workers: str | None = None
    namespace: str | None = None
    ttl: str | None = None
    ttl_jitter: float | None = None
    only: str | None = None
    limit: int | None = None
    coverage: float | None = None
    budget: int | None = None
    part: str | None = None
    max_memory: str | None = None
    lock: bool = False
    lock_wait: float | None = None
    verify: list[str] | None = None
    verify_only: bool = False
    min_hit_rate: float | None = None
    watch_hit_rate: float | None = None
    max_failed: str | None = None
    fail_fast: bool = False
    dry_run: bool = False

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """Take those of a command's arguments that are options here."""
        return cls(**{name: given[name] for name in cls._fields})


def plans(options: Options, settings: Settings, server: Server) -> list[Warm]:
    """Return one plan for files, one for each job; raise `UsageError` for what cannot be."""
    names = options.names or []
    _refuse_empty(options)
    files = tuple(name for name in names if _is_file(name))
    jobs = [job(settings, name) for name in names if not _is_file(name)]
    if files and jobs:
        msg = "files and jobs cannot be warmed by one command"
        raise UsageError(msg, f"a file is written with its path: ./{safe(jobs[0].name)}")
    if options.on_deploy:
        if names:
            msg = "--on-deploy and sources exclude each other"
            raise UsageError(msg)
        jobs = list(deploy_jobs(settings))
        if not jobs:
            msg = "no job of the settings is marked on_deploy"
            raise UsageError(msg, "mark one: on_deploy: true")
    if jobs and options.origin:
        msg = "--origin is for files; a job has its own"
        raise UsageError(msg)
    directory = "." if settings.path is None else str(settings.path.parent)
    if jobs:
        return [plan(options, one, server, directory) for one in jobs]
    if files.count("-") > 1:
        msg = "stdin is named twice"
        raise UsageError(msg)
    return [plan(options, WarmJob("", _requests(options, files), _entries(options, files)), server)]


def check_origins(options: Options, plans: Sequence[Warm]) -> None:
    """Raise `UsageError` for options of an origin where no plan has one: they would change nothing."""
    said = {
        "workers": options.workers,
        "origin-timeout": options.origin_timeout,
        "origin-concurrency": options.concurrency,
    }
    idle = next((name for name, value in said.items() if value is not None), None)
    if idle is not None and all(plan.origin is None for plan in plans):
        msg = f"--{idle} is of an origin, and entries have none"
        raise UsageError(msg, "where the sources are requests: --origin MODULE:CALLABLE")


def plan(options: Options, of: WarmJob, server: Server, directory: str = ".") -> Warm:
    """Return the plan of a job, or of files as a job without a name; options go before its settings.

    `directory` is where the module of a Python origin is looked for first.
    """
    verify = of.verify or Verify(())
    only = _first(options.only, of.only)
    return Warm(
        sources=of.requests or of.entries,
        job=of.name or None,
        origin=_origin(options, of),
        directory=directory,
        namespace=_first(options.namespace, of.namespace),
        ttl=of.ttl if options.ttl is None else _ttl(options.ttl),
        ttl_jitter=_first(options.ttl_jitter, of.ttl_jitter),
        only=None if only is None else _only(only),
        limit=_first(options.limit, of.limit),
        coverage=_first(options.coverage, of.coverage),
        budget=_first(options.budget, of.budget),
        part=_part(options.part),
        max_memory=_first(_parsed("max-memory", share_or_size, options.max_memory), of.max_memory),
        lock=_lock(options, of),
        sample=_sample(options, of),
        required=_first(options.min_hit_rate, verify.min_hit_rate),
        watch=options.watch_hit_rate,
        verify_only=options.verify_only,
        dry_run=options.dry_run,
        max_failed=_max_failed(options.max_failed),
        fail_fast=options.fail_fast,
        namespaces=server.namespaces,
        fallback_ttl=server.cache.ttl,
    )


def _refuse_empty(options: Options) -> None:
    """Raise for what a script's unset variable leaves: an option that is given, with nothing in it."""
    for name in ("origin", "namespace"):
        if getattr(options, name) == "":
            msg = f"--{name} is empty"
            raise UsageError(msg, "give it a name, or leave it out")


def _first(*given: Any) -> Any:
    """Return the first that was given."""
    return next((one for one in given if one is not None), None)


def _is_file(name: str) -> bool:
    return name == "-" or "/" in name or "." in name


def _requests(options: Options, files: tuple[str, ...]) -> tuple[str, ...]:
    return files if options.origin else ()


def _entries(options: Options, files: tuple[str, ...]) -> tuple[str, ...]:
    return () if options.origin else files


def _origin(options: Options, of: WarmJob) -> Origin | None:
    origin = Origin(options.origin) if options.origin else of.origin
    if origin is None:
        return None
    said: dict[str, Any] = {
        "timeout": options.origin_timeout,
        "concurrency": options.concurrency,
        "workers": _parsed("workers", workers_of, options.workers),
    }
    return origin._replace(**{name: value for name, value in said.items() if value is not None})


def _sample(options: Options, of: WarmJob) -> Any:
    """Return what the warm is verified against.

    Files that are named for a job of logs are such logs, unless they list requests.
    """
    ours: Requests | str = of.verify.requests if of.verify else ()
    if not options.verify:
        return ours or None
    if options.verify == ["same"]:
        return "same"
    files = tuple(options.verify)
    alike = ours if isinstance(ours, AccessLog) else of.requests
    return log_like(alike, files) if isinstance(alike, AccessLog) else files


def _lock(options: Options, of: WarmJob) -> Lock | None:
    if not options.lock and options.lock_wait is None:
        return None
    part = _part(options.part)
    name = of.name or ",".join(files_of(of.requests or of.entries))
    whole = part == Part()
    return Lock(name if whole else f"{name}:{part}", options.lock_wait or 0.0)


def _part(given: str | None) -> Part:
    return _parsed("part", partial(parse_part, env=os.environ), given) or Part()


def _parsed(option: str, parse: Callable[[str], T], given: str | None) -> T | None:
    try:
        return None if given is None else parse(given)
    except ValueError as error:
        msg = f"--{option}: {error}"
        raise UsageError(msg) from None


def _ttl(given: str) -> float | None | Unset:
    if given == "none":
        return None
    try:
        return positive_duration(given)
    except ValueError as error:
        msg = f"--ttl: {error}, or none"
        raise UsageError(msg) from None


def _only(given: str) -> Only:
    which, _, within = given.partition(":")
    if which in {"missing", "all"} and not within:
        return Only(which)  # type: ignore[arg-type]
    try:
        if which == "expiring":
            return Only("expiring", positive_duration(within))
    except ValueError as error:
        msg = f"--only expiring: {error}"
        raise UsageError(msg) from None
    msg = "--only takes missing, all or expiring:DURATION"
    raise UsageError(msg)


def _max_failed(given: str | None) -> MaxFailed:
    if given is None:
        return MaxFailed()
    if given.isascii() and given.isdigit():
        return MaxFailed(number=int(given))
    try:
        return MaxFailed(share=share(given))
    except ValueError:
        msg = "--max-failed takes a number like 10, or a share like 0.1%"
        raise UsageError(msg) from None
