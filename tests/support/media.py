"""Runs with images, text, audio and histograms, in event files framed by TensorBoard's writer."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from guildlite.collect.events import EventFiles
from guildlite.runs import Run
from guildlite.runs.db import RunDb
from support.event_files import DT_DOUBLE, DT_STRING, records, summary, tensor, version

#: Seconds since the epoch of all values.
AT = 1_795_196_710.0


def png(shade: int, width: int = 4, height: int = 4) -> bytes:
    """Return a grey PNG of one shade."""

    def chunk(name: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + sum_

    rows = (b"\0" + bytes([shade]) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def wav(seconds: float = 0.25, rate: int = 8000) -> bytes:
    """Return silence in 16 bits."""
    data = b"\0\0" * round(seconds * rate)
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    size = struct.pack("<I", 28 + len(data) + 8)
    parts = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data))
    return b"RIFF" + size + parts + data


def strings(tag: str, plugin: str, values: Sequence[bytes], shape: Sequence[int] = ()) -> Any:
    """Return a value that is a tensor of byte strings."""
    dims = [TensorShapeProto.Dim(size=size) for size in shape or [len(values)]]
    proto = TensorProto(dtype=DT_STRING, string_val=values, tensor_shape=TensorShapeProto(dim=dims))
    return tensor(tag, proto, plugin)


def images(tag: str, *pictures: bytes) -> Any:
    return strings(tag, "images", [b"4", b"4", *pictures])


def text(tag: str, words: str) -> Any:
    return strings(tag, "text", [words.encode()])


def histogram(tag: str, buckets: Sequence[tuple[float, float, float]]) -> Any:
    dims = [TensorShapeProto.Dim(size=len(buckets)), TensorShapeProto.Dim(size=3)]
    numbers = [number for bucket in buckets for number in bucket]
    proto = TensorProto(
        dtype=DT_DOUBLE, double_val=numbers, tensor_shape=TensorShapeProto(dim=dims)
    )
    return tensor(tag, proto, "histograms")


def write_media(run: Run, *values: tuple[int, Any], name: str = "1") -> None:
    """Write (step, value) into an event file of the run, and record them."""
    payloads = [summary(step, AT + step, value) for step, value in values]
    path = run.path / f"events.out.tfevents.{name}.host"
    path.write_bytes(records(version(), *payloads))
    collect_media(run)


def collect_media(run: Run) -> None:
    """Record what is new in the event files of a run."""
    with RunDb(run.paths.db) as db:
        for reading in EventFiles(run.path, db.cursors()).sample(final=True):
            db.write([reading])
