"""SQL over all runs, or over one run.db: read-only, with a time limit, and nothing else.

All runs are asked through four views, whose names and columns are promised; the tables behind
them are not, and cannot be seen. One run.db is asked through its own tables.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from guildlite.errors import FilterError, GuildliteError, nearest
from guildlite.index import Index

_ISO = "strftime('%Y-%m-%dT%H:%M:%fZ', {}, 'unixepoch')"

#: View → (what a row is, column → (expression, meaning), tables).
VIEWS: dict[str, tuple[str, dict[str, tuple[str, str]], str]] = {
    "runs": (
        "one row a run",
        {
            "id": ("run.name", "name of the run directory"),
            "uid": ("run.uid", "random name that stays when the directory is renamed"),
            "project": ("run.project", "name of the project"),
            "model": ("run.model", "model, or the script"),
            "operation": ("run.operation", "as in `train`"),
            "status": (
                "coalesce(run.status, live.status)",
                "pending, running, completed, failed, stopped, lost or unreadable, at this moment",
            ),
            "status_note": ("coalesce(run.status_note, live.status_note)", "a word to the status"),
            "created": (_ISO.format("run.created"), "when it was asked for, ISO 8601 in UTC"),
            "started": (
                _ISO.format("coalesce(run.started, live.started)"), "when the script started"
            ),
            "stopped": (
                _ISO.format("coalesce(run.stopped, live.stopped)"), "when the script ended"
            ),
            "duration": ("coalesce(run.duration, live.duration)", "seconds, so far or in all"),
            "exit_code": ("coalesce(run.exit_code, live.exit_code)", "exit status of the script"),
            "exit_signal": (
                "coalesce(run.exit_signal, live.exit_signal)", "signal the script died of"
            ),
            "label": ("run.label", "empty without one"),
            "note": ("run.note", "empty without one"),
            "marked": ("run.marked", "1 with a star"),
            "error": ("run.error", "why the run cannot be read; empty otherwise"),
        },
        "run LEFT JOIN live ON live.run = run.id",
    ),
    "flags": (
        "one row a flag of a run",
        {
            "run": ("run.name", "`runs.id`"),
            "name": ('"key".name', "as in `lr`"),
            "value": ("val.value", "a number where the text is one, else the text"),
            "text": ("CAST(coalesce(val.text, val.value) AS TEXT)", "as it was written"),
        },
        "val JOIN \"key\" ON \"key\".id = val.\"key\" AND \"key\".kind = 'flag'"
        " JOIN run ON run.id = val.run",
    ),
    "metrics": (
        "one row a series of numbers of a run",
        {
            "run": ("run.name", "`runs.id`"),
            "key": ('"key".name', "as in `train/loss`"),
            "count": ('metric."count"', "points, NaN included"),
            "first": ('metric."first"', "NULL is NaN"),
            "last": ('metric."last"', "NULL is NaN"),
            "min": ('metric."min"', "smallest finite value"),
            "max": ('metric."max"', "largest finite value"),
            "mean": ("metric.mean", "of the finite values"),
            "first_step": ("metric.first_step", ""),
            "last_step": ("metric.last_step", ""),
            "min_step": ("metric.min_step", "step of `min`"),
            "max_step": ("metric.max_step", "step of `max`"),
            "system": ("metric.\"key\" < 0", "1 where guildlite measured it"),
        },
        'metric JOIN "key" ON "key".id = metric."key" JOIN run ON run.id = metric.run',
    ),
    "attributes": (
        "one row a further attribute of a run, of at most 500 characters",
        {
            "run": ("run.name", "`runs.id`"),
            "name": ('"key".name', "as in `git.commit`"),
            "value": ("val.value", "a number where the text is one, else the text"),
            "text": ("CAST(coalesce(val.text, val.value) AS TEXT)", "as it was written"),
        },
        "val JOIN \"key\" ON \"key\".id = val.\"key\" AND \"key\".kind = 'attr'"
        " JOIN run ON run.id = val.run",
    ),
}  # fmt: skip

TIMEOUT_S = 30.0
#: Instructions of SQLite's machine between two looks at the clock: about a millisecond.
_STEPS = 100_000
_READING = (
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE
)  # fmt: skip
#: Functions of a plain SQLite that reach outside or make texts of any size.
_FORBIDDEN_FUNCTIONS = frozenset(
    ["load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"]
)


#: Longest text or blob an answer may hold, bytes.
_LONGEST = 64 * 1024 * 1024
_BATCH = 1_000

Row = tuple[object, ...]
T = TypeVar("T")
#: What is done with an answer: its columns, and its rows as SQLite finds them.
Take = Callable[[list[str], Iterator[Row]], T]


class Table(NamedTuple):
    """The answer to a statement: the names of its columns, and its rows."""

    columns: list[str]
    rows: list[Row]


def ask_all(index: Index, sql: str, timeout_s: float = TIMEOUT_S) -> Table:
    """Return what a SELECT over the views says. Raises FilterError for SQL that is not one."""
    return stream_all(index, sql, _table, timeout_s)


def ask_one(path: Path, sql: str, timeout_s: float = TIMEOUT_S) -> Table:
    """Return what a SELECT over one run.db says. Raises FilterError, RunUnreadable."""
    return stream_one(path, sql, _table, timeout_s)


def stream_all(index: Index, sql: str, take: Take[T], timeout_s: float = TIMEOUT_S) -> T:
    """Return what `take` makes of the answer, of which only a thousand rows are held at a time.

    `timeout_s` is what SQLite may work, whatever `take` does with the rows.
    """
    return index.ask(lambda connection: _ask_views(connection, sql, take, timeout_s))


def stream_one(path: Path, sql: str, take: Take[T], timeout_s: float = TIMEOUT_S) -> T:
    """Do as `stream_all` with one run.db. Raises FilterError, RunUnreadable."""
    from guildlite.runs.reader import open_run_db

    connection = open_run_db(path)
    try:
        named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [row[0] for row in named]
        return _ask(connection, sql, take, lambda _table, _view: True, timeout_s, tables)
    finally:
        connection.close()


def _table(columns: list[str], rows: Iterator[Row]) -> Table:
    return Table(columns, [*rows])


def _ask_views(connection: sqlite3.Connection, sql: str, take: Take[T], timeout_s: float) -> T:
    for name, (_, columns, source) in VIEWS.items():
        listed = ", ".join(f'{text} AS "{column}"' for column, (text, _) in columns.items())
        # Temporary, so that the file stays as any connection expects it.
        connection.execute(
            f"CREATE TEMP VIEW IF NOT EXISTS {name} AS SELECT {listed} FROM {source}"
        )

    def allowed(table: str, view: str | None) -> bool:
        return view in VIEWS or table in VIEWS or table not in _OWN_TABLES

    return _ask(connection, sql, take, allowed, timeout_s, [*VIEWS])


_OWN_TABLES = frozenset(
    ["run", "key", "val", "metric", "meta", "tally", "live", "sqlite_master", "sqlite_temp_master",
     "sqlite_schema", "sqlite_temp_schema"]
)  # fmt: skip


class _Patience:
    """How long SQLite may still work. Inside a `with` its time runs."""

    def __init__(self, seconds: float) -> None:
        self._left, self._until = seconds, 0.0

    def over(self) -> bool:
        """Return whether there is none left."""
        return time.monotonic() > self._until

    def __enter__(self) -> None:
        self._until = time.monotonic() + self._left

    def __exit__(self, *_: object) -> None:
        self._left = self._until - time.monotonic()


def _ask(
    connection: sqlite3.Connection,
    sql: str,
    take: Take[T],
    allowed: Callable[[str, str | None], bool],
    timeout_s: float,
    tables: list[str],
) -> T:
    def authorize(
        action: int, one: str | None, two: str | None, _db: str | None, view: str | None
    ) -> int:
        if action not in _READING:
            return sqlite3.SQLITE_DENY
        # Without a column a table is only counted, as SQLite itself does behind a view.
        if action == sqlite3.SQLITE_READ and two and not allowed(one or "", view):
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and two in _FORBIDDEN_FUNCTIONS:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    patience = _Patience(timeout_s)
    connection.set_authorizer(authorize)
    connection.set_progress_handler(patience.over, _STEPS)
    before = _limit_length(connection, _LONGEST)
    try:
        with patience:
            cursor = _execute(connection, sql)
            first = cursor.fetchmany(_BATCH)  # so that most errors come before any output
        if cursor.description is None:
            raise _refused(sql, "there is nothing to select")
        return take([column[0] for column in cursor.description], _rows(cursor, first, patience))
    except (sqlite3.Error, sqlite3.Warning) as error:
        if "interrupted" in str(error) and not patience.over():
            # Ctrl-C, which SQLite took for a refusal to go on.
            raise KeyboardInterrupt from error
        raise _explained(sql, error, timeout_s, tables) from error
    finally:
        # Python 3.10 takes no None to end it.
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_OK)
        connection.set_progress_handler(None, 0)
        _limit_length(connection, before)


def _execute(connection: sqlite3.Connection, sql: str) -> sqlite3.Cursor:
    try:
        return connection.execute(sql)
    except ValueError as error:  # a NUL in it
        raise sqlite3.ProgrammingError(str(error)) from error


def _rows(cursor: sqlite3.Cursor, rows: list[Row], patience: _Patience) -> Iterator[Row]:
    while rows:
        yield from rows
        with patience:
            rows = cursor.fetchmany(_BATCH)


def _limit_length(connection: sqlite3.Connection, most: int) -> int:
    """Set the length of the longest text or blob and return the one before."""
    if not hasattr(connection, "setlimit"):  # Python 3.10
        return most
    return connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most)


def _explained(sql: str, error: Exception, timeout_s: float, tables: list[str]) -> GuildliteError:
    """Return the error for people; that of a damaged file goes on as it is."""
    text = str(error)
    if "interrupted" in text:
        return GuildliteError(
            f"the question took more than {timeout_s:g} seconds", hint="ask for less, or use LIMIT"
        )
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "disk" in text):
        raise error
    if any(word in text for word in ("not authorized", "prohibited", "cannot modify")):
        hint = "only SELECT, over " + ", ".join(f"`{name}`" for name in tables)
        return _refused(sql, "this may not be asked", hint)
    if "one statement" in text:
        return _refused(sql, "one statement at a time")
    missing = text.partition("no such table: ")[2].rpartition(".")[2]
    if missing:
        close = nearest(missing, tables)
        hint = f"did you mean `{close}`?" if close else "there are " + ", ".join(tables)
        return _refused(sql, f"there is no table `{missing}`", hint, missing)
    column = text.partition("no such column: ")[2]
    if column:
        return _refused(sql, f"there is no column `{column}`", None, column)
    near = text.partition('near "')[2].partition('"')[0]
    return _refused(sql, text.rstrip("."), None, near)


def _refused(sql: str, message: str, hint: str | None = None, at: str = "") -> FilterError:
    position = max(0, sql.find(at)) if at else 0
    return FilterError(message, text=sql, position=position, hint=hint)


def iter_csv(table: Table) -> Iterator[str]:
    """Yield the lines of a table as CSV (RFC 4180), head first; NULL is empty."""
    return csv_lines(table.columns, table.rows)


def csv_lines(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of columns and rows as CSV (RFC 4180), head first; NULL is empty."""
    import csv
    import io

    line = io.StringIO()
    writer = csv.writer(line, lineterminator="")
    for row in chain((columns,), rows):
        line.seek(0)
        line.truncate()
        writer.writerow(["" if value is None else value for value in row])
        yield line.getvalue()
