"""How many keys, of which node or namespace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeCount:
    """How many keys were written to, read or removed from one node."""

    node: str
    keys: int


@dataclass(frozen=True, slots=True)
class NamespaceCount:
    """How many keys of a namespace were matched; None: keys outside of any namespace."""

    namespace: bytes | None
    keys: int
