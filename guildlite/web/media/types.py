"""What bytes are, told from the bytes: the few formats a browser is given as what they are.

Whatever is not recognised here goes out as a download, so no claim of an event file about its
content ever decides what a browser makes of it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

#: Pixels of one picture that a page shows; decoded they are four bytes each.
MOST_PIXELS = 100_000_000

BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A format. Sizes in pixels, 0 where not known; `problem` says why it cannot be shown."""

    media_type: str
    width: int = 0
    height: int = 0
    facts: str = ""
    problem: str | None = None

    @property
    def is_image(self) -> bool:
        return self.media_type.startswith("image/")

    @property
    def is_audio(self) -> bool:
        return self.media_type.startswith("audio/")


def sniff(data: bytes) -> Sniffed:
    """Return what `data` is; `BINARY` for everything that is not sent as itself."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return _sized("image/gif", *struct.unpack_from("<HH", data, 6))
    if data.startswith(b"\xff\xd8\xff"):
        return _sized("image/jpeg", *_jpeg_size(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _sized("image/webp", *_webp_size(data))
    if data.startswith(b"BM") and len(data) >= 26 and data[14:15] == b"\x28":
        width, height = struct.unpack_from("<ii", data, 18)
        return _sized("image/bmp", abs(width), abs(height))
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return Sniffed("audio/wav", facts=_wav_facts(data))
    if data.startswith(b"OggS"):
        return Sniffed("audio/ogg")
    if data.startswith(b"fLaC"):
        return Sniffed("audio/flac")
    if data.startswith(b"ID3") or data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return Sniffed("audio/mpeg")
    return Sniffed(BINARY)


def _sized(media_type: str, width: int, height: int, problem: str | None = None) -> Sniffed:
    if problem is None and width * height > MOST_PIXELS:
        problem = f"{width:,} by {height:,} pixels are too many to show"
    return Sniffed(media_type, width, height, problem=problem)


def _png(data: bytes) -> Sniffed:
    if len(data) < 33 or data[12:16] != b"IHDR":
        return Sniffed("image/png", problem="the PNG is cut off")
    width, height = struct.unpack_from(">II", data, 16)
    return _sized("image/png", width, height, _png_problem(data))


def _png_problem(data: bytes) -> str | None:
    """Return what is wrong with the chunks of a PNG: a browser would show half or nothing."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(data[at + 4 : end - 4]) != checksum:
            return "the PNG is damaged: a checksum is wrong"
        if data[at + 4 : at + 8] == b"IEND":
            return None
        at = end
    return "the PNG is cut off"


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X" and len(data) >= 30:
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if form == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _wav_facts(data: bytes) -> str:
    """Return length, rate and channels in words, as far as the header says."""
    at, rate, per_second, channels = 12, 0, 0, 0
    while at + 8 <= len(data):
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        if name == b"fmt " and at + 24 <= len(data):
            _, channels, rate, per_second = struct.unpack_from("<HHII", data, at + 8)
        elif name == b"data" and per_second:
            seconds = min(length, len(data) - at - 8) / per_second
            words = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
            return f"{seconds:.2f} s, {rate / 1000:g} kHz, {words}"
        at += 8 + length + length % 2
    return ""
