import asyncio
import gzip
import io
import os
import threading
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachectl.errors import InputError
from cachectl.sources import reading
from cachectl.sources.reading import BLOCK, Lines, line_groups
from tests.sources.collecting import collect_into, collected


def groups(data: bytes, *, max_lines: int = 500, max_bytes: int = 1_000_000) -> list[Lines]:
    stdin = io.BytesIO(data)
    return collected(line_groups("-", stdin=stdin, max_lines=max_lines, max_bytes=max_bytes))


def texts(data: bytes, **limits: int) -> list[bytes]:
    found = groups(data, **limits)
    numbers = [lines.first for lines in found]
    assert numbers == [1 + sum(len(g.texts) for g in found[:i]) for i in range(len(found))]
    return [text for lines in found for text in lines.texts]


@given(
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b" ")), max_size=40),
    st.integers(1, 7),
    st.integers(1, 60),
    st.integers(1, 9),
)
def test_lines_come_out_as_they_went_in(
    lines: list[bytes], max_lines: int, max_bytes: int, block: int
) -> None:
    """Whatever the sizes of the pieces and the groups, every line comes once, in order."""
    data = b"\n".join(lines) + b"\n" if lines else b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", block)
        patch.setattr(reading, "_GZIP", b"not gzip" * 9)
        patch.setattr(reading, "_UTF_16", ())
        patch.setattr(reading, "_BOM", b"not a mark" * 9)
        assert texts(data, max_lines=max_lines, max_bytes=max_bytes) == lines


def test_groups_keep_their_limits() -> None:
    data = b"x" * 99 + b"\n"
    assert [len(g.texts) for g in groups(data * 25, max_lines=10)] == [10, 10, 5]
    assert [len(g.texts) for g in groups(data * 9, max_bytes=400)] == [4, 4, 1]
    assert [len(g.texts) for g in groups(b"y" * 500 + b"\n" + data * 2, max_bytes=300)] == [1, 2]


def test_a_line_that_lies_in_two_blocks_is_one() -> None:
    """The lines of each block are a group; one that goes over the edge is whole, in the next."""
    line = b"x" * 249 + b"\n"
    count = 3 * BLOCK // len(line)
    found = list(groups(line * count, max_lines=2000))
    assert [text for group in found for text in group.texts] == [line[:-1]] * count
    assert [len(group.texts) for group in found] == [1048, 1049, 1048]
    assert [group.first for group in found] == [1, 1049, 2098]


def test_what_has_come_is_not_held_back() -> None:
    """Lines of a pipe come out when they are there, not when a group is full."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stdin, os.fdopen(write_end, "wb", buffering=0) as writer:
        writer.write(b"first\nsec")

        async def follow() -> None:
            async with aclosing(line_groups("-", stdin=stdin, max_lines=500)) as lines:
                assert await anext(lines) == Lines(1, [b"first"])
                writer.write(b"ond\n")
                assert await anext(lines) == Lines(2, [b"second"])
                writer.close()  # or the thread would wait for ever

        asyncio.run(follow())


def test_a_stdin_that_does_not_block_is_read_to_its_end() -> None:
    """Another process may have made the pipe non-blocking: nothing yet is not the end."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with os.fdopen(read_end, "rb") as stdin:
        lines = line_groups("-", stdin=stdin, max_lines=500)

        def write() -> None:
            with os.fdopen(write_end, "wb") as writer:
                writer.write(b"a line\n")

        writer = threading.Timer(0.05, write)
        writer.start()
        assert [g.texts for g in collected(lines)] == [[b"a line"]]
        writer.join()


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)], ids=["nothing", "bom", "gzip"]
)
def test_nothing_is_no_line(data: bytes) -> None:
    assert texts(data) == []


def test_one_byte_is_a_line() -> None:
    assert texts(b"1") == [b"1"]


def test_byte_order_mark_is_dropped_also_inside_gzip() -> None:
    data = b"\xef\xbb\xbfone\ntwo"
    assert texts(data) == [b"one", b"two"]
    assert texts(gzip.compress(data)) == [b"one", b"two"]


