"""The writer of run.db. Exactly one at a time: whoever holds the run's lock.

A `RunDb` belongs to one thread. `write` commits its readings whole or not at all, in one
transaction that also holds summaries, buckets and cursors, so a crash neither loses nor repeats a
point. After a failed `write` the file and this object are as before it. Whatever the readings hold
(lone surrogates, NUL, numbers beyond 64 bits), only sqlite3.Error comes out.
"""

from __future__ import annotations

import copy
import json
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count, repeat
from pathlib import Path
from typing import NamedTuple

from guildlite.runs import mediarows, rereading
from guildlite.runs.migrations import migrate
from guildlite.runs.reader import BUCKET_POINTS
from guildlite.runs.storable import are_storable, moment, number, storable
from guildlite.series import (
    MAX_STEP,
    MIN_STEP,
    Cursor,
    EmbeddingSeen,
    Items,
    OutputLine,
    Point,
    PointColumns,
    Reading,
    SeriesMetadata,
)

_OUTPUT = "output/"
#: Kinds of source: the logs, the script's own files, and those that stand for what it also printed.
_OUTPUT_KIND = "output"
_FILE_KINDS = ("tfevents", "csv", "jsonl")
_EVENTS_KIND = "tfevents"


class RunDb:
    """An open run.db that this process may write.

    `network` is for file systems where another host may look at the same file: no shared memory
    there, so no WAL. Without `durable` there is no journal and no waiting for the disk: for a file
    that nobody sees before it is whole, and that is thrown away if it never is.
    """

    def __init__(self, path: Path, *, network: bool = False, durable: bool = True) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            self._prepare(("DELETE" if network else "WAL") if durable else "OFF", durable)
            migrate(self._connection)
            self._load()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, journal: str, durable: bool) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA journal_mode={journal}")
        execute(f"PRAGMA synchronous={'NORMAL' if durable else 'OFF'}")
        execute("PRAGMA journal_size_limit=8388608")
        # A foreign run.db is data: its views and triggers get no say.
        execute("PRAGMA trusted_schema=OFF")

    # State --------------------------------------------------------------------------------

    def _load(self) -> None:
        self._keys = {key.key: key for key in self._load_keys()}
        self._sources = self._load_sources()
        self._segments = self._load_segments()
        self._origins = self._load_origins()
        #: What was last written of each source's state: that of a hundred thousand tags takes
        #: longer than the points of a commit.
        self._states: dict[int, dict[str, object]] = {}

    def _load_keys(self) -> Iterator[_Key]:
        names = ", ".join(f'"{name}"' for name in _KEY_COLUMNS)
        for row in self._connection.execute(f"SELECT {names} FROM series_key"):
            yield _Key(*row)

    def _load_sources(self) -> dict[tuple[str, str], int]:
        rows = self._connection.execute("SELECT path, digest, id FROM source")
        return {(path, digest): number for path, digest, number in rows}

    def _load_segments(self) -> dict[tuple[int, int | None], tuple[int, int]]:
        """Return the open segment of each (series, source): its number and last step."""
        rows = self._connection.execute(
            "SELECT key_id, source_id, segment, last_step, ended FROM segment ORDER BY segment"
        )
        return {
            (key, source): (segment, MAX_STEP if ended else step)
            for key, source, segment, step, ended in rows
        }

    def _load_origins(self) -> _Origins:
        rows = self._connection.execute(
            'SELECT DISTINCT "key", source.kind FROM segment'
            " JOIN source ON source.id = source_id JOIN series_key ON series_key.id = key_id"
            " WHERE series_key.kind = 'scalar'"
        )
        origins = _Origins()
        for key, kind in rows:
            origins.add(key, kind)
        return origins

    def cursors(self) -> list[Cursor]:
        """Return how far every source has been read."""
        rows = self._connection.execute(
            'SELECT path, kind, digest, "offset", state, error FROM source ORDER BY id'
        )
        return [
            Cursor(path, kind, digest, offset, json.loads(state) if state else {}, error)
            for path, kind, digest, offset, state, error in rows
        ]

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many points, or values, every series has, by key and kind."""
        return Counter({(key.key, key.kind): key.count for key in self._keys.values()})

    def attr(self, name: str) -> str | None:
        """Return one attribute."""
        row = self._connection.execute("SELECT value FROM attr WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    # Writing ------------------------------------------------------------------------------

    def write_start(self, attrs: Mapping[str, str], flags: Mapping[str, str]) -> None:
        """Record what was asked: once, at the start; a second call changes nothing."""
        with _Transaction(self._connection) as connection:
            for table, pairs in (("attr", attrs), ("flag", flags)):
                rows = [(storable(name), storable(value)) for name, value in pairs.items()]
                connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", rows)

    def write_attrs(self, attrs: Mapping[str, str | None]) -> None:
        """Set attributes; None removes one."""
        with _Transaction(self._connection) as connection:
            _put_attrs(connection, attrs)

    def write(self, readings: Iterable[Reading]) -> None:
        """Commit readings. sqlite3.Error (disk full, say) leaves file and object as before."""
        staged = _Staged(self._keys, self._sources, self._segments, self._origins, self._states)
        with _Transaction(self._connection) as connection:
            for reading in readings:
                _stage(connection, staged, reading)
            for key in staged.changed.values():
                connection.execute(_UPDATE_KEY, (*key.row()[1:], key.id))
            for name in staged.printed_twice():
                _delete_series(connection, staged, name)
        self._keys, self._sources = staged.keys, staged.sources
        self._segments, self._states = staged.segments, staged.states
        self._origins.take(staged.new, staged.dropped)

    @contextmanager
    def rereading(self, sources: Collection[int]) -> Iterator[None]:
        """Forget all that these sources gave, and commit it together with what is then written.

        `sources` are ids. Everything written within the context is one transaction: an exception
        in it, or the end of this process, leaves the file as it was. Series that other sources
        gave points of as well keep those; moments that were seen when a row of a table came, and
        that its file does not tell, are put back.
        """
        try:
            with _Transaction(self._connection) as connection:
                kept = rereading.forget(connection, sources)
                self._load()
                with closing(kept):
                    for batch in kept:
                        self.write(batch)
                yield
                rereading.restore_times(connection)
        finally:
            rereading.clean_up(self._connection)
            self._load()

    def seal(self, attrs: Mapping[str, str | None], *, patience_s: float = 2.0) -> None:
        """Turn the file into one plain file that can be copied and opened anywhere.

        Readers that hold it open all the while keep it in WAL mode, which is as complete, and the
        next writer seals it.
        """
        self.write_attrs(attrs)
        self._connection.execute(f"PRAGMA busy_timeout={min(200, int(patience_s * 500))}")
        deadline = time.monotonic() + patience_s
        while True:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                mode = self._connection.execute("PRAGMA journal_mode=DELETE").fetchone()
                if mode == ("delete",):
                    return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            if time.monotonic() > deadline:
                return

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> RunDb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK; within another one, a savepoint of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._is_inner = connection.in_transaction

    def __enter__(self) -> sqlite3.Connection:
        self.connection.execute("SAVEPOINT inner_" if self._is_inner else "BEGIN IMMEDIATE")
        return self.connection

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            try:
                self.connection.execute("RELEASE inner_" if self._is_inner else "COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        if not self.connection.in_transaction:  # SQLite did, the outer one as well
            return
        if self._is_inner:
            self.connection.execute("ROLLBACK TO inner_")
            self.connection.execute("RELEASE inner_")
        else:
            self.connection.execute("ROLLBACK")


_KEY_COLUMNS = (
    "id", "key", "kind", "count", "first", "last", "min", "max", "mean", "first_step", "last_step",
    "min_step", "max_step", "first_time", "last_time", "nan", "infinite", "segments",
)  # fmt: skip
_UPDATE_KEY = (
    "UPDATE series_key SET "
    + ", ".join(f'"{name}" = ?' for name in _KEY_COLUMNS[1:])
    + " WHERE id = ?"
)


class _Key:
    """A row of series_key, as it will be after the open transaction."""

    __slots__ = _KEY_COLUMNS

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
        return tuple(getattr(self, name) for name in _KEY_COLUMNS)

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

    def count_in(self, rows: _Rows, extremes: Sequence[_Extremes]) -> None:
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

    def _widen(self, found: _Extremes) -> None:
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
_Extremes = tuple["float | None", "int | None", "float | None", "int | None"]


class _Rows:
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
    def of_points(cls, points: Sequence[Point]) -> _Rows:
        """Return points without those whose step is beyond SQLite's integers."""
        points = [point for point in points if MIN_STEP <= point[0] <= MAX_STEP]
        return cls(
            [point[0] for point in points],
            [moment(point[1]) for point in points],
            [number(point[2]) for point in points],
        )

    @classmethod
    def of_columns(cls, columns: PointColumns) -> _Rows:
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

    def extremes(self, start: int, end: int) -> _Extremes:
        """Return the extremes of a stretch, of equal ones the first."""
        finite = self.finite_values(start, end)
        if not finite:
            return None, None, None, None
        low, high = min(finite), max(finite)
        index = self.values.index
        return (
            low, self.steps[index(low, start, end)], high, self.steps[index(high, start, end)],
        )  # fmt: skip


