"""Servers that CacheClient is held against: the real ones, and the fake one applications test with."""

import threading
from collections.abc import Iterator

import pytest
from fakeredis import TcpFakeServer

from tests.servers import binaries


@pytest.fixture
def fake_url() -> Iterator[str]:
    """Run fakeredis's TCP server for one test and give its URL."""
    server = TcpFakeServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=[*binaries(), "fakeredis"])
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of an empty server of each version at hand, and of the fake one."""
    if request.param == "fakeredis":
        found: str = request.getfixturevalue("fake_url")
    else:
        found = request.getfixturevalue("server_of")(request.param).url
    return found


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> "Warnings":
    """Give what the client logged."""
    caplog.set_level("INFO", logger="cachectl")
    return Warnings(caplog)


class Warnings:
    """The log of the client, by level."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        """Read along with `caplog`."""
        self._caplog = caplog

    def _at(self, level: str) -> list[str]:
        return [r.getMessage() for r in self._caplog.records if r.levelname == level]

    @property
    def warnings(self) -> list[str]:
        """The warnings so far."""
        return self._at("WARNING")

    @property
    def infos(self) -> list[str]:
        """The good news so far."""
        return self._at("INFO")
