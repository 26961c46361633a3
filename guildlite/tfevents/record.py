"""Records of an event file: framing and checksums, resumable at any byte.

A record is an 8-byte little-endian length, a masked CRC32C of those 8 bytes, the payload, and a
masked CRC32C of the payload. Both checksums are always verified: TensorBoard's fast loader skips
the second, and one flipped bit then shows as a wrong value with no warning.

What can go wrong is named by what the caller does next: wait (`read` returns None), skip the
record (`BadPayload`), give the file up (`BadFraming`).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import google_crc32c

from guildlite.errors import GuildliteError

#: Longest payload believed. A valid length checksum does not make a length true: a record that
#: claims 1 TiB stops TensorBoard's data server. Real payloads (images, graphs) stay far below.
MAX_PAYLOAD_BYTES = 256 << 20
#: Bytes asked of the file at once. Larger blocks gained nothing measurable.
BLOCK_BYTES = 256 << 10

HEADER_BYTES = 12
FOOTER_BYTES = 4

_HEADER = struct.Struct("<QI")
_LENGTH = struct.Struct("<Q")
_FOOTER = struct.Struct("<I")


WRONG_CHECKSUM = "its checksum is wrong"


class BadPayload(GuildliteError):
    """The record at `offset` fails its checksum; the reader already stands behind it."""

    def __init__(self, offset: int, reason: str = WRONG_CHECKSUM) -> None:
        super().__init__(f"damaged record at byte {offset}: {reason}")
        self.offset, self.reason = offset, reason


class BadFraming(GuildliteError):
    """Where the record at `offset` ends cannot be known, so nothing behind it can be read."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"damaged at byte {offset}: {reason}")
        self.offset, self.reason = offset, reason


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as event files store it: rotated by 15 bits, plus a constant."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def payload_size(header: bytes, offset: int = 0) -> int:
    """Return the payload length that a record's first 12 bytes state; raise `BadFraming`.

    `offset` is where the record begins in its file, for the error.
    """
    size, checksum = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != checksum:
        raise BadFraming(offset, "the checksum of the record's length is wrong")
    if size > MAX_PAYLOAD_BYTES:
        raise BadFraming(offset, f"the record claims {size} bytes")
    return int(size)


def frame(block: bytes) -> list[int]:
    """Return where the complete records of `block` begin, and where the last of them ends.

    By the lengths alone: whoever takes a record from there checks its header first, and believes
    nothing behind one that is wrong.
    """
    starts: list[int] = []
    append, unpack = starts.append, _LENGTH.unpack_from
    at, last = 0, len(block) - HEADER_BYTES
    while at <= last:
        append(at)
        at += unpack(block, at)[0] + 16  # header and footer; a global name costs 5 %
    if at <= len(block):
        append(at)  # else the last one found is not complete, and where it begins is the end
    return starts


class RecordReader:
    """Reads the complete records of a seekable binary file, from any record's first byte.

    The file may grow between calls, and hand out fewer bytes than asked for. Only bytes that
    exist are asked for, in blocks, so memory is bounded by the longest record however long the
    file. The caller opens and closes the file.
    """

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self._file = file
        #: The byte after the last record taken; the place to resume from.
        self.offset = offset
        #: The checksum of the payload read last, as the file states it.
        self.checksum = 0
        self._block = b""
        self._block_offset = offset

    def skip_to(self, offset: int) -> None:
        """Go on from the record at `offset`, which is no earlier than the one read last."""
        self.offset = offset

    def read(self) -> bytes | None:
        """Return the next payload, or None while the next record is not complete.

        Raises `BadPayload` once for each record that fails its checksum, having passed it, and
        `BadFraming` on every call from damage that ends the file, staying before it.
        """
        if not self._available(HEADER_BYTES):
            return None
        start = self.offset - self._block_offset
        size = payload_size(self._block[start : start + HEADER_BYTES], self.offset)
        if not self._available(HEADER_BYTES + size + FOOTER_BYTES):
            return None
        start = self.offset - self._block_offset + HEADER_BYTES
        payload = self._block[start : start + size]
        (self.checksum,) = _FOOTER.unpack_from(self._block, start + size)
        offset = self.offset
        self.offset += HEADER_BYTES + size + FOOTER_BYTES
        if masked_crc32c(payload) != self.checksum:
            raise BadPayload(offset)
        return payload

    def _available(self, size: int) -> bool:
        """Have `size` bytes from `offset` in the block, if the file has them."""
        if self._block_offset + len(self._block) >= self.offset + size:
            return True
        end = self._file.seek(0, 2)
        if end < self.offset + size:
            return False
        self._file.seek(self.offset)
        self._block = self._file.read(max(size, min(BLOCK_BYTES, end - self.offset)))
        self._block_offset = self.offset
        return len(self._block) >= size
