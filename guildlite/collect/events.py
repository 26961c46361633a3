"""TensorBoard event files in the run directory, as points of `TAG` or `SUBDIR/TAG`.

Reading, following and damage are the business of `tfevents`; this turns its chunks into readings.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from guildlite import series
from guildlite.collect.files import SKIPPED_DIRS, series_key
from guildlite.series import Point, PointColumns, Reading
from guildlite.tfevents import Chunk, Cursor, LogDir

KIND = "tfevents"

#: Times beyond this are not moments: 64-bit milliseconds end in the year 292 million.
_MAX_SECONDS = 2**63 / 1000 - 1
#: From so many points of a series on, columns are faster for run.db than points.
_COLUMNS_FROM = 64


class EventFiles:
    """Collector of the run's event files; goes on from the cursors of kind `tfevents`."""

    name = "events"

    def __init__(self, run_dir: Path, cursors: Iterable[series.Cursor] = ()) -> None:
        self._logdir = LogDir(
            run_dir,
            [
                Cursor(each.path, each.digest, each.offset, each.state, each.error)
                for each in cursors
                if each.kind == KIND
            ],
            skip=SKIPPED_DIRS,
        )

    def probe(self) -> dict[str, str]:
        """Return nothing: event files may come at any time."""
        return {}

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield what is new, a reading for at most some 20,000 points of one file.

        With `final`, when the script has ended, every file is looked at, however long it was quiet.
        Lazy: whoever stops between two readings gets the rest from the next call. Troubles become
        notices; nothing in the run directory makes this raise.
        """
        for chunk in self._logdir.look(everything=final):
            yield _reading(chunk)
        notices = self._logdir.take_notices()
        if notices:
            yield Reading(notices=notices)

    def close(self) -> None:
        """Do nothing: no file is open between samples."""


def _reading(chunk: Chunk) -> Reading:
    cursor = chunk.cursor
    reading = Reading(
        cursor=series.Cursor(
            cursor.path, KIND, cursor.digest, cursor.offset, cursor.state, cursor.error
        ),
        notices=chunk.notices,
    )
    for tag, columns in chunk.columns.items():
        key = series_key(cursor.path, tag)
        found = PointColumns(
            columns.steps.tolist(), _milliseconds(columns.wall_times), columns.values.tolist()
        )
        if len(found.steps) < _COLUMNS_FROM:
            reading.points[key] = list(map(Point, *found))
        else:
            reading.columns[key] = found
    return reading


def _milliseconds(wall_times: array[float]) -> list[int | None]:
    total = sum(wall_times)  # not finite if one of them is not
    if math.isfinite(total) and -_MAX_SECONDS <= min(wall_times) <= max(wall_times) <= _MAX_SECONDS:
        return [round(wall_time * 1000) for wall_time in wall_times]
    return [
        round(wall_time * 1000)
        if math.isfinite(wall_time) and abs(wall_time) <= _MAX_SECONDS
        else None
        for wall_time in wall_times
    ]
