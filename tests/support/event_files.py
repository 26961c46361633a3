"""Event files for tests, framed by TensorBoard's own writer rather than by the code under test."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

DT_FLOAT, DT_DOUBLE, DT_STRING = 1, 2, 7


def records(*payloads: bytes) -> bytes:
    """Return the bytes of a file with these records."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for payload in payloads:
        writer.write(payload)
    return file.getvalue()


def header(size: int) -> bytes:
    """Return a record's first 12 bytes, with the right checksum whatever the size."""
    length = struct.pack("<Q", size)
    return length + struct.pack("<I", masked_crc32c(length))


def version(wall_time: float = 1.0) -> bytes:
    return Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString()


def start(step: int) -> bytes:
    """Return the mark TensorFlow 1 writes where a session begins at `step`."""
    return Event(step=step, session_log=SessionLog(status=SessionLog.START)).SerializeToString()


def summary(step: int, wall_time: float, *values: Any) -> bytes:
    event = Event(step=step, wall_time=wall_time, summary=Summary(value=values))
    return event.SerializeToString()


def scalar(tag: str, step: int, value: float, wall_time: float = 1.5) -> bytes:
    return summary(step, wall_time, Summary.Value(tag=tag, simple_value=value))


def tensor(tag: str, proto: TensorProto, plugin: str | None = None) -> Any:
    """Return a tensor value; without `plugin` it has no metadata, as later values of a tag."""
    value = Summary.Value(tag=tag, tensor=proto)
    if plugin is not None:
        value.metadata.plugin_data.plugin_name = plugin
    return value


def scalars(count: int, tag: str = "loss") -> Iterable[bytes]:
    """Return payloads whose value is half their step, which float32 holds exactly."""
    return (scalar(tag, step, step / 2, 100 + step) for step in range(count))
