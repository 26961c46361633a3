"""Rows of the index back to records."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from guildlite.index.fill import name_of, stored_name
from guildlite.index.record import Reduced, RunRecord

_COLUMNS = (
    "run.id, name, uid, project, model, operation, coalesce(run.status, live.status),"
    " coalesce(run.status_note, live.status_note), created, coalesce(run.started, live.started),"
    " coalesce(run.stopped, live.stopped), coalesce(run.duration, live.duration),"
    " coalesce(run.exit_code, live.exit_code), coalesce(run.exit_signal, live.exit_signal),"
    " label, note, marked, error"
)
_RUNS = f"SELECT {_COLUMNS} FROM run LEFT JOIN live ON live.run = run.id WHERE run.id"
_VALUES = 'SELECT run, "key", coalesce(text, value) FROM val WHERE run'
_METRICS = (
    'SELECT run, "key", "count", "first", "last", "min", "max", mean, first_step, last_step,'
    " min_step, max_step FROM metric WHERE run"
)
#: Below this many runs each is looked up, above it the tables are read from end to end.
_FEW = 500


def read_records(
    connection: sqlite3.Connection,
    numbers: Sequence[int],
    *,
    values: bool = True,
    series: bool = True,
    only_series: Collection[str] | None = None,
) -> list[RunRecord]:
    """Return the records of runs by their numbers in the index, in that order.

    `values` False leaves flags and attributes out, `series` False the series; `only_series` names
    those to take.
    """
    if not numbers:
        return []
    where, parameters = _among(numbers)
    names = _key_names(connection)
    flags: dict[int, dict[str, str]] = {}
    attrs: dict[int, dict[str, str]] = {}
    found: dict[int, dict[str, Reduced]] = {}
    if values:
        for run, key, text in connection.execute(_VALUES + where, parameters):
            kind, name = names[key]
            (flags if kind == "flag" else attrs).setdefault(run, {})[name] = str(text)
    if series:
        sql, more = _METRICS + where, list(parameters)
        if only_series is not None:
            keys = [
                key
                for key, (kind, name) in names.items()
                if kind == "series" and name in only_series
            ]
            sql += f' AND "key" IN ({", ".join("?" * len(keys))})'
            more += keys
        for run, key, *row in connection.execute(sql, more):
            found.setdefault(run, {})[names[key][1]] = Reduced(*row)
    records: dict[int, RunRecord] = {}
    for number, name, *columns in connection.execute(_RUNS + where, parameters):
        held = (flags.get(number, {}), attrs.get(number, {}), found.get(number, {}))
        *plain, marked, error = columns
        records[number] = RunRecord._make((name_of(name), *plain, bool(marked), error, *held))
    return [records[number] for number in numbers]


def _among(numbers: Sequence[int]) -> tuple[str, Sequence[object]]:
    """Return the condition that a number is among these; anything for many."""
    if len(numbers) > _FEW:
        return " NOT NULL", ()
    return f" IN ({', '.join('?' * len(numbers))})", numbers


def _key_names(connection: sqlite3.Connection) -> Mapping[int, tuple[str, str]]:
    rows: Iterable[tuple[int, str, str]] = connection.execute('SELECT id, kind, name FROM "key"')
    return {key: (kind, name) for key, kind, name in rows}


def find_record(connection: sqlite3.Connection, name: str) -> RunRecord | None:
    """Return what the index has of the run in directory `name`, or None."""
    row = connection.execute("SELECT id FROM run WHERE name = ?", (stored_name(name),)).fetchone()
    return read_records(connection, [row[0]])[0] if row else None
