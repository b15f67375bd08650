"""A password that a person types: asked for on the terminal, once, before anything else, and unseen."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import CACHECTL, ROOT, Terminal
from tests.conftest import SentinelsOf
from tests.faults.faulting import found, until
from tests.proxies import Proxy
from tests.servers import DEFAULT_VERSION, ServerProcess

USER = "operator"
PASSWORD = "c4n4ry-pa55#w@rd/é"
OTHER = "0ther-c4n4ry"

Profiles = Callable[..., Path]


@pytest.fixture
def server(server: ServerProcess) -> ServerProcess:
    """Give the shared server, which lets in who has the password."""
    server.raw("SET", "k", "1")
    server.raw("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    server.raw("ACL", "SETUSER", "other", "on", f">{OTHER}", "~*", "&*", "+@all")
    return server


@pytest.fixture
def profiles(workdir: Path) -> Profiles:
    """Write ./cachectl.yaml with profiles whose passwords are typed; the first is the default."""

    def write(**given: dict[str, Any]) -> Path:
        asking = {"username": USER, "password_prompt": True}
        whole = {name: {**asking, **profile} for name, profile in given.items()}
        text = json.dumps({"default_profile": next(iter(given)), "profiles": whole})
        (workdir / "cachectl.yaml").write_text(text)
        return workdir

    return write


def question(server: ServerProcess | Proxy, user: str = USER) -> str:
    return f"Password of {user} at {server.url.split('/')[2]}: "


def ended(terminal: Terminal) -> tuple[int, int]:
    """Return the exit code, and how often was asked; the password is not in what was shown."""
    code = terminal.end()
    assert not found(terminal.shown.encode(), PASSWORD, OTHER), terminal.shown
    assert "Traceback" not in terminal.shown
    assert terminal.echoed
    return code, terminal.shown.count("Password of")


def test_the_password_is_typed_unseen_before_anything_is_asked_of_the_server(
    server: ServerProcess, profiles: Profiles
):
    with Proxy(server) as proxy:
        terminal = Terminal(["-v", "get", "k"], profiles(p={"url": proxy.url}))
        terminal.expect(question(proxy))
        assert not terminal.echoes
        assert proxy.connections == 0
        terminal.type(PASSWORD + "\n")
        assert ended(terminal) == (0, 1)
    assert terminal.shown.endswith(question(proxy) + "\r\n1\r\n")


def test_a_command_of_several_operations_asks_once(server: ServerProcess, profiles: Profiles):
    server.fill("n:", 3)
    terminal = Terminal(["flush", "n"], profiles(p={"url": server.url}))
    terminal.expect(question(server))
    terminal.type(PASSWORD + "\n")
    terminal.expect("Remove them? [y/N]")
    terminal.type("y\n")
    assert ended(terminal) == (0, 1)
    assert server.raw("KEYS", "n:*") == []


def test_a_wrong_password_is_not_asked_for_again(server: ServerProcess, profiles: Profiles):
    terminal = Terminal(["get", "k"], profiles(p={"url": server.url}))
    terminal.expect(question(server))
    terminal.type(OTHER + "\n")
    assert ended(terminal) == (3, 1)
    assert "refused the user or the password" in terminal.shown


@pytest.mark.parametrize("typed", ["\n", "\x04"], ids=["empty", "Ctrl-D"])
def test_an_empty_answer_is_no_password(server: ServerProcess, profiles: Profiles, typed: str):
    terminal = Terminal(["get", "k"], profiles(p={"url": server.url}))
    terminal.expect(question(server))
    terminal.type(typed)
    assert ended(terminal) == (2, 1)
    assert terminal.shown.endswith("\r\nerror: the prompt: gave an empty password\r\n")


def test_an_answer_that_is_no_text_is_refused(server: ServerProcess, profiles: Profiles):
    terminal = Terminal(["get", "k"], profiles(p={"url": server.url}), PYTHONUTF8="1")
    terminal.expect(question(server))
    terminal.type(b"\xff\n")
    assert ended(terminal) == (2, 1)
    assert "cannot be decoded" in terminal.shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(
    server: ServerProcess, profiles: Profiles, number: int, code: int
):
    terminal = Terminal(["get", "k"], profiles(p={"url": server.url}))
    terminal.expect(question(server))
    assert not terminal.echoes
    if number == signal.SIGINT:
        terminal.type("\x03")
    else:
        terminal.process.send_signal(number)
    assert ended(terminal) == (code, 1)
    assert terminal.shown.endswith(question(server) + "\r\ninterrupted\r\n")


def test_nobody_leaves_the_prompt_for_a_while(server: ServerProcess, profiles: Profiles):
    """Ctrl-Z does nothing: a shell would turn the echo on, and leave it so when one comes back."""
    script = f"{' '.join(CACHECTL)} get k; echo ended with $?"
    terminal = Terminal(["-mc", script], profiles(p={"url": server.url}), program=["bash"])
    terminal.expect(question(server))
    terminal.type("\x1a")
    terminal.type(PASSWORD + "\n")
    terminal.expect("ended with")
    assert ended(terminal) == (0, 1)
    assert terminal.shown.endswith("\r\n1\r\nended with 0\r\n")


def test_entries_come_by_stdin_and_the_report_leaves_by_stdout(
    server: ServerProcess, profiles: Profiles
):
    """Pipes are the data's: the password comes from the terminal all the same."""
    directory = profiles(p={"url": server.url})
    (directory / "in").write_text('{"key":"a","value":1}\n{"key":"b","value":2}\n')
    with (directory / "in").open("rb") as stdin, (directory / "out").open("wb") as stdout:
        words = ["-o", "json", "warm", "-"]
        terminal = Terminal(words, directory, stdin, stdout)
        terminal.expect(question(server))
        terminal.type(PASSWORD + "\n")
        assert ended(terminal) == (0, 1)
    assert json.loads((directory / "out").read_bytes())["written"] == 2
    assert not found((directory / "out").read_bytes(), PASSWORD)


