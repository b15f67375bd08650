"""Five places, and the command line in each: what holds in one holds in all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Result, Run, run
from tests.contract.places import Guarded, Place, Sharded, standalone, watched
from tests.servers import binaries

__all__ = ["run"]

PLACES = (
    "valkey-9.1",
    "redis-6.2",
    "tls",
    # six processes each: kept together on one worker
    pytest.param("cluster", marks=pytest.mark.xdist_group("cluster_of")),
    pytest.param("sentinel", marks=pytest.mark.xdist_group("sentinels_of")),
)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, workdir: Path) -> Iterator[Place]:
    """Give each place, empty, with `cachectl.yaml` in the current directory that leads there.

    Nothing beyond the rights of its user is tried.
    """
    found = place_of(request, request.param)
    found.settings(workdir)
    yield found
    assert found.denied() == []


def place_of(request: pytest.FixtureRequest, name: str) -> Place:
    """Return a place, empty; skip what is not at hand."""
    if name == "cluster":
        return Sharded(request.getfixturevalue("cluster"))
    if name == "sentinel":
        return watched(request.getfixturevalue("sentinels"))
    if name == "tls":
        return Guarded(request.getfixturevalue("tls_server"))
    if name not in binaries():
        pytest.skip(f"{name} is not at hand")
    return standalone(request.getfixturevalue("server_of")(name))


@pytest.fixture
def on(run: Run, place: Place) -> Callable[..., Result]:
    """Run `cachectl --output json` by the settings of the place, with the least rights."""

    def on(command: str, *words: object, stdin: bytes = b"") -> Result:
        place.let(command)
        return run("--output", "json", command, *words, stdin=stdin)

    return on
