"""Columns of a comparison: fields, the best value by the metric's goal, and time to quality.

loss  min(loss)  flag.lr  best(validation/accuracy)  step(loss < 0.1)  time(acc > 0.9)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import FilterError, RunUnreadable
from guildlite.index import RunRecord
from guildlite.query.fields import Vocabulary, parse_field, parse_filter
from guildlite.query.nodes import Check, Field
from guildlite.query.plain import value_of
from guildlite.runs import Run

_CALL = re.compile(r"\s*(step|time|best)\s*\((.*)\)\s*", re.DOTALL)
_ORDERS = ("<", "<=", ">", ">=")


class Reach(NamedTuple):
    """When a series first came to a value: its `step`, or the `time` in seconds since the start."""

    unit: str
    field: Field
    operator: str
    value: float

    def __str__(self) -> str:
        return f"{self.unit}({self.field} {self.operator} {self.value:g})"


Column = Field | Reach


def split_columns(texts: Sequence[str]) -> list[str]:
    """Return the columns of a list: separated by commas, but not inside brackets or backticks.

    Empty ones are left out; what follows an unpaired bracket or backtick stays together.
    """
    columns: list[str] = []
    for text in texts:
        depth, quoted, start = 0, False, 0
        for place, char in enumerate(f"{text},"):
            if char == "`":
                quoted = not quoted
            elif not quoted and char in "()":
                depth += 1 if char == "(" else -1
            if place == len(text) or (char == "," and depth <= 0 and not quoted):
                columns.append(text[start:place].strip())
                start = place + 1
    return [column for column in columns if column]


def parse_column(
    text: str, vocabulary: Vocabulary, goals: Mapping[str, str | None] | None = None
) -> Column:
    """Return the column that a text names. Raises FilterError.

    `goals` are those of the project's metrics, `min` or `max` by series key; `best(...)` needs one.
    """
    match = _CALL.fullmatch(text)
    if match is None:
        return parse_field(text, vocabulary)
    if match[1] == "best":
        return _best(text, match, vocabulary, goals or {})
    return _reach(text, match, vocabulary)


def _best(
    text: str, match: re.Match[str], vocabulary: Vocabulary, goals: Mapping[str, str | None]
) -> Field:
    try:
        field = parse_field(f"last({match[2]})", vocabulary)
    except FilterError as error:
        inside = error.position - len("last(")
        raise FilterError(
            error.message.partition("`: ")[2], text=text,
            position=match.start(2) + inside if inside >= 0 else match.start(1),
            expected=error.expected, hint=error.hint,
        ) from None  # fmt: skip
    goal = goals.get(field.name)
    if goal is None:
        raise FilterError(
            f"`{field.name}` has no goal, so none of its values is the best",
            text=text, position=match.start(2),
            hint=f"write `min({match[2]})`, or set a goal under `metrics:` in project.yml",
        )  # fmt: skip
    return field._replace(summary=goal)


def _reach(text: str, match: re.Match[str], vocabulary: Vocabulary) -> Reach:
    try:
        node = parse_filter(match[2], vocabulary)
    except FilterError as error:
        # Where it is in the column, of which the filter is a part.
        message = error.message.partition("`: ")[2]
        raise FilterError(
            message, text=text, position=error.position + match.start(2),
            expected=error.expected, hint=error.hint,
        ) from None  # fmt: skip
    if not isinstance(node, Check) or node.field.kind != "series" or node.operator not in _ORDERS:
        raise FilterError(
            f"`{match[1]}(...)` needs one comparison of a series",
            text=text, position=match.start(2), expected=_ORDERS,
            hint=f"as in `{match[1]}(loss < 0.1)`",
        )  # fmt: skip
    if node.field.summary != "last":
        raise FilterError(
            f"`{match[1]}(...)` looks at every point, not at a summary",
            text=text, position=match.start(2), hint=f"write `{node.field.name}` alone",
        )  # fmt: skip
    return Reach(match[1], node.field, node.operator, float(node.values[0]))


def value_in(column: Column, record: RunRecord, run_dir: str) -> float | str | None:
    """Return what a run has in a column, None where it has nothing.

    A field comes from the record; time to quality from the points in run.db, in the order they
    were written. Where nobody saw the time of a point, or run.db cannot be read, it is None.
    """
    if isinstance(column, Field):
        return value_of(column, record)
    if column.field.name not in record.series:
        return None
    try:
        with Run(Path(run_dir)).read() as reader:
            point = reader.first_point(column.field.name, column.operator, column.value)
    except RunUnreadable:
        return None
    if point is None:
        return None
    if column.unit == "step":
        return point.step
    if point.time is None or record.started is None:
        return None
    return max(0.0, point.time / 1000 - record.started)
