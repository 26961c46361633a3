"""Rows of the index back to records."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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
_VALUES = 'SELECT run, "key", CAST(coalesce(text, value) AS TEXT) FROM val WHERE run'
_METRICS = (
    'SELECT run, "key", "count", "first", "last", "min", "max", mean, first_step, last_step,'
    " min_step, max_step FROM metric WHERE run"
)
#: Runs to a statement; SQLite before 3.32 takes 999 parameters.
_FEW = 500
#: From this part of all runs on, the tables are read from end to end.
_MOST = 0.25
#: Where the values of a key go: the last three fields of a record, in their order.
_PLACES = {"flag": 0, "attr": 1, "series": 2}

#: Flags, attributes and series of a run.
_Held = tuple[dict[str, str], dict[str, str], dict[str, Reduced]]


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
    names = _key_names(connection)
    keys = None
    if only_series is not None:
        keys = [key for key, (kind, name) in names.items() if kind == 2 and name in only_series]
    records: dict[int, RunRecord] = {}
    for part, where, parameters in parts_of(connection, numbers):
        held: dict[int, _Held] = {number: ({}, {}, {}) for number in part}
        if values:
            _add_values(connection, where, parameters, names, held)
        if series:
            _add_series(connection, where, parameters, names, keys, held)
        for number, name, *columns in connection.execute(_RUNS + where, parameters):
            if number in held:
                *plain, marked, error = columns
                records[number] = RunRecord._make(
                    (name_of(name), *plain, bool(marked), error, *held[number])
                )
    return [records[number] for number in numbers]


def _add_values(
    connection: sqlite3.Connection,
    where: str,
    parameters: Sequence[object],
    names: Mapping[int, tuple[int, str]],
    held: Mapping[int, _Held],
) -> None:
    of = held.get
    for run, key, text in connection.execute(_VALUES + where, parameters):
        one = of(run)
        if one is not None:
            kind, name = names[key]
            one[kind][name] = text


def _add_series(
    connection: sqlite3.Connection,
    where: str,
    parameters: Sequence[object],
    names: Mapping[int, tuple[int, str]],
    keys: Sequence[int] | None,
    held: Mapping[int, _Held],
) -> None:
    of, make = held.get, Reduced._make
    if keys is not None:
        # A seek for each, even of all runs: what the machine did is most of the table.
        where = where if parameters else " IN (SELECT id FROM run)"
        where += f' AND "key" IN ({", ".join("?" * len(keys))})'
        parameters = [*parameters, *keys]
    for row in connection.execute(_METRICS + where, parameters):
        one = of(row[0])
        if one is not None:
            one[2][names[row[1]][1]] = make(row[2:])


def parts_of(
    connection: sqlite3.Connection, numbers: Sequence[int]
) -> Iterator[tuple[Sequence[int], str, Sequence[object]]]:
    """Yield runs, the condition that a number is among them, its parameters; none where it is any.

    Half of a hundred thousand runs are found faster by reading all of them; a thousand are not.
    """
    if len(numbers) > _FEW:
        (runs,) = connection.execute("SELECT max(id) FROM run").fetchone()
        if len(numbers) >= _MOST * runs:
            yield numbers, " NOT NULL", ()
            return
    for start in range(0, len(numbers), _FEW):
        part = numbers[start : start + _FEW]
        yield part, f" IN ({', '.join('?' * len(part))})", part


def _key_names(connection: sqlite3.Connection) -> Mapping[int, tuple[int, str]]:
    rows: Iterable[tuple[int, str, str]] = connection.execute('SELECT id, kind, name FROM "key"')
    return {key: (_PLACES[kind], name) for key, kind, name in rows}


def find_number(connection: sqlite3.Connection, name: str) -> int | None:
    """Return the number in the index of the run in directory `name`, or None."""
    row = connection.execute("SELECT id FROM run WHERE name = ?", (stored_name(name),)).fetchone()
    return row[0] if row else None


def find_record(connection: sqlite3.Connection, name: str) -> RunRecord | None:
    """Return what the index has of the run in directory `name`, or None."""
    number = find_number(connection, name)
    return None if number is None else read_records(connection, [number])[0]