class _Staged:
    """The writer's state inside a transaction: keys are copied before they change."""

    def __init__(
        self,
        keys: dict[str, _Key],
        sources: dict[tuple[str, str], int],
        segments: dict[tuple[int, int | None], tuple[int, int]],
        origins: _Origins,
        states: dict[int, dict[str, object]],
    ) -> None:
        self.keys, self.sources, self.segments = dict(keys), dict(sources), dict(segments)
        self.states = dict(states)
        self.changed: dict[str, _Key] = {}
        self._origins, self.new = origins, _Origins()
        self.dropped: set[str] = set()

    def key(self, connection: sqlite3.Connection, name: str, kind: str = "scalar") -> _Key:
        """Return the series of that name and kind, which may be new, to be changed.

        Of one name with two kinds the scalar has the name, and the other is `NAME:KIND`; of two
        that are no scalars, the later one is.
        """
        known = self.keys.get(name)
        if known is not None and known.kind != kind:
            if kind == "scalar":
                self._rename(connection, name)
            else:
                return self.key(connection, f"{name}:{kind}", kind)
        key = self.changed.get(name)
        if key is not None:
            return key
        known = self.keys.get(name)
        if known is None:
            cursor = connection.execute(
                "INSERT INTO series_key"
                " (key, kind, count, nan, infinite, segments) VALUES (?, ?, 0, 0, 0, 0)",
                (name, kind),
            )
            key = _Key(int(cursor.lastrowid or 0), name, kind)
        else:
            key = copy.copy(known)
        self.keys[name] = self.changed[name] = key
        return key

    def _rename(self, connection: sqlite3.Connection, name: str) -> None:
        """Make room for a scalar of that name."""
        key = self.changed.pop(name, None) or copy.copy(self.keys[name])
        del self.keys[name]
        while key.key in self.keys or key.key == name:
            key.key = f"{key.key}:{key.kind}"
        self.keys[key.key] = self.changed[key.key] = key
        connection.execute('UPDATE series_key SET "key" = ? WHERE id = ?', (key.key, key.id))

    def is_in_file(self, printed: str) -> bool:
        """Return whether an event file brought the number that `output/NAME` stands for.

        Or whether a file below `output/` brought that very key.
        """
        name = printed[len(_OUTPUT) :].casefold()
        spelt = name in self._origins.spellings or name in self.new.spellings
        return spelt or self.is_file_key(printed)

    def is_file_key(self, name: str) -> bool:
        """Return whether the series of that key is known to come from a file."""
        return name in self._origins.files or name in self.new.files

    def is_known(self, name: str, kind: str) -> bool:
        """Return whether a file of that kind is known to have brought the series of that key."""
        if kind == _EVENTS_KIND:
            return name in self._origins.in_events or name in self.new.in_events
        return self.is_file_key(name)

    def is_printed(self, name: str) -> bool:
        """Return whether the series of that key was caught in the output."""
        return name in (self._origins.printed | self.new.printed) - self.dropped

    def printed_twice(self) -> list[str]:
        """Return the series caught in the output that an event file has just brought too."""
        if not self.new.spellings:
            return []
        printed = (self._origins.printed | self.new.printed) - self.dropped
        return [name for name in printed if self.is_in_file(name)]

    def forget(self, name: str) -> None:
        number = self.keys.pop(name).id
        self.changed.pop(name, None)
        self.new.printed.discard(name)
        self.dropped.add(name)
        self.segments = {at: open_ for at, open_ in self.segments.items() if at[0] != number}


