"""requirements.lock has what pyproject.toml wants for development, pinned and with hashes.

What those packages need themselves pip holds against it: what is not in it is not installed.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = re.findall(r":: Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
PIN = re.compile(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+")


def wanted(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements; one on the project itself stands for those of its extras."""
    for one in map(Requirement, texts):
        if one.name == PROJECT["name"]:
            for extra in one.extras:
                yield from wanted(EXTRAS[extra])
        else:
            yield one


def locked() -> list[str]:
    """Return the lines of the lock: an option, then one a package."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    return re.findall(r"^ *([^#\s].*)", text, re.MULTILINE)


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_wanted_is_locked(python: str, system: str):
    """On every Python and system, with its extras; where it is not, scripts/lock is to be run."""
    place = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}
    pins = [Requirement(line.partition(" --hash=")[0]) for line in locked()[1:]]
    there = {one.name: one for one in pins if one.marker is None or one.marker.evaluate(place)}

    def fits(one: Requirement) -> bool:
        pin = there.get(canonicalize_name(one.name))
        if pin is None:
            return False
        [exactly] = pin.specifier
        return one.extras <= pin.extras and one.specifier.contains(exactly.version)

    texts = [*SETTINGS["build-system"]["requires"], *PROJECT["dependencies"], *EXTRAS["dev"]]
    here = [one for one in wanted(texts) if one.marker is None or one.marker.evaluate(place)]
    assert len(here) > len(EXTRAS["dev"])
    assert [str(one) for one in here if not fits(one)] == []


def test_the_lock_is_of_wheels_with_hashes():
    """Nothing is built, for which more would be fetched, and nobody is told where to fetch."""
    option, *pins = locked()
    assert option == "--only-binary :all:"
    assert [line for line in pins if not PIN.fullmatch(line)] == []
    assert "://" not in (ROOT / "requirements.lock").read_text()
