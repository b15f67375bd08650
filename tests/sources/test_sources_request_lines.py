import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.errors import InputError
from cachectl.keys import make_key
from cachectl.models import Request, RequestBatch
from cachectl.sources import reading
from cachectl.sources.requests import request_batches
from tests.sources.collecting import collected


def batches(data: bytes, namespace: str | None = None, **limits: int) -> list[RequestBatch]:
    found = collected(request_batches("-", namespace=namespace, stdin=io.BytesIO(data), **limits))
    assert "c4n4ry" not in str([batch.problems for batch in found])
    return found


def requests(data: bytes, namespace: str | None = None) -> list[Request]:
    found = batches(data, namespace)
    assert [problem for batch in found for problem in batch.problems] == []
    return [request for batch in found for request in batch.requests]


def problem(line: bytes, namespace: str | None = None) -> tuple[str, bytes | None]:
    ((_, requests, (found,), *_),) = batches(b'\n{"key":"good"}\n' + line + b"\n", namespace)
    assert [request.line for request in requests] == [2]
    assert (found.source, found.line) == ("-", 3)
    return found.message, found.key


def test_ways_to_ask() -> None:
    params = b'{"date": "1990-05-17", "lat": 48.85, "lon": 2.35}'
    lines = [
        b'{"key":"natal:1","count":3}',
        b'{"key_base64":"/w=="}',
        b'{"namespace":"natal","params":' + params + b',"count":9007199254740992}',
        b'{"params":' + params + b',"value":"ignored"}',
    ]
    wanted = json.loads(params)
    assert requests(b"\r\n".join(lines), "other") == [
        Request(b"natal:1", None, 3, 1),
        Request(b"\xff", None, 1, 2),
        Request(b"natal:652c49679deeadba", wanted, 2**53, 3),
        Request(make_key("other", **wanted).encode(), wanted, 1, 4),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    params=st.dictionaries(
        st.text() | st.sampled_from(["namespace", "self", "params"]), JSON, max_size=5
    ),
    namespace=st.text(st.characters(codec="utf-8"), min_size=1),
    own=st.booleans(),
    ensure_ascii=st.booleans(),
)
def test_the_key_is_what_the_application_computes(
    params: dict[str, Any], namespace: str, *, own: bool, ensure_ascii: bool
) -> None:
    """48 stays apart from 48.0, whatever is in the line is what Python's json reads there."""
    text = json.dumps(params, ensure_ascii=ensure_ascii).encode("utf-8", "replace").decode()
    text = text.replace("Infinity", "1e999")
    name = f'"namespace": {json.dumps(namespace)}, ' if own else ""
    (request,) = requests(f'{{{name}"params": {text}}}'.encode(), "x" if own else namespace)
    assert request.params == json.loads(text)
    assert request.key == make_key(namespace, **json.loads(text)).encode()


def test_spellings_of_a_number() -> None:
    found = requests(b'{"params":{"a":100}}\n{"params":{"a":1e2}}\n{"params":{"a":100.0}}', "n")
    assert [r.key.decode() for r in found] == [
        make_key("n", a=100),
        make_key("n", a=100.0),
        make_key("n", a=100.0),
    ]


def test_a_namespace_from_the_command_line_may_be_any_bytes() -> None:
    (request,) = requests(b'{"params":{}}', b"\xff".decode("utf-8", "surrogateescape"))
    assert request.key.startswith(b"\xff:")


