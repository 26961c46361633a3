"""Readings on their way into run.db: what one transaction changes, and what belongs there.

`Staged` is the writer's state as it will be once the transaction is committed; if it never is, the
writer goes on with the state it had.
"""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

from guildlite.runs import mediarows
from guildlite.runs.seriesrows import UPDATE_KEY, KeyRow, Rows, insert_rows, put_buckets
from guildlite.runs.storable import moment, storable
from guildlite.series import (
    MAX_STEP,
    Cursor,
    EmbeddingSeen,
    Items,
    OutputLine,
    Reading,
    SeriesMetadata,
)

_OUTPUT = "output/"
#: Kinds of source: the logs, the script's own files, and those that stand for what it also printed.
_OUTPUT_KIND = "output"
_FILE_KINDS = ("tfevents", "csv", "jsonl")
_EVENTS_KIND = "tfevents"


class Staged:
    """The writer's state inside a transaction: keys are copied before they change."""

    def __init__(
        self,
        keys: dict[str, KeyRow],
        sources: dict[tuple[str, str], int],
        segments: dict[tuple[int, int | None], tuple[int, int]],
        origins: Origins,
        states: dict[int, dict[str, object]],
    ) -> None:
        self.keys, self.sources, self.segments = dict(keys), dict(sources), dict(segments)
        self.states = dict(states)
        self.changed: dict[str, KeyRow] = {}
        self._origins, self.new = origins, Origins()
        self.dropped: set[str] = set()

    def key(self, connection: sqlite3.Connection, name: str, kind: str = "scalar") -> KeyRow:
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
            key = KeyRow(int(cursor.lastrowid or 0), name, kind)
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


class Origins:
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

    def take(self, new: Origins, dropped: set[str]) -> None:
        """Add what a committed transaction learnt."""
        self.printed = (self.printed - dropped) | new.printed
        self.files |= new.files
        self.in_events |= new.in_events
        self.spellings |= new.spellings


def stage(connection: sqlite3.Connection, staged: Staged, reading: Reading) -> None:
    """Write a reading's rows; the summaries of its series wait for `finish`."""
    source = _put_cursor(connection, staged, reading.cursor) if reading.cursor else None
    if reading.restart is not None and source is not None:
        _end_segments(connection, staged, source, reading.restart)
    found = [(name, Rows.of_points(points)) for name, points in reading.points.items()]
    found += [(name, Rows.of_columns(columns)) for name, columns in reading.columns.items()]
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
    put_attrs(connection, reading.attrs)


def finish(connection: sqlite3.Connection, staged: Staged) -> None:
    """Write the summaries of the series that changed, and drop what was printed only as well."""
    for key in staged.changed.values():
        connection.execute(UPDATE_KEY, (*key.row()[1:], key.id))
    for name in staged.printed_twice():
        _delete_series(connection, staged, name)


def _stage_media(
    connection: sqlite3.Connection, staged: Staged, reading: Reading, source: int
) -> None:
    for items in reading.media:
        _put_items(connection, staged, items, source)
    for session in reading.sessions:
        mediarows.put_session(connection, session)
    for experiment in reading.experiments:
        mediarows.put_experiment(connection, experiment)
    if reading.embeddings is not None:
        _put_embeddings(connection, staged, reading.embeddings, source)


def _put_items(connection: sqlite3.Connection, staged: Staged, items: Items, source: int) -> None:
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
    connection: sqlite3.Connection, staged: Staged, seen: Sequence[EmbeddingSeen], source: int
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


def _end_segments(connection: sqlite3.Connection, staged: Staged, source: int, step: int) -> None:
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


def _is_wanted(connection: sqlite3.Connection, staged: Staged, name: str, kind: str) -> bool:
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


def _put_cursor(connection: sqlite3.Connection, staged: Staged, cursor: Cursor) -> int:
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


def _put_rows(
    connection: sqlite3.Connection, staged: Staged, name: str, rows: Rows, source: int | None
) -> None:
    if not rows.steps:
        return
    key = staged.key(connection, name)
    segments = _put_segments(connection, staged, key, rows.steps, source)
    insert_rows(connection, key, rows, segments)
    key.count_in(rows, put_buckets(connection, key, rows))


def _put_segments(
    connection: sqlite3.Connection,
    staged: Staged,
    key: KeyRow,
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


def put_attrs(connection: sqlite3.Connection, attrs: Mapping[str, str | None]) -> None:
    """Set attributes; None removes one."""
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


def _delete_series(connection: sqlite3.Connection, staged: Staged, name: str) -> None:
    number = staged.keys[name].id
    for table in ("series", "segment", "bucket"):
        connection.execute(f"DELETE FROM {table} WHERE key_id = ?", (number,))
    mediarows.delete_key(connection, number)
    connection.execute("DELETE FROM series_key WHERE id = ?", (number,))
    staged.forget(name)
