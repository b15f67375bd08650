r"""Lines of access logs in common or combined format -> what was asked for.

    203.0.113.7 - ann [17/May/2015:10:05:03 +0000] "GET /?page=2 HTTP/1.1" 200 5120
    203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5120 "http://from/" "Browser"

Both are read alike: what stands behind the size is not looked at. A target is what was asked, not how
the log writes it: `\x..`, `\"` and `\\` are undone. A request that is none of HTTP (`-`, noise of
scanners) has no method, so it is one of another method, not a bad line.
"""

import re
from collections.abc import Iterator

from cachectl.config.settings import AccessLog
from cachectl.models import MAX_ERRORS, Problem
from cachectl.sources.fields import LineError
from cachectl.sources.reading import Block, is_blank
from cachectl.sources.times import Window

FILTERED = b""
"""Stands for the target of a line of another method, status or time."""

Asked = tuple[bytes | None, bytes]
"""What a line asks for and the digits of its size, if known; no target: a bad or a blank line."""

_FEW = 8
"""So many lines are looked at one by one at once."""
_TIME = rb"\[([0-9A-Za-z/:+., -]{1,40}+)\] "
_QUOTED = rb'(?:[^"\\\n]++|\\[^\n])*+"'
_BEHIND = rb"(?:[-0]|([1-9][0-9]{0,14}))(?: [^\n]*+)?\r?"
_LINE = re.compile(_TIME + rb'"(' + _QUOTED + rb") ([0-9]{3}) " + _BEHIND)
_PROTOCOL = re.compile(rb" HTTP/[0-9.]+\Z")
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\]))')


class Bad:
    """The bad lines of a source: all are counted, the first are kept."""

    def __init__(self, source: str) -> None:
        """Begin with none."""
        self.count = 0
        self.problems: list[Problem] = []
        self._untold = 0
        self._source = source

    def add(self, line: int, message: str) -> None:
        """Count a line."""
        self.count += 1
        self._untold += 1
        if self.count <= MAX_ERRORS:
            self.problems.append(Problem(message, self._source, line))

    def taken(self) -> tuple[int, list[Problem]]:
        """Return how many there were since the last time, and those of them that are kept."""
        untold, problems = self._untold, self.problems
        self._untold, self.problems = 0, []
        return untold, problems


class ClfReader:
    """Reads lines of the common log format, and of all that has more behind it."""

    def __init__(self, log: AccessLog, window: Window, bad: Bad) -> None:
        """Take the lines that `log` wants and whose time lies in the window."""
        self._methods = frozenset(method.encode() for method in log.method)
        self._statuses = frozenset(b"%d" % status for status in log.status)
        self._window = window
        self._bad = bad
        self._plain = self._pattern().findall

    def _pattern(self) -> re.Pattern[bytes]:
        """Return what matches nearly all lines, with the target of those that are wanted.

        A wanted line whose target has escapes or spaces, or no protocol behind it, does not match.
        """
        methods = b"|".join(map(re.escape, sorted(self._methods)))
        statuses = b"|".join(sorted(self._statuses))
        time = _TIME.replace(b"(", b"(?:") if self._window.open else _TIME
        wanted = rb'(?:%s) ([^ "\\\n]++) HTTP/[0-9.]++" (?:%s) ' % (methods, statuses)
        other = rb"(?!(?:%s) %s (?:%s) )%s [0-9]{3} " % (methods, _QUOTED, statuses, _QUOTED)
        start = rb'^[^"\[\n]*+' + time + b'"'
        return re.compile(rb"%s(?:%s|%s)%s\n" % (start, wanted, other, _BEHIND), re.MULTILINE)

    def read(self, block: Block) -> list[Asked]:
        """Return what each line of a block asks for, in their order.

        Nearly all are found together, five times as fast; where odd ones lie is found by halves.
        """
        first, data, _ = block
        found = self._together(data)
        count = data.count(b"\n")
        if len(found) == count:
            return found
        if count <= _FEW or len(found) < count // 2:
            return list(self._one_by_one(block))
        end = (data.find(b"\n", len(data) // 2, -1) + 1) or (data.rfind(b"\n", 0, -1) + 1)
        rest = Block(first + data.count(b"\n", 0, end), data[end:])
        return self.read(Block(first, data[:end])) + self.read(rest)

    def _together(self, data: bytes) -> list[Asked]:
        # The hot loop of a log.
        found = self._plain(data)
        if self._window.open:
            return found
        wanted = self._window
        try:
            return [(target if wanted[time] else FILTERED, size) for time, target, size in found]
        except LineError:
            return []

    def _one_by_one(self, block: Block) -> Iterator[Asked]:
        for number, line in enumerate(block.data.split(b"\n")[:-1], block.first):
            try:
                yield self.alone(line)
            except LineError as error:
                if not is_blank(line):
                    self._bad.add(number, str(error))
                yield None, b""

    def alone(self, line: bytes) -> Asked:
        """Return what any line asks for; raise `LineError`."""
        match = _LINE.search(line)
        if match is None or match.end() != len(line):
            msg = 'expected an access log: HOST - - [TIME] "METHOD TARGET HTTP/1.1" STATUS SIZE'
            raise LineError(msg)
        time, quoted, status, size = match.groups(b"")
        method, _, rest = quoted[:-1].partition(b" ")
        asked = method in self._methods and status in self._statuses
        wanted = self._window.open or self._window[time]
        if not (asked and wanted):
            return FILTERED, size
        target = _ESCAPE.sub(_undone, _PROTOCOL.sub(b"", rest))
        if not target:
            msg = "there is no target behind the method"
            raise LineError(msg)
        return target, size


def is_log_line(line: bytes) -> bool:
    """Tell whether a line is one of an access log in common or combined format."""
    match = _LINE.search(line)
    return match is not None and match.end() == len(line)


def _undone(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 16)]) if escape[1] else escape[2]
