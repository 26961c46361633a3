"""Events whose text is not UTF-8, as writers in C++ may leave them, in a form protobuf accepts.

protobuf refuses a whole event for one such byte. Here its wire format is walked along the fields
that hold text, and each byte of these that is not UTF-8 becomes four characters, `\\xff` for 255,
as names of files have it too. All other bytes stay. Only what protobuf refused is walked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Fields that hold text (None) or a message with such fields, by field number.
_Texts = Mapping[int, Any]
_METADATA: _Texts = {1: {1: None}, 2: None, 3: None}  # plugin_data.plugin_name, names for people
_VALUE: _Texts = {1: None, 7: None, 6: {5: None}, 9: _METADATA}  # tag, node_name, audio, metadata
_EVENT: _Texts = {3: None, 5: {1: _VALUE}, 8: {1: None}}  # file_version, summary, tagged metadata

_VARINT, _DOUBLE, _LENGTH, _FLOAT = 0, 1, 2, 5


class _Malformed(Exception):
    """This is no message."""


def repair_event(payload: bytes) -> bytes | None:
    """Return a serialised event with all its text in UTF-8; None if that changes nothing."""
    try:
        repaired = b"".join(_rewritten(payload, _EVENT))
    except (_Malformed, IndexError):
        return None
    return None if repaired == payload else repaired


def _rewritten(message: bytes, texts: _Texts) -> Iterator[bytes]:
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        wire_type, number = key & 7, key >> 3
        if wire_type != _LENGTH:
            at = _behind(message, at, wire_type)
            yield message[start:at]
            continue
        size, begin = _varint(message, at)
        at, content = begin + size, message[begin : begin + size]
        if at > len(message):
            raise _Malformed
        if number not in texts:
            yield message[start:at]
            continue
        inner = texts[number]
        if inner is None:
            content = content.decode("utf-8", "backslashreplace").encode()
        else:
            content = b"".join(_rewritten(content, inner))
        yield bytes([key]) + _to_varint(len(content)) + content


def _behind(message: bytes, at: int, wire_type: int) -> int:
    """Return where a field of fixed or self-delimiting size ends."""
    if wire_type == _VARINT:
        return _varint(message, at)[1]
    if wire_type not in (_DOUBLE, _FLOAT):
        raise _Malformed
    at += 8 if wire_type == _DOUBLE else 4
    if at > len(message):
        raise _Malformed
    return at


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned integer and the offset behind it."""
    number = shift = 0
    while shift < 70:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise _Malformed


def _to_varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
