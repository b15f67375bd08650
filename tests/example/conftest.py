"""What the example application's tests share: its births, and a cache server of their own."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakeredis import TcpFakeServer

NATAL = Path(__file__).parents[2] / "examples" / "natal"


def lines(name: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file of the example."""
    text = (NATAL / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


class Server:
    """A Redis in this process on a free port, which can be stopped while connections are open."""

    def __init__(self) -> None:
        """Listen at once, in a thread; `url` tells where."""
        self._tcp = TcpFakeServer(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._tcp.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"redis://127.0.0.1:{self._tcp.server_address[1]}/0"

    def stop(self) -> None:
        """Close the port and every connection; a second call does nothing."""
        if self._thread.is_alive():
            self._tcp.shutdown()
            self._tcp.server_close()
            self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a cache server for one test."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def births() -> list[dict[str, Any]]:
    """Return the requests that the example is warmed with."""
    return lines("births.jsonl")


@pytest.fixture(scope="session")
def last_hour() -> list[dict[str, Any]]:
    """Return the sample that a warm of the example is verified against."""
    return lines("last-hour.jsonl")
