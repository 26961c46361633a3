"""Damaged event files, each with what a reader must make of it.

    python tests/support/damaged_files.py DIRECTORY    writes them, to be tried on other readers

All are written by TensorBoard's own writer and then damaged. They begin with the version record
and the scalars `loss` of steps 0 to 3, value half the step; what follows from the damage is said by
hand, in four rules: a record that is not complete is waited for; a payload that fails its checksum
or is no event costs that record; a header that fails its checksum, or claims more than 256 MiB,
ends the file; nothing else is lost.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from support.event_files import header, records, scalar, version

PAYLOADS = (version(), *(scalar("loss", step, step / 2, 100 + step) for step in range(4)))
GOOD = records(*PAYLOADS)
#: Where each record begins, and where the last one ends.
STARTS = [len(records(*PAYLOADS[:count])) for count in range(len(PAYLOADS) + 1)]
#: The record that is damaged where damage is in the middle: that of step 1.
AT, BEHIND = STARTS[2], STARTS[3]
_PAYLOAD_AT, _FOOTER_AT = AT + 12, BEHIND - 4


class Damaged(NamedTuple):
    """A file and what is to come of it.

    `steps` are those read. `skipped` records were damaged, the first at `damage`. `broken` is where
    the file was given up. `offset` is where a reader stands at the end.
    """

    name: str
    data: bytes
    steps: list[int]
    offset: int
    skipped: int = 0
    damage: int | None = None
    broken: int | None = None


def damaged_files() -> Iterator[Damaged]:
    """Yield every file of the corpus, the same ones each time."""
    yield Damaged("whole", GOOD, [0, 1, 2, 3], len(GOOD))
    yield from _cut()
    yield from _flipped()
    yield from _lengths()
    yield from _payloads()
    yield from _tails()


def _cut() -> Iterator[Damaged]:
    for end in range(STARTS[-2], STARTS[-1]):
        name = f"cut {end - STARTS[-2]} bytes into the last record"
        yield Damaged(name, GOOD[:end], [0, 1, 2], STARTS[-2])


def _flipped() -> Iterator[Damaged]:
    for at in range(AT, BEHIND):
        for bit in (0, 3, 7):
            data = bytearray(GOOD)
            data[at] ^= 1 << bit
            if at < _PAYLOAD_AT:
                part = "length" if at < AT + 8 else "its checksum"
                name = f"bit {bit} of byte {at - AT} flipped in {part}"
                yield Damaged(name, bytes(data), [0], AT, broken=AT)
            else:
                part = "the payload" if at < _FOOTER_AT else "its checksum"
                name = f"bit {bit} of byte {at - AT} flipped in {part}"
                yield Damaged(name, bytes(data), [0, 2, 3], len(GOOD), 1, AT)


def _lengths() -> Iterator[Damaged]:
    for size in ((256 << 20) + 1, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1):
        data = GOOD + header(size) + b"x" * 50
        yield Damaged(f"claims {size} bytes", data, [0, 1, 2, 3], len(GOOD), broken=len(GOOD))
    for size in (51, 1 << 20, 256 << 20):
        data = GOOD + header(size) + b"x" * 50
        yield Damaged(f"waits for {size} bytes", data, [0, 1, 2, 3], len(GOOD))


def _payloads() -> Iterator[Damaged]:
    for name, payload in {
        "random bytes": random.Random(1).randbytes(40),
        "a field that ends too soon": b"\x09\x00\x00",
        "an endless varint": b"\x10" + b"\xff" * 12,
        "a length beyond the end": PAYLOADS[2][:-20],
        "a group that is never closed": b"\x0b",
        "field number 0": b"\x00\x00",
        "a tag that is not UTF-8 and half a value": (
            PAYLOADS[2].replace(b"loss", b"lo\xff\xfe")[:-2]
        ),
    }.items():
        data = GOOD[:AT] + records(payload) + GOOD[BEHIND:]
        yield Damaged(f"holds {name}", data, [0, 2, 3], len(data), 1, AT)
        data = GOOD[:AT] + records(payload, payload) + GOOD[AT:]
        yield Damaged(f"holds {name}, twice", data, [0, 1, 2, 3], len(data), 2, AT)
    data = GOOD[:AT] + records(b"") + GOOD[AT:]
    yield Damaged("holds an empty event", data, [0, 1, 2, 3], len(data))


def _tails() -> Iterator[Damaged]:
    for size in (1, 8, 11):
        yield Damaged(f"ends in {size} zeros", GOOD + bytes(size), [0, 1, 2, 3], len(GOOD))
    for size in (12, 16, 100, 4096):
        name = f"ends in {size} zeros"
        yield Damaged(name, GOOD + bytes(size), [0, 1, 2, 3], len(GOOD), broken=len(GOOD))
    for size in (12, 64, 5000):
        garbage = random.Random(size).randbytes(size)
        yield Damaged(
            f"ends in {size} bytes of garbage", GOOD + garbage, [0, 1, 2, 3], len(GOOD),
            broken=len(GOOD),
        )  # fmt: skip
    yield Damaged("goes on behind garbage", GOOD + b"?" * 40 + GOOD, [0, 1, 2, 3], len(GOOD),
                  broken=len(GOOD))  # fmt: skip
    yield Damaged("is two files in one", GOOD + GOOD, [0, 1, 2, 3] * 2, 2 * len(GOOD))
    yield Damaged("is empty", b"", [], 0)
    yield Damaged("is half a header", GOOD[:7], [], 0)
    yield Damaged("is half a first record", GOOD[:20], [], 0)
    yield Damaged("is no event file", b"step,loss\n" * 20, [], 0, broken=0)
    big_endian = struct.pack(">Q", len(PAYLOADS[0]))
    checksum = struct.pack("<I", masked_crc32c(big_endian))
    data = big_endian + checksum + GOOD[12:]
    yield Damaged("has its first length in another byte order", data, [], 0, broken=0)


def main(directory: Path) -> None:
    """Write the corpus, a file each in a directory of its name."""
    for each in damaged_files():
        path = directory / each.name.replace(" ", "-") / "events.out.tfevents.1.host"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
