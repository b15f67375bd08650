"""What a flush is to remove, and which keys lie in it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cachectl.keys import escape_glob, prefix

Name = bytes | None
"""How a target or a part of it is called in a report; None: keys outside of any namespace."""
Found = tuple[bytes, Name]
"""A key, and the name of the target that holds it."""


class Target(NamedTuple):
    """What is to be removed: a namespace (None: the whole keyspace), and of it what matches a glob."""

    namespace: bytes | None
    match: bytes | None = None

    @property
    def start(self) -> bytes:
        """The literal prefix that every key must have."""
        return b"" if self.namespace is None else prefix(self.namespace)

    @property
    def name(self) -> Name:
        """How it is called in a report: the namespace, else the glob, else None."""
        return self.match if self.namespace is None else self.namespace


def outermost(namespaces: Iterable[bytes]) -> list[bytes]:
    """Return each namespace once, and without those that lie inside another of them."""
    names = list(dict.fromkeys(namespaces))
    return [name for name in names if not any(name.startswith(prefix(other)) for other in names)]


def pattern(targets: Sequence[Target]) -> bytes | None:
    """Return what SCAN is asked for; None: everything. One walk serves several targets."""
    if targets[0].match is not None:
        return targets[0].match
    start = targets[0].start
    return escape_glob(start) + b"*" if start and len(targets) == 1 else None


def among(keys: Iterable[bytes], targets: Sequence[Target]) -> list[Found]:
    """Return the keys that literally lie in a target, each with the first that holds it."""
    starts = [(target.start, target.name) for target in targets]
    if len(starts) == 1:
        ((start, name),) = starts
        return [(key, name) for key in keys if key.startswith(start)]
    every = tuple(start for start, _ in starts)
    return [
        (key, next(name for start, name in starts if key.startswith(start)))
        for key in keys
        if key.startswith(every)
    ]
