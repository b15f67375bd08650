"""Shares of a warm that several machines do together: which keys are whose."""

import re
from collections.abc import Mapping, Sequence
from zlib import crc32

from cachectl.operations.warm.plan import Part

_EXPECTED = "expected a part like 3/8, auto (of GitLab's jobs) or auto/8 (of a Kubernetes job)"
_NUMBER = "[0-9]{1,6}"


def part_of(key: bytes, of: int) -> int:
    """Return which of `of` parts, 1 to `of`, a key belongs to: the same one for ever, everywhere.

    It is the CRC-32 of the key modulo `of`, plus 1; machines of different versions share one warm, so
    this never changes. `page:1` is in part 6 of 8. CRC-32 is in every language's library, and deals
    keys that are counted up more evenly than a cryptographic hash, seven times as fast.
    """
    return crc32(key) % of + 1


def mine(keys: Sequence[bytes], part: Part) -> list[bool]:
    """Return which of the keys belong to a part."""
    if part.of == 1:
        return [True] * len(keys)
    return [part_of(key, part.of) == part.number for key in keys]


def parse_part(text: str, env: Mapping[str, str]) -> Part:
    """Return the part that `3/8` names, or that the variables of a parallel job name.

    `auto` is of GitLab's `parallel: 8`: CI_NODE_INDEX, from 1, of CI_NODE_TOTAL. `auto/8` is of an
    indexed Job of Kubernetes with 8 completions: JOB_COMPLETION_INDEX, from 0. Raises `ValueError`.
    """
    text = text.strip()
    if text == "auto":
        number, of = _variable("CI_NODE_INDEX", env), _variable("CI_NODE_TOTAL", env)
        if not 1 <= number <= of:
            msg = f"CI_NODE_INDEX is {number}, and must be 1 to CI_NODE_TOTAL, which is {of}"
            raise ValueError(msg)
        return Part(number, of)
    match = re.fullmatch(f"(auto|{_NUMBER})/({_NUMBER})", text)
    if match is None or int(match[2]) == 0:
        raise ValueError(_EXPECTED)
    of = int(match[2])
    if match[1] != "auto":
        number = int(match[1])
        if not 1 <= number <= of:
            msg = f"expected a part from 1/{of} to {of}/{of}"
            raise ValueError(msg)
        return Part(number, of)
    index = _variable("JOB_COMPLETION_INDEX", env)
    if index >= of:
        msg = f"JOB_COMPLETION_INDEX is {index}, and must be less than {of}: it counts from 0"
        raise ValueError(msg)
    return Part(index + 1, of)


def _variable(name: str, env: Mapping[str, str]) -> int:
    """Return the whole number that a variable holds."""
    text = env.get(name)
    if not text:
        msg = f"{name} is not set; {_EXPECTED}"
        raise ValueError(msg)
    if re.fullmatch(_NUMBER, text.strip()) is None:
        msg = f"{name} is not a whole number"
        raise ValueError(msg)
    return int(text)
