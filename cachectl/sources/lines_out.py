r"""An entry -> its JSON line, as `lines.py` reads it back.

A value that is one line of JSON in UTF-8 stands in its line as it is, byte for byte: it is checked and
never decoded and encoded again. All others stand there in base64.
"""

import json
from binascii import b2a_base64
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence

import msgspec

from cachectl.sources.fields import MAX_EXPIRES_AT, LineError, parse
from cachectl.sources.reading import MAX_LINE

LONG = 1024 * 1024
"""A value of more bytes is written in parts: no second copy of it is made."""

_PART = 3 * 256 * 1024  # a multiple of three: base64 of the parts, joined, is that of the whole
_SHALLOW = 400
"""A value of fewer bytes, or with fewer brackets, is never nested too deeply for whoever reads it."""
_MARGIN = 200
"""So many levels deeper a value must still be readable: within its line, and deeper in the stack."""
_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_check = msgspec.json.Decoder(msgspec.Raw).decode


def entry_lines(
    keys: Sequence[bytes],
    values: Sequence[bytes],
    ends: Sequence[float | None],
    *,
    dump: bool = False,
) -> bytes:
    """Return the lines of entries; `ends` are Unix times, None for never, `dump` tells of DUMPs."""
    plain = not b"".join(keys).translate(None, _PLAIN)
    lasts = list(filter(None, ends))
    ending = len(lasts) == len(values) and max(lasts, default=0.0) <= MAX_EXPIRES_AT
    if plain and not dump and ending and _all_stand(values):
        lasting = zip(keys, values, lasts, strict=True)
        return b"".join([b'{"key":"%b","value":%b,"expires_at":%.3f}\n' % it for it in lasting])
    rows = zip(keys, values, ends, strict=True)
    return b"".join(
        [
            b"{%b,%b,%b}\n"
            % (_key_field(key), _value_field(key, value, dump=dump), _end_field(end))
            for key, value, end in rows
        ]
    )


def long_line(
    key: bytes, value: bytes, end: float | None, *, dump: bool = False
) -> Iterator[bytes] | None:
    """Return the line of one entry in parts, or None if it is longer than `lines.py` reads."""
    stands = not dump and _stands_for(key, value)
    name = b"value" if stands else b"dump" if dump else b"value_base64"
    head = b'{%b,"%b":' % (_key_field(key), name)
    tail = b",%b}\n" % _end_field(end)
    size = len(value) if stands else 2 + (len(value) + 2) // 3 * 4
    if len(head) + size + len(tail) > MAX_LINE:
        return None
    return _parts(head, value, tail, stands=stands)


def _parts(head: bytes, value: bytes, tail: bytes, *, stands: bool) -> Iterator[bytes]:
    if stands:
        yield from (head, value, tail)
        return
    yield head + b'"'
    view = memoryview(value)
    for start in range(0, len(view), _PART):
        yield b2a_base64(view[start : start + _PART], newline=False)
    yield b'"' + tail


def _key_field(key: bytes) -> bytes:
    if not key.translate(None, _PLAIN):
        return b'"key":"%b"' % key
    try:
        return b'"key":' + json.dumps(key.decode(), ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return b'"key_base64":"%b"' % b2a_base64(key, newline=False)


def _value_field(key: bytes, value: bytes, *, dump: bool) -> bytes:
    if not dump and _stands_for(key, value):
        return b'"value":' + value
    name = b"dump" if dump else b"value_base64"
    return b'"%b":"%b"' % (name, b2a_base64(value, newline=False))


def _end_field(end: float | None) -> bytes:
    return b'"ttl":null' if end is None else b'"expires_at":%.3f' % min(end, MAX_EXPIRES_AT)


def _all_stand(values: Sequence[bytes]) -> bool:
    """Whether all of the values may stand in their lines: what `_stands` says, for many at once."""
    together = b"".join(values)  # JSON begins and ends in ASCII: no character is made of two values
    if b"\n" in together or b"\r" in together or max(map(len, values)) > _SHALLOW:
        return all(map(_stands, values))
    if list(map(bytes.strip, values)) != values:
        return False
    try:
        if not together.isascii():
            together.decode()  # msgspec does not check what it passes through as Raw
        for value in values:
            _check(value)
    except _ERRORS:
        return False
    return True


def _stands_for(key: bytes, value: bytes) -> bool:
    if not _stands(value):
        return False
    if key.isascii() or _is_utf8(key):
        return True
    try:  # the line of a key in base64 is read by Python, which reads no number of 5,000 digits
        parse(value.decode())
    except LineError:
        return False
    return True


def _stands(value: bytes) -> bool:
    """Whether a value is one line of JSON in UTF-8, and nothing around it that a reader drops."""
    if b"\n" in value or b"\r" in value or len(value.strip()) != len(value):
        return False
    if not (value.isascii() or _is_utf8(value)):
        return False
    try:
        _check(value)
        if len(value) > _SHALLOW and value.count(b"[") + value.count(b"{") > _SHALLOW:
            _check(b"[" * _MARGIN + value + b"]" * _MARGIN)
    except _ERRORS:
        return False
    return True


def _is_utf8(data: bytes) -> bool:
    """Whether data is UTF-8; its text is not held as a whole, which may be four times as large."""
    decoder, view = getincrementaldecoder("utf-8")(), memoryview(data)
    try:
        for start in range(0, len(view), _PART):
            decoder.decode(view[start : start + _PART])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
