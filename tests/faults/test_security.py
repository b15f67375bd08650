"""What must hold whatever the cache, the settings file or the current directory contain."""

import ast
import json
import os
import pickle
import re
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from typer.testing import CliRunner

from cachectl.cli.app import COMMANDS as EVERY
from cachectl.cli.app import app
from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    COMMANDS,
    PASSWORD,
    ROOT,
    SHOWS_VALUES,
    USER,
    VALUE,
    admit,
    executed,
    fill,
    found,
    keys_of,
    until,
    value,
)
from tests.proxies import Proxy
from tests.servers import ServerProcess
from tests.services import Service
from tests.tls import TlsServer, make_certificates

SOURCES = sorted((ROOT / "cachectl").rglob("*.py"))


VERBS = [[name] for name, verb in EVERY.items() if not verb.group]
FAMILIES = [["config", "show"], ["config", "check"], ["config", "path"], ["server", "start"]]


@pytest.mark.parametrize("words", [[], *VERBS, *FAMILIES], ids=" ".join)
def test_no_option_takes_a_secret(words: list[str]):
    """What stands on a command line is seen by every user of the host."""
    shown = CliRunner().invoke(app, [*words, "--help"])
    options = re.findall(r"(?<=\s)--[a-z-]+", shown.output)
    assert shown.exit_code == 0
    assert "--help" in options
    for option in options:
        assert not any(word in option for word in ("pass", "secret", "token", "auth"))


def test_a_password_in_the_url_is_warned_of(operator_at: OperatorAt, server: ServerProcess):
    """It works, and shows nowhere but where the operator typed it."""
    fill(server, "n:", 2)
    url = server.url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
    operator = operator_at(server)
    for words in (("get", "n:1"), ("get", "n:1", "--quiet"), ("health",), ("config", "show")):
        ended = operator.ran(*words, "--url", url)
        assert ended.code == 0, ended.err
        assert any("password" in warning for warning in ended.warnings), words


def cmdlines(pid: int) -> list[bytes]:
    """Return what `ps` shows of a process and of all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    return [own, *(line for child in children for line in cmdlines(int(child)))]


@pytest.mark.parametrize("source", ["environment", "file", "command"])
def test_ps_shows_no_secret(operator_at: OperatorAt, server: ServerProcess, source: str):
    """Neither while it connects nor while it works."""
    fill(server, "n:", 20_000)
    with Proxy(server, rate=40_000) as proxy:
        operator = operator_at(proxy)
        operator.file("pw", f"{PASSWORD}\n".encode()).chmod(0o600)
        profile: dict[str, Any] = {"url": proxy.url, "username": USER}
        sources: dict[str, dict[str, Any]] = {
            "environment": {"password": "${CANARY}"},
            "file": {"password_file": "pw"},
            "command": {"password_command": ["cat", "pw"]},
        }
        profile |= sources[source]
        settings = {"default_profile": "p", "profiles": {"p": profile}}
        operator.file("cachectl.yaml", json.dumps(settings).encode())
        run = operator.started("export", "n")
        seen = set[bytes]()

        def at_work() -> bool:
            seen.update(cmdlines(run.process.pid))
            return bool(run.out)

        until(at_work)
        assert not any(found(line, PASSWORD, VALUE) for line in seen)
        run.kill()


def test_a_password_command_is_no_shell(operator_at: OperatorAt, server: ServerProcess):
    """Its arguments are arguments: nothing in them is run."""
    words = ["echo", "$(touch pwned)", ";", "touch", "pwned", "&&", "`touch pwned`"]
    operator = operator_at(server, password_command=words, password=None)
    settings = json.loads((operator.directory / "cachectl.yaml").read_text())
    del settings["profiles"]["faulty"]["password"]
    operator.file("cachectl.yaml", json.dumps(settings).encode()).chmod(0o600)
    ended = operator.ran("get", "n:1")
    assert (ended.code, ended.error["code"]) == (3, "authentication")
    assert not (operator.directory / "pwned").exists()


def test_what_others_can_read_is_warned_of(operator_at: OperatorAt, server: ServerProcess):
    """A password file's mode is the operator's to mend: it works, with a warning each time."""
    fill(server, "n:", 2)
    operator = operator_at(server)
    operator.file("pw", PASSWORD.encode()).chmod(0o644)
    profile = {"url": server.url, "username": USER, "password_file": "pw"}
    settings = {"default_profile": "p", "profiles": {"p": profile}}
    operator.file("cachectl.yaml", json.dumps(settings).encode())
    for more in ((), ("--quiet",)):
        ended = operator.ran("get", "n:1", *more)
        assert ended.code == 0
        assert any("pw" in warning for warning in ended.warnings), ended.warnings
    (operator.directory / "pw").chmod(0o600)
    assert operator.ran("get", "n:1").warnings == []


@pytest.mark.parametrize(
    "query",
    ["ssl_check_hostname=false", "ssl_cert_reqs=none", "ssl_ca_certs=/tmp/ca", "verify=false"],
)
def test_no_url_weakens_tls(operator_at: OperatorAt, tls_server: TlsServer, query: str):
    """2, and nobody is connected to."""
    operator = operator_at(tls_server.url)
    tls_server.raw("CONFIG", "RESETSTAT")
    ended = operator.ran("get", "n:1", "--url", f"{tls_server.url}?{query}")
    assert (ended.code, ended.out) == (2, b"")
    assert "hello" not in executed(tls_server)


def test_tls_that_is_not_verified_warns_at_each_use(operator_at: OperatorAt, tls_server: TlsServer):
    """By default an unknown certificate ends it; switched off, each command says so, however quiet."""
    admit(tls_server)
    fill(tls_server, "n:", 2)
    assert operator_at(tls_server.url).ran("get", "n:1").error["code"] == "tls"
    operator = operator_at(tls_server.url, tls={"verify": False})
    for name in ("get", "set", "scan", "stats", "flush"):
        ended = operator.ran(*COMMANDS[name], "--quiet")
        assert ended.code == 0, ended.err
        assert any("verify is false" in warning for warning in ended.warnings), name


def test_yaml_makes_no_objects(operator_at: OperatorAt, server: ServerProcess):
    """A settings file is data: a tag that would call something is an error."""
    operator = operator_at(server)
    for tag in ("!!python/object/apply:os.system ['touch pwned']", "!!python/name:os.system"):
        operator.file("cachectl.yaml", f"profiles: {tag}\n".encode())
        for words in (("get", "n:1"), ("config", "show"), ("config", "check")):
            assert operator.ran(*words).code == 2
    assert not (operator.directory / "pwned").exists()


class Bomb:
    """Leaves a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch pwned # {VALUE}",)


