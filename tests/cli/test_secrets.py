"""No message shows a value or a secret: every error path with canaries, and a grep for them."""

import base64
import gzip
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cli.conftest import Result, Run
from tests.servers import ServerProcess

PASSWORD = "c4n4ry/p#ss wörd"
VALUE = "c4n4ry-value"
FORMS = {
    form
    for text in (PASSWORD, VALUE)
    for form in (
        text,
        quote(text),
        quote(text, safe=""),
        base64.b64encode(text.encode()).decode().rstrip("="),
        repr(text)[1:-1],
        text.encode("unicode_escape").decode(),
    )
}

ORIGIN = f"""
def wrong_type(**params):
    return {{"{VALUE}"}}
def not_json(**params):
    return float("nan")
def raises(**params):
    raise ValueError("{VALUE}")
def fine(**params):
    return "{VALUE}"
"""

SETTINGS = """
default_profile: local
profiles:
  local: {url: 'URL', username: nobody, password: '${SECRET}'}
  nobody_listens: {url: 'redis://127.0.0.1:1/0', password: '${SECRET}'}
  tls_to_plain: {url: 'redissURL', password: '${SECRET}'}
  by_file: {url: 'URL', username: nobody, password_file: secret.txt}
  by_command: {url: 'URL', username: nobody, password_command: [cat, secret.txt]}
  bad_command: {url: 'URL', password_command: [sh, -c, 'cat secret.txt >&2; exit 3']}
"""


@pytest.fixture
def secrets(workdir: Path, server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    monkeypatch.setenv("SECRET", PASSWORD)
    plain = SETTINGS.replace("redissURL", server.url.replace("redis://", "rediss://"))
    (workdir / "cachectl.yaml").write_text(plain.replace("URL", server.url))
    (workdir / "cachectl.yaml").chmod(0o600)
    (workdir / "secret.txt").write_text(PASSWORD + "\n")
    (workdir / "canary_origin.py").write_text(ORIGIN)
    (workdir / "r.jsonl").write_text('{"params":{"a":1}}\n{"params":"' + VALUE + '"}\n')
    (workdir / "bad.jsonl").write_text(
        f'{{"key":"a","value":{VALUE}}}\n{{"value":"{VALUE}"}}\n{VALUE}\n'
        f'{{"key":"a","value":"{VALUE}","ttl":"{VALUE}"}}\n{{"key":"k","value":"{VALUE}"}}\n'
    )
    (workdir / "bad.csv").write_text(f'key,value\na,{VALUE}\nb,"{VALUE}\n')
    whole = gzip.compress(f'{{"key":"a","value":"{VALUE}"}}\n'.encode() * 100)
    (workdir / "cut.jsonl.gz").write_bytes(whole[:-20])
    return server


CASES = [
    ["get", "k"],
    ["-p", "nobody_listens", "get", "k"],
    ["-p", "tls_to_plain", "get", "k"],
    ["-p", "by_file", "get", "k"],
    ["-p", "by_command", "get", "k"],
    ["-p", "bad_command", "get", "k"],
    ["-p", "nope", "get", "k"],
    ["health"],
    ["config", "show"],
    ["config", "check"],
    ["-u", f"redis://u:{quote(PASSWORD, safe='')}@127.0.0.1:1/0", "get", "k"],
    ["-u", f"redis://u:{PASSWORD}@127.0.0.1:1/0", "get", "k"],
    ["-u", f"redis://u:{quote(PASSWORD, safe='')}@127.0.0.1:x/0", "get", "k"],
    ["-u", f"redis://{quote(PASSWORD, safe='')}@/0", "config", "show"],
    ["-u", "URL", "set", "k", f"{VALUE} no json"],
    ["-u", "URL", "set", "list", f'"{VALUE}"', "--only", "missing"],
    ["-u", "URL", "get", "list"],
    ["-u", "URL", "warm", "bad.jsonl"],
    ["-u", "URL", "warm", "bad.csv"],
    ["-u", "URL", "warm", "cut.jsonl.gz"],
    ["-u", "URL", "warm", "bad.jsonl", "--verify", "r.jsonl"],
    ["-u", "URL", "warm", "r.jsonl", "--origin", "canary_origin:wrong_type", "-n", "t"],
    ["-u", "URL", "warm", "r.jsonl", "--origin", "canary_origin:not_json", "-n", "t"],
    ["-u", "URL", "warm", "r.jsonl", "--origin", "canary_origin:raises", "-n", "t"],
    ["-u", "URL", "warm", "r.jsonl", "--origin", "canary_origin:fine", "-n", "t"],
    ["-u", "OOM", "warm", "r.jsonl", "--origin", "canary_origin:fine", "-n", "t"],
    ["-u", "DENIED", "set", "k", f'"{VALUE}"'],
]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("words", CASES, ids=lambda words: " ".join(words[:4])[:40])
def test_no_output_holds_a_canary(run: Run, secrets: ServerProcess, words: list[str], form: str):
    secrets.raw("LPUSH", "list", VALUE)
    if "OOM" in words:
        secrets.raw("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    secrets.raw("ACL", "SETUSER", "denied", "on", "nopass", "~*", "+get")
    urls = {
        "URL": secrets.url,
        "OOM": secrets.url,
        "DENIED": secrets.url.replace("://", "://denied:x@"),
    }
    result = run("-v", "-o", form, *(urls.get(word, word) for word in words))
    assert_clean(result)


def assert_clean(result: Result) -> None:
    shown = result.out.decode(errors="replace") + result.err
    assert shown, "nothing was said: this case tests nothing"
    for form in FORMS:
        assert form not in shown
    assert "Traceback" not in shown
    assert result.code != 70
