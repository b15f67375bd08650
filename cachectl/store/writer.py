"""Entries on their way into the cache, batch after batch."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from cachectl.models import Entries
from cachectl.store.lanes import Lanes, Sent
from cachectl.store.settle import Since, doubt_refusals, settle_batch
from cachectl.store.stream import UNKNOWN, Group, Outcomes
from cachectl.store.wire import Command
from cachectl.store.writing import Lengths, Writes, grouped, written

Look = Callable[[list[Command], list[bytes]], Awaitable[Outcomes]]
"""Sends commands for keys and waits for their outcomes."""


class Writing(Sent):
    """Entries that are written together.

    An outcome is True when written, False when `only_missing` kept it from being written, else an
    error, UNKNOWN or UNSENT. `size` counts the bytes of all keys and values.
    """

    __slots__ = ("_lengths", "entries", "only_missing", "since", "size")

    def __init__(self, entries: Entries, *, only_missing: bool) -> None:
        """Take entries whose TTLs are decided on; each key is written as often as it comes."""
        self._lengths = lengths = Lengths.of(entries)
        super().__init__(Writes(entries, lengths, only_missing=only_missing))
        self.entries = entries
        self.size = sum(lengths.keys) + sum(lengths.values)
        self.only_missing = only_missing
        self.since = Since()

    def together(self, most: int) -> Iterable[Group]:
        """Return MSETEX for the entries; nothing with `only_missing`: that would be all or none."""
        return () if self.only_missing else grouped(self.entries, self._lengths, most)

    def so_far(self) -> Outcomes:
        """Return the outcomes as they are by now: what is not looked up yet is UNKNOWN."""
        outcomes = super().so_far()
        doubt_refusals(self.commands, outcomes)
        outcomes.replies = [written(reply) for reply in outcomes.replies]
        for place in outcomes.resent if self.only_missing else ():
            if outcomes.replies[place] is False:  # perhaps by its own first sending
                outcomes.replies[place] = UNKNOWN
        return outcomes


class Writer:
    """Writes batches one behind the other, without waiting for the replies to each.

    Of several writes of a key the last one stands, whatever was sent again. A SET NX that was sent
    again after a cut is looked up: whether its value and TTL stand there. Where that does not tell, it
    is UNKNOWN.
    """

    def __init__(self, lanes: Lanes, look: Look) -> None:
        """Write by `lanes`, and look up what is in doubt by `look`."""
        self._lanes = lanes
        self._look = look

    async def send(self, batch: Writing) -> list[Writing]:
        """Send a batch; return those that are settled by now, in order."""
        keys = list(batch.entries.keys)
        return await self._settled(
            await self._lanes.send(batch, keys, last_wins=not batch.only_missing)
        )

    async def land(self) -> list[Writing]:
        """Wait for the replies to all that was sent, and return the batches that these settle."""
        return await self._settled(await self._lanes.land())

    async def _settled(self, sent: Sequence[Sent]) -> list[Writing]:
        batches = [batch for batch in sent if isinstance(batch, Writing)]
        for batch in batches:
            replies = batch.outcomes.replies
            if replies.count(b"OK") == len(replies):
                batch.outcomes.replies = [True] * len(replies)
            else:
                batch.outcomes.replies = [written(reply) for reply in replies]
                await self._settle(batch)
        return batches

    async def _settle(self, batch: Writing) -> None:
        outcomes = batch.outcomes
        doubtful = [p for p in sorted(outcomes.resent) if outcomes.replies[p] is False]
        if not (batch.only_missing and doubtful):
            return
        keys = [batch.entries[p].key for p in doubtful for _ in range(2)]
        words = [b"GET", b"PTTL"] * len(doubtful)
        found = (await self._look(list(zip(words, keys, strict=True)), keys)).replies
        pairs = zip(doubtful, found[::2], found[1::2], strict=True)
        judged = [(p, batch.since.judge(batch.entries[p], value, pttl)) for p, value, pttl in pairs]
        settle_batch(batch.entries, outcomes, judged)
