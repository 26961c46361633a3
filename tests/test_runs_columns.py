"""Points in columns are stored as the same points one by one would be."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildlite.runs.db import RunDb
from guildlite.runs.reader import BUCKET_POINTS
from guildlite.series import MAX_STEP, MIN_STEP, Cursor, Point, PointColumns, Reading

TABLES = ("series", "series_key", "segment", "bucket", "source")

POINTS = st.tuples(
    st.integers(0, 3) | st.integers(MIN_STEP - 1, MAX_STEP + 1),
    st.none() | st.integers(0, 10) | st.integers(MIN_STEP - 1, MAX_STEP + 1),
    st.floats() | st.sampled_from([1.0, -1.0, 0.0, -0.0]),
)


def content(path: Path) -> dict[str, list[object]]:
    connection = sqlite3.connect(path)
    try:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for name in TABLES
        }
    finally:
        connection.close()


def columns_of(points: list[tuple[int, int | None, float]]) -> PointColumns:
    return PointColumns(
        [point[0] for point in points],
        [point[1] for point in points],
        [point[2] for point in points],
    )


def write_both_ways(
    tmp_path: Path, portions: list[list[tuple[int, int | None, float]]]
) -> tuple[dict[str, list[object]], dict[str, list[object]]]:
    cursor = Cursor("events", "tfevents", "digest")
    with RunDb(tmp_path / "points.db") as points, RunDb(tmp_path / "columns.db") as columns:
        for portion in portions:
            points.write([Reading(cursor, {"a": [Point(*point) for point in portion]})])
            columns.write([Reading(cursor, columns={"a": columns_of(portion)})])
    return content(tmp_path / "points.db"), content(tmp_path / "columns.db")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(POINTS, max_size=100), max_size=3))
def test_any_points(
    tmp_path_factory: pytest.TempPathFactory,
    portions: list[list[tuple[int, int | None, float]]],
):
    one, other = write_both_ways(tmp_path_factory.mktemp("run"), portions)
    assert repr(one) == repr(other)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, BUCKET_POINTS, 3 * BUCKET_POINTS + 7])
def test_every_row_is_there_whatever_the_number_of_a_statement(tmp_path: Path, size: int):
    points = [(step, 1000 + step, step / 4) for step in range(2 * size)]
    one, other = write_both_ways(tmp_path, [points[:size], points[size:]])
    assert one == other
    assert other["series"] == [(1, seq, seq, 1000 + seq, seq / 4, 0) for seq in range(2 * size)]


def test_a_restart_in_the_middle_opens_a_segment(tmp_path: Path):
    points = [(step, None, 1.0) for step in [*range(100), *range(50, 150)]]
    _, other = write_both_ways(tmp_path, [points[:30], points[30:]])
    assert other["segment"] == [(1, 0, 1, 99, None), (1, 1, 1, 149, None)]
    assert [row[5] for row in other["series"]] == [0] * 100 + [1] * 100