def test_gzip_members_in_a_row_with_padding() -> None:
    data = gzip.compress(b"one\ntw") + gzip.compress(b"o\n") + b"\0" * 512
    assert texts(data) == [b"one", b"two"]


def test_gzip_larger_than_a_block(tmp_path: Path) -> None:
    lines = [b"%07d" % number + b"x" * 90 for number in range(20_000)]
    path = tmp_path / "plain name"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    found = collected(line_groups(str(path), stdin=io.BytesIO(), max_lines=500))
    assert [text for group in found for text in group.texts] == lines


@pytest.mark.parametrize("piece", [1, 7, BLOCK])
def test_cut_gzip_gives_its_lines_and_then_the_error(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK", piece)
    whole = gzip.compress(os.urandom(20).hex().encode() + b"\nsecond\nthird\n" * 100)
    found: list[Lines] = []
    with pytest.raises(InputError, match=r"- \(stdin\): the gzip data is cut off in line \d+"):
        collect_into(found, line_groups("-", stdin=io.BytesIO(whole[:-9]), max_lines=500))
    assert [text for group in found for text in group.texts][1:3] == [b"second", b"third"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8bno gzip at all",
        gzip.compress(b"one\n")[:-8] + b"12345678",
        gzip.compress(b"one\n") + b"garbage",
    ],
    ids=["no gzip", "wrong checksum", "garbage behind"],
)
def test_corrupt_gzip_is_an_error(data: bytes) -> None:
    with pytest.raises(InputError, match="the gzip data is corrupt in line"):
        texts(data)


def test_utf_16_is_named() -> None:
    with pytest.raises(InputError, match="it is UTF-16") as caught:
        texts("text".encode("utf-16"))
    assert caught.value.hint == "save it as UTF-8"


def test_unreadable_sources_are_named_as_they_were_written(tmp_path: Path) -> None:
    for source, reason in [
        ("no/such.jsonl", "no/such.jsonl: no such file or directory"),
        (str(tmp_path), f"{tmp_path}: is a directory"),
        ("a\0b", r"a\x00b: it cannot be read"),
    ]:
        with pytest.raises(InputError) as caught:
            collected(line_groups(source, stdin=io.BytesIO(), max_lines=500))
        assert caught.value.message == reason


def test_a_closed_stdin_is_an_error() -> None:
    stdin = io.BytesIO()
    stdin.close()
    with pytest.raises(InputError, match=r"- \(stdin\): it cannot be read"):
        collected(line_groups("-", stdin=stdin, max_lines=500))


@pytest.mark.parametrize("end", [b"", b"\n", b"\nafter\n"])
def test_a_line_without_end_is_a_problem_and_not_kept(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK", 64)
    monkeypatch.setattr(reading, "MAX_LINE", 100)
    data = b"before\n" + b"c4n4ry" * 1000 + end
    found = groups(data)
    assert found[0] == Lines(1, [b"before"])
    assert found[1] == Lines(2, [], "the line is longer than 100 bytes")
    assert found[2:] == ([Lines(3, [b"after"])] if b"after" in end else [])


def test_the_longest_line_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 64)
    monkeypatch.setattr(reading, "MAX_LINE", 100)
    assert texts(b"x" * 100 + b"\n" + b"y" * 100) == [b"x" * 100, b"y" * 100]
    assert groups(b"x" * 101)[0].problem is not None
    assert groups(b"x" * 101 + b"\n")[0].problem is not None


def test_closing_early_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x\n" * BLOCK * 5)  # more than is read ahead

    def is_open() -> bool:
        links = Path("/proc/self/fd").iterdir()
        return any(os.path.realpath(link) == str(path) for link in links)

    async def take_one() -> None:
        lines = line_groups(str(path), stdin=io.BytesIO(), max_lines=1)
        async with aclosing(lines):
            await anext(lines)
            assert is_open()

    asyncio.run(take_one())
    deadline = time.monotonic() + 5
    while is_open():
        assert time.monotonic() < deadline, "the file is still open"
        time.sleep(0.001)
