"""However a file grows and whoever goes on reading it: the same rows. And what a reader needs."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import DT_FLOAT, header, records, scalar, summary, tensor, version
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from guildlite.tfevents import Chunk, Cursor, EventDecoder, LogDir, RecordReader
from guildlite.tfevents import blocks as blocks_module
from guildlite.tfevents import logdir as logdir_module
from guildlite.tfevents.blocks import BlockDecoder
from guildlite.tfevents.plain import read_plainly
from guildlite.tfevents.record import frame
from guildlite.tfevents.templates import TemplateDecoder

ROOT = Path(__file__).parents[1]

TAGS = st.sampled_from(["loss", "損失", "потеря", "خسارة", "🙂", "a\0b", "", "e\u0301", "x" * 200])
STEPS = st.one_of(st.integers(0, 300), st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, -1, -(2**63)]))
#: Clocks that stand, jump back and ahead, or are no clocks.
MOMENTS = st.sampled_from([0.0, 1.7e9, 1.7e9 - 86_400, 4e9, -1.0, 1e300, math.inf])


def tf2(tag: str, step: int, value: float, wall_time: float, plugin: str | None) -> bytes:
    proto = TensorProto(dtype=DT_FLOAT, tensor_content=struct.pack("<f", value))
    proto.tensor_shape.CopyFrom(TensorShapeProto())
    return summary(step, wall_time, tensor(tag, proto, plugin))


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["simple", "simple", "tf2", "later", "images", "image", "bytes"]))
    tag, step, moment = draw(TAGS), draw(STEPS), draw(MOMENTS)
    number = draw(st.floats(width=32))
    if kind == "simple":
        return scalar(tag, step, number, moment)
    if kind == "bytes":
        return draw(st.binary(max_size=30))
    if kind == "image":
        image = Summary.Image(encoded_image_string=b"png")
        return summary(step, moment, Summary.Value(tag=tag, image=image))
    plugin = {"tf2": "scalars", "later": None, "images": "images"}[kind]
    return tf2(tag, step, number, moment, plugin)


TAILS = st.sampled_from([b"", b"", b"half", bytes(40), header(2**40) + b"x", header(60) + b"x"])


class Rows:
    """All that chunks gave, in a form that can be compared."""

    def __init__(self) -> None:
        self.scalars: dict[str, list[bytes]] = {}
        self.others: list[object] = []
        self.cursor: Cursor | None = None
        self.notices: list[str] = []

    def take(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            for tag, columns in chunk.columns.items():
                rows = [struct.pack("<qdd", *row) for row in columns]
                self.scalars.setdefault(tag, []).extend(rows)
            self.others += [value[:6] for value in chunk.others]
            self.notices += chunk.notices
            self.cursor = chunk.cursor

    def said(self) -> object:
        state = {} if self.cursor is None else dict(self.cursor.state)
        plugins = state.pop("plugins", {})
        assert isinstance(plugins, dict)
        known = {plugin: sorted(tags) for plugin, tags in plugins.items()}
        end = self.cursor and (self.cursor.offset, self.cursor.error)
        return self.scalars, self.others, self.notices, known, state, end


def stored(cursor: Cursor | None) -> list[Cursor]:
    """Return the cursor as it comes back from a database."""
    if cursor is None:
        return []
    state = json.loads(json.dumps(cursor.state))
    return [Cursor(cursor.path, cursor.digest, cursor.offset, state, cursor.error)]


def all_at_once(directory: Path, data: bytes) -> Rows:
    (directory / "tfevents").write_bytes(data)
    rows = Rows()
    rows.take(LogDir(directory).look())
    return rows


def plainly(data: bytes) -> tuple[dict[str, list[bytes]], int, int]:
    """Return scalars, number of other values and of damaged records, by the plain reader."""
    reader, decoder = RecordReader(io.BytesIO(data)), EventDecoder()
    found: dict[str, list[bytes]] = {}
    others = skipped = 0
    while True:
        before = reader.offset
        batch = read_plainly(reader, decoder, len(data), 10**6)
        for tag, columns in batch.columns.items():
            found.setdefault(tag, []).extend(struct.pack("<qdd", *row) for row in columns)
        others, skipped = others + len(batch.others), skipped + batch.skipped
        if reader.offset == before or batch.framing is not None:
            return found, others, skipped


@settings(max_examples=120, deadline=None)
@given(st.lists(payloads(), max_size=20), TAILS, st.data())
def test_any_slices_and_any_restarts_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    stream: list[bytes],
    tail: bytes,
    data: st.DataObject,
) -> None:
    whole = records(version(), *stream) + tail
    expected = all_at_once(tmp_path_factory.mktemp("whole"), whole)
    by_hand = plainly(whole)
    assert expected.scalars == by_hand[0] and len(expected.others) == by_hand[1]

    directory = tmp_path_factory.mktemp("sliced")
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
    restarts = data.draw(st.lists(st.booleans(), min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    logdir, rows, at = LogDir(directory), Rows(), 0
    for end, restart in zip([*sorted(cuts), len(whole)], restarts, strict=True):
        with open(directory / "tfevents", "ab") as file:
            file.write(whole[at:end])
        if restart:
            logdir = LogDir(directory, stored(rows.cursor))
        rows.take(logdir.look())
        at = end
    assert rows.said() == expected.said()


@settings(max_examples=60, deadline=None)
@given(st.lists(payloads(), min_size=1, max_size=30), st.integers(1, 5))
def test_any_cursor_continues(
    tmp_path_factory: pytest.TempPathFactory, stream: list[bytes], most: int
) -> None:
    directory = tmp_path_factory.mktemp("cursors")
    expected = all_at_once(directory, records(version(), *stream))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logdir_module, "MOST_POINTS", most)
        rows = Rows()
        while chunk := next(iter(LogDir(directory, stored(rows.cursor)).look()), None):
            rows.take([chunk])
    assert rows.said() == expected.said()


@settings(max_examples=150, deadline=None)
@given(st.lists(payloads(), max_size=25), st.integers(1, 4), st.data())
def test_templates_for_any_tag_give_what_the_plain_reader_gives(
    stream: list[bytes], repeat: int, data: st.DataObject
) -> None:
    whole = bytearray(records(version(), *stream * repeat))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    original = blocks_module._Fast._learn

    def learn(fast: object, shape: object, rows: object, numbers: object) -> bool:
        return shape.open and original(fast, shape, rows, numbers)  # type: ignore

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module._Fast, "_learn", learn)
        patch.setattr(blocks_module, "_LEAST_RECORDS", 1)
        patch.setattr(blocks_module, "_LEAST_REPEATS", 0)
        decoder = TemplateDecoder()
        blocks, offset = BlockDecoder(decoder), 0
        found: dict[str, list[bytes]] = {}
        others = skipped = 0
        while True:
            block, before = bytes(whole[offset:]), offset
            batch, offset = blocks.decode(block, offset, frame(block))
            for tag, columns in batch.columns.items():
                found.setdefault(tag, []).extend(struct.pack("<qdd", *row) for row in columns)
            others, skipped = others + len(batch.others), skipped + batch.skipped
            if offset == before or batch.framing is not None:
                break
    assert (found, others, skipped) == plainly(bytes(whole))


# Many tags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["torch", "tf2"])
def test_a_block_of_different_tags_is_read_in_columns(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 6000
    moments = [1.7e9, 1.7e9 - 3600]  # the clock was set back

    def write(tag: str, step: int) -> bytes:
        if form == "torch":
            return scalar(tag, step, step / 2, moments[step])
        return tf2(tag, step, step / 2, moments[step], "scalars")

    tags = [f"Schicht/{number}/größe" for number in range(count)]
    stream = [write(tag, step) for step in range(2) for tag in tags]
    bad = scalar("lossy", 1, 0.5)[:-2]
    (tmp_path / "tfevents").write_bytes(records(version(), *stream, bad))
    monkeypatch.setattr(logdir_module, "CATCH_UP_BYTES", 0)
    monkeypatch.setattr(logdir_module, "_LOADED_BYTES", 0)
    taken: list[int] = []
    original = blocks_module._Slow.take

    def take(slow: object, index: int, start: int) -> bool:
        taken.append(index)
        return original(slow, index, start)  # type: ignore

    monkeypatch.setattr(blocks_module._Slow, "take", take)
    rows = Rows()
    rows.take(LogDir(tmp_path).look())
    assert list(rows.scalars) == tags
    wanted = [struct.pack("<qdd", step, moments[step], step / 2) for step in range(2)]
    assert all(found == wanted for found in rows.scalars.values())
    assert rows.cursor is not None and rows.cursor.state["skipped"] == 1
    # The version, and what is too rare of its length: tags of one and two digits.
    assert len(taken) < 300


# What it takes to read ----------------------------------------------------------------------------


def child(script: str, *words: str) -> str:
    """Return what a Python process prints that has no NumPy if `hidden` is its first word."""
    hide = "import sys; sys.modules['numpy'] = None\n" if words[0] == "hidden" else ""
    done = subprocess.run(
        [sys.executable, "-c", hide + script, *words[1:]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READ = """
