"""What an independent reader finds in an event file: TensorBoard's own, which tbparse is built on.

Nothing is sampled away, and tensors are read too: TensorFlow 2 writes its scalars as tensors, which
`SummaryReader(...).scalars` of tbparse leaves out. The reader stops at the first damaged record and
cannot be told where to end, so where that matters it is given a copy of the records that are whole,
with tags that are not UTF-8, which it cannot read, spelt out.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from guildlite.tfevents import BadFraming, BadPayload, Columns, RecordReader, open_regular
from guildlite.tfevents.repair import repair_event

_NAN = float("nan")
#: A kind of reading in which no reservoir is smaller than what is put into it.
_EVERYTHING = dict.fromkeys(
    ("compressedHistograms", "images", "audio", "scalars", "histograms", "tensors"), 0
)
_COPIED_AT_ONCE = 1 << 20
#: Where a session begins or ends: field 7 of an event, behind wall time and step.
_SESSION_LOG = 0x3A
_VERSION = 0x1A


@dataclass(slots=True)
class Survey:
    """Where the whole records of a file are, up to some byte.

    `spans` are stretches of records without damage, as (start, end); `damage` says what lies
    between and behind them. `respelt` has the records whose text is not UTF-8, as TensorBoard can
    read them, by offset; each is a span of its own. `restarts` tells that TensorBoard may drop
    earlier points of the file.
    """

    spans: list[tuple[int, int]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    respelt: dict[int, bytes] = field(default_factory=dict)
    restarts: bool = False


@dataclass(slots=True)
class Found:
    """What the independent reader gave, by tag.

    `scalars` are in file order, except for the tags in `mixed`, which were written in both forms,
    one after the other here. `unknown` counts the scalars whose type it cannot decode. `media`
    counts the other values; `stated` are tags without any value that it can count. `has_graph`
    tells of graphs outside of tags.
    """

    scalars: dict[str, Columns] = field(default_factory=dict)
    mixed: set[str] = field(default_factory=set)
    unknown: dict[str, int] = field(default_factory=dict)
    media: dict[str, int] = field(default_factory=dict)
    stated: set[str] = field(default_factory=set)
    has_graph: bool = False


def survey(path: str, end: int, *, decode: bool = False) -> Survey:
    """Walk over the records that begin before `end`, verifying both checksums.

    With `decode`, a record that is no event counts as damaged. Raises OSError.
    """
    found = Survey()
    start = 0
    with open_regular(path) as file:
        reader = RecordReader(file)
        while (at := reader.offset) < end:
            try:
                payload = reader.read()
                if payload is None:
                    break
                reason = _why_no_event(payload) if decode else ""
                respelt = repair_event(payload) if reason else None
                if respelt is not None and not _why_no_event(respelt):
                    _add_span(found.spans, start, at)
                    _add_span(found.spans, at, reader.offset)
                    found.respelt[at], start, reason = respelt, reader.offset, ""
            except BadPayload as error:
                reason, payload = error.reason, b""
            except BadFraming as error:
                found.damage.append(error.message)
                break
            if reason:
                found.damage.append(f"damaged record at byte {at}: {reason}")
                _add_span(found.spans, start, at)
                start = reader.offset
            elif at == 0 and _field(payload) != _VERSION:
                found.restarts = True  # then it takes any step that goes back for a restart
            elif _field(payload) == _SESSION_LOG:
                found.restarts = True
        _add_span(found.spans, start, reader.offset)
    return found


def _add_span(spans: list[tuple[int, int]], start: int, end: int) -> None:
    if end > start:
        spans.append((start, end))


def _why_no_event(payload: bytes) -> str:
    from tensorboard.compat.proto.event_pb2 import Event

    try:
        Event.FromString(payload)
    except Exception as error:  # DecodeError; protobuf in pure Python raises others as well
        return f"not an event: {error}"
    return ""


def _field(payload: bytes) -> int:
    """Return the key of an event's first field behind wall time and step, 0 if there is none."""
    at = 9 if payload[:1] == b"\x09" else 0
    if payload[at : at + 1] == b"\x10":
        at += 1
        while payload[at : at + 1] >= b"\x80":
            at += 1
        at += 1
    return payload[at] if at < len(payload) else 0


