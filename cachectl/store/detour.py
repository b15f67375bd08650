"""Commands that a node of a cluster referred to another one, on their way there.

A referred command was not applied, so it may be sent again, whatever it is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cachectl.errors import CachectlError
from cachectl.store.errors import RedirectError, any_refused
from cachectl.store.pool import Pool
from cachectl.store.stream import UNSENT, Outcomes, Work
from cachectl.store.topology import Topology

if TYPE_CHECKING:
    from cachectl.store.lanes import Sent
    from cachectl.store.wire import Command

ASKING = (b"ASKING",)


class Stray(NamedTuple):
    """A command at the wrong node: which one of which works, and who it was referred to.

    None: it went to the right one, before an earlier write of its key that is to go there still.
    """

    sent: "Sent"
    place: int
    redirect: RedirectError | None

    @property
    def written(self) -> bytes | None:
        """Return its key where the last write of that must stand."""
        return None if self.sent.last_wins is None else self.sent.last_wins[self.place]

    def node(self, topology: Topology) -> Pool:
        """Return the node where it belongs."""
        if self.redirect is None:
            return topology.node_for(self.sent.command_keys[self.place])
        return topology.follow(self.redirect)


class Detour:
    """What goes to one node in place of another, in order."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._strays: list[Stray] = []
        self._work = Work([])

    def add(self, stray: Stray) -> None:
        """Put a command behind the others."""
        self._strays.append(stray)

    def work(self) -> Work:
        """Return all of it as a work for the node's lane."""
        commands, written = list["Command"](), list[bytes | None]()
        for stray in self._strays:
            if stray.redirect is not None and stray.redirect.asks:
                commands.append(ASKING)
                written.append(None)
            commands.append(stray.sent.commands[stray.place])
            written.append(stray.written)
        size = max(sent.reply_size for sent, _, _ in self._strays)
        self._work = Work(commands, written, size)
        return self._work

    def enter(self) -> None:
        """Enter what became of it, and at which node, where it came from."""
        work = self._work
        outcomes, at = work.enter(), -1
        for sent, place, redirect in self._strays:
            at += 2 if redirect is not None and redirect.asks else 1
            sent.outcomes.replies[place] = outcomes.replies[at]
            sent.goes_to(work.elsewhere.get(at, work.where), [place])
            if at in outcomes.resent:
                sent.outcomes.resent.add(place)
            sent.outcomes.error = sent.outcomes.error or outcomes.error


def is_astray(sent: "Sent") -> bool:
    """Whether any of its commands was referred to another node."""
    replies = sent.outcomes.replies
    return any_refused(replies) and any(isinstance(reply, RedirectError) for reply in replies)


def astray(sents: Sequence["Sent"]) -> list[Stray]:
    """Return what is to be sent to other nodes, in order, and the writes that it must not overtake."""
    found: list[Stray] = []
    overtaken: set[bytes] = set()
    for sent in sents:
        if not overtaken and not is_astray(sent):
            continue
        for place, reply in enumerate(sent.outcomes.replies):
            key = sent.last_wins[place] if sent.last_wins is not None else None
            if isinstance(reply, RedirectError):
                found.append(Stray(sent, place, reply))
                if key is not None:
                    overtaken.add(key)
            elif key in overtaken and reply is not UNSENT:
                found.append(Stray(sent, place, None))
    return found


def give_up(strays: Sequence[Stray], error: CachectlError) -> None:
    """Leave what no node took UNSENT, and say why."""
    for sent, place, redirect in strays:
        if redirect is not None:
            sent.outcomes.replies[place] = UNSENT
        sent.outcomes.error = sent.outcomes.error or error


def leave_off(outcomes: Outcomes) -> None:
    """Enter UNSENT for what was referred to another node, and is not sent there any more."""
    if any_refused(outcomes.replies):
        outcomes.replies = [
            UNSENT if isinstance(reply, RedirectError) else reply for reply in outcomes.replies
        ]


def first_redirect(strays: Sequence[Stray]) -> Any:
    """Return the first of the redirects; there is one, or nothing would be astray."""
    return next(stray.redirect for stray in strays if stray.redirect is not None)