class _Origins:
    """Which series were caught in the output, and how those of event files might be printed.

    `output/NAME` is for numbers that are in no event file. Which came first must not matter: a
    printed series goes as soon as an event file brings the same number. Tables do not count: a
    log that a script prints and a table it keeps may well differ.
    """

    def __init__(self) -> None:
        self.printed: set[str] = set()
        self.files: set[str] = set()
        self.in_events: set[str] = set()
        self.spellings: set[str] = set()

    def add(self, key: str, kind: str) -> None:
        """Note that a source of `kind` brought points of `key`."""
        if kind in _FILE_KINDS:
            self.files.add(key)
        if kind == _EVENTS_KIND:
            self.in_events.add(key)
            name = key.casefold()
            self.spellings |= {name, name.replace("/", "_"), name.rpartition("/")[2]}
        if kind == _OUTPUT_KIND and key.startswith(_OUTPUT):
            self.printed.add(key)

    def take(self, new: _Origins, dropped: set[str]) -> None:
        """Add what a committed transaction learnt."""
        self.printed = (self.printed - dropped) | new.printed
        self.files |= new.files
        self.in_events |= new.in_events
        self.spellings |= new.spellings


def _stage(connection: sqlite3.Connection, staged: _Staged, reading: Reading) -> None:
    source = _put_cursor(connection, staged, reading.cursor) if reading.cursor else None
    if reading.restart is not None and source is not None:
        _end_segments(connection, staged, source, reading.restart)
    found = [(name, _Rows.of_points(points)) for name, points in reading.points.items()]
    found += [(name, _Rows.of_columns(columns)) for name, columns in reading.columns.items()]
    for name, rows in found:
        name = storable(name)
        if reading.cursor is None or _is_wanted(connection, staged, name, reading.cursor.kind):
            _put_rows(connection, staged, name, rows, source)
    if source is not None:
        _stage_media(connection, staged, reading, source)
    if reading.lines:
        connection.executemany(
            "INSERT INTO output (time, stream, text, op) VALUES (?, ?, ?, ?)",
            [_line_row(line) for line in reading.lines],
        )
    _put_attrs(connection, reading.attrs)


