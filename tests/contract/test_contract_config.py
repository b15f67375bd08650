"""config and server: how each place is told, without a secret and without asking it."""

from pathlib import Path

from tests.cli.conftest import Run
from tests.contract.places import Place

TOLD = {
    "cluster": {"cluster"},
    "sentinel": {"sentinel.service", "sentinel.nodes"},
    "tls": {"username", "password", "tls.ca_file"},
}
"""What `config show` tells of a place besides its URL."""


def test_config_show_tells_how_the_place_is_reached(on: Run, place: Place, workdir: Path):
    """Each setting with its line; the password is masked."""
    result = on("config", "show")
    rows = {row["path"]: row for row in result.json["settings"]}
    assert result.code == 0
    assert rows["profile"]["value"] == "here"
    assert rows["url"]["value"] == place.server
    assert rows["url"]["origin"] == "cachectl.yaml:1"
    for path in TOLD.get(place.name, set()):
        assert rows[path]["origin"] == "cachectl.yaml:1"
    assert rows["cli.timeout"]["origin"] == "default"
    password = place.profile.get("password")
    assert password is None or (rows["password"]["value"] == "***" and password not in result.text)
    checked = on("config", "check")
    assert checked.json == {"file": str(workdir / "cachectl.yaml"), "ok": True, "findings": []}
    assert checked.code == 0


def test_a_wrong_setting_is_2_and_names_its_path(on: Run, place: Place, workdir: Path):
    """A typing error is found wherever it is, before anybody is asked."""
    place.profile |= {"tiemout": 1}
    place.settings(workdir)
    for words in (("config", "check"), ("get", "k"), ("flush", "n", "--yes")):
        result = on(*words)
        assert result.code == 2
        assert "profiles.here.tiemout" in result.text + result.err
    assert on("health").code == 3


def test_server_is_for_the_embedded_one(on: Run, place: Place):
    """A server that is somebody else's is neither started nor stopped nor looked at."""
    for verb in ("start", "status", "stop"):
        result = on("server", verb)
        assert (result.code, result.out) == (2, b"")
        assert result.error["message"].startswith(f"{place.server} (profiles.here of cachectl.yaml")
        assert "embedded:" in result.error["hint"]
    assert all(primary.running for primary in place.primaries())
