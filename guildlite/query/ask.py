"""Questions to the index: which runs, in which order, with what.

    with Index(root) as index:
        index.refresh()
        found = find_runs(index, "status = completed and loss < 0.1", sort="loss", limit=20)

A question is answered from one state of the index; statuses are those of this moment.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from guildlite.index import Index, RunRecord
from guildlite.index.rows import read_records
from guildlite.index.schema import HOUR
from guildlite.query.fields import Vocabulary, parse_field, parse_filter
from guildlite.query.nodes import And, Check, Field, Node
from guildlite.query.plain import value_of
from guildlite.query.sql import (
    TRUE,
    Keys,
    Sql,
    column_expression,
    compile_filter,
    joined,
    key_condition,
    table_of,
)

#: How far a condition is counted before it is taken for an unselective one.
_PROBE = 5_000
#: Above this many answers all runs are numbered in one go.
_FEW = 200


class FoundRun(NamedTuple):
    """One answer. `position` is the number that `gl runs` prints, 1 for the newest run of all.

    `values` are those of the columns that were asked for, None where the run has none.
    """

    position: int
    path: str
    record: RunRecord
    values: tuple[float | str | None, ...]


class Found(NamedTuple):
    """The answer to a question.

    `total` is how many runs pass the filter, `of` how many there are; `total` is None unless it
    was asked for. `notices` says what a name was taken for where it could have been two things.
    """

    rows: list[FoundRun]
    fields: tuple[Field, ...]
    total: int | None
    of: int
    notices: list[str]


def find_runs(
    index: Index,
    filter: str = "",
    *,
    sort: str = "",
    limit: int | None = None,
    offset: int = 0,
    columns: Sequence[str] | None = None,
    count: bool = False,
    known: Vocabulary | None = None,
    now: float | None = None,
) -> Found:
    """Return the runs that pass a filter. Raises FilterError.

    `sort` is a field, with `-` before it from the largest down; without it the newest run comes
    first. Runs that lack the field stand at the end either way. The first `offset` are passed over
    and at most `limit` of the others returned. `columns` are fields as in `flag.lr` or `min(loss)`;
    records then have the flags and series of those only, else all. `known` are names that are no
    mistake although no run has them yet.
    """
    return index.ask(
        lambda connection: Question(connection, known, now).find(
            index.root, filter, sort, limit, offset, columns, count
        )
    )


def read_vocabulary(index: Index) -> Vocabulary:
    """Return the names there are among the runs, for completion and for forms."""
    return index.ask(lambda connection: vocabulary_of(connection)[0])


def read_values(index: Index, field: Field, limit: int = 50) -> list[str]:
    """Return texts that runs have in a field, the most frequent first: for completion."""
    return index.ask(lambda connection: Question(connection, None, None).texts(field, limit))


def vocabulary_of(connection: sqlite3.Connection) -> tuple[Vocabulary, Keys]:
    """Return the names there are, and the number of each in the index."""
    keys = {
        (kind, name): key
        for kind, name, key in connection.execute('SELECT kind, name, id FROM "key" ORDER BY id')
    }
    names: dict[str, dict[str, None]] = {"flag": {}, "series": {}, "attr": {}}
    for kind, name in keys:
        names[kind][name] = None
    runs = connection.execute("SELECT EXISTS (SELECT 1 FROM run)").fetchone()[0]
    return Vocabulary(names["flag"], names["series"], names["attr"], open=not runs), keys


class Question:
    """One question to one state of the index."""

    def __init__(
        self, connection: sqlite3.Connection, known: Vocabulary | None, now: float | None
    ) -> None:
        self._connection, self._now = connection, now
        self._vocabulary, self._keys = vocabulary_of(connection)
        if known is not None:
            self._vocabulary = self._vocabulary.joined(known)

    def find(
        self,
        root: str,
        filter: str,
        sort: str,
        limit: int | None,
        offset: int,
        columns: Sequence[str] | None,
        count: bool,
    ) -> Found:
        fields = tuple(parse_field(text, self._vocabulary) for text in columns or ())
        plan, notices = self._plan(filter, sort, None if limit is None else limit + offset)
        found = plan.numbers()
        numbers = found[offset:]
        whole = not filter and not sort
        positions = range(offset + 1, len(found) + 1) if whole else self._positions(numbers)
        wanted = None if columns is None else fields
        before = os.path.join(root, "")
        rows = [
            FoundRun(
                position, before + record.id, record,
                tuple([value_of(field, record) for field in fields]),
            )
            for position, record in zip(positions, self._records(numbers, wanted), strict=True)
        ]  # fmt: skip
        of = int(self._connection.execute("SELECT count(*) FROM run").fetchone()[0])
        return Found(rows, fields, plan.count() if count else None, of, notices)

    def numbers(
        self, filter: str, sort: str, limit: int | None
    ) -> tuple[list[int], Sequence[int], list[str]]:
        """Return the runs that pass by their numbers in the index, their positions, and notices."""
        plan, notices = self._plan(filter, sort, limit)
        numbers = plan.numbers()
        whole = not filter and not sort
        return numbers, range(1, len(numbers) + 1) if whole else self._positions(numbers), notices

    def _plan(self, filter: str, sort: str, limit: int | None) -> tuple[Plan, list[str]]:
        notices: list[str] = []
        node = parse_filter(filter, self._vocabulary, self._now, notices)
        order = parse_field(sort.lstrip("-"), self._vocabulary) if sort else None
        descending = sort.startswith("-")
        return Plan(self._connection, self._keys, node, order, descending, limit), notices

    def _records(self, numbers: Sequence[int], fields: Sequence[Field] | None) -> list[RunRecord]:
        if fields is None:
            return read_records(self._connection, numbers)
        series = {field.name for field in fields if field.kind == "series"}
        values = any(field.kind == "flag" or field.type == "any" for field in fields)
        return read_records(
            self._connection, numbers, values=values, series=bool(series), only_series=series
        )

    def _positions(self, numbers: Sequence[int]) -> Sequence[int]:
        """Return the place of each run in the list of all, the newest being 1."""
        execute = self._connection.execute
        if len(numbers) > _FEW:
            rows = execute("SELECT id FROM run ORDER BY stamp DESC, name DESC")
            places = {row[0]: place for place, row in enumerate(rows, 1)}
            return [places[number] for number in numbers]
        newer, before = {}, 0
        for hour, runs in execute("SELECT hour, runs FROM tally ORDER BY hour DESC"):
            newer[hour] = before
            before += runs
        marks = ", ".join("?" * len(numbers))
        found = execute(f"SELECT id, stamp, name FROM run WHERE id IN ({marks})", numbers)
        places = {}
        for number, stamp, name in found.fetchall():
            hour = stamp[:HOUR]
            # A colon comes after all digits, so after the last stamp of the hour.
            in_hour = execute(
                "SELECT count(*) FROM run WHERE (stamp, name) >= (?, ?) AND stamp < ?",
                (stamp, name, f"{hour}:"),
            ).fetchone()
            places[number] = newer[hour] + in_hour[0]
        return [places[number] for number in numbers]

    def texts(self, field: Field, limit: int) -> list[str]:
        """Return the most frequent texts of a flag or attribute."""
        key = self._keys.get((field.kind, field.name))
        if field.kind == "series":
            return []
        if field.kind == "attr" and field.type != "any":
            expression = column_expression(field)
            sql = f"SELECT {expression} AS text, count(*) FROM run"
            parameters: tuple[object, ...] = ()
        else:
            sql = "SELECT coalesce(text, value) AS text, count(*) FROM val WHERE key = ?"
            parameters = (key,)
        sql += " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"
        rows = self._connection.execute(sql, (*parameters, limit))
        return [
            str(row[0])
            for row in rows
            if row[0] not in (None, "") and isinstance(row[0], (str, int, float))
        ]


class Plan:
    """How to walk: down an index in the order asked for, or from a condition few runs pass.

    SQLite is given no choice (`CROSS JOIN` keeps its order): without statistics it chooses badly,
    and statistics of a table that changes all day are old.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        keys: Keys,
        node: Node,
        order: Field | None,
        descending: bool,
        limit: int | None,
    ) -> None:
        self._connection, self._keys, self._limit = connection, keys, limit
        self._order, self._descending = order, descending
        self._where = compile_filter(node, keys)
        self._start = self._selective(node)

    def numbers(self) -> list[int]:
        """Return the numbers of the runs that pass, in order."""
        if self._order is None:
            return [*self._run(self._by_age(self._where), self._limit)]
        found = [*self._run(self._by_value(self._order), self._limit)]
        left = None if self._limit is None else self._limit - len(found)
        # Of a few runs to begin with it costs less to look than to count.
        if left == 0 or (self._start is None and not self._some_lack(self._order)):
            return found
        lacking = self._lacking(self._order)
        return [
            *found,
            *self._run(self._by_age(joined(" AND ", [self._where, lacking], TRUE)), left),
        ]

    def count(self) -> int:
        """Return how many runs pass."""
        text, values = self._source()
        rows = self._connection.execute(
            f"SELECT count(*) FROM {text} WHERE {self._where.text}", (*values, *self._where.values)
        )
        return int(rows.fetchone()[0])

    def _run(self, statement: Sql, limit: int | None) -> Iterator[int]:
        values = (*statement.values, -1 if limit is None else limit)
        for row in self._connection.execute(f"{statement.text} LIMIT ?", values):
            yield row[0]

    def _source(self) -> Sql:
        """Return what to select from: all runs, or those of the selective condition."""
        if self._start is None:
            return Sql("run")
        return Sql(
            f"({self._start.text}) AS start CROSS JOIN run ON run.id = start.run",
            self._start.values,
        )

    def _by_age(self, where: Sql) -> Sql:
        text, values = self._source()
        return Sql(
            f"SELECT run.id FROM {text} WHERE {where.text} ORDER BY run.stamp DESC, run.name DESC",
            values + where.values,
        )

    def _by_value(self, order: Field) -> Sql:
        """Return the statement for the runs that have a value, by it."""
        way = "DESC" if self._descending else "ASC"
        text, values = self._source()
        if order.kind == "attr" and order.type != "any":
            expression = column_expression(order)
            empty = f" AND {expression} <> ''" if order.type == "text" else ""
            return Sql(
                f"SELECT run.id FROM {text} WHERE {self._where.text} AND {expression} NOT NULL"
                f"{empty} ORDER BY {expression} {way}, run.stamp {way}, run.name {way}",
                values + self._where.values,
            )
        key = self._keys.get((order.kind, order.name))
        table, column = table_of(order), _column(order)
        if self._start is None:
            text, values = f"{table} AS held CROSS JOIN run ON run.id = held.run", ()
        else:
            text += f" CROSS JOIN {table} AS held ON held.run = run.id"
        # Says what the partial indexes say, which is how SQLite knows that they will do.
        ours = ' AND held."key" > 0' if key is not None and key > 0 else ""
        return Sql(
            f'SELECT run.id FROM {text} WHERE held."key" = ?{ours} AND held.{column} NOT NULL'
            f" AND {self._where.text} ORDER BY held.{column} {way}, held.run {way}",
            (*values, key, *self._where.values),
        )

    def _lacking(self, order: Field) -> Sql:
        if order.kind == "attr" and order.type != "any":
            expression = column_expression(order)
            empty = f" OR {expression} = ''" if order.type == "text" else ""
            return Sql(f"({expression} IS NULL{empty})")
        return Sql(
            f"NOT EXISTS (SELECT 1 FROM {table_of(order)} WHERE run = run.id AND key = ?"
            f" AND {_column(order)} NOT NULL)",
            (self._keys.get((order.kind, order.name)),),
        )

    def _some_lack(self, order: Field) -> bool:
        """Return whether there may be runs without the value that is sorted by."""
        if order.kind == "attr" and order.type != "any":
            return True
        key = self._keys.get((order.kind, order.name))
        if key is None or key < 0:
            return True
        having = f'"key" = ? AND "key" > 0 AND {_column(order)} NOT NULL'
        counted = f"SELECT count(*) FROM {table_of(order)} WHERE {having}"
        (held,) = self._connection.execute(counted, (key,)).fetchone()
        (runs,) = self._connection.execute("SELECT count(*) FROM run").fetchone()
        return bool(held < runs)

    # Where to begin -----------------------------------------------------------------------------

    def _selective(self, node: Node) -> Sql | None:
        """Return the runs of a condition so few pass that looking at all of them costs less.

        Walking down an index until `limit` runs have passed costs limit / (share that passes),
        as if conditions were independent of one another.
        """
        (runs,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()
        share, fewest, start = 1.0, _PROBE, None
        for check in node.nodes if isinstance(node, And) else (node,):
            rows = self._rows_of(check) if isinstance(check, Check) else None
            if rows is None:
                continue
            probe = f"SELECT count(*) FROM ({rows.text} LIMIT {_PROBE})"
            (held,) = self._connection.execute(probe, rows.values).fetchone()
            share *= min(1.0, max(held, 1) / max(runs, 1)) if held < _PROBE else 1.0
            if held < fewest:
                fewest, start = held, rows
        walk = runs if self._limit is None else min(runs, self._limit / share)
        return start if start is not None and fewest < walk else None

    def _rows_of(self, check: Check) -> Sql | None:
        """Return the runs that pass a check, where an index finds them."""
        field = check.field
        key = self._keys.get((field.kind, field.name))
        if key is None or check.written or check.operator in ("contains", "!="):
            return None
        if field.kind == "series" and (key < 0 or field.summary not in ("last", "min", "max")):
            return None
        condition = key_condition(check)
        ours = ' AND "key" > 0' if field.kind == "series" else ""
        return Sql(
            f'SELECT run FROM {table_of(field)} WHERE "key" = ?{ours} AND {condition.text}',
            (key, *condition.values),
        )


def _column(field: Field) -> str:
    return f'"{field.summary}"' if field.kind == "series" else "value"
