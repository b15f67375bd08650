"""server start, status, stop: the embedded server as a user sees it."""

from pathlib import Path

from tests.cli.conftest import Run


def test_the_life_of_the_embedded_server(run: Run):
    assert run("server", "status").text == "not running\n"
    assert run("server", "status").code == 1
    assert run("-u", "embedded:", "scan").code == 3
    started = run("-u", "embedded:", "set", "k", "1")
    assert started.code == 0
    assert "cachectl server stop" in started.err
    assert run("-u", "embedded:", "get", "k").err == ""
    status = run("server", "status", "-o", "json")
    assert (status.code, status.json["running"], status.json["keys"]) == (0, True, 1)
    assert "running: " in run("server", "status").text
    assert run("server", "start", "-o", "json").json["started"] is False
    assert "runs already" in run("server", "start").text
    assert run("server", "stop").text.startswith("stopped")
    assert run("server", "stop", "-o", "json").json == {"stopped": False}
    assert run("-u", "embedded:", "get", "k").out == b"1\n"
    assert run("server", "stop", "-o", "json").json == {"stopped": True}


def test_what_is_announced_stops_that_very_server(run: Run, workdir: Path):
    """`cachectl server stop` alone would stop the default one."""
    started = run("-u", f"embedded:{workdir}/own", "set", "k", "1")
    words = started.err.split("stop it with: cachectl ")[1].split()
    assert run("server", "stop").text == "not running\n"
    assert run(*words).text == f"stopped embedded:{workdir}/own, its data is saved\n"


def test_start_says_that_it_started(run: Run):
    assert run("server", "start").text.startswith("started: ")
    assert run("server", "stop").code == 0


def test_another_server_is_none_of_its_business(on: Run):
    for verb in ("start", "status", "stop"):
        result = on("server", verb)
        assert result.code == 2
        assert "no embedded server" in result.err
