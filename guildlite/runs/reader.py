"""Reading a run.db: many readers, none of which ever changes the file.

A `RunReader` belongs to one thread and one request: open it, ask, close it. On the way in it
takes no lock that a writer would wait for.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.runs.migrations import check_version
from guildlite.series import (
    MAX_STEP,
    MIN_STEP,
    Experiment,
    FileSeen,
    Point,
    PointColumns,
    Summary,
    downsample,
)

if TYPE_CHECKING:
    from guildlite.runs.media import (
        EmbeddingRow,
        FilesRoot,
        HParamSession,
        MediaItem,
        MediaSeries,
        SourceRow,
    )
    from guildlite.tfevents import Content

_SUMMARY = (
    "SELECT key, kind, count, first, last, min, max, mean, first_step, last_step, min_step,"
    " max_step, first_time, last_time, nan, infinite, segments FROM series_key"
)
_MEDIA_SERIES = (
    "SELECT key, kind, count, first_step, last_step, first_time, last_time, segments,"
    " coalesce(plugin, ''), coalesce(display_name, ''), coalesce(description, '')"
    " FROM series_key LEFT JOIN media_key ON media_key.key_id = series_key.id"
    " WHERE kind != 'scalar'"
)
_MEDIA_ITEMS = (
    'SELECT key, series_key.kind, seq, step, time, segment, path, media."offset", length, checksum,'
    " nth FROM series_key JOIN media ON media.key_id = series_key.id"
    " JOIN source ON source.id = source_id"
    " WHERE key = ?"
)
#: Schema from which a run.db has tables of what is no scalar.
_MEDIA_SINCE = 2
#: Points that one row of `bucket` summarises.
BUCKET_POINTS = 1024
#: Above this many points a chart is drawn from the buckets.
_RAW_POINTS = 50_000
#: A stretch of so many points is read whole, in some 0.1 s.
_STRETCH_POINTS = 200_000


def chart_rows(summary: Summary) -> int:
    """Return about how many rows of run.db `RunReader.chart` reads for a series."""
    if summary.count <= _RAW_POINTS:
        return summary.count
    return 2 * summary.count // BUCKET_POINTS


class StoredLine(NamedTuple):
    """One line of output. `op` is "" for the run's own operation, `id` the order of arrival."""

    id: int
    time: int | None
    stream: int
    text: str
    op: str


