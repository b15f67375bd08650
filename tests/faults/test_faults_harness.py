"""The harness itself: what it says of a run is so, and it finds every secret that a run shows."""

import base64
import json
from urllib.parse import quote

import pytest

from tests.faults.conftest import OperatorAt
from tests.faults.faulting import (
    PASSWORD,
    VALUE,
    executed,
    fill,
    found,
    keys_of,
    refusals,
    value,
)
from tests.servers import ServerProcess


def test_a_run_is_told_as_it_was(operator_at: OperatorAt, server: ServerProcess):
    """Exit code, report and what the server executed, on a server that wants the password."""
    operator = operator_at(server)
    warm = operator.ran("warm", operator.entries(3))
    assert (warm.code, warm.report["written"]) == (0, 3), warm.err
    assert server.raw("GET", "n:2") == value(2)
    assert keys_of(server) == {b"n:0", b"n:1", b"n:2"}
    assert executed(server)["set"] == 3
    assert refusals(server) == {}
    listed = operator.ran("scan", "n")
    assert sorted(row["key"] for row in listed.lines) == ["n:0", "n:1", "n:2"]
    assert operator.ran("get", "none").error["code"] == "missing"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("secret", [PASSWORD, VALUE])
def test_secrets_are_found_in_every_form(secret: str, before: str):
    text = before + secret + "z"
    for shown in (
        text,
        quote(text),
        quote(text, safe=""),
        json.dumps(text),
        repr(text.encode()),
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(text.encode()).decode(),
    ):
        assert found(b"..." + shown.encode() + b"...", secret)
    assert not found(before.encode() + b"harmless", secret)


def test_a_value_on_stdout_is_found_where_it_is_not_the_result(
    operator_at: OperatorAt, server: ServerProcess
):
    """`get` may show it; `scan` of a key that holds it may not, nor a file that a run leaves."""
    server.raw("SET", f"k:{VALUE}", value())
    operator = operator_at(server)
    assert operator.ran("get", f"k:{VALUE}").code == 0
    with pytest.raises(AssertionError):
        operator.ran("scan")
    server.raw("FLUSHALL")
    fill(server, "k:", 1)
    (operator.directory / "left.txt").write_text(base64.b64encode(f"x{VALUE}".encode()).decode())
    with pytest.raises(AssertionError):
        operator.ran("scan")