@contextmanager
def whole_records(path: str, surveyed: Survey) -> Iterator[str]:
    """Yield the path of a file that has just these records: the file itself if that is all of it.

    A file whose path is not UTF-8, which TensorBoard cannot open, comes by another one. Raises
    OSError.
    """
    is_whole = surveyed.spans == [(0, os.stat(path).st_size)]
    if is_whole and _is_utf8(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="gl-verify-") as directory:
        copy = Path(directory, "events.out.tfevents.copy")
        if is_whole:
            copy.symlink_to(os.path.abspath(path))
            yield str(copy)
            return
        with open_regular(path) as file, copy.open("wb") as out:
            for start, end in surveyed.spans:
                if start in surveyed.respelt:
                    out.write(_framed(surveyed.respelt[start]))
                    continue
                file.seek(start)
                while start < end and (data := file.read(min(_COPIED_AT_ONCE, end - start))):
                    out.write(data)
                    start += len(data)
        yield str(copy)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _framed(payload: bytes) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    RecordWriter(file).write(payload)
    return file.getvalue()


class NotReadable(Exception):
    """The independent reader gave up on a file."""


def use_own_reader() -> None:
    """Have TensorBoard read by itself, as it does where TensorFlow is not installed.

    TensorFlow's reader takes seconds to import, writes to the terminal, and at some damaged files
    it ends the whole process. The module named here is TensorBoard's own switch for that.
    """
    name = "tensorboard.compat.notf"
    sys.modules.setdefault(name, ModuleType(name))


def read(path: str, *, purge: bool = False) -> Found:
    """Return what the independent reader finds in a file, or in the files of a directory.

    With `purge` it drops what it takes for written before a crash. Raises `NotReadable`.
    """
    use_own_reader()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with _quietly():
        accumulator = EventAccumulator(path, _EVERYTHING, purge_orphaned_data=purge)
        try:
            accumulator.Reload()
        except Exception as error:  # whatever a record does to it
            raise NotReadable(" ".join(str(error).split())) from error
    tags = accumulator.Tags()
    found = Found(has_graph=bool(tags["graph"] or tags["meta_graph"]))
    for tag in tags["scalars"]:
        found.scalars[tag] = columns = Columns()
        for event in accumulator.Scalars(tag):
            columns.append(event.step, event.wall_time, event.value)
    for kind, items in (
        ("images", accumulator.Images),
        ("audio", accumulator.Audio),
        ("histograms", accumulator.Histograms),
    ):
        for tag in tags[kind]:
            found.media[tag] = found.media.get(tag, 0) + len(items(tag))
    for tag in tags["tensors"]:
        _take_tensors(found, tag, accumulator)
    found.stated = {*accumulator.summary_metadata, *tags["run_metadata"]}
    return found


def _take_tensors(found: Found, tag: str, accumulator: Any) -> None:
    metadata = accumulator.summary_metadata.get(tag)
    events = accumulator.Tensors(tag)
    is_scalar = metadata is not None and (
        metadata.plugin_data.plugin_name == "scalars" or metadata.data_class == 1
    )
    if not is_scalar:
        found.media[tag] = found.media.get(tag, 0) + len(events)
        return
    if tag in found.scalars:
        found.mixed.add(tag)
    columns = found.scalars.setdefault(tag, Columns())
    for event in events:
        value = _number(event.tensor_proto)
        if isinstance(value, float):
            columns.append(event.step, event.wall_time, value)
        elif value is None:
            found.unknown[tag] = found.unknown.get(tag, 0) + 1
        else:  # several numbers, which no scalar has
            found.media[tag] = found.media.get(tag, 0) + 1


def _number(proto: Any) -> float | int | None:
    """Return the number in a tensor; how many there are if not one; None for an unknown type."""
    from tbparse.tensorflow_stub import make_ndarray

    try:
        values = make_ndarray(proto)
        return float(values.item()) if values.size == 1 else int(values.size)
    except Exception:  # numpy has no such type, or the tensor is malformed
        return None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep TensorBoard's warnings (two graphs, purged points) off the terminal."""
    logger = logging.getLogger("tensorboard")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
