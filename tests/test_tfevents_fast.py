"""The fast ways of reading scalars against the plain reader: point for point, damage included."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import (
    DT_DOUBLE,
    DT_FLOAT,
    DT_STRING,
    header,
    records,
    scalar,
    start,
    summary,
    tensor,
    version,
)
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from guildlite.tfevents import EventDecoder, LogDir, RecordReader
from guildlite.tfevents import blocks as blocks_module
from guildlite.tfevents import logdir as logdir_module
from guildlite.tfevents.blocks import BlockDecoder
from guildlite.tfevents.columns import Batch
from guildlite.tfevents.plain import read_plainly
from guildlite.tfevents.record import frame
from guildlite.tfevents.templates import TemplateDecoder

GOLDEN = Path(__file__).parent / "golden" / "events"
FILES = sorted(GOLDEN.rglob("*tfevents*"))
Decoder = EventDecoder | TemplateDecoder


def said(batch: Batch, offset: int) -> tuple[object, ...]:
    """Return all that reading a stretch gave, bit by bit."""
    columns = [
        (tag, each.steps.tolist(), each.wall_times.tobytes(), each.values.tobytes())
        for tag, each in batch.columns.items()
    ]
    others = list(batch.others)
    return columns, batch.points, others, batch.skipped, batch.damage, batch.restart, offset


def plainly(data: bytes, decoder: Decoder) -> list[object]:
    """Return what every stretch gave, up to where a session starts or reading ends, and why."""
    reader, found = RecordReader(io.BytesIO(data)), []
    while True:
        start = reader.offset
        batch = read_plainly(reader, decoder, len(data), len(data))
        if reader.offset == start:
            break
        found.append(said(batch, reader.offset))
    return [*found, batch.framing and batch.framing.message, sorted(decoder.plugins.items())]


def by_blocks(data: bytes) -> list[object]:
    decoder, offset, found = TemplateDecoder(), 0, []
    blocks = BlockDecoder(decoder)
    while True:
        start, block = offset, data[offset:]
        batch, offset = blocks.decode(block, start, frame(block))
        if offset == start:
            break
        found.append(said(batch, offset))
    # What is left by the lengths is the plain reader's to judge.
    reader = RecordReader(io.BytesIO(data), offset)
    framing = read_plainly(reader, decoder, len(data), 1).framing
    return [*found, framing and framing.message, sorted(decoder.plugins.items())]


@pytest.fixture(autouse=True)
def few_records_are_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "_LEAST_RECORDS", 1)
    monkeypatch.setattr(blocks_module, "_LEAST_REPEATS", 0)


def check(data: bytes) -> None:
    expected = plainly(data, EventDecoder())
    assert plainly(data, TemplateDecoder()) == expected
    assert by_blocks(data) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_golden_files(path: Path):
    check(path.read_bytes())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_golden_files_need_protobuf_for_other_values_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    decoded: list[bytes] = []
    original = EventDecoder.decode

    def spy(self: EventDecoder, payload: bytes) -> list[object]:
        values = original(self, payload)
        if len(values) == 1 and hasattr(values[0], "value"):
            decoded.append(payload)
        return values

    monkeypatch.setattr(EventDecoder, "decode", spy)
    plainly(path.read_bytes(), TemplateDecoder())
    # bfloat16, and integers and halves in fields of their own, are left to protobuf.
    assert len(decoded) <= 4


# Streams of all forms --------------------------------------------------------------------------

STEPS = st.one_of(
    st.integers(0, 300), st.sampled_from([2**14, 2**35, 2**62, 2**63 - 1, -1, -(2**63)])
)
NUMBERS = st.floats(width=32)
#: `#` becomes a byte that is not UTF-8, so that two of these come out as one tag.
TAGS = st.sampled_from(
    ["loss", "acc", "a much longer tag", "größe", "", "t", "l#ss", "gr#ße", "##", "l\\xffss"]
)
PLUGINS = st.sampled_from([None, None, "scalars", "images", ""])


def number_proto(form: str, value: float) -> TensorProto:
    if form == "content":
        content = struct.pack("<f", value)
        shape = TensorShapeProto()
        return TensorProto(dtype=DT_FLOAT, tensor_content=content, tensor_shape=shape)
    if form == "float":
        return TensorProto(dtype=DT_FLOAT, float_val=[value])
    if form == "double":
        return TensorProto(dtype=DT_DOUBLE, double_val=[value])
    if form == "int32":
        return TensorProto(dtype=3, tensor_content=b"\xfe\xff\xff\xff")
    if form == "mismatch":
        return TensorProto(dtype=DT_FLOAT, double_val=[value])
    if form == "vector":
        return TensorProto(dtype=DT_FLOAT, tensor_content=b"12345678")
    if form == "one":
        dims = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        return TensorProto(dtype=DT_FLOAT, float_val=[value], tensor_shape=dims)
    return TensorProto(dtype=DT_STRING, string_val=[b"text"])


FORMS = st.sampled_from(
    ["content", "float", "double", "int32", "mismatch", "vector", "one", "text"]
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    return draw(plain_payloads()).replace(b"#", b"\xff")


@st.composite
def plain_payloads(draw: st.DrawFn) -> bytes:
    kind = draw(
        st.sampled_from(["simple", "simple", "tensor", "tensor", "two", "bytes", "mark", "start"])
    )
    step, wall_time = draw(STEPS), draw(st.floats(0, 2e9))
    tag = draw(TAGS)
    if kind == "simple":
        return scalar(tag, step, draw(NUMBERS), wall_time)
    if kind == "tensor":
        value = tensor(tag, number_proto(draw(FORMS), draw(NUMBERS)), draw(PLUGINS))
        if draw(st.integers(0, 9)) == 0:
            value.metadata.data_class = 1
            value.metadata.display_name = "shown"
        return summary(step, wall_time, value)
    if kind == "two":
        values = [Summary.Value(tag=tag, simple_value=draw(NUMBERS)) for _ in range(2)]
        return summary(step, wall_time, *values)
    if kind == "bytes":
        return draw(st.binary(max_size=40))
    if kind == "start":
        return start(step)
    return version(wall_time)


@settings(max_examples=200, deadline=None)
@given(st.lists(payloads(), max_size=25), st.integers(1, 4))
def test_any_stream(stream: list[bytes], repeat: int):
    check(records(*stream * repeat))


@settings(max_examples=150, deadline=None)
@given(st.lists(payloads(), min_size=1, max_size=8), st.data())
def test_any_damage(stream: list[bytes], data: st.DataObject):
    whole = bytearray(records(*stream * 3))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    check(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@settings(max_examples=100, deadline=None)
@given(st.lists(payloads(), max_size=20), st.lists(st.integers(0, 2000), max_size=4))
def test_blocks_cut_anywhere(stream: list[bytes], cuts: list[int]):
    data = records(*stream)
    decoder = TemplateDecoder()
    blocks = BlockDecoder(decoder)
    found: dict[str, list[object]] = {}
    at = 0
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        start = -1
        while at != start:  # a session that starts ends a stretch
            start, block = at, data[at:end]
            batch, at = blocks.decode(block, start, frame(block))
            for tag, columns in batch.columns.items():
                found.setdefault(tag, []).extend(columns)
    expected: dict[str, list[object]] = {}
    reader, plain = RecordReader(io.BytesIO(data)), EventDecoder()
    while reader.offset < len(data):
        batch = read_plainly(reader, plain, len(data), len(data))
        for tag, columns in batch.columns.items():
            expected.setdefault(tag, []).extend(columns)
    assert repr(found) == repr(expected)


# Damage, one kind at a time ----------------------------------------------------------------------


def tf2(step: int, tag: str = "loss") -> bytes:
    return summary(step, 1.5, tensor(tag, number_proto("content", step / 2), "scalars"))


GOOD = [version(), *(scalar("loss", step, step / 2) for step in range(40))]


@pytest.mark.parametrize("make", [lambda step: scalar("loss", step, step / 2), tf2])
def test_every_flipped_bit_of_a_record_among_others(make: Callable[[int], bytes]):
    data = records(*(make(step) for step in range(120, 136)))
    start, end = len(records(make(120))), len(records(make(120), make(121)))
    for bit in range(start * 8, end * 8, 3):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        check(bytes(damaged))


@pytest.mark.parametrize(
    "tail",
    [
        bytes(64),
        b"garbage, and more of it" * 20,
        header(2**40) + b"x" * 100,
        header(2**63) + b"x" * 100,
        header(30) + b"x" * 10,
        records(scalar("loss", 1, 0.5).replace(b"loss", b"lo\xff\xfe")) * 3,
    ],
    ids=["zeros", "garbage", "1 TiB", "2^63", "cut", "not UTF-8"],
)
def test_tails(tail: bytes):
    check(records(*GOOD) + tail)
    check(records(*GOOD) + tail + records(*GOOD))


def test_a_tag_claimed_by_another_plugin_between():
    image = summary(0, 1.5, tensor("loss", number_proto("text", 0.0), "images"))
    check(records(image, *(tf2(step) for step in range(20))))
    check(records(tf2(1), image, *(tf2(step) for step in range(20))))


def test_metadata_on_the_first_value_only():
    later = [summary(step, 1.5, tensor("loss", number_proto("content", 0.5))) for step in range(20)]
    check(records(*later, tf2(1), *later))


def test_many_tags(monkeypatch: pytest.MonkeyPatch):
    data = records(*(scalar(f"tag/{index}", 7, index) for index in range(3000)))
    check(data)
    monkeypatch.setattr(blocks_module, "_LEAST_REPEATS", 4)
    check(data)


# From the log directory ----------------------------------------------------------------------


def look(path: Path, cursors: Iterable[object] = ()) -> list[logdir_module.Chunk]:
    return list(LogDir(path, cursors).look())  # type: ignore[arg-type]


def test_large_files_are_read_by_blocks_and_go_on_from_any_cursor(tmp_path: Path):
    count = 50_000
    payloads = [scalar("loss", step, step / 2, 100 + step) for step in range(count)]
    (tmp_path / "tfevents").write_bytes(records(version(), *payloads) + b"tail")
    chunks = look(tmp_path)
    assert len(chunks) > 1
    assert [value.step for chunk in chunks for value in chunk.scalars] == list(range(count))
    assert [value.value for chunk in chunks for value in chunk.scalars][-1] == (count - 1) / 2
    again = [value.step for chunk in look(tmp_path, [chunks[0].cursor]) for value in chunk.scalars]
    assert again == list(range(len(chunks[0].columns["loss"]), count))


def test_small_reads_import_neither_protobuf_nor_numpy(tmp_path: Path):
    payloads = [scalar("loss", step, 0.5) for step in range(1000)] + [
        tf2(step) for step in range(9)
    ]
    (tmp_path / "tfevents").write_bytes(records(version(), *payloads))
    script = (
        "import sys; from guildlite.tfevents import LogDir;"
        "count = sum(1 for chunk in LogDir(sys.argv[1]).look() for _ in chunk.scalars);"
        "heavy = [name for name in ('numpy', 'google.protobuf') if name in sys.modules];"
        "print(count, heavy)"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environ, capture_output=True, text=True
    )
    assert done.stdout == "1009 []\n", done.stderr
