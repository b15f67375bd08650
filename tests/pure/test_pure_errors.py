"""The tree of exceptions as its docstring draws it."""

import re

from cachectl import CachectlError, errors

CLASSES: list[type[CachectlError]] = [
    value for value in vars(errors).values() if isinstance(value, type)
]


def drawn() -> dict[str, tuple[str | None, int]]:
    """Return the parent and the exit code of each class in the docstring's drawing."""
    tree: dict[str, tuple[str | None, int]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)(\w+Error) +(\d+)  \S.*", line)
        if match:
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            tree[match[2]] = (above[depth - 1] if depth else None, int(match[3]))
    return tree


def test_the_drawing_is_the_code() -> None:
    """Every class, its parent and its exit code, and nothing else."""
    assert drawn() == {
        one.__name__: (
            None if one is CachectlError else one.__mro__[1].__name__,
            one.exit_code,
        )
        for one in CLASSES
    }
    assert len(CLASSES) > 15


def test_codes_are_words_and_each_its_own() -> None:
    """Scripts read `code`."""
    codes = [one.code for one in CLASSES]
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)
    assert len(set(codes)) == len(codes)


def test_an_error_keeps_message_and_hint_apart() -> None:
    """`str` is the message; the JSON form has all three."""
    error = errors.ConfigError("c.yaml:1: no", "write yes")
    assert str(error) == error.message == "c.yaml:1: no"
    assert error.as_dict() == {"code": "config", "message": "c.yaml:1: no", "hint": "write yes"}
    assert CachectlError("x").as_dict()["hint"] is None
    assert errors.UnreachableError.maybe_applied is False
    assert errors.ServerError.word == "ERR"