def test_no_value_is_ever_run(operator_at: OperatorAt, server: ServerProcess):
    """What other software keeps in the cache as a pickle is bytes to us."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        server.raw("SET", f"n:{protocol}", pickle.dumps(Bomb(), protocol))
    operator = operator_at(server)
    for name in (*SHOWS_VALUES, "scan", "stats", "export-to"):
        assert operator.ran(*COMMANDS[name]).code == 0
    assert operator.ran("warm", "./out.jsonl", "--only", "all").report["written"] == 6
    assert not (operator.directory / "pwned").exists()


FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "code"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "system", "popen", "unsafe_load", "full_load"}
LOADERS = {"Loader", "CLoader", "FullLoader", "CFullLoader", "UnsafeLoader", "CUnsafeLoader"}
"""Of YAML, those that make objects; they may be named as text, for `getattr`."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_text(path: Path):
    """No `eval`, no pickle, no shell, no YAML but the safe one, in any module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not FORBIDDEN_MODULES & {name.name for name in node.names}, path
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in FORBIDDEN_MODULES, path
        elif isinstance(node, ast.Attribute | ast.Constant):
            named = node.attr if isinstance(node, ast.Attribute) else node.value
            assert named not in LOADERS, f"{path}:{node.lineno}"
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            name = node.func.attr if isinstance(node.func, ast.Attribute) else name
            of_re = isinstance(node.func, ast.Attribute) and name == "compile"
            assert name not in FORBIDDEN_CALLS or of_re, f"{path}:{node.lineno}"
            assert not any(word.arg == "shell" for word in node.keywords), f"{path}:{node.lineno}"


MODULES = ("redis", "yaml", "msgspec", "rich", "json", "aiohttp", "natal", "sitecustomize")


def test_the_current_directory_is_no_place_for_modules(
    operator_at: OperatorAt, server: ServerProcess
):
    """A directory of someone else's files is as good as any other: nothing in it is imported."""
    fill(server, "n:", 2)
    operator = operator_at(server)
    for name in MODULES:
        operator.file(f"{name}.py", b"open('pwned', 'w').close()\n")
    operator.entries(2)
    script = Path(sys.executable).with_name("cachectl")
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    for name in ("get", "inspect", "scan", "stats", "export", "warm", "flush"):
        done = subprocess.run(
            [script, *COMMANDS[name]],
            cwd=operator.directory,
            env={**os.environ, "CANARY": PASSWORD},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not (operator.directory / "pwned").exists(), name


def test_an_origin_that_is_named_is_imported_from_there(
    operator_at: OperatorAt, server: ServerProcess
):
    """That is the one thing the current directory is looked into for."""
    operator = operator_at(server)
    operator.file("origin_of_mine.py", b"def call(n):\n    return n\n")
    operator.file("requests.jsonl", b'{"params":{"n":1}}\n')
    words = ("warm", "./requests.jsonl", "-n", "t", "--origin", "origin_of_mine:call")
    ended = operator.ran(*words)
    assert (ended.code, ended.report["written"]) == (0, 1), ended.err


def test_only_the_origin_of_the_job_that_is_run_is_imported(
    operator_at: OperatorAt, server: ServerProcess
):
    """A look at the settings runs nothing that they name, and a job nothing of another's."""
    operator = operator_at(server)
    operator.file("requests.jsonl", b'{"params":{"n":1}}\n')
    operator.file("mine.py", b"def call(n):\n    return n\n")
    operator.file("theirs.py", b"open('imported', 'w').close()\ndef call(n):\n    return n\n")
    settings = json.loads((operator.directory / "cachectl.yaml").read_text())
    job = {"requests": "requests.jsonl", "namespace": "q"}
    jobs = {name: {**job, "origin": {"call": f"{name}:call"}} for name in ("mine", "theirs")}
    operator.file("cachectl.yaml", json.dumps({**settings, "warm": jobs}).encode())
    for words in (("config", "check"), ("config", "show"), ("health",), ("warm", "mine")):
        assert operator.ran(*words).code == 0, words
        assert not (operator.directory / "imported").exists(), words
    assert operator.ran("warm", "theirs", "--only", "all").code == 0
    assert (operator.directory / "imported").exists()


def test_an_origin_over_https_is_not_left_for_http(
    operator_at: OperatorAt,
    server: ServerProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Not even for a host that the job names: what was verified would come from anybody."""
    certificates = make_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))

    async def value_of(_request: web.Request) -> web.Response:
        return web.json_response(1)

    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{plain.url}/x"})

    operator = operator_at(server)
    operator.file("requests.jsonl", b'{"params":{"n":1}}\n')
    settings = json.loads((operator.directory / "cachectl.yaml").read_text())
    context = certificates.server_context()
    with Service(value_of) as plain, Service(elsewhere, context) as secure:
        origin = {"http": secure.url, "path": "/v?n={n}", "hosts": [f"localhost:{plain.port}"]}
        job = {"requests": "requests.jsonl", "namespace": "q", "origin": origin}
        operator.file("cachectl.yaml", json.dumps({**settings, "warm": {"j": job}}).encode())
        ended = operator.ran("warm", "j")
    assert (ended.code, ended.report["failed"]) == (1, 1)
    assert "redirects from https to http" in ended.report["errors"][0]["message"]
    assert (secure.asked.total(), plain.asked.total()) == (1, 0)


def test_no_key_becomes_a_file_name(operator_at: OperatorAt, server: ServerProcess):
    """What is written lies where the operator said, is the operator's alone, and is one file."""
    for key in ("n:../../../escaped", "n:/tmp/cachectl-escaped", "n:~/x", "n:\0", "n:a/b", "n:|id"):
        server.raw("SET", key, value())
    operator = operator_at(server)
    before = {path.name for path in operator.directory.parent.iterdir()}
    for words in (("--to", "out.jsonl"), ("--to", "out.jsonl.gz")):
        assert operator.ran("export", "n", *words).report["entries"] == 6
    warm = operator.ran("warm", "./out.jsonl", "--only", "all", "--report", "report.md")
    assert (warm.code, warm.report["written"]) == (0, 6), warm.err
    left = {path.name for path in operator.directory.iterdir()}
    assert left == {"cachectl.yaml", "out.jsonl", "out.jsonl.gz", "report.md"}
    assert {path.name for path in operator.directory.parent.iterdir()} == before
    for name in ("out.jsonl", "out.jsonl.gz"):
        assert stat.S_IMODE((operator.directory / name).stat().st_mode) == 0o600
    assert not Path("/tmp/cachectl-escaped").exists()


def listening(pid: int) -> list[str]:
    """Return the addresses of the network ports that a process listens on, from the kernel."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile: nobody listens there any more
            links.append(os.readlink(descriptor))
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    tables = (
        Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6", "udp", "udp6")
    )
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return [row[1] for row in rows if row[9] in inodes]


def test_the_embedded_server_listens_on_no_network_port(
    operator_at: OperatorAt, server: ServerProcess
):
    """Only on a socket of the user's own; the one with a port shows that the look is a look."""
    assert listening(server.pid)
    operator = operator_at("embedded:", username=None, password=None)
    operator.file("cachectl.yaml", b"{}")
    words = ("--url", "embedded:")
    assert operator.ran("set", "n:1", "5", *words).code == 0
    status = operator.ran("server", "status", *words).report
    assert listening(status["pid"]) == []
    assert stat.S_IMODE(Path(status["socket"]).parent.stat().st_mode) == 0o700
    assert operator.ran("server", "stop", *words).code == 0
    assert keys_of(server) == set()
