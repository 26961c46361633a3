"""Records to rows of the index, and back to the number of a key."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable

from guildlite.index.reading import Examined
from guildlite.index.record import RunRecord, Seen
from guildlite.index.schema import HOUR
from guildlite.index.text import parse_number
from guildlite.series import is_system_key

_RUN_COLUMNS = (
    "name", "stamp", "status", "sealed", "status_note", "model", "operation", "created", "started",
    "stopped", "duration", "exit_code", "exit_signal", "marked", "label", "words", "error",
    "project", "uid", "seen", "note",
)  # fmt: skip
_INSERT_RUN = (
    f"INSERT INTO run (id, {', '.join(_RUN_COLUMNS)})"
    f" VALUES (?, {', '.join('?' * len(_RUN_COLUMNS))})"
)
_MOST_TEXTS = 10_000
_INSERT_VAL = "INSERT INTO val VALUES (?, ?, ?, ?)"
_TALLY = (
    "INSERT INTO tally VALUES (?, ?) ON CONFLICT (hour) DO UPDATE SET runs = runs + excluded.runs"
)
_INSERT_METRIC = f"INSERT INTO metric VALUES ({', '.join('?' * 12)})"


def stored_name(name: str) -> str | bytes:
    """Return a directory's name as the index holds it: one that is no Unicode as its bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def name_of(stored: str | bytes) -> str:
    """Return the directory's name that `stored_name` was given."""
    return stored if isinstance(stored, str) else os.fsdecode(stored)


def stored_text(text: str) -> str:
    """Return a text as SQLite takes it: a lone surrogate becomes a question mark."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


class Filler:
    """Writes records through one connection, inside a transaction of the caller."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        rows = connection.execute('SELECT kind, name, id FROM "key"')
        self._keys: dict[tuple[str, str], int] = {(kind, name): key for kind, name, key in rows}
        self._next = max([0, *(abs(key) for key in self._keys.values())]) + 1
        found = connection.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()
        self._empty = not found[0]
        self._next_run = int(found[0]) + 1
        # The same few texts come again and again, and looking for numbers in them takes long.
        self._texts: dict[str, tuple[float | str, str | None]] = {}

    def put(self, runs: Iterable[Examined]) -> None:
        """Write runs, in place of what was known of them."""
        rows: list[tuple[object, ...]] = []
        values: list[tuple[object, ...]] = []
        metrics: list[tuple[object, ...]] = []
        hours: dict[str, int] = {}
        for record, seen, settled in runs:
            number = None if self._empty else self.remove(record.id)
            if number is None:
                number = self._next_run
                self._next_run += 1
            hours[record.stamp[:HOUR]] = hours.get(record.stamp[:HOUR], 0) + 1
            rows.append((number, *_run_row(record, seen, settled)))
            values += self._value_rows(number, record)
            metrics += self._metric_rows(number, record)
        self._connection.executemany(_INSERT_RUN, rows)
        self._connection.executemany(_INSERT_VAL, values)
        self._connection.executemany(_INSERT_METRIC, metrics)
        self._connection.executemany(_TALLY, hours.items())

    def remove(self, name: str) -> int | None:
        """Forget a run; return the number it had, or None when it was not known."""
        execute = self._connection.execute
        row = execute("SELECT id, stamp FROM run WHERE name = ?", (stored_name(name),)).fetchone()
        if row is None:
            return None
        number, stamp = row
        execute("UPDATE tally SET runs = runs - 1 WHERE hour = ?", (stamp[:HOUR],))
        for table, column in (("run", "id"), ("val", "run"), ("metric", "run")):
            execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
        return int(number)

    def _value_rows(self, number: int, record: RunRecord) -> list[tuple[object, ...]]:
        key, typed = self._key, self._typed
        rows: list[tuple[object, ...]] = [
            (number, key("flag", name), *typed(text)) for name, text in record.flags.items()
        ]
        rows += [(number, key("attr", name), *typed(text)) for name, text in record.attrs.items()]
        return rows

    def _metric_rows(self, number: int, record: RunRecord) -> list[tuple[object, ...]]:
        return [(number, self._key("series", name), *each) for name, each in record.series.items()]

    def _typed(self, text: str) -> tuple[float | str, str | None]:
        """Return a flag's value as it compares, and its text where the value prints otherwise."""
        found = self._texts.get(text)
        if found is None:
            if len(self._texts) > _MOST_TEXTS:
                self._texts.clear()
            found = self._texts[text] = _typed(text)
        return found

    def _key(self, kind: str, name: str) -> int:
        found = self._keys.get((kind, name))
        if found is None:
            stored = stored_text(name)
            system = kind == "series" and is_system_key(name)
            found = self._keys.get((kind, stored)) or (-self._next if system else self._next)
            if (kind, stored) not in self._keys:
                self._connection.execute(
                    'INSERT INTO "key" VALUES (?, ?, ?)', (found, kind, stored)
                )
                self._next += 1
            self._keys[kind, name] = self._keys[kind, stored] = found
        return found


def _run_row(record: RunRecord, seen: Seen, sealed: bool) -> tuple[object, ...]:
    # The status of a run that may still change is no value but a question.
    return (
        stored_name(record.id), stored_text(record.stamp),
        record.status if sealed else None, sealed,
        record.status_note if sealed else None,
        stored_text(record.model), stored_text(record.operation), record.created, record.started,
        record.stopped, record.duration if sealed else None,
        _small(record.exit_code), _small(record.exit_signal), record.marked,
        stored_text(record.label), stored_text(record.words), stored_text(record.error),
        stored_text(record.project), stored_text(record.uid), format_seen(seen),
        stored_text(record.note),
    )  # fmt: skip


def _small(number: int | None) -> int | None:
    return number if number is None or -(2**63) <= number < 2**63 else None


def format_seen(seen: Seen) -> str:
    """Return the stamps as the index holds them."""
    return " ".join(map(str, seen))


def _typed(text: str) -> tuple[float | str, str | None]:
    number = parse_number(text)
    if number is None:
        return stored_text(text), None
    return number, None if isinstance(number, int) and str(number) == text else text