import sys
from guildlite.tfevents import LogDir
found = {}
for chunk in LogDir(sys.argv[1]).look():
    for tag, columns in chunk.columns.items():
        found.setdefault(tag, []).extend(columns)
import hashlib
print({tag: len(rows) for tag, rows in found.items()})
print(hashlib.sha256(repr(found).encode()).hexdigest())
print("guildlite.tfevents.blocks" in sys.modules)
"""


def test_without_numpy_large_files_are_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "tfevents").write_bytes(
        records(version(), *(scalar("loss", step, step / 2) for step in range(40_000)))
    )
    by_blocks = child(READ, "", str(tmp_path)).splitlines()
    without = child(READ, "hidden", str(tmp_path)).splitlines()
    assert by_blocks[:2] == without[:2] and by_blocks[0] == "{'loss': 40000}"
    assert (by_blocks[2], without[2]) == ("True", "False")


GROW = """
import sys
from pathlib import Path
from guildlite.collect.events import EventFiles
data, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2], "tfevents")
events = EventFiles(path.parent)
for start in range(0, len(data), 900_000):
    with open(path, "ab") as file:
        file.write(data[start : start + 900_000])
    list(events.sample())
print("numpy" in sys.modules)
"""


def test_a_live_collector_imports_no_numpy_however_long_it_runs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "data").write_bytes(
        records(version(), *(scalar("loss", step, step / 2) for step in range(50_000)))
    )
    assert (tmp_path / "data").stat().st_size > 2 * logdir_module.CATCH_UP_BYTES
    assert child(GROW, "", str(tmp_path / "data"), str(tmp_path / "run")) == "False\n"