class RunReader:
    """A read-only look at one run.db; raises RunUnreadable when it is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_run_db(path)
        self._root: FilesRoot | None = None

    def attrs(self) -> dict[str, str]:
        """Return the attributes, by name in order of writing."""
        return dict(self._rows("SELECT name, value FROM attr ORDER BY rowid"))

    def flags(self) -> dict[str, str]:
        """Return the flags in project order, as the project wrote them."""
        return dict(self._rows("SELECT name, value FROM flag ORDER BY rowid"))

    def summaries(self) -> list[Summary]:
        """Return what is known of every scalar series, by key."""
        return [
            Summary(*row) for row in self._rows(f"{_SUMMARY} WHERE kind = 'scalar' ORDER BY key")
        ]

    def series_counts(self) -> tuple[int, int]:
        """Return how many scalar series there are, and how many have more than one point."""
        (found,) = self._rows(
            "SELECT count(*), coalesce(sum(count > 1), 0) FROM series_key WHERE kind = 'scalar'"
        )
        return found

    def summary(self, key: str) -> Summary | None:
        """Return what is known of a scalar series, or None when there is none of that key."""
        for row in self._rows(f"{_SUMMARY} WHERE kind = 'scalar' AND key = ?", key):
            return Summary(*row)
        return None

    def series(self, key: str) -> list[Point]:
        """Return every point of a series in the order written; NaN where run.db has NULL."""
        nan = float("nan")
        rows = self._rows(
            "SELECT step, time, value FROM series"
            " WHERE key_id = (SELECT id FROM series_key WHERE key = ?) ORDER BY seq",
            key,
        )
        return [Point(step, at, nan if value is None else value) for step, at, value in rows]

    def first_point(self, key: str, comparison: str, value: float) -> Point | None:
        """Return the first point, in the order written, whose value compares so; NaN never does.

        `comparison` is one of `<`, `<=`, `>` and `>=`.
        """
        if comparison not in ("<", "<=", ">", ">="):
            raise ValueError(f"no comparison: {comparison}")
        rows = self._rows(
            "SELECT step, time, value FROM series"
            " WHERE key_id = (SELECT id FROM series_key WHERE key = ?)"
            f" AND value {comparison} ? ORDER BY seq LIMIT 1",
            key,
            value,
        )
        return next((Point(*row) for row in rows), None)

    def series_from(self, key: str, seq: int) -> list[Point]:
        """Return the points of a series from number `seq` on, in the order written."""
        return self._points("seq >= ?", key, seq)

    def columns_from(self, key: str, seq: int) -> PointColumns:
        """Return what `series_from` does as three lists: a third of its time for many points."""
        nan = float("nan")
        rows = list(
            self._rows(
                "SELECT step, time, value FROM series"
                " WHERE key_id = (SELECT id FROM series_key WHERE key = ?) AND seq >= ?"
                " ORDER BY seq",
                key,
                seq,
            )
        )
        values = [nan if value is None else value for _, _, value in rows]
        return PointColumns([row[0] for row in rows], [row[1] for row in rows], values)

    def stretch(
        self, key: str, low: float, high: float, most: int, *, by_time: bool = False
    ) -> list[Point]:
        """Return the points between two steps, or two times in ms, with one more at each side.

        At most about `most`, spikes kept, as `chart` does. Found by way of the buckets, so the cost
        is that of the stretch.
        """
        first, last = ("first_time", "last_time") if by_time else ("first_step", "last_step")
        summary = self.summary(key)
        if summary is None:
            return []
        # Where training was resumed, ends of a bucket say nothing of the steps inside.
        where = f" AND {last} >= ? AND {first} <= ?" if summary.segments == 1 else ""
        start, end = next(
            self._rows(
                "SELECT min(bucket), max(bucket) FROM bucket"
                f" WHERE key_id = (SELECT id FROM series_key WHERE key = ?){where}",
                key,
                *((low, high) if where else ()),
            )
        )
        if start is None:
            return []
        # One bucket more at each side: its last point is where the line comes from.
        start, end = start - 1, end + 1
        if (end - start) * BUCKET_POINTS <= max(_STRETCH_POINTS, most):
            points = self._points(
                "seq BETWEEN ? AND ?", key, start * BUCKET_POINTS, (end + 1) * BUCKET_POINTS - 1
            )
        else:
            points = self._bucket_points(summary, start, end)
        places = [point.time if by_time else point.step for point in points]
        inside = [place is not None and low <= place <= high for place in places]
        kept = [point for at, point in enumerate(points) if any(inside[max(0, at - 1) : at + 2])]
        return kept if len(kept) <= most else downsample(kept, most)

    def _points(self, where: str, key: str, *values: object) -> list[Point]:
        nan = float("nan")
        rows = self._rows(
            "SELECT step, time, value FROM series"
            f" WHERE key_id = (SELECT id FROM series_key WHERE key = ?) AND {where} ORDER BY seq",
            key,
            *values,
        )
        return [Point(step, at, nan if value is None else value) for step, at, value in rows]

    def chart(self, key: str, most: int) -> list[Point]:
        """Return at most about `most` points that draw the same line, spikes and ends kept.

        NaN points are left out when there are more than `most` points.
        """
        summary = self.summary(key)
        if summary is None:
            return []
        if summary.count > max(_RAW_POINTS, most):
            return downsample(self._bucket_points(summary), most)
        # The database finds extremes in a fifth of the time that rows take to come out of it.
        if summary.count > 2 * most and summary.segments == 1:
            return self._extremes(summary, most)
        points = self.series(key)
        return points if len(points) <= most else downsample(points, most)

    def _extremes(self, summary: Summary, most: int) -> list[Point]:
        """Return the smallest and largest value of each stretch of points, and both ends."""
        finite = f"BETWEEN {-sys.float_info.max!r} AND {sys.float_info.max!r}"
        rows = {}
        for extreme in ("min", "max"):
            for seq, step, at, value in self._rows(
                f"SELECT seq, step, time, {extreme}(value) FROM series"
                " WHERE key_id = (SELECT id FROM series_key WHERE key = ?)"
                f" AND value {finite} GROUP BY seq / ?",
                summary.key,
                -(-2 * summary.count // most),
            ):
                rows[seq] = Point(step, at, value)
        for seq, step, at, value in self._rows(
            "SELECT seq, step, time, value FROM series"
            " WHERE key_id = (SELECT id FROM series_key WHERE key = ?) AND seq IN (0, ?)"
            f" AND value {finite}",
            summary.key,
            summary.count - 1,
        ):
            rows[seq] = Point(step, at, value)
        return [rows[seq] for seq in sorted(rows)]

    def non_finite(self, key: str, most: int = 1000) -> list[Point]:
        """Return the first `most` points of a series that are NaN or infinite."""
        finite = f"BETWEEN {-sys.float_info.max!r} AND {sys.float_info.max!r}"
        return self._points(f"(value IS NULL OR value NOT {finite})", key)[:most]

    def _bucket_points(self, summary: Summary, start: int = -1, end: int = 2**62) -> list[Point]:
        """Return the extremes of buckets `start` to `end`, and the two ends of the series."""
        points: list[Point] = []
        if summary.first is not None and summary.first_step is not None:
            points.append(Point(summary.first_step, summary.first_time, summary.first))
        for least, least_step, most, most_step, at in self._rows(
            "SELECT min, min_step, max, max_step, first_time FROM bucket"
            " WHERE key_id = (SELECT id FROM series_key WHERE key = ?)"
            " AND bucket BETWEEN ? AND ? ORDER BY bucket",
            summary.key,
            start,
            end,
        ):
            pair = [Point(least_step, at, least), Point(most_step, at, most)]
            points.extend(sorted(point for point in pair if point.value is not None))
        if summary.last is not None and summary.last_step is not None:
            points.append(Point(summary.last_step, summary.last_time, summary.last))
        return points

    def output(
        self, after: int = 0, limit: int | None = None, op: str | None = None
    ) -> list[StoredLine]:
        """Return lines with an id above `after`, oldest first, at most `limit`.

        `op` None is every operation, "" the run's own, else a later one as in `2-evaluate`.
        """
        where, values = _op_clause(op)
        rows = self._rows(
            "SELECT id, time, stream, text, coalesce(op, '') FROM output"
            f" WHERE id > ?{where} ORDER BY id LIMIT ?",
            after,
            *values,
            -1 if limit is None else limit,
        )
        return [StoredLine(*row) for row in rows]

    def last_output(self, count: int, op: str | None = None) -> list[StoredLine]:
        """Return the last `count` lines, oldest first."""
        where, values = _op_clause(op)
        rows = self._rows(
            "SELECT id, time, stream, text, coalesce(op, '') FROM output"
            f" WHERE 1{where} ORDER BY id DESC LIMIT ?",
            *values,
            count,
        )
        return [StoredLine(*row) for row in reversed(list(rows))]

    def output_count(self, op: str | None = None) -> int:
        """Return how many lines there are."""
        where, values = _op_clause(op)
        return int(
            next(iter(self._rows(f"SELECT count(*) FROM output WHERE 1{where}", *values)))[0]
        )

    def sources(self) -> list[tuple[str, str, int, str | None]]:
        """Return (path, kind, bytes read, damage) of every file that was read."""
        return list(self._rows('SELECT path, kind, "offset", error FROM source ORDER BY id'))

    # Values that are no scalars -----------------------------------------------------------

    def media(self, kind: str | None = None) -> list[MediaSeries]:
        """Return the series that are no scalars, of one kind or of all, by key."""
        from guildlite.runs.media import MediaSeries

        if not self._has_media():
            return []
        where, values = ("", ()) if kind is None else (" AND kind = ?", (kind,))
        rows = self._rows(f"{_MEDIA_SERIES}{where} ORDER BY key", *values)
        return [MediaSeries(*row) for row in rows]

    def media_series(self, key: str) -> MediaSeries | None:
        """Return one series that is no scalar, or None when there is none of that key."""
        from guildlite.runs.media import MediaSeries

        if self._has_media():
            for row in self._rows(f"{_MEDIA_SERIES} AND key = ?", key):
                return MediaSeries(*row)
        return None

    def items(
        self,
        key: str,
        *,
        after: int = -1,
        limit: int | None = None,
        first_step: int = MIN_STEP,
        last_step: int = MAX_STEP,
    ) -> list[MediaItem]:
        """Return values of a series in the order written, at most `limit`, their bytes unread.

        Those behind the seq `after`, and of steps from `first_step` to `last_step`.
        """
        if not self._has_media():
            return []
        rows = self._rows(
            f"{_MEDIA_ITEMS} AND seq > ? AND step BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            key, after, first_step, last_step, -1 if limit is None else limit,
        )  # fmt: skip
        return [_item(row) for row in rows]

    def item(self, key: str, seq: int) -> MediaItem | None:
        """Return one value of a series, its bytes unread, or None when it is not there."""
        found = self.items(key, after=seq - 1, limit=1)
        return found[0] if found and found[0].seq == seq else None

    def content(self, item: MediaItem) -> Content:
        """Return what a value holds, its checksum verified.

        Raises `tfevents.ContentLost` when its file is gone or changed, and `BadContent` when the
        value is not what its kind should be.
        """
        from guildlite.tfevents import StoredValue, read_content

        stated = self._rows(
            "SELECT data FROM series_key JOIN media_key ON media_key.key_id = series_key.id"
            " JOIN blob ON blob.id = content WHERE key = ?",
            item.key,
        )
        (content,) = next(stated, (b"",))
        value = StoredValue(item.key, "", item.kind, item.step, 0.0, item.reference)
        with self.open_file(item.path) as file:
            return read_content(file, value, content)

    def record(self, item: MediaItem) -> bytes:
        """Return the record a value lies in, as written: an `Event`. Raises `ContentLost`."""
        from guildlite.tfevents import read_record

        with self.open_file(item.path) as file:
            return read_record(file, item.reference)

    @property
    def files_root(self) -> Path:
        """The directory of the script's files: the run's, or where they were imported from."""
        return self._files().path

    def open_file(self, path: str) -> FileIO:
        """Open a file below `files_root`, never through a link; raise `tfevents.ContentLost`."""
        return self._files().open(path)

    def _files(self) -> FilesRoot:
        from guildlite.runs.media import LOGDIR_ATTR, FilesRoot, logdir_path

        if self._root is None:
            logdir = self.attrs().get(LOGDIR_ATTR)
            self._root = FilesRoot(logdir_path(logdir) if logdir else self.path.parent.parent)
        return self._root

    def embeddings(self) -> list[EmbeddingRow]:
        """Return the embeddings that projector configurations list by now, by key."""
        from guildlite.runs.media import EmbeddingRow

        if not self._has_media():
            return []
        files: dict[int | None, FileSeen] = {
            number: FileSeen(*row)
            for number, *row in self._rows("SELECT id, path, size, modified FROM file")
        }
        rows = self._rows(
            "SELECT key, name, path, tensor, metadata, sprite, bookmarks, shape, sprite_size"
            " FROM embedding JOIN series_key ON series_key.id = key_id"
            " JOIN source ON source.id = source_id ORDER BY key"
        )
        return [
            EmbeddingRow(
                key, name, config,
                files.get(tensor), files.get(labels), files.get(sprite), files.get(bookmarks),
                tuple(json.loads(shape)), tuple(json.loads(sprite_size)),
            )
            for key, name, config, tensor, labels, sprite, bookmarks, shape, sprite_size in rows
        ]  # fmt: skip

    def sessions(self) -> list[HParamSession]:
        """Return the trials that event files tell of, by directory."""
        from guildlite.runs.media import HParamSession

        if not self._has_media():
            return []
        values: dict[str, dict[str, float | str | bool]] = {}
        for session, name, text, kind in self._rows(
            "SELECT session, name, value, type FROM hparam ORDER BY session, name"
        ):
            values.setdefault(session, {})[name] = _typed(text, kind)
        rows = self._rows(
            "SELECT session, group_name, status, started, ended FROM hparam_session ORDER BY 1"
        )
        return [
            HParamSession(name, group, status, started, ended, values.get(name, {}))
            for name, group, status, started, ended in rows
        ]

    def experiments(self) -> list[Experiment]:
        """Return what event files say is varied and judged, by directory."""

        if not self._has_media():
            return []
        rows = self._rows(
            "SELECT directory, name, description, hparams, metrics FROM hparam_experiment"
            " ORDER BY 1"
        )
        return [
            Experiment(directory, name, description, json.loads(hparams), json.loads(metrics))
            for directory, name, description, hparams, metrics in rows
        ]

    def source_rows(self) -> list[SourceRow]:
        """Return all that is known of the files that were read."""
        from guildlite.runs.media import SourceRow

        rows = self._rows(
            'SELECT id, path, kind, digest, "offset", state, error FROM source ORDER BY id'
        )
        return [
            SourceRow(number, path, kind, digest, offset, json.loads(state or "{}"), error)
            for number, path, kind, digest, offset, state, error in rows
        ]

    def _has_media(self) -> bool:
        return int(next(self._rows("PRAGMA user_version"))[0]) >= _MEDIA_SINCE

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> RunReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, sql: str, *values: object) -> Iterator[tuple]:  # type: ignore[type-arg]
        try:
            yield from self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _unreadable(self.path, error) from error


def _item(row: tuple) -> MediaItem:  # type: ignore[type-arg]
    from guildlite.runs.media import MediaItem
    from guildlite.tfevents import Reference

    key, kind, seq, step, time, segment, path, *place = row
    return MediaItem(key, kind, seq, step, time, segment, path, Reference(*place))


def _typed(text: str, kind: str) -> float | str | bool:
    if kind == "bool":
        return text == "True"
    return float(text) if kind == "float" else text


def _op_clause(op: str | None) -> tuple[str, tuple[str, ...]]:
    if op is None:
        return "", ()
    return (" AND op IS NULL", ()) if op == "" else (" AND op = ?", (op,))


def open_run_db(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to a run.db; raises RunUnreadable."""
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise RunUnreadable(f"{path} cannot be read: {error.strerror}") from error
    if size == 0:
        raise RunUnreadable(f"{path} is empty", hint="the run may just be starting")
    try:
        return _connect(path, "mode=ro")
    except sqlite3.DatabaseError as error:
        if not _needs_side_files(error):
            raise _unreadable(path, error) from error
    try:
        # A WAL file in a directory that cannot be written: no writer can be there either.
        return _connect(path, "immutable=1")
    except sqlite3.DatabaseError as error:
        raise _unreadable(path, error) from error


def _needs_side_files(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return "unable to open" in text or "readonly" in text


def _connect(path: Path, options: str) -> sqlite3.Connection:
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{name}?{options}", uri=True, timeout=5, isolation_level=None
    )
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            raise sqlite3.DatabaseError("no tables yet")
        check_version(version)
        _refuse_views(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_views(connection: sqlite3.Connection) -> None:
    """Raise where a view has the name of a table of ours: it could go on without end."""
    row = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'view' AND name IN ('attr', 'flag', 'output',"
        " 'source', 'series_key', 'series', 'segment', 'bucket', 'media', 'media_key', 'file')"
    ).fetchone()
    if row is not None:
        raise sqlite3.DatabaseError(f"`{row[0]}` is a view instead of a table")


def _unreadable(path: Path, error: sqlite3.Error) -> RunUnreadable:
    return RunUnreadable(f"{path} cannot be read: {error}")
