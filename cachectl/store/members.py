"""CLUSTER NODES -> what a node of a cluster says of itself and of the others."""

from typing import NamedTuple

SLOTS = 16384
_FIRST_SLOT = 8
"""The fields of a line that stand before the slots."""


class Member(NamedTuple):
    """A node as another sees it: `address` is host:port, `primary` the id of the one it copies.

    `epoch` counts on whenever it takes over slots. `slots` are in the words of the server: `0-5460`,
    and `[93->-NODE]` while one is on its way, which only a node itself tells of.
    """

    id: str
    address: str
    flags: frozenset[str]
    primary: str | None
    epoch: str
    slots: tuple[str, ...]

    @property
    def place(self) -> tuple[str, int]:
        """Its host and port."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    @property
    def myself(self) -> bool:
        """Whether it is the one that was asked."""
        return "myself" in self.flags

    @property
    def failing(self) -> bool:
        """Whether it does not answer the one that was asked, or the majority agrees that it failed."""
        return bool(self.flags & {"fail", "fail?", "noaddr"})

    @property
    def moving(self) -> int:
        """How many slots are on their way from or to it."""
        return sum(word.startswith("[") for word in self.slots)

    @property
    def served(self) -> int:
        """How many slots it serves."""
        spans = (word.partition("-") for word in self.slots if not word.startswith("["))
        return sum(int(end or start) - int(start) + 1 for start, _, end in spans)


def members(reply: bytes) -> list[Member]:
    """Return the nodes that a node knows; raises `ValueError` or `IndexError` for no such list.

    Source: the documentation of CLUSTER NODES, "Serialization format".
    """
    found = []
    for line in reply.decode("utf-8", "replace").splitlines():
        name, place, flags, primary, _, _, epoch, *_ = words = line.split()
        address = place.partition(",")[0].partition("@")[0]
        copies = None if primary == "-" else primary
        slots = tuple(words[_FIRST_SLOT:])
        found.append(Member(name, address, frozenset(flags.split(",")), copies, epoch, slots))
    return found
