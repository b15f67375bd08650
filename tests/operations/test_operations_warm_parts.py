"""Parts of a warm: the same keys for ever, evenly dealt, and named by the variables of parallel jobs."""

import random
import uuid
from collections import Counter
from collections.abc import Callable

import pytest

from cachectl.operations.warm.parts import mine, parse_part, part_of
from cachectl.operations.warm.plan import Part

GITLAB = {"CI_NODE_INDEX": "3", "CI_NODE_TOTAL": "8"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "0"}


@pytest.mark.parametrize(
    ("key", "of_2", "of_3", "of_8", "of_100"),
    [
        (b"page:1", 2, 2, 6, 98),
        (b"page:2", 2, 1, 8, 16),
        (b"", 1, 1, 1, 1),
        (b"natal:ab", 1, 1, 5, 33),
        (bytes(range(256)), 2, 2, 4, 92),
    ],
)
def test_a_key_is_in_the_same_part_for_ever(
    key: bytes, of_2: int, of_3: int, of_8: int, of_100: int
):
    """Machines of different versions share one warm: these numbers never change."""
    assert [part_of(key, of) for of in (1, 2, 3, 8, 100)] == [1, of_2, of_3, of_8, of_100]


KEYS: list[Callable[[int], bytes]] = [
    lambda n: b"page:%d" % n,
    lambda n: b"user:%d" % (1000 * n),
    lambda n: b"n:%08d:profile" % n,
    lambda n: (256 * n).to_bytes(8, "big"),
    lambda n: str(uuid.UUID(int=random.Random(n).getrandbits(128))).encode(),
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("of", [2, 3, 8, 10, 64])
def test_keys_are_dealt_evenly(key: Callable[[int], bytes], of: int):
    """Keys that are counted up, binary and random ones: no part is a tenth off its share."""
    parts = Counter(part_of(key(n), of) for n in range(1, 100_001))
    assert set(parts) == set(range(1, of + 1))
    assert max(abs(count - 100_000 / of) for count in parts.values()) < 0.1 * 100_000 / of


def test_every_key_is_in_one_part_alone():
    """All parts together are everything, once."""
    keys = [b"page:%d" % n for n in range(1000)]
    masks = [mine(keys, Part(number, 7)) for number in range(1, 8)]
    assert all(sum(one) == 1 for one in zip(*masks, strict=True))
    assert masks[2] == [part_of(key, 7) == 3 for key in keys]
    assert mine(keys, Part()) == [True] * 1000


@pytest.mark.parametrize(
    ("text", "env", "part"),
    [
        ("3/8", {}, Part(3, 8)),
        (" 1/1 ", {}, Part(1, 1)),
        ("auto", GITLAB, Part(3, 8)),
        ("auto", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "1"}, Part(1, 1)),
        ("auto/8", KUBERNETES, Part(1, 8)),
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, Part(8, 8)),
    ],
)
def test_a_part_is_named_or_found_in_the_environment(text: str, env: dict[str, str], part: Part):
    """GitLab counts from 1, Kubernetes from 0."""
    assert parse_part(text, env) == part


@pytest.mark.parametrize(
    "text", ["", "3", "0/8", "9/8", "8/0", "-1/8", "1.5/8", "x/8", "3/8/9", "auto/"]
)
def test_what_is_no_part_is_refused(text: str):
    """One line says what was expected."""
    with pytest.raises(ValueError, match=r"^expected a part [^\n]+$"):
        parse_part(text, {**GITLAB, **KUBERNETES})


@pytest.mark.parametrize(
    ("text", "env", "name"),
    [
        ("auto", {}, "CI_NODE_INDEX is not set"),
        ("auto", {"CI_NODE_INDEX": "1"}, "CI_NODE_TOTAL is not set"),
        ("auto", {**GITLAB, "CI_NODE_INDEX": "x"}, "CI_NODE_INDEX is not a whole number"),
        ("auto", {**GITLAB, "CI_NODE_INDEX": "0"}, "CI_NODE_INDEX is 0"),
        ("auto", {**GITLAB, "CI_NODE_INDEX": "9"}, "CI_NODE_INDEX is 9"),
        ("auto", {**GITLAB, "CI_NODE_TOTAL": "0"}, "CI_NODE_TOTAL, which is 0"),
        ("auto/8", {}, "JOB_COMPLETION_INDEX is not set"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "8"}, "JOB_COMPLETION_INDEX is 8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX is not"),
    ],
)
def test_a_variable_that_does_not_do_is_named(text: str, env: dict[str, str], name: str):
    """Nothing is guessed: the wrong part would leave keys cold and warm others twice."""
    with pytest.raises(ValueError, match=rf"^[^\n]*{name}[^\n]*$"):
        parse_part(text, env)
