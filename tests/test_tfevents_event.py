"""Decoding: scalars in every form and type, everything else by kind."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_files import DT_DOUBLE, DT_FLOAT, DT_STRING, scalar, summary, tensor, version
from tensorboard.compat.proto.event_pb2 import Event, SessionLog, TaggedRunMetadata
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from guildlite.tfevents import (
    EventDecoder,
    OtherValue,
    ScalarValue,
    SessionStart,
    UnreadableEvent,
)


def shape(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def values(*found: object) -> list[object]:
    return named(EventDecoder().decode(summary(3, 2.5, *found)))


def named(found: list[ScalarValue | OtherValue]) -> list[object]:
    """Return values that are no scalars by tag, plugin and kind alone."""
    return [OtherValue(*each[:3]) if isinstance(each, OtherValue) else each for each in found]


def number(proto: TensorProto) -> float | None:
    (found,) = values(tensor("t", proto, "scalars"))
    return found.value if isinstance(found, ScalarValue) else None


def test_a_simple_value():
    assert EventDecoder().decode(scalar("loss", 2**40, 0.25, 7.125)) == [
        ScalarValue("loss", 2**40, 7.125, 0.25)
    ]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_pass(value: float):
    assert EventDecoder().decode(scalar("loss", -5, value)) == [ScalarValue("loss", -5, 1.5, value)]


def test_nan_passes():
    (found,) = EventDecoder().decode(scalar("loss", 0, math.nan))
    assert isinstance(found, ScalarValue) and math.isnan(found.value)


# Bytes and bit patterns by IEEE 754 and two's complement, written out by hand.
@pytest.mark.parametrize(
    ("dtype", "content", "fields", "expected"),
    [
        (1, "0000a040", {"float_val": [5.0]}, 5.0),
        (2, "9a9999999999b93f", {"double_val": [0.1]}, 0.1),
        (3, "feffffff", {"int_val": [-2]}, -2.0),
        (4, "ff", {"int_val": [255]}, 255.0),
        (5, "feff", {"int_val": [-2]}, -2.0),
        (6, "fe", {"int_val": [-2]}, -2.0),
        (9, "feffffffffffffff", {"int64_val": [-2]}, -2.0),
        (10, "01", {"bool_val": [True]}, 1.0),
        (14, "a840", {"half_val": [0x40A8]}, 5.25),
        (17, "ffff", {"int_val": [65535]}, 65535.0),
        (19, "4045", {"half_val": [0x4540]}, 5.25),
        (22, "ffffffff", {"uint32_val": [2**32 - 1]}, 4294967295.0),
        (23, "0000000000000080", {"uint64_val": [2**63]}, 2.0**63),
    ],
)
def test_tensor_types(dtype: int, content: str, fields: dict[str, list[float]], expected: float):
    assert number(TensorProto(dtype=dtype, tensor_content=bytes.fromhex(content))) == expected
    assert number(TensorProto(dtype=dtype, **fields)) == expected


def test_one_element_of_any_rank_is_a_number():
    assert number(TensorProto(dtype=1, tensor_shape=shape(1, 1), float_val=[2.0])) == 2.0


def test_neither_content_nor_values_is_zero():
    assert number(TensorProto(dtype=DT_FLOAT)) == 0.0


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=DT_FLOAT, tensor_shape=shape(2), float_val=[1.0, 2.0]),
        TensorProto(dtype=DT_FLOAT, tensor_shape=shape(0)),
        TensorProto(dtype=DT_FLOAT, float_val=[1.0, 2.0]),
        TensorProto(dtype=DT_FLOAT, tensor_content=b"123"),
        TensorProto(dtype=DT_STRING, string_val=[b"1.0"]),
        TensorProto(dtype=0, float_val=[1.0]),
        TensorProto(dtype=8, scomplex_val=[1.0, 2.0]),
        TensorProto(dtype=9999),
    ],
)
def test_what_is_not_one_number_is_counted_as_other(proto: TensorProto):
    assert values(tensor("t", proto, "scalars")) == [OtherValue("t", "scalars", "other")]


def test_the_plugin_is_remembered_and_handed_on():
    first = EventDecoder()
    first.decode(summary(0, 1.0, tensor("t", TensorProto(dtype=DT_DOUBLE), "scalars")))
    later = summary(1, 2.0, tensor("t", TensorProto(dtype=DT_DOUBLE, double_val=[0.1])))
    expected = [ScalarValue("t", 1, 2.0, 0.1)]
    assert first.decode(later) == expected
    assert EventDecoder(first.plugins).decode(later) == expected
    assert named(EventDecoder().decode(later)) == [OtherValue("t", "", "other")]


def test_the_data_class_scalar_is_enough():
    value = tensor("t", TensorProto(dtype=DT_FLOAT, float_val=[2.0]), "my_plugin")
    value.metadata.data_class = 1
    assert values(value) == [ScalarValue("t", 3, 2.5, 2.0)]


@pytest.mark.parametrize(
    ("plugin", "kind"),
    [
        ("images", "image"),
        ("audio", "audio"),
        ("text", "text"),
        ("histograms", "histogram"),
        ("pr_curves", "pr_curve"),
        ("mesh", "mesh"),
        ("hparams", "hparams"),
        ("custom_scalars", "layout"),
        ("graph_keras_model", "graph"),
        ("somebody's", "other"),
    ],
)
def test_kinds_by_plugin(plugin: str, kind: str):
    proto = TensorProto(dtype=DT_STRING, string_val=[b""])
    assert values(tensor("t", proto, plugin)) == [OtherValue("t", plugin, kind)]


def test_kinds_by_field():
    assert values(
        Summary.Value(tag="i", image=Summary.Image(height=1)),
        Summary.Value(tag="a", audio=Summary.Audio()),
        Summary.Value(tag="empty"),
    ) == [
        OtherValue("i", "images", "image"),
        OtherValue("a", "audio", "audio"),
        OtherValue("empty", "", "other"),
    ]


def test_graphs_and_marks():
    decoder = EventDecoder()
    assert decoder.decode(version()) == []
    start, stop = (Event(step=7, session_log=SessionLog(status=each)) for each in (1, 2))
    assert decoder.decode(start.SerializeToString()) == [SessionStart(7)]
    assert decoder.decode(stop.SerializeToString()) == []
    assert decoder.decode(Event(graph_def=b"x").SerializeToString()) == [
        OtherValue("", "graphs", "graph")
    ]


def test_a_tag_that_is_not_utf8_is_spelt_out():
    payload = scalar("loss", 1, 0.5).replace(b"loss", b"lo\xff\xe9")
    assert EventDecoder().decode(payload) == [ScalarValue("lo\\xff\\xe9", 1, 1.5, 0.5)]


def test_other_text_that_is_not_utf8_keeps_no_value_from_being_read():
    value = tensor("hist", TensorProto(dtype=DT_FLOAT, float_val=[1, 2]), "name")
    value.metadata.display_name, value.metadata.summary_description = "shown", "told"
    value.node_name = "node"
    payload = summary(3, 1.5, value, Summary.Value(tag="loss", simple_value=0.5))
    for text in (b"name", b"shown", b"told", b"node"):
        payload = payload.replace(text, b"\xe9" * len(text))
    found, number = EventDecoder().decode(payload)
    assert (found.tag, found.plugin) == ("hist", "\\xe9" * 4)
    assert number == ScalarValue("loss", 3, 1.5, 0.5)
    mark = Event(tagged_run_metadata=TaggedRunMetadata(tag="step", run_metadata=b"\xff"))
    (graph,) = EventDecoder().decode(mark.SerializeToString().replace(b"step", b"st\xffp"))
    assert (graph.tag, graph.kind) == ("st\\xffp", "graph")


@given(st.binary(max_size=60), st.integers(0, 60))
def test_what_is_no_event_stays_unreadable(data: bytes, at: int):
    payload = scalar("loss", 1, 0.5).replace(b"loss", b"lo\xff\xfe")
    with contextlib.suppress(UnreadableEvent):
        EventDecoder().decode(payload[:at] + data + payload[at:])


def test_what_is_no_event_is_unreadable():
    cut = scalar("loss", 1, 0.5).replace(b"loss", b"lo\xff\xfe")[:-3]
    for payload in (cut, b"\xff" * 20, scalar("loss", 1, 0.5)[:-3]):
        with pytest.raises(UnreadableEvent):
            EventDecoder().decode(payload)


def test_importing_the_package_costs_no_protobuf():
    code = (
        "import sys, guildlite.tfevents as t; t.LogDir; "
        "print(*{'google.protobuf', 'tensorboard', 'numpy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
