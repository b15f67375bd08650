"""Which report files there are, by their ending, and writing them."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cachectl.cli.render.files import Aside
from cachectl.cli.render.reports import as_json, junit, markdown, prom
from cachectl.cli.render.reports.told import Told
from cachectl.errors import OutputError, UsageError
from cachectl.values import safe

FORMATS: Final[dict[str, Callable[[Sequence[Told]], str]]] = {
    ".md": markdown.report,
    ".xml": junit.report,
    ".prom": prom.report,
    ".json": as_json.report,
}
MODE = 0o644
"""Who collects reports (node_exporter, the agent of a CI) is another user; no value is in them."""
SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file that GitHub Actions shows on the page of a run."""


def check(paths: Sequence[str]) -> None:
    """Raise `UsageError` for a report that cannot be written, before anything is done."""
    for path in paths:
        ending = _ending(path)
        if ending not in FORMATS:
            msg = f"--report {safe(path)}: its ending tells the format"
            raise UsageError(msg, f"one of {', '.join(FORMATS)}")
        if ending == ".prom":
            prom.require()
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(folder):
            msg = f"--report {safe(path)}: there is no folder {safe(folder)}"
            raise UsageError(msg, "make it first")
        if os.path.isdir(path):
            msg = f"--report {safe(path)}: is a folder"
            raise UsageError(msg)
        if not os.access(folder, os.W_OK | os.X_OK):
            msg = f"--report {safe(path)}: the folder {safe(folder)} is not writable"
            raise UsageError(msg)


def write_reports(
    paths: Sequence[str],
    told: Sequence[Told],
    env: Mapping[str, str],
    warn: Callable[[str], None],
) -> None:
    """Write a file for each path, all jobs in each; raise `OutputError` for the first that failed.

    A `.md` is appended to GitHub's step summary as well; where that fails, it warns.
    """
    failure: OutputError | None = None
    for path in paths:
        text = _bytes(FORMATS[_ending(path)](told))
        try:
            _write(path, text)
        except OutputError as error:
            failure = failure or error
    if env.get(SUMMARY) and ".md" in map(_ending, paths):
        _append(env[SUMMARY], _bytes(markdown.report(told)), warn)
    if failure is not None:
        raise failure


def _bytes(text: str) -> bytes:
    """Return text in UTF-8; half a character, of a file whose name is none, as JSON writes it too."""
    return text.encode(errors="backslashreplace")


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _write(path: str, text: bytes) -> None:
    try:
        file = Aside(path, MODE)
    except UsageError as error:  # it was possible beforehand
        raise OutputError(error.message) from None
    with file:
        file.write(text)
        file.commit()


def _append(path: str, text: bytes, warn: Callable[[str], None]) -> None:
    try:
        with open(path, "ab") as summary:
            summary.write(b"\n" + text)
    except OSError as error:
        reason = (error.strerror or "cannot be written").lower()
        warn(f"{SUMMARY}: {path}: {reason}: the summary is in the report alone")
