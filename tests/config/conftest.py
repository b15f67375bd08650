"""What the tests of the settings share: a settings file of the given text."""

from pathlib import Path
from textwrap import dedent

import pytest

from cachectl.config.find import Found
from tests.config.config_files import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a settings file, shown as `cachectl.yaml` and named with --config."""

    def write_text(text: str) -> Found:
        path = tmp_path / "cachectl.yaml"
        path.write_text(dedent(text), encoding="utf-8")
        path.chmod(0o600)
        return Found(path, "cachectl.yaml", "--config")

    return write_text
