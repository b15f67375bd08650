"""Looks at a whole settings file at once: every profile, every job, every file that is named."""

import os
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from cachectl.config.find import Found
from cachectl.config.load import read
from cachectl.config.resolve import unknown
from cachectl.config.secrets import readable_by_others
from cachectl.config.settings import Login, Settings, WarmJob, files_of, logins_of
from cachectl.errors import ConfigError


class Finding(NamedTuple):
    """One thing that `config check` tells: an error, or a warning about this machine.

    An unset variable or a missing certificate is a warning: it may be there where the file is used.
    """

    level: Literal["error", "warning"]
    message: str
    hint: str | None = None


def check(found: Found, env: Mapping[str, str]) -> list[Finding]:
    """Return all that is wrong or doubtful with a settings file, in the order of the file."""
    try:
        settings, problems = read(found, env)
    except ConfigError as error:
        return [Finding("error", error.message, error.hint)]
    findings = [
        Finding("warning" if problem.unset else "error", problem.error.message, problem.error.hint)
        for problem in problems
    ]
    return [*findings, *_default(settings), *_profiles(settings), *_jobs(settings)]


def _default(settings: Settings) -> Iterator[Finding]:
    name = settings.default_profile
    known = {path[1]: None for path in settings.lines if path[0] == "profiles" and len(path) > 1}
    if name is not None and name not in known:
        error = unknown("profile", name, known, settings)
        yield _finding(settings, ("default_profile",), error.message, error.hint, "error")


def _profiles(settings: Settings) -> Iterator[Finding]:
    for profile in settings.profiles.values():
        for login in logins_of(profile, settings):
            yield from _login(settings, login)


def _login(settings: Settings, login: Login) -> Iterator[Finding]:
    path, secret = login.path, login.credentials.password_file
    named = {
        (*path, "password_file"): secret,
        (*path, "tls", "ca_file"): login.tls.ca_file,
        (*path, "tls", "cert_file"): login.tls.cert_file,
        (*path, "tls", "key_file"): login.tls.key_file,
    }
    for here, file in named.items():
        if file and not os.path.isfile(file):
            yield _finding(settings, here, f"{file} is not there")
    if secret and readable_by_others(secret):
        message = f"{secret}: other users can read this password file"
        yield _finding(settings, (*path, "password_file"), message, "chmod 600")
    if not login.tls.verify:
        yield _finding(settings, (*path, "tls", "verify"), "the server is not verified")


def _jobs(settings: Settings) -> Iterator[Finding]:
    for job in settings.warm.values():
        for path, files in _sources(job).items():
            for file in files:
                if not os.path.exists(file):
                    yield _finding(settings, path, f"{file} is not there", level="error")
                elif os.path.isdir(file):
                    yield _finding(settings, path, f"{file} is a directory", level="error")


def _sources(job: WarmJob) -> dict[tuple[str, ...], tuple[str, ...]]:
    path = ("warm", job.name)
    sample = job.verify.requests if job.verify else ()
    return {
        (*path, "requests"): files_of(job.requests),
        (*path, "entries"): job.entries,
        (*path, "verify", "requests"): () if sample == "same" else files_of(sample),
    }


def _finding(
    settings: Settings,
    path: tuple[str, ...],
    message: str,
    hint: str | None = None,
    level: Literal["error", "warning"] = "warning",
) -> Finding:
    line = settings.lines.get(path, 1)
    return Finding(level, f"{settings.shown}:{line}: {'.'.join(path)}: {message}", hint)
