"""The command line in this process, with exit code, stdout and stderr apart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from cachectl.cli.app import app
from tests.servers import ServerProcess


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


Run = Callable[..., Result]


@pytest.fixture
def run(workdir: Path) -> Run:
    """Run `cachectl` with words, in an empty directory; `stdin` is bytes, never a terminal."""

    def run(*words: object, stdin: bytes = b"") -> Result:
        result = CliRunner().invoke(
            app, [str(word) for word in words], input=stdin, prog_name="cachectl"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout_bytes, result.stderr)

    return run


@pytest.fixture
def on(run: Run, server: ServerProcess) -> Run:
    """Run `cachectl` on the shared server, named by --url."""

    def on(*words: object, stdin: bytes = b"") -> Result:
        return run("--url", server.url, *words, stdin=stdin)

    return on


@pytest.fixture
def settings(workdir: Path, server: ServerProcess) -> Callable[[str], Path]:
    """Write ./cachectl.yaml; `URL` in it becomes the shared server's."""

    def settings(text: str) -> Path:
        path = workdir / "cachectl.yaml"
        path.write_text(text.replace("URL", server.url))
        path.chmod(0o600)
        return path

    return settings
