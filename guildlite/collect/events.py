"""TensorBoard event files in the run directory, as points of `TAG` or `SUBDIR/TAG`.

Reading, following and damage are the business of `tfevents`; this turns its chunks into readings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from guildlite import series
from guildlite.collect.files import SKIPPED_DIRS, series_key
from guildlite.series import Point, Reading
from guildlite.tfevents import Chunk, Cursor, LogDir

KIND = "tfevents"

#: Times beyond this are not moments: 64-bit milliseconds end in the year 292 million.
_MAX_SECONDS = 2**63 / 1000 - 1


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
    points = {
        series_key(cursor.path, tag): list(map(Point, columns.steps, [_milliseconds(w) for w in columns.wall_times], columns.values))
        for tag, columns in chunk.columns.items()
    }
    return Reading(
        cursor=series.Cursor(
            cursor.path, KIND, cursor.digest, cursor.offset, cursor.state, cursor.error
        ),
        points=points,
        notices=chunk.notices,
    )


def _milliseconds(wall_time: float) -> int | None:
    if not math.isfinite(wall_time) or abs(wall_time) > _MAX_SECONDS:
        return None
    return round(wall_time * 1000)