def _stage_media(
    connection: sqlite3.Connection, staged: _Staged, reading: Reading, source: int
) -> None:
    for items in reading.media:
        _put_items(connection, staged, items, source)
    for session in reading.sessions:
        mediarows.put_session(connection, session)
    for experiment in reading.experiments:
        mediarows.put_experiment(connection, experiment)
    if reading.embeddings is not None:
        _put_embeddings(connection, staged, reading.embeddings, source)


def _put_items(connection: sqlite3.Connection, staged: _Staged, items: Items, source: int) -> None:
    if not items.items:
        return
    key = staged.key(connection, storable(items.key), items.kind)
    if not key.count or items.metadata is not None:
        metadata = items.metadata or SeriesMetadata()
        mediarows.put_metadata(connection, key.id, items.plugin, metadata)
    steps = [item.step for item in items.items]
    segments = _put_segments(connection, staged, key, steps, source)
    mediarows.insert_items(connection, key.id, key.count, source, items.items, segments)
    key.count_items(items)


def _put_embeddings(
    connection: sqlite3.Connection, staged: _Staged, seen: Sequence[EmbeddingSeen], source: int
) -> None:
    """Make the embeddings of a configuration those that it lists now."""
    kept = set()
    for each in seen:
        key = staged.key(connection, storable(each.key), "embedding")
        key.count, key.first_time, key.last_time = 1, moment(each.time), moment(each.time)
        mediarows.put_embedding(connection, key.id, source, each)
        kept.add(key.id)
    rows = connection.execute("SELECT key_id FROM embedding WHERE source_id = ?", (source,))
    gone = {number for (number,) in rows} - kept
    for name in [name for name, key in staged.keys.items() if key.id in gone]:
        _delete_series(connection, staged, name)


def _end_segments(connection: sqlite3.Connection, staged: _Staged, source: int, step: int) -> None:
    """Let the next point of each series that has come to `step` in that source open a segment."""
    ended = [
        at
        for at, (_, last_step) in staged.segments.items()
        if at[1] == source and step <= last_step < MAX_STEP
    ]
    connection.executemany(
        "UPDATE segment SET ended = 1 WHERE key_id = ? AND segment = ?",
        [(at[0], staged.segments[at][0]) for at in ended],
    )
    for at in ended:
        staged.segments[at] = (staged.segments[at][0], MAX_STEP)


def _is_wanted(connection: sqlite3.Connection, staged: _Staged, name: str, kind: str) -> bool:
    """Return whether points from a source of `kind` belong into run.db; makes room for a file's."""
    if kind == _OUTPUT_KIND and name.startswith(_OUTPUT):
        if staged.is_in_file(name):
            return False
        staged.new.add(name, kind)
    elif kind in _FILE_KINDS and not staged.is_known(name, kind):
        if staged.is_printed(name):
            _delete_series(connection, staged, name)
        staged.new.add(name, kind)
    return True


