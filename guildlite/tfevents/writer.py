"""Writing event files: records with both checksums, scalars, and whole events as they come.

Scalars are encoded here, field by field: only step, time and value differ between the records of a
tag, and a protobuf message for each takes three times as long. Everything else is handed over as
the bytes of an event, usually copied from another event file.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable
from typing import BinaryIO

from guildlite.tfevents.record import masked_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")

#: Event: file_version, what the first record of every event file says.
_VERSION = b"\x1a\x0dbrain.Event:2"
#: Event: wall_time, a double; step, a varint; summary, with its length behind it.
_WALL_TIME, _STEP, _SUMMARY = b"\x09", b"\x10", b"\x2a"
#: Summary: value. Value: tag. Both with their length behind them.
_VALUE, _TAG = b"\x0a", b"\x0a"
#: Value: simple_value, a float.
_SIMPLE_VALUE = b"\x15"
#: Value: tensor of 15 bytes: dtype DT_DOUBLE, rank 0, double_val of 8 bytes, which follow.
_DOUBLE_TENSOR = b"\x42\x0e\x08\x02\x12\x00\x32\x08"
#: Value: metadata of 15 bytes: plugin_data {plugin_name: "scalars"}, data_class scalar.
_SCALAR_METADATA = b"\x4a\x0d\x0a\x09\x0a\x07scalars\x20\x01"


class EventWriter:
    """Writes one event file to `file`, from its beginning; whoever opened it closes it.

    `wall_time` (seconds since the epoch) is that of the first record, which names the format.
    Nothing is buffered here, and OSError of `file` comes through.
    """

    def __init__(self, file: BinaryIO, wall_time: float = 0.0) -> None:
        self._write = file.write
        self._stated: set[str] = set()
        self.write_event(_WALL_TIME + _DOUBLE.pack(wall_time) + _VERSION)

    def write_event(self, payload: bytes) -> None:
        """Write a record whose payload is a serialised event."""
        length = _LENGTH.pack(len(payload))
        length_sum = _CHECKSUM.pack(masked_crc32c(length))
        payload_sum = _CHECKSUM.pack(masked_crc32c(payload))
        self._write(b"".join((length, length_sum, payload, payload_sum)))

    def write_scalars(
        self, tag: str, points: Iterable[tuple[int, float, float]], *, double: bool = False
    ) -> None:
        """Write points (step, wall time in seconds, value) of a tag, in this order.

        Values become 32-bit floats, as nearly every writer has them, or with `double` tensors of 64
        bits. TensorBoard in Python reads those too, its data server leaves them out. Steps are
        signed 64-bit integers.
        """
        fields, pack = (_DOUBLE_TENSOR, _DOUBLE.pack) if double else (_SIMPLE_VALUE, _pack_float)
        size = len(pack(0.0))
        head = after = _summary_head(tag, fields, size)
        if double and tag not in self._stated:  # the first value of a tag says what it is
            head = _summary_head(tag, _SCALAR_METADATA + fields, size)
        for step, wall_time, value in points:
            self._stated.add(tag)
            before = _WALL_TIME + _DOUBLE.pack(wall_time) + _STEP + _varint(step)
            self.write_event(before + head + pack(value))
            head = after


def are_floats(values: Iterable[float]) -> bool:
    """Return whether 32-bit floats hold these values exactly, as they do NaN and infinities."""
    wide = array("d", (0.0 if value != value else value for value in values))
    return array("f", wide) == wide


def overflow_floats(values: Iterable[float]) -> bool:
    """Return whether a finite value is beyond what 32-bit floats reach."""
    wide = array("d", values)
    narrow = array("f", wide)
    return any(map(math.isinf, narrow)) and list(map(math.isinf, narrow)) != list(
        map(math.isinf, wide)
    )


def _pack_float(value: float) -> bytes:
    try:
        return _FLOAT.pack(value)
    except OverflowError:
        return _FLOAT.pack(math.copysign(math.inf, value))


def _summary_head(tag: str, fields: bytes, number_size: int) -> bytes:
    """Return an event's summary of one value up to its number, which is the last of its bytes."""
    value = _TAG + _sized(tag.encode("utf-8", "backslashreplace")) + fields
    value_size = _varint(len(value) + number_size)
    summary_size = _varint(len(_VALUE) + len(value_size) + len(value) + number_size)
    return _SUMMARY + summary_size + _VALUE + value_size + value


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Return a protobuf varint; negative numbers as their 64 bits."""
    if 0 <= number < 0x80:
        return number.to_bytes(1, "little")
    number &= 0xFFFFFFFFFFFFFFFF
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
