"""The type of the fixture `write`."""

from collections.abc import Callable

from cachectl.config.find import Found

Write = Callable[[str], Found]
