"""TensorBoard event files in the run directory, as series of `TAG` or `SUBDIR/TAG`.

Reading, following and damage are the business of `tfevents`; this turns its chunks into readings:
scalars as points, everything else by reference, hparams decoded as well. Embeddings, which are
files of their own beside the event files, come along.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from guildlite import series
from guildlite.collect.files import SKIPPED_DIRS, series_key
from guildlite.collect.projectors import Projectors
from guildlite.series import Experiment, Item, Items, Point, PointColumns, Reading, SeriesMetadata
from guildlite.tfevents import BadContent, Chunk, Cursor, LogDir, StoredValue, Watch
from guildlite.tfevents.logdir import is_event_file

KIND = "tfevents"

#: Times beyond this are not moments: 64-bit milliseconds end in the year 292 million.
_MAX_SECONDS = 2**63 / 1000 - 1
#: What the events without a tag are: TensorBoard shows one graph a directory.
_GRAPH_TAG = "graph"
#: From so many points of a series on, columns are faster for run.db than points.
_COLUMNS_FROM = 64


class EventFiles:
    """Collector of the run's event files; goes on from the cursors of kind `tfevents`.

    `directories` are those to read files of, relative to `run_dir`, "" being itself; None is all.
    """

    name = "events"

    def __init__(
        self,
        run_dir: Path,
        cursors: Iterable[series.Cursor] = (),
        watch: Watch | None = None,
        *,
        directories: Collection[str] | None = None,
    ) -> None:
        def is_wanted(directory: str) -> bool:
            return directories is None or directory in directories

        cursors = list(cursors)
        self._logdir = LogDir(
            run_dir,
            [
                Cursor(each.path, each.digest, each.offset, each.state, each.error)
                for each in cursors
                if each.kind == KIND
            ],
            skip=SKIPPED_DIRS,
            wanted=lambda name: is_event_file(name) and is_wanted(name.rpartition("/")[0]),
            watch=watch,
        )
        self._projectors = Projectors(run_dir, cursors, is_wanted)

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
        yield from self._projectors.sample(final)
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
        restart=chunk.restart,
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
    if chunk.others:
        reading.media = _media(chunk)
        _add_hparams(reading, chunk)
    return reading


def _media(chunk: Chunk) -> list[Items]:
    """Return the values that are no scalars, by series."""
    found: dict[tuple[str, str], Items] = {}
    moments = _milliseconds([value.wall_time for value in chunk.others])
    for value, moment in zip(chunk.others, moments, strict=True):
        name = value.tag or (_GRAPH_TAG if value.kind == "graph" else "")
        items = found.get((name, value.kind))
        if items is None:
            key = series_key(chunk.cursor.path, name)
            items = Items(key, value.kind, value.plugin, [])
        if value.stated and items.metadata is None:
            items = items._replace(metadata=_metadata(value))
        found[name, value.kind] = items
        items.items.append(Item(value.step, moment, *value.reference))
    return list(found.values())


def _metadata(value: StoredValue) -> SeriesMetadata:
    from guildlite.tfevents import parse_metadata

    _, display_name, description, content = parse_metadata(value.stated)
    # hparams are what they state, and are decoded; every value has its own.
    return SeriesMetadata(display_name, description, b"" if value.kind == "hparams" else content)


def _add_hparams(reading: Reading, chunk: Chunk) -> None:
    from guildlite.collect.hparams import read_hparams

    path = chunk.cursor.path
    for value in chunk.others:
        if value.kind != "hparams":
            continue
        try:
            found = read_hparams(path.rpartition("/")[0], value.stated)
        except BadContent as error:
            reading.notices.append(f"`{path}` has hparams that cannot be read: {error}")
            continue
        if isinstance(found, Experiment):
            reading.experiments.append(found)
        else:
            reading.sessions.append(found)


def _milliseconds(wall_times: Sequence[float]) -> list[int | None]:
    total = sum(wall_times)  # not finite if one of them is not
    if math.isfinite(total) and -_MAX_SECONDS <= min(wall_times) <= max(wall_times) <= _MAX_SECONDS:
        return [round(wall_time * 1000) for wall_time in wall_times]
    return [
        round(wall_time * 1000)
        if math.isfinite(wall_time) and abs(wall_time) <= _MAX_SECONDS
        else None
        for wall_time in wall_times
    ]
