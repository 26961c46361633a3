"""Many runs by columns: what tables and frames of thousands of runs are made of.

`rows.read_records` makes an object of every cell; here a column is one list, filled straight from
the cursor, and the summaries of series stay as they come from SQLite until someone wants arrays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from guildlite.index.fill import name_of
from guildlite.index.rows import parts_of

#: Columns of `run`; the second are asked of the living where the row does not know them.
_PLAIN = ("model", "operation", "label", "note", "marked", "error")
_LIVE = ("status", "status_note", "started", "stopped", "duration", "exit_code")
_RUNS = (
    f"SELECT run.id, name, {', '.join(_PLAIN)}, created,"
    f" {', '.join(f'coalesce(run.{name}, live.{name})' for name in _LIVE)}"
    " FROM run LEFT JOIN live ON live.run = run.id WHERE run.id"
)
# Flags that are numbers come as numbers, which costs less than their text and reading that again;
# beyond 1e15 (and for `inf`) the text decides what they are.
_VALUES = (
    'SELECT "key", run, CASE WHEN text IS NULL OR (value > -1e15 AND value < 1e15'
    """ AND "key" IN (SELECT id FROM "key" WHERE kind = 'flag')) THEN value ELSE text END"""
    " FROM val WHERE run"
)
_METRICS = 'SELECT "key", run, "last", "min", "max" FROM metric WHERE run'
#: Keys of gl's own measurements are below 0, and are most of all series.
_SYSTEM = ' AND "key" < 0'

#: A flag or attribute: a number, or the text that was written; None where a run has none.
Raw = float | str | None
#: Key, number of the run, last, smallest and largest value.
Metric = tuple[int, int, float | None, float | None, float | None]


class Table(NamedTuple):
    """Runs by columns; a column has one entry a run, in the order of `numbers`.

    `runs` has a column for each attribute: `id`, `created` and others of a `RunRecord`. `flags` and
    `attrs` are by name, in the order in which the runs bring the names up. `metrics` are rows, of
    other runs too; `names` are those of their keys, and `place` is the row of a run by its number,
    -1 for others.
    """

    numbers: Sequence[int]
    runs: Mapping[str, Sequence[Any]]
    flags: Mapping[str, Sequence[Raw]]
    attrs: Mapping[str, Sequence[Raw]]
    metrics: Sequence[Metric]
    names: Mapping[int, str]
    place: Sequence[int]

    def part(self, rows: slice) -> Table:
        """Return the table of some of its runs; names that none of them has are left out."""
        numbers = self.numbers[rows]
        return Table(
            numbers,
            {name: column[rows] for name, column in self.runs.items()},
            _in_order({name: column[rows] for name, column in self.flags.items()}),
            _in_order({name: column[rows] for name, column in self.attrs.items()}),
            self.metrics,
            self.names,
            _places(numbers, len(self.place)),
        )

    def flags_of(self, row: int) -> dict[str, str]:
        """Return the flags of a run as text."""
        return {
            name: str(column[row]) for name, column in self.flags.items() if column[row] is not None
        }

    def series(self) -> list[dict[str, float | None]]:
        """Return the last value of each of its series for every run."""
        found: list[dict[str, float | None]] = [{} for _ in range(len(self.numbers) + 1)]
        for key, run, last, _, _ in self.metrics:
            found[self.place[run]][self.names[key]] = last
        return found[:-1]


def read_table(connection: sqlite3.Connection, numbers: Sequence[int]) -> Table:
    """Return runs by their numbers in the index, in that order; of series the scripts' own."""
    keys = _keys(connection)
    (most,) = connection.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()
    place = _places(numbers, most + 1)
    # One row more than there are runs: -1, where those of other runs end up.
    runs: list[tuple[Any, ...]] = [()] * (len(numbers) + 1)
    values: dict[int, list[Raw]] = {
        key: [None] * (len(numbers) + 1) for key, (kind, _) in keys.items() if kind != "series"
    }
    metrics: list[Metric] = []
    for _, where, parameters in parts_of(connection, numbers):
        for row in connection.execute(_RUNS + where, parameters):
            runs[place[row[0]]] = row
        for key, run, value in connection.execute(_VALUES + where, parameters):
            values[key][place[run]] = value
        # The plus keeps SQLite from walking an index by value instead of the table end to end.
        own = ' AND "key" > 0' if parameters else ' AND +"key" > 0'
        metrics += connection.execute(_METRICS + where + own, parameters)
    del runs[-1]
    flags: dict[str, Sequence[Raw]] = {}
    attrs: dict[str, Sequence[Raw]] = {}
    for key, column in values.items():
        kind, name = keys[key]
        (flags if kind == "flag" else attrs)[name] = column[:-1]
    names = {key: name for key, (kind, name) in keys.items() if kind == "series"}
    return Table(numbers, _columns(runs), _in_order(flags), _in_order(attrs), metrics, names, place)


def with_system(connection: sqlite3.Connection, table: Table) -> Table:
    """Return a table with gl's own measurements, as they are now.

    The index may have been built anew since, with other numbers: the runs are found by name.
    """
    number_of = dict(zip(table.runs["id"], table.numbers, strict=True))
    known = {}
    for number, stored in connection.execute("SELECT id, name FROM run"):
        if (name := name_of(stored)) in number_of:
            known[number] = number_of[name]
    metrics = [*table.metrics]
    for _, where, parameters in parts_of(connection, [*known]):
        rows: Iterable[Metric] = connection.execute(_METRICS + where + _SYSTEM, parameters)
        metrics += [(row[0], known[row[1]], *row[2:]) for row in rows if row[1] in known]
    system = {key: name for key, (_, name) in _keys(connection).items() if key < 0}
    own = {key: name for key, name in table.names.items() if key > 0}
    return table._replace(metrics=metrics, names=own | system)


def _keys(connection: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    rows: Iterable[tuple[int, str, str]]
    rows = connection.execute('SELECT id, kind, name FROM "key" ORDER BY id')
    return {key: (kind, name) for key, kind, name in rows}


def _columns(rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    names = ("number", "id", *_PLAIN, "created", *_LIVE)
    columns: dict[str, Sequence[Any]] = dict.fromkeys(names, ())
    if rows:
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    del columns["number"]
    columns["id"] = [*map(name_of, columns["id"])]
    columns["marked"] = [*map(bool, columns["marked"])]
    return columns


def _in_order(columns: Mapping[str, Sequence[Raw]]) -> dict[str, Sequence[Raw]]:
    """Return columns in the order in which the runs bring them up, without the empty ones."""
    first = {}
    for name, column in columns.items():
        row = next((row for row, value in enumerate(column) if value is not None), None)
        if row is not None:
            first[name] = row
    return {name: columns[name] for name in sorted(first, key=first.__getitem__)}


def _places(numbers: Sequence[int], size: int) -> list[int]:
    """Return the row of a run by its number; a list answers faster than a dict."""
    place = [-1] * size
    for row, number in enumerate(numbers):
        place[number] = row
    return place
