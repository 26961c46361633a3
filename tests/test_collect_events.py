"""The event-file collector against TensorBoard's own reading, and against itself cut in time."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import DT_FLOAT, records, scalar, summary, tensor, version
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from guildlite.collect.events import EventFiles
from guildlite.series import Cursor, Point, Reading

GOLDEN = Path(__file__).parent / "golden" / "events"
WRITERS = sorted(path.parent.name for path in GOLDEN.glob("*/expected.json"))


def points_of(readings: Iterable[Reading]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for reading in readings:
        for key, points in reading.points.items():
            found.setdefault(key, []).extend(points)
        for key, columns in reading.columns.items():
            found.setdefault(key, []).extend(map(Point, *columns))
    return found


def cursors_of(readings: Iterable[Reading]) -> dict[tuple[str, str], Cursor]:
    return {
        (reading.cursor.path, reading.cursor.digest): reading.cursor
        for reading in readings
        if reading.cursor is not None
    }


def same(found: dict[str, list[Point]], expected: dict[str, list[Point]]) -> bool:
    return repr(found) == repr(expected)  # NaN is not equal to itself


@lru_cache
def expected_of(writer: str) -> dict[str, list[Point]]:
    """Return what TensorBoard read, as write.py recorded it, by series key."""
    files = json.loads((GOLDEN / writer / "expected.json").read_text(encoding="utf-8"))
    found: dict[str, list[Point]] = {}
    for path, content in files.items():
        directory = path.rpartition("/")[0]
        for tag, values in content["scalars"].items():
            key = f"{directory}/{tag}" if directory else tag
            found[key] = [
                Point(step, round(wall_time * 1000), float(value))
                for step, wall_time, value in values
            ]
    return found


def test_there_are_golden_files_of_every_writer():
    assert WRITERS == ["keras", "tensorboardx", "tf1", "tf2", "torch"]


@pytest.mark.parametrize("writer", WRITERS)
def test_golden_files_point_for_point(writer: str):
    readings = list(EventFiles(GOLDEN / writer).sample())
    expected = expected_of(writer)
    assert same(points_of(readings), {key: expected[key] for key in points_of(readings)})
    assert points_of(readings).keys() == expected.keys()
    assert not any(reading.notices for reading in readings)


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_not_scalar_is_counted(writer: str):
    files = json.loads((GOLDEN / writer / "expected.json").read_text(encoding="utf-8"))
    counted = {
        cursor.path: cursor.state.get("other")
        for cursor in cursors_of(EventFiles(GOLDEN / writer).sample()).values()
    }
    for path, content in files.items():
        assert bool(counted[path]) >= bool(content["others"])


@lru_cache
def merged(writer: str, path: str) -> tuple[dict[str, list[Point]], Cursor]:
    """Return the points and the last cursor of one golden file read at once."""
    with TemporaryDirectory() as directory:
        shutil.copy(GOLDEN / writer / path, directory)
        readings = list(EventFiles(Path(directory)).sample())
    (cursor,) = cursors_of(readings).values()
    return points_of(readings), cursor


CUT_FILES = [
    (path.relative_to(GOLDEN).parts[0], "/".join(path.relative_to(GOLDEN).parts[1:]))
    for path in sorted(GOLDEN.rglob("*tfevents*"))
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CUT_FILES), st.lists(st.floats(0, 1), max_size=4), st.booleans())
def test_bytes_cut_anywhere_read_the_same(file: tuple[str, str], cuts: list[float], restart: bool):
    writer, path = file
    data = (GOLDEN / writer / path).read_bytes()
    ends = [*sorted(int(cut * len(data)) for cut in cuts), len(data)]
    with TemporaryDirectory() as directory:
        target = Path(directory) / Path(path).name
        collector = EventFiles(Path(directory))
        readings: list[Reading] = []
        for end in ends:
            target.write_bytes(data[:end])
            readings += collector.sample()
            if restart:  # the cursors as they come back from run.db
                stored = [_stored(cursor) for cursor in cursors_of(readings).values()]
                collector = EventFiles(Path(directory), stored)
    (cursor,) = cursors_of(readings).values()
    points, expected = merged(writer, path)
    assert same(points_of(readings), points)
    assert cursor == expected


def _stored(cursor: Cursor) -> Cursor:
    state = json.loads(json.dumps(cursor.state))
    return Cursor(cursor.path, cursor.kind, cursor.digest, cursor.offset, state, cursor.error)


def test_metadata_on_the_first_value_only_survives_a_restart(tmp_path: Path):
    path = tmp_path / "tfevents"
    number = TensorProto(dtype=DT_FLOAT, float_val=[0.5])
    path.write_bytes(records(version(), summary(0, 1.0, tensor("t", number, "scalars"))))
    (first,) = EventFiles(tmp_path).sample()
    assert first.cursor is not None
    path.write_bytes(path.read_bytes() + records(summary(1, 2.0, tensor("t", number))))
    (second,) = EventFiles(tmp_path, [_stored(first.cursor)]).sample()
    assert second.points == {"t": [Point(1, 2000, 0.5)]}


def test_keys_times_and_gl_s_own_folder(tmp_path: Path):
    data = records(
        version(),
        scalar("a/b", 1, 0.5, 1700000000.1234),
        scalar("a/b", 2, 0.5, math.nan),
        scalar("a/b", 3, 0.5, 1e300),
    )
    for directory in ("", "sub/deep", "gl.d"):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
        (tmp_path / directory / "tfevents").write_bytes(data)
    points = [Point(1, 1700000000123, 0.5), Point(2, None, 0.5), Point(3, None, 0.5)]
    assert points_of(EventFiles(tmp_path).sample()) == {"a/b": points, "sub/deep/a/b": points}


def test_readings_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # As in a supervisor, where nobody has imported NumPy.
    monkeypatch.setattr("guildlite.tfevents.logdir._LOADED_BYTES", 1 << 20)
    path = tmp_path / "tfevents"
    path.write_bytes(records(version(), *(scalar("t", step, 0.0) for step in range(20_500))))
    readings = list(EventFiles(tmp_path).sample())
    assert [len(points_of([reading])["t"]) for reading in readings] == [20_000, 500]


def test_few_points_and_many_are_the_same_points(tmp_path: Path):
    wall_times = [1700000000.0004, 1700000000.0005, 1.5, *[2.5] * 100, math.inf, 1e300, math.nan]
    payloads = [scalar("t", 7, 0.25, wall_time) for wall_time in wall_times]
    (tmp_path / "tfevents").write_bytes(records(version(), *payloads))
    (reading,) = EventFiles(tmp_path).sample()
    assert reading.columns["t"].times[:3] == [1700000000000, 1700000000000, 1500]
    assert reading.columns["t"].times[-4:] == [2500, None, None, None]
    single = []
    for number, payload in enumerate(payloads):
        path = tmp_path / str(number) / "tfevents"
        path.parent.mkdir()
        path.write_bytes(records(payload))
        (reading,) = EventFiles(path.parent).sample()
        single += reading.points["t"]
    assert [point.time for point in single] == reading_times(tmp_path)


def reading_times(directory: Path) -> list[int | None]:
    """Return the times of the series `t` directly below `directory`."""
    return [point.time for point in points_of(EventFiles(directory).sample())["t"]]


def test_nothing_to_read_is_no_fault(tmp_path: Path):
    collector = EventFiles(tmp_path / "missing")
    assert collector.probe() == {}
    assert list(collector.sample()) == list(collector.sample(final=True)) == []
    collector.close()
    collector.close()


def test_cursors_of_other_kinds_are_not_ours(tmp_path: Path):
    (tmp_path / "tfevents").write_bytes(records(version(), scalar("t", 1, 0.5)))
    (reading,) = EventFiles(tmp_path).sample()
    assert reading.cursor is not None
    cursor = reading.cursor
    other = Cursor(cursor.path, "csv", cursor.digest, cursor.offset)
    assert len(list(EventFiles(tmp_path, [other]).sample())) == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_a_notice_and_never_an_exception(data: st.DataObject):
    whole = bytearray(records(version(), *(scalar("loss", step, 0.5) for step in range(6))))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with TemporaryDirectory() as directory:
        (Path(directory) / "tfevents").write_bytes(bytes(whole))
        readings = list(EventFiles(Path(directory)).sample())
    points = points_of(readings).get("loss", [])
    assert [point.step for point in points] == sorted({point.step for point in points})
    # What a checksum covers is never changed unseen: all seven records, or something is said.
    assert len(points) == 6 or any(reading.notices for reading in readings)
    assert all(point.value == 0.5 for point in points)
