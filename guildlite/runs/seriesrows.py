"""Points as rows: of `series`, of `bucket`, and the row of `series_key` that sums them up."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import NamedTuple

from guildlite.runs.reader import BUCKET_POINTS
from guildlite.runs.storable import are_storable, moment, number
from guildlite.series import MAX_STEP, MIN_STEP, Items, Point, PointColumns

KEY_COLUMNS = (
    "id", "key", "kind", "count", "first", "last", "min", "max", "mean", "first_step", "last_step",
    "min_step", "max_step", "first_time", "last_time", "nan", "infinite", "segments",
)  # fmt: skip
UPDATE_KEY = (
    "UPDATE series_key SET "
    + ", ".join(f'"{name}" = ?' for name in KEY_COLUMNS[1:])
    + " WHERE id = ?"
)


class KeyRow:
    """A row of series_key, as it will be after the open transaction."""

    __slots__ = KEY_COLUMNS

    def __init__(
        self, id: int, key: str, kind: str, count: int = 0,
        first: float | None = None, last: float | None = None,
        min: float | None = None, max: float | None = None, mean: float | None = None,
        first_step: int | None = None, last_step: int | None = None,
        min_step: int | None = None, max_step: int | None = None,
        first_time: int | None = None, last_time: int | None = None,
        nan: int = 0, infinite: int = 0, segments: int = 0,
    ) -> None:  # fmt: skip
        self.id, self.key, self.kind, self.count = id, key, kind, count
        self.first, self.last, self.min, self.max, self.mean = first, last, min, max, mean
        self.first_step, self.last_step = first_step, last_step
        self.min_step, self.max_step = min_step, max_step
        self.first_time, self.last_time = first_time, last_time
        self.nan, self.infinite, self.segments = nan, infinite, segments

    def row(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in KEY_COLUMNS)

    def count_items(self, items: Items) -> None:
        """Take new values of a series that is no scalar into the summary."""
        steps = [item.step for item in items.items]
        times = [time for item in items.items if (time := moment(item.time)) is not None]
        if not self.count:
            self.first_step = steps[0]
        self.last_step = steps[-1]
        if times:
            self.first_time = times[0] if self.first_time is None else self.first_time
            self.last_time = times[-1]
        self.count += len(steps)

    def open_segment(self) -> int:
        """Return the number of a new segment."""
        self.segments += 1
        return self.segments - 1

    def count_in(self, rows: Rows, extremes: Sequence[Extremes]) -> None:
        """Take new rows of the series into the summary; `extremes` are those of its stretches."""
        steps, times, values = rows.steps, rows.times, rows.values
        if not self.count:
            self.first, self.first_step = values[0], steps[0]
        self.last, self.last_step = values[-1], steps[-1]
        if self.first_time is None:
            self.first_time = next((time for time in times if time is not None), None)
        last_time = next((time for time in reversed(times) if time is not None), None)
        self.last_time = self.last_time if last_time is None else last_time
        self.count += len(steps)
        if not rows.finite:
            self.nan += sum(1 for value in values if value is None)
            self.infinite += sum(1 for value in values if value in (math.inf, -math.inf))
        finite = rows.finite_values()
        if finite:
            for each in extremes:
                self._widen(each)
            self._count_finite(finite, self.count - self.nan - self.infinite)

    def _widen(self, found: Extremes) -> None:
        low, low_step, high, high_step = found
        if low is not None and (self.min is None or low < self.min):
            self.min, self.min_step = low, low_step
        if high is not None and (self.max is None or high > self.max):
            self.max, self.max_step = high, high_step

    def _count_finite(self, values: Sequence[float], total: int) -> None:
        # Shares instead of a sum: no sum of values near the largest double overflows.
        whole = float(total)
        shares = [value / whole for value in values]
        shares.append((self.mean or 0.0) * ((total - len(values)) / total))
        try:
            mean = math.fsum(shares)
        except OverflowError:  # rounding took the mean of equal values beyond that double
            mean = math.inf if values[0] > 0 else -math.inf
        assert self.min is not None and self.max is not None
        self.mean = min(max(mean, self.min), self.max)


#: Smallest value, its step, largest value, its step; None where no value is finite.
Extremes = tuple["float | None", "int | None", "float | None", "int | None"]


class Rows:
    """New rows of one series, column by column, fit for SQLite.

    NaN has become None in `values`; `finite` says that all of them are finite numbers.
    """

    __slots__ = ("finite", "steps", "times", "values")

    def __init__(
        self, steps: list[int], times: Sequence[int | None], values: Sequence[float]
    ) -> None:
        self.steps, self.times = steps, times
        # The sum is not finite if one value is not; that it may overflow costs only time.
        self.finite = math.isfinite(sum(values))
        self.values: Sequence[float | None] = (
            values if self.finite else [None if value != value else value for value in values]
        )

    @classmethod
    def of_points(cls, points: Sequence[Point]) -> Rows:
        """Return points without those whose step is beyond SQLite's integers."""
        points = [point for point in points if MIN_STEP <= point[0] <= MAX_STEP]
        return cls(
            [point[0] for point in points],
            [moment(point[1]) for point in points],
            [number(point[2]) for point in points],
        )

    @classmethod
    def of_columns(cls, columns: PointColumns) -> Rows:
        """The same of points in columns, whose values are floats."""
        steps, times, values = columns
        moments = [time for time in times if time is not None]
        if not (are_storable(steps) and are_storable(moments)):
            return cls.of_points(list(map(Point, steps, times, values)))
        return cls(steps, times, values)

    def finite_values(self, start: int = 0, end: int | None = None) -> Sequence[float]:
        """Return the finite values of a stretch."""
        values = self.values[start:end]
        if self.finite:
            return values  # type: ignore[return-value]
        return [value for value in values if value is not None and -math.inf < value < math.inf]

    def extremes(self, start: int, end: int) -> Extremes:
        """Return the extremes of a stretch, of equal ones the first."""
        finite = self.finite_values(start, end)
        if not finite:
            return None, None, None, None
        low, high = min(finite), max(finite)
        index = self.values.index
        return (
            low, self.steps[index(low, start, end)], high, self.steps[index(high, start, end)],
        )  # fmt: skip


