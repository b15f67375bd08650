"""Secrets: masked everywhere, read from a file or a command without showing them."""

import copy
import json
import pickle
import sys
from pathlib import Path

import pytest

from cachectl.config import secrets
from cachectl.config.secrets import Credentials, Secret, read, readable_by_others
from cachectl.errors import ConfigError

CANARY = "s3cr3t#canary/€"


def test_a_secret_shows_itself_only_when_it_is_told_to() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert f"{secret} {secret!r} {[secret]} {Credentials('u', secret)}".count("***") == 4
    assert CANARY not in f"{secret} {secret!r} {[secret]} {Credentials('u', secret)}"
    with pytest.raises(TypeError):
        json.dumps({"password": secret})
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(AttributeError):
        _ = secret.__dict__


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert copy.deepcopy(Secret("a")) == Secret("a")


def test_the_repr_of_credentials_hides_the_arguments_of_the_command() -> None:
    shown = repr(Credentials("u", password_command=("pass", CANARY), password_prompt=True))
    assert "'pass'" in shown
    assert "password_prompt=True" in shown
    assert CANARY not in shown


def test_credentials_without_a_source_are_returned_as_they_are() -> None:
    assert read(Credentials()) == (None, None)
    assert read(Credentials("u", Secret("p"))) == ("u", Secret("p"))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_password_file_loses_one_newline_at_its_end(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "password"
    file.write_bytes((CANARY + " " + ending).encode())
    assert read(Credentials("u", password_file=str(file))) == ("u", Secret(CANARY + " "))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (CANARY.encode() + b"\xff", "UTF-8"),
        (CANARY.encode() * 9999, "more than"),
    ],
)
def test_what_is_no_password_is_refused_unseen(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read(Credentials(password_file=str(file)))
    assert "password" in caught.value.message
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read(Credentials(password_file=str(tmp_path / name)))
    assert str(tmp_path) in caught.value.message


def python(code: str) -> Credentials:
    """Return credentials whose command runs a piece of Python."""
    return Credentials("u", password_command=(sys.executable, "-c", code))


def test_a_command_gives_the_password_and_gets_no_stdin() -> None:
    code = f"import sys; assert sys.stdin.read() == ''; print({CANARY!r})"
    assert read(python(code)) == ("u", Secret(CANARY))


def test_a_command_that_fails_shows_its_code_and_nothing_it_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = f"import sys; print({CANARY!r}); print({CANARY!r}, file=sys.stderr); sys.exit(3)"
    with pytest.raises(ConfigError, match="exited with 3") as caught:
        read(python(code))
    assert CANARY not in repr(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_command_that_gives_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="empty"):
        read(python("pass"))


@pytest.mark.parametrize("program", ["/nonexistent/pass", "a\0b"])
def test_a_command_that_is_not_there_is_named(program: str) -> None:
    with pytest.raises(ConfigError, match="cannot be run"):
        read(Credentials(password_command=(program, CANARY)))


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT", 0.1)
    with pytest.raises(ConfigError, match=r"within 0\.1 s"):
        read(python("import time; time.sleep(60)"))


def test_a_file_that_every_user_can_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "password"
    assert not readable_by_others(str(file))
    file.touch(0o600)
    assert not readable_by_others(str(file))
    for mode in (0o644, 0o640, 0o604):
        file.chmod(mode)
        assert readable_by_others(str(file)), oct(mode)