def awaits_a_lock(session: int) -> bool:
    """Tell whether one of the session's processes waits for another to unlock a file."""
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return session in {os.getsid(int(lock[5])) for lock in locks if lock[1:3] == ["->", "POSIX"]}


def test_both_ends_of_a_pipe_ask_one_after_the_other(server: ServerProcess, profiles: Profiles):
    """Together, one would read the other's password, and leave the terminal without its echo."""
    there = {"url": server.url.removesuffix("0") + "1", "username": "other"}
    directory = profiles(here={"url": server.url}, there=there)
    cachectl = " ".join(CACHECTL)
    pipe = f"{cachectl} export --all | {cachectl} -p there warm -"
    terminal = Terminal(["-c", pipe], directory, program=["bash"])
    passwords = {question(server): PASSWORD, question(server, "other"): OTHER}
    terminal.expect("Password of")
    terminal.expect(": ")
    until(lambda: awaits_a_lock(terminal.process.pid))
    asked = [text for text in passwords if text in terminal.shown]
    assert len(asked) == 1
    terminal.type(passwords.pop(asked[0]) + "\n")
    ((text, password),) = passwords.items()
    terminal.expect(text)
    terminal.type(password + "\n")
    assert ended(terminal) == (0, 2)
    assert "written  1" in terminal.shown


@pytest.mark.parametrize(
    ("words", "code"), [("get k", 2), ("warm -", 2), ("health", 3), ("flush n --yes", 2)]
)
def test_without_a_terminal_nobody_is_asked(
    server: ServerProcess, profiles: Profiles, words: str, code: int
):
    """One line says what to do instead; what stands on stdin is not taken for the password."""
    done = subprocess.run(
        [*CACHECTL, *words.split()],
        cwd=profiles(p={"url": server.url}),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=f"{PASSWORD}\n".encode(),
        capture_output=True,
        start_new_session=True,
        timeout=30,
        check=False,
    )
    said = f"error: there is no terminal to ask for the {question(server)[:-2].lower()}"
    instead = " (give password_file or password_command in its place)"
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().splitlines()[-1] == said + instead
    assert len(done.stderr.splitlines()) == (2 if "flush" in words else 1)


@pytest.mark.parametrize(
    "words",
    ["config show", "config check", "config path", "key -n n", "warm ./r --origin a:b --plan"],
)
def test_what_needs_no_server_does_not_ask(server: ServerProcess, profiles: Profiles, words: str):
    directory = profiles(p={"url": server.url})
    (directory / "r").write_text('{"key":"a","params":{}}\n')
    terminal = Terminal(words.split(), directory, NO_COLOR="1")
    assert ended(terminal) == (0, 0), terminal.shown
    assert ("password_prompt" in terminal.shown) == (words == "config show")


def test_sentinels_and_servers_have_passwords_of_their_own(
    sentinels_of: SentinelsOf, profiles: Profiles
):
    trio = sentinels_of(DEFAULT_VERSION, OTHER)
    for server in trio.servers:
        server.raw("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    nodes = [f"127.0.0.1:{sentinel.port}" for sentinel in trio.sentinels]
    sentinel = {"service": "main", "nodes": nodes, "password_prompt": True}
    words = ["set", "k", "1"]
    terminal = Terminal(words, profiles(p={"sentinel": sentinel}), COLUMNS="200")
    terminal.expect(f"Password of {USER} at redis+sentinel://{','.join(nodes)}/main/0: ")
    terminal.type(PASSWORD + "\n")
    terminal.expect(f"Password of default at the Sentinels {', '.join(nodes)}: ")
    terminal.type(OTHER + "\n")
    assert ended(terminal) == (0, 2)


def test_whose_password_it_is_stands_there_escaped(server: ServerProcess, profiles: Profiles):
    profile = {"url": server.url, "username": "a\x1b[31m\u202eb"}
    terminal = Terminal(["get", "k"], profiles(p=profile))
    terminal.expect(question(server, "a\\x1b[31m\\u202eb"))
    terminal.type("\x03")
    assert ended(terminal) == (130, 1)
    assert "\x1b" not in terminal.shown


def test_help_does_not_load_what_asks():
    code = "import cachectl.cli.session, sys; print({'getpass', 'cachectl.cli.prompt'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == b"set()\n"
