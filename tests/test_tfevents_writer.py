"""Event files we write, as TensorBoard's own readers and protobuf see them."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import DT_DOUBLE, records
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.util.tensor_util import make_ndarray

from guildlite.tfevents.writer import EventWriter, are_floats, overflow_floats

EVERYTHING = {"scalars": 0, "tensors": 0}
Points = list[tuple[int, float, float]]

tags = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
steps = st.integers(-(2**63), 2**63 - 1)
moments = st.floats(allow_nan=False)
doubles = st.lists(st.tuples(steps, moments, st.floats()), max_size=5)
floats = st.lists(st.tuples(steps, moments, st.floats(width=32)), max_size=5)


def written(tag: str, points: Points, *, double: bool = False) -> bytes:
    file = io.BytesIO()
    writer = EventWriter(file, 12.5)
    # In two calls, as a series that is written piece by piece.
    writer.write_scalars(tag, points[:2], double=double)
    writer.write_scalars(tag, points[2:], double=double)
    return file.getvalue()


def bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


def comparable(points: Points) -> list[tuple[int, float, bytes]]:
    return [(step, moment, bits(value)) for step, moment, value in points]


@settings(max_examples=200, deadline=None)
@given(tags, floats)
def test_floats_are_the_bytes_that_protobuf_and_tensorboard_write(tag: str, points: Points) -> None:
    events = [Event(wall_time=12.5, file_version="brain.Event:2")]
    for step, moment, value in points:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        events.append(Event(wall_time=moment, step=step, summary=summary))
    ours = written(tag, points)
    # Of a NaN only the one that Python makes is written, so these are compared as values below.
    if not any(math.isnan(value) for _, _, value in points):
        assert decoded(ours) == events
    assert len(ours) == len(records(*(padded(event) for event in events)))


def padded(event: Event) -> bytes:
    """Return an event with wall time and step also where protobuf leaves out a zero."""
    payload = event.SerializeToString()
    missing = 9 * (payload[:1] != b"\x09")
    missing += 2 * (event.step == 0 and event.WhichOneof("what") == "summary")
    # An empty tag is left out as well.
    missing += 2 * (event.WhichOneof("what") == "summary" and not event.summary.value[0].tag)
    return bytes(payload) + bytes(missing)


def decoded(data: bytes) -> list[Event]:
    """Return the events of a file, framed by the lengths alone."""
    events, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        events.append(Event.FromString(data[at + 12 : at + 12 + size]))
        at += size + 16
    return events


@settings(max_examples=100, deadline=None)
@given(tags, doubles)
def test_doubles_are_scalar_tensors_that_say_so_once(tag: str, points: Points) -> None:
    _, *events = decoded(written(tag, points, double=True))
    values = [event.summary.value[0] for event in events]
    assert comparable(points) == [
        (event.step, event.wall_time, bits(make_ndarray(value.tensor).item()))
        for event, value in zip(events, values, strict=True)
    ]
    for nth, value in enumerate(values):
        tensor = TensorProto(dtype=DT_DOUBLE, tensor_shape=TensorShapeProto())
        tensor.double_val.extend(value.tensor.double_val)
        assert value.tensor == tensor and value.tag == tag
        assert value.HasField("metadata") == (nth == 0)
    if values:
        assert values[0].metadata.data_class == DATA_CLASS_SCALAR
        assert values[0].metadata.plugin_data.plugin_name == "scalars"


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(tags.filter(bool), floats.filter(bool), max_size=4))
def test_tensorboard_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, series: dict[str, Points]
) -> None:
    path = tmp_path_factory.mktemp("written") / "events.out.tfevents.1.host"
    with path.open("wb") as file:
        writer = EventWriter(file)
        for tag, points in series.items():
            writer.write_scalars(tag, points)
    found = EventAccumulator(str(path), EVERYTHING).Reload()
    assert found.file_version == 2.0
    assert {tag: comparable(points) for tag, points in series.items()} == {
        tag: comparable([(e.step, e.wall_time, e.value) for e in found.Scalars(tag)])
        for tag in found.Tags()["scalars"]
    }


def test_events_are_framed_as_tensorboard_frames_them() -> None:
    payloads = [b"", b"x", bytes(range(256)) * 40]
    file = io.BytesIO()
    writer = EventWriter(file, 3.0)
    for payload in payloads:
        writer.write_event(payload)
    version = Event(wall_time=3.0, file_version="brain.Event:2").SerializeToString()
    assert file.getvalue() == records(version, *payloads)


def test_what_floats_cannot_hold_becomes_infinite_and_is_known_before() -> None:
    (_, low, high) = decoded(written("x", [(0, 0.0, -1e300), (1, 0.0, 1e39)]))
    assert low.summary.value[0].simple_value == -math.inf
    assert high.summary.value[0].simple_value == math.inf
    assert overflow_floats([0.1, 1e39]) and overflow_floats([-1e300])
    assert not overflow_floats([0.1, math.inf, -math.inf, math.nan, 3.4028234663852886e38])


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        ([], True),
        ([0.5, -0.0, math.nan, math.inf, -math.inf, 2.0**-149], True),
        ([0.1], False),
        ([0.5, 1e300], False),
        ([2.0**24 + 1], False),
    ],
)
def test_values_that_floats_hold_are_told_from_others(values: list[float], exact: bool) -> None:
    assert are_floats(values) is exact


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_errors_of_the_file_come_through() -> None:
    with pytest.raises(OSError), open("/dev/full", "wb", buffering=0) as file:
        EventWriter(file)
