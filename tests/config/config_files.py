"""The type of the fixture `write`, and what a file that is wrong says."""

from collections.abc import Callable

import pytest

from cachectl.config.find import Found
from cachectl.config.load import load
from cachectl.errors import ConfigError

Write = Callable[[str], Found]


def refused(write: Write, text: str, env: dict[str, str] | None = None) -> str:
    """Return the error of loading `text`, with its hint."""
    with pytest.raises(ConfigError) as caught:
        load(write(text), env or {})
    assert "s3cr3t" not in f"{caught.value!r} {caught.value.hint}"
    return f"{caught.value.message} ({caught.value.hint})"