@pytest.mark.parametrize(
    "count", [b"0", b"-1", b"true", b"1.0", b'"1"', b"null", b"9007199254740993"]
)
def test_bad_counts(count: bytes) -> None:
    message = "count must be a whole number from 1 to 2^53"
    assert problem(b'{"key":"k","count":' + count + b"}") == (message, b"k")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{}", "no key"),
        (b'{"count":3}', "no key"),
        (
            b'{"params":{}}',
            "params without a namespace, neither in the line nor for all of them (-n NAMESPACE)",
        ),
        (b'{"params":"c4n4ry","namespace":"n"}', "params must be an object"),
        (b'{"params":null,"namespace":"n"}', "params must be an object"),
        (b'{"namespace":"n"}', "namespace without params"),
        (b'{"key":"k","params":{"a":"c4n4ry"}}', "both key and params"),
        (b'{"key":"k","namespace":"n"}', "both key and namespace"),
        (b'{"params":{"a":NaN},"namespace":"n"}', "invalid JSON: NaN and Infinity are not JSON"),
        (b'{"params":{"a":"c4n4ry}}', "invalid JSON at column 16: Unterminated string starting at"),
        (b'{"params":{"a":"c4n4ry\xff"}}', "invalid UTF-8 at byte 23"),
        (b"\0" * 100, "invalid JSON at column 1: Expecting value"),
        (
            '{"key":"k"}'.encode("utf-16-le"),
            "invalid JSON at column 2: Expecting property name enclosed in double quotes",
        ),
    ],
)
def test_bad_lines(line: bytes, message: str) -> None:
    assert problem(line) == (message, None)


def test_params_that_cannot_be_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The depth that can be read need not be one that can be written."""

    def too_deep(*_: object, **__: object) -> str:
        raise RecursionError

    monkeypatch.setattr("cachectl.sources.fields.make_key", too_deep)
    assert problem(b'{"params":{"a":"c4n4ry"}}', "n") == ("params are nested too deeply", None)


def test_batches_and_blank_lines() -> None:
    data = b'{"key":"k"}\n\n' * 5
    assert [len(b.requests) for b in batches(data, max_requests=4)] == [2, 2, 1]
    assert batches(b"\n \n") == []


def test_too_long_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 10)
    ((_, _, (found,), *_),) = batches(b'{"key":"c4n4ry"}')
    assert found.message == "the line is longer than 10 bytes"


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "births.jsonl"
    path.write_bytes(gzip.compress(b'{"key":"k"}'))
    (batch,) = collected(request_batches(str(path), namespace=None, stdin=io.BytesIO()))
    assert batch == RequestBatch(str(path), [Request(b"k", None, 1, 1)], [])
    with pytest.raises(InputError, match="no such file"):
        collected(request_batches(str(path) + "x", namespace=None, stdin=io.BytesIO()))


def test_keys_one_a_line() -> None:
    """Their bytes are exact; blank lines are none, repeated ones count again."""
    assert requests(b"\xef\xbb\xbf\n a b \r\n\t\n\xff:1\r\n{tag}:1\n a b ") == [
        Request(b" a b ", None, 1, 2),
        Request(b"\xff:1", None, 1, 4),
        Request(b"{tag}:1", None, 1, 5),
        Request(b" a b ", None, 1, 6),
    ]
    assert [request.key for request in requests(b"{tag}:1\r\n[1]\n")] == [b"{tag}:1", b"[1]"]


@pytest.mark.parametrize("name", ["asked.txt", "asked.KEYS", "asked.txt.gz"])
def test_a_name_that_says_keys(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = b'{"key":"k"}\n'
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (batch,) = collected(request_batches(str(path), namespace=None, stdin=io.BytesIO()))
    assert batch.requests == [Request(b'{"key":"k"}', None, 1, 1)]


@pytest.mark.parametrize("name", ["asked.jsonl", "asked.json.gz", "asked.ndjson"])
def test_a_name_that_says_json(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"user:1\n")
    (batch,) = collected(request_batches(str(path), namespace=None, stdin=io.BytesIO()))
    assert (batch.requests, batch.bad) == ([], 1)


def test_a_cut_line_of_json_is_no_key() -> None:
    ((_, found, problems, *_),) = batches(b'{"key":"c4n4ry\n{"key":"k"}\n')
    assert ([request.key for request in found], len(problems)) == ([b"k"], 1)


def test_an_access_log_is_no_list_of_keys() -> None:
    line = b'\n10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "c4n4ry"\n'
    with pytest.raises(InputError, match="it is an access log") as caught:
        batches(line)
    assert "route" in str(caught.value.hint)


def test_too_long_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 10)
    monkeypatch.setattr(reading, "BLOCK", 8)
    found = batches(b"a\n" + b"c4n4ry" * 9 + b"\nb")
    assert [request.key for batch in found for request in batch.requests] == [b"a", b"b"]
    assert [problem.line for batch in found for problem in batch.problems] == [2]
