"""A resolved filter as parameterised SQL over the tables of the index.

Every fragment is an expression over one row of `run`, called `run` in the statement, that is 0 or
1 and never NULL. No text of a user is ever part of the SQL; all are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from guildlite.index.fill import stored_text
from guildlite.query.nodes import And, Check, Field, Node, Not, Or, Word

#: Name of a key → its number in the index, by kind: flag, series, attr.
Keys = Mapping[tuple[str, str], int]


class Sql(NamedTuple):
    """A fragment of SQL and its parameters."""

    text: str
    values: tuple[object, ...] = ()


TRUE, FALSE = Sql("1"), Sql("0")

#: Columns of `run` that are asked of the living where the row does not know them.
_LIVE = ("status", "stopped", "duration", "exit_code", "exit_signal")


def compile_filter(node: Node, keys: Keys) -> Sql:
    """Return the condition for a resolved filter."""
    if isinstance(node, Not):
        inner = compile_filter(node.node, keys)
        return Sql(f"NOT {inner.text}", inner.values)
    if isinstance(node, And):
        return joined(" AND ", [compile_filter(each, keys) for each in node.nodes], TRUE)
    if isinstance(node, Or):
        return joined(" OR ", [compile_filter(each, keys) for each in node.nodes], FALSE)
    if isinstance(node, Word):
        return Sql("instr(run.words, ?) > 0", (stored_text(node.text.casefold()),))
    assert isinstance(node, Check), "a filter is resolved before it is compiled"
    return _compile_check(node, keys)


def joined(word: str, parts: Sequence[Sql], empty: Sql) -> Sql:
    """Join conditions in a balanced tree: SQLite allows a thousand levels."""
    if not parts:
        return empty
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    left, right = joined(word, parts[:half], empty), joined(word, parts[half:], empty)
    return Sql(f"({left.text}{word}{right.text})", left.values + right.values)


def _compile_check(check: Check, keys: Keys) -> Sql:
    field = check.field
    if field.kind == "attr" and field.type != "any":
        return _compile_column(check)
    key = keys.get((field.kind, field.name))
    if key is None:
        return FALSE
    condition = key_condition(check)
    return Sql(
        f"EXISTS (SELECT 1 FROM {table_of(field)} WHERE run = run.id AND key = ?"
        f" AND {condition.text})",
        (key, *condition.values),
    )


def table_of(field: Field) -> str:
    """Return the table that holds the values of a flag, a series or a further attribute."""
    return "metric" if field.kind == "series" else "val"


def key_condition(check: Check) -> Sql:
    """Return the condition on one row of `val` or `metric`."""
    field = check.field
    if check.operator == "has":
        return TRUE
    if field.kind == "series":
        return _comparison(f'"{field.summary}"', check)
    if check.written:
        return _comparison("CAST(coalesce(text, value) AS TEXT)", check)
    return _comparison("value", check)


def _compile_column(check: Check) -> Sql:
    expression = column_expression(check.field)
    if check.operator == "has":
        empty = {"text": "''", "truth": "0"}.get(check.field.type)
        return Sql(f"coalesce({expression} <> {empty}, 0)" if empty else f"{expression} NOT NULL")
    condition = _comparison(expression, check)
    return Sql(f"coalesce({condition.text}, 0)", condition.values)


def column_expression(field: Field) -> str:
    """Return the expression for an attribute that every run has."""
    name = field.name
    if name == "id":
        return "run.name"
    if name == "started":
        return f"coalesce(run.started, {_live('started')}, run.created)"
    return f"coalesce(run.{name}, {_live(name)})" if name in _LIVE else f"run.{name}"


def _live(name: str) -> str:
    return f"(SELECT live.{name} FROM live WHERE live.run = run.id)"


def _comparison(expression: str, check: Check) -> Sql:
    """Return the comparison of an expression with the check's values.

    In SQLite every number is less than every text. Here a comparison is only ever true between
    two of a kind, except that they are different.
    """
    values = tuple(_storable(value) for value in check.values)
    operator = check.operator
    if operator == "in":
        return Sql(f"{expression} IN ({', '.join('?' * len(values))})", values)
    if operator == "contains":
        return Sql(f"instr(fold({expression}), ?) > 0", (stored_text(str(values[0]).casefold()),))
    if operator in ("<", "<=") and isinstance(values[0], str):
        return Sql(f"({expression} {operator} ? AND {expression} >= '')", values)
    if operator in (">", ">=") and not isinstance(values[0], str) and check.field.type == "any":
        return Sql(f"({expression} {operator} ? AND {expression} < '')", values)
    return Sql(f"{expression} {'<>' if operator == '!=' else operator} ?", values)


def _storable(value: float | str) -> float | str:
    return stored_text(value) if isinstance(value, str) else value