#: Rows of a statement. One row each costs twice the time, more than 64 gain nothing; SQLite before
#: 3.32 takes 999 variables.
_ROWS = 64
_INSERT_ROW = "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_ROWS = "INSERT INTO series VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?)"] * _ROWS)


def insert_rows(
    connection: sqlite3.Connection, key: KeyRow, rows: Rows, segments: list[int] | Iterator[int]
) -> None:
    """Append rows to the series; `segments` are theirs, as an iterator one for all of them."""
    if isinstance(segments, list):
        columns = rows.steps, rows.times, rows.values, segments
        connection.executemany(_INSERT_ROW, zip(repeat(key.id), count(key.count), *columns))
    else:
        _insert_alike(connection, key, rows, next(segments))


def _insert_alike(connection: sqlite3.Connection, key: KeyRow, rows: Rows, segment: int) -> None:
    """Insert rows of one segment."""
    steps, times, values = rows.steps, rows.times, rows.values
    whole = len(steps) // _ROWS * _ROWS
    flat: list[object] = [None] * (6 * whole)
    flat[0::6], flat[5::6] = [key.id] * whole, [segment] * whole
    flat[1::6] = range(key.count, key.count + whole)
    flat[2::6], flat[3::6], flat[4::6] = steps[:whole], times[:whole], values[:whole]
    for at in range(0, 6 * whole, 6 * _ROWS):
        connection.execute(_INSERT_ROWS, flat[at : at + 6 * _ROWS])
    rest = zip(
        repeat(key.id), count(key.count + whole), steps[whole:], times[whole:], values[whole:],
        repeat(segment),
    )  # fmt: skip
    connection.executemany(_INSERT_ROW, rest)


def put_buckets(connection: sqlite3.Connection, key: KeyRow, rows: Rows) -> list[Extremes]:
    """Write the buckets that the new rows touch; only the first of them can be there already.

    Return the extremes of the new rows, bucket by bucket.
    """
    found: list[Extremes] = []
    buckets: list[tuple[object, ...]] = []
    start, size = 0, len(rows.steps)
    while start < size:
        number, within = divmod(key.count + start, BUCKET_POINTS)
        end = min(size, start + BUCKET_POINTS - within)
        found.append(rows.extremes(start, end))
        values = _Bucket(
            end - start, rows.steps[start], rows.steps[end - 1], *found[-1],
            rows.times[start], rows.times[end - 1],
        )  # fmt: skip
        if within:
            begun = connection.execute(
                "SELECT count, first_step, last_step, min, min_step, max, max_step, first_time,"
                " last_time FROM bucket WHERE key_id = ? AND bucket = ?",
                (key.id, number),
            ).fetchone()
            values = _joined(_Bucket(*begun), values)
        buckets.append((key.id, number, *values))
        start = end
    connection.executemany(
        "INSERT OR REPLACE INTO bucket VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", buckets
    )
    return found


class _Bucket(NamedTuple):
    """A row of `bucket` behind its key, columns in order."""

    points: int
    first_step: int
    last_step: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    first_time: int | None
    last_time: int | None


def _joined(begun: _Bucket, more: _Bucket) -> _Bucket:
    """Return the bucket of the rows of `begun` and then of `more`; of equal values the first."""
    low, high = begun, begun
    if more.min is not None and (begun.min is None or more.min < begun.min):
        low = more
    if more.max is not None and (begun.max is None or more.max > begun.max):
        high = more
    return _Bucket(
        begun.points + more.points, begun.first_step, more.last_step,
        low.min, low.min_step, high.max, high.max_step,
        begun.first_time, more.last_time,
    )  # fmt: skip
