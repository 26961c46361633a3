"""Reading a run.db: many readers, none of which ever changes the file.

A `RunReader` belongs to one thread and one request: open it, ask, close it. On the way in it
takes no lock that a writer would wait for.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.runs.migrations import check_version
from guildlite.series import Point, Summary, downsample

_SUMMARY = (
    "SELECT key, kind, count, first, last, min, max, mean, first_step, last_step, min_step,"
    " max_step, first_time, last_time, nan, infinite, segments FROM series_key"
)
#: Above this many points a chart is drawn from the buckets (1,024 points each).
_RAW_POINTS = 50_000


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

    def attrs(self) -> dict[str, str]:
        """Return the attributes, by name in order of writing."""
        return dict(self._rows("SELECT name, value FROM attr ORDER BY rowid"))

    def flags(self) -> dict[str, str]:
        """Return the flags in project order, as the project wrote them."""
        return dict(self._rows("SELECT name, value FROM flag ORDER BY rowid"))

    def summaries(self) -> list[Summary]:
        """Return what is known of every series, by key."""
        return [Summary(*row) for row in self._rows(f"{_SUMMARY} ORDER BY key")]

    def summary(self, key: str) -> Summary | None:
        """Return what is known of one series, or None when there is none of that key."""
        for row in self._rows(f"{_SUMMARY} WHERE key = ?", key):
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

    def chart(self, key: str, most: int) -> list[Point]:
        """Return at most about `most` points that draw the same line, spikes and ends kept.

        NaN points are left out when there are more than `most` points.
        """
        summary = self.summary(key)
        if summary is None:
            return []
        if summary.count > max(_RAW_POINTS, most):
            return downsample(self._bucket_points(summary), most)
        points = self.series(key)
        return points if len(points) <= most else downsample(points, most)

    def _bucket_points(self, summary: Summary) -> list[Point]:
        """Return each bucket's extremes, and the two ends of the series."""
        points: list[Point] = []
        if summary.first is not None and summary.first_step is not None:
            points.append(Point(summary.first_step, summary.first_time, summary.first))
        for least, least_step, most, most_step, at in self._rows(
            "SELECT min, min_step, max, max_step, first_time FROM bucket"
            " WHERE key_id = (SELECT id FROM series_key WHERE key = ?) ORDER BY bucket",
            summary.key,
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
    except BaseException:
        connection.close()
        raise
    return connection


def _unreadable(path: Path, error: sqlite3.Error) -> RunUnreadable:
    return RunUnreadable(f"{path} cannot be read: {error}")
