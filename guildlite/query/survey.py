"""What many runs are like together: what tells them apart, and groups of them with their means.

    read_survey(index, "model = expert")                    how many, their flags and series
    read_groups(index, "", ("flag.lr",), ("min(loss)",))    a row for each value of the flag

Nothing here reads a whole record of a run: ten thousand runs take tens of milliseconds.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from guildlite.errors import FilterError
from guildlite.index import Index
from guildlite.query.ask import Plan, vocabulary_of
from guildlite.query.fields import Vocabulary, parse_field, parse_filter
from guildlite.query.nodes import Field
from guildlite.query.sql import Keys, Sql, column_expression, compile_filter, table_of
from guildlite.query.syntax import quote_name
from guildlite.query.welch import Mean, mean_of

#: Runs whose flags are compared, the newest ones first, and whose series are counted.
_COMPARED, _COUNTED = 1_000, 20
#: Most groups that are made; beyond it a flag is as good as a name.
MOST_GROUPS = 5_000

Value = float | str | None


class Survey(NamedTuple):
    """`flags` have more than one value among the runs, in project order; `series` are the
    scripts' own, those that most of the newest runs have first. `labels` says whether any run at
    all has one.
    """

    total: int
    flags: list[str]
    series: list[str]
    labels: bool


class RunGroup(NamedTuple):
    """Runs with equal values in the fields they are grouped by, None where they have none.

    `means` has one entry for each field asked for, None where no run has a finite value; its `n`
    says how many runs have one. `started` is the newest start, seconds since the epoch.
    """

    values: tuple[Value, ...]
    runs: int
    statuses: dict[str, int]
    started: float | None
    means: tuple[Mean | None, ...]


class Groups(NamedTuple):
    """Groups in order, and what they are grouped by. `total` counts all runs in them."""

    by: tuple[Field, ...]
    groups: list[RunGroup]
    total: int


def read_survey(index: Index, filter: str = "", *, known: Vocabulary | None = None) -> Survey:
    """Return what the runs that pass a filter have. Raises FilterError.

    Flags are compared among the newest 1,000 of them, series counted among the newest 20.
    """

    def ask(connection: sqlite3.Connection) -> Survey:
        vocabulary, keys = _vocabulary(connection, known)
        node = parse_filter(filter, vocabulary)
        plan = Plan(connection, keys, node, None, False, _COMPARED)
        numbers = plan.numbers()
        total = len(numbers) if len(numbers) < _COMPARED else plan.count()
        names = {key: name for (kind, name), key in keys.items() if kind == "flag"}
        differing = set(_differing(connection, numbers, names))
        series = {key: name for (kind, name), key in keys.items() if kind == "series" and key > 0}
        return Survey(
            total,
            [name for key, name in sorted(names.items()) if key in differing],
            [series[key] for key in _common(connection, numbers[:_COUNTED]) if key in series],
            _some_labelled(connection),
        )

    return index.ask(ask)


def _differing(
    connection: sqlite3.Connection, numbers: Sequence[int], names: dict[int, str]
) -> list[int]:
    """Return the keys of flags with more than one value among these runs."""
    if not numbers or not names:
        return []
    # A table, since older builds of SQLite take at most 999 parameters.
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (run INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM chosen")
    connection.executemany("INSERT INTO chosen VALUES (?)", ((number,) for number in numbers))
    rows = connection.execute(
        'SELECT val."key", min(val.value), max(val.value) FROM chosen CROSS JOIN val'
        ' ON val.run = chosen.run GROUP BY val."key"'
    )
    return [key for key, least, most in rows if key in names and least != most]


def _common(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    marks = ", ".join("?" * len(numbers))
    rows = connection.execute(
        f'SELECT "key" FROM metric WHERE run IN ({marks}) AND "key" > 0'
        ' GROUP BY "key" ORDER BY count(*) DESC, "key"',
        numbers,
    )
    return [row[0] for row in rows]


def _some_labelled(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT EXISTS (SELECT 1 FROM run WHERE label <> '')").fetchone()
    return bool(row[0])


def _vocabulary(
    connection: sqlite3.Connection, known: Vocabulary | None
) -> tuple[Vocabulary, Keys]:
    vocabulary, keys = vocabulary_of(connection)
    return (vocabulary.joined(known) if known is not None else vocabulary), keys


# Groups -------------------------------------------------------------------------------------------


def read_groups(
    index: Index,
    filter: str,
    by: Sequence[str],
    of: Sequence[str] = (),
    *,
    sort: str = "",
    known: Vocabulary | None = None,
) -> Groups:
    """Return the runs that pass a filter in groups of equal values. Raises FilterError.

    `by` are flags and attributes, `of` series whose means are wanted, as in `min(loss)`. `sort` is
    one of either, `runs` or `started`, with `-` before it from the largest down; without it groups
    follow the values they are grouped by. Groups that lack what is sorted by stand at the end.
    """

    def ask(connection: sqlite3.Connection) -> Groups:
        vocabulary, keys = _vocabulary(connection, known)
        node = parse_filter(filter, vocabulary)
        fields = tuple(_groupable(text, vocabulary) for text in by)
        wanted = [parse_field(text, vocabulary) for text in of]
        place = _place_of(sort.lstrip("-"), fields, wanted, vocabulary)
        rows = _rows(connection, keys, compile_filter(node, keys), fields, wanted)
        found = _collect(rows, len(fields))
        return Groups(fields, _ordered(found, place, sort.startswith("-")), len(rows))

    return index.ask(ask)


def _groupable(text: str, vocabulary: Vocabulary) -> Field:
    field = parse_field(text, vocabulary)
    if field.kind == "series" or field.type in ("time", "duration"):
        raise FilterError(
            f"runs are grouped by a flag or an attribute, and `{text}` is a "
            + ("series" if field.kind == "series" else field.type),
            text=text, position=0, hint="as in `flag.lr`, `model` or `status`",
        )  # fmt: skip
    return field


def group_filter(by: Sequence[Field], values: Sequence[Value]) -> str:
    """Return the filter that exactly the runs of a group pass."""
    return " and ".join(_equal(field, value) for field, value in zip(by, values, strict=True))


def _equal(field: Field, value: Value) -> str:
    name = quote_name(f"{field.kind}.{field.name}")
    if value is None or value == "":
        return f"not has {name}" if field.kind == "attr" or value is None else f'{name} = ""'
    if field.type == "truth":
        return f"{name} = {'true' if value else 'false'}"
    if not isinstance(value, str):
        return f"{name} = {value!r}"
    # In quotes, so that it is neither a number nor another spelling of true.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name} = "{escaped}"'


def _rows(
    connection: sqlite3.Connection,
    keys: Keys,
    where: Sql,
    by: Sequence[Field],
    of: Sequence[Field],
) -> list[tuple[Value, ...]]:
    """Return (status, started, values of `by`, values of `of`) of every run that passes."""
    parts = [_value(field, keys) for field in (*by, *of)]
    columns = ", ".join(part.text for part in parts)
    values = tuple(value for part in parts for value in part.values)
    status = column_expression(Field("attr", "status", "text"))
    started = column_expression(Field("attr", "started", "time"))
    return connection.execute(
        f"SELECT {status}, {started}, {columns} FROM run WHERE {where.text}",
        (*values, *where.values),
    ).fetchall()


def _value(field: Field, keys: Keys) -> Sql:
    if field.kind == "attr" and field.type != "any":
        return Sql(column_expression(field))
    column = f'"{field.summary}"' if field.kind == "series" else "value"
    return Sql(
        f"(SELECT {column} FROM {table_of(field)} AS held WHERE held.run = run.id"
        ' AND held."key" = ?)',
        (keys.get((field.kind, field.name)),),
    )


def _collect(rows: Iterable[tuple[Value, ...]], fields: int) -> list[RunGroup]:
    held: dict[tuple[Value, ...], list[tuple[Value, ...]]] = {}
    for row in rows:
        held.setdefault(row[2 : 2 + fields], []).append(row)
        if len(held) > MOST_GROUPS:
            raise FilterError(
                f"there are more than {MOST_GROUPS:,} groups",
                text="", position=0, hint="group by a flag that fewer values are tried of",
            )  # fmt: skip
    found = []
    for values, members in held.items():
        columns = [*zip(*members, strict=True)]
        starts = [each for each in columns[1] if isinstance(each, (int, float))]
        statuses = Counter(str(each) for each in columns[0])
        found.append(
            RunGroup(
                values,
                len(members),
                dict(statuses.most_common()),
                max(starts, default=None),
                tuple(_mean(column) for column in columns[2 + fields :]),
            )
        )
    return found


def _mean(column: Iterable[Value]) -> Mean | None:
    finite = [each for each in column if isinstance(each, (int, float)) and math.isfinite(each)]
    return mean_of(finite) if finite else None


def _place_of(
    sort: str, by: Sequence[Field], of: Sequence[Field], vocabulary: Vocabulary
) -> tuple[str, int]:
    """Return what groups are sorted by: ("by" or "of", its place), or a word of their own."""
    if sort in ("runs", "started"):
        return sort, 0
    field = parse_field(sort, vocabulary) if sort else None
    if field in by:
        return "by", by.index(field)
    if field in of:
        return "of", of.index(field)
    return "by", -1


def _ordered(groups: list[RunGroup], place: tuple[str, int], descending: bool) -> list[RunGroup]:
    groups.sort(key=lambda group: [_rank(value) for value in group.values])
    what, number = place
    if what == "by" and number < 0:
        return groups

    def key(group: RunGroup) -> object:
        if what == "runs":
            return group.runs
        if what == "started":
            return group.started
        if what == "by":
            value = group.values[number]
            return None if value is None else _rank(value)
        mean = group.means[number]
        return None if mean is None else mean.mean

    having = [group for group in groups if key(group) is not None]
    lacking = [group for group in groups if key(group) is None]
    having.sort(key=key, reverse=descending)  # type: ignore[arg-type]
    return having + lacking


def _rank(value: Value) -> tuple[int, float, str]:
    """Sort numbers before texts, and what is missing last."""
    if value is None:
        return (2, 0.0, "")
    return (1, 0.0, value.casefold()) if isinstance(value, str) else (0, float(value), "")