def _put_cursor(connection: sqlite3.Connection, staged: _Staged, cursor: Cursor) -> int:
    at = (storable(cursor.path), cursor.digest)
    number = staged.sources.get(at)
    if number is not None and staged.states.get(number) == cursor.state:
        connection.execute(
            'UPDATE source SET "offset" = ?, error = ? WHERE id = ?',
            (cursor.offset, cursor.error, number),
        )
        return number
    state = json.dumps(cursor.state) if cursor.state else None
    if number is not None:
        staged.states[number] = cursor.state
        connection.execute(
            'UPDATE source SET "offset" = ?, state = ?, error = ? WHERE id = ?',
            (cursor.offset, state, cursor.error, number),
        )
        return number
    row = connection.execute(
        'INSERT INTO source (path, kind, digest, "offset", state, error) VALUES (?, ?, ?, ?, ?, ?)',
        (at[0], cursor.kind, cursor.digest, cursor.offset, state, cursor.error),
    )
    staged.sources[at] = number = int(row.lastrowid or 0)
    staged.states[number] = cursor.state
    return number


#: Rows of a statement. One row each costs twice the time, more than 64 gain nothing; SQLite before
#: 3.32 takes 999 variables.
_ROWS = 64
_INSERT_ROW = "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_ROWS = "INSERT INTO series VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?)"] * _ROWS)


def _put_rows(
    connection: sqlite3.Connection, staged: _Staged, name: str, rows: _Rows, source: int | None
) -> None:
    if not rows.steps:
        return
    key = staged.key(connection, name)
    segments = _put_segments(connection, staged, key, rows.steps, source)
    if isinstance(segments, list):
        columns = rows.steps, rows.times, rows.values, segments
        connection.executemany(_INSERT_ROW, zip(repeat(key.id), count(key.count), *columns))
    else:
        _insert_alike(connection, key, rows, next(segments))
    key.count_in(rows, _put_buckets(connection, key, rows))


def _insert_alike(connection: sqlite3.Connection, key: _Key, rows: _Rows, segment: int) -> None:
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


def _put_segments(
    connection: sqlite3.Connection,
    staged: _Staged,
    key: _Key,
    steps: list[int],
    source: int | None,
) -> list[int] | Iterator[int]:
    """Open a segment where a step goes back; return the segment of each step.

    Where that is one for all, as nearly always, it comes as an endless iterator.
    """
    segment, last_step = staged.segments.get((key.id, source), (-1, MAX_STEP))
    if segment < 0 or steps[0] < last_step:
        segment = key.open_segment()
    segments: list[int] | Iterator[int]
    if sorted(steps) == steps:
        opened, segments = [(key.id, segment, source, steps[-1])], repeat(segment)
    else:
        opened, segments = [], []
        last_step = steps[0]
        for step in steps:
            if step < last_step:
                opened.append((key.id, segment, source, last_step))
                segment = key.open_segment()
            last_step = step
            segments.append(segment)
        opened.append((key.id, segment, source, last_step))
    connection.executemany(
        "INSERT OR REPLACE INTO segment (key_id, segment, source_id, last_step)"
        " VALUES (?, ?, ?, ?)",
        opened,
    )
    staged.segments[(key.id, source)] = (opened[-1][1], steps[-1])
    return segments


def _put_buckets(connection: sqlite3.Connection, key: _Key, rows: _Rows) -> list[_Extremes]:
    """Write the buckets that the new rows touch; only the first of them can be there already.

    Return the extremes of the new rows, bucket by bucket.
    """
    found: list[_Extremes] = []
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


def _put_attrs(connection: sqlite3.Connection, attrs: Mapping[str, str | None]) -> None:
    for name, value in attrs.items():
        if value is None:
            connection.execute("DELETE FROM attr WHERE name = ?", (storable(name),))
        else:
            connection.execute(
                "INSERT INTO attr VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = ?",
                (storable(name), storable(value), storable(value)),
            )


def _line_row(line: OutputLine) -> tuple[object, ...]:
    return moment(line.time), line.stream, storable(line.text), storable(line.op) or None


def _delete_series(connection: sqlite3.Connection, staged: _Staged, name: str) -> None:
    number = staged.keys[name].id
    for table in ("series", "segment", "bucket"):
        connection.execute(f"DELETE FROM {table} WHERE key_id = ?", (number,))
    mediarows.delete_key(connection, number)
    connection.execute("DELETE FROM series_key WHERE id = ?", (number,))
    staged.forget(name)
