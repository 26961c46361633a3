"""The filter language in plain Python over one `RunRecord`: what the SQL must agree with.

Slow and obvious. Tests compare it with the index; `Index.check` has no use for it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from guildlite.index.record import RunRecord
from guildlite.index.text import parse_number
from guildlite.query.nodes import And, Check, Field, Node, Not, Or, Word

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def matches(node: Node, run: RunRecord) -> bool:
    """Return whether a run passes a resolved filter."""
    if isinstance(node, Not):
        return not matches(node.node, run)
    if isinstance(node, And):
        return all(matches(each, run) for each in node.nodes)
    if isinstance(node, Or):
        return any(matches(each, run) for each in node.nodes)
    if isinstance(node, Word):
        return node.text.casefold() in run.words
    assert isinstance(node, Check), "a filter is resolved before it is evaluated"
    return _passes(node, run)


def _passes(check: Check, run: RunRecord) -> bool:
    if check.operator == "has":
        return _has(check.field, run)
    if check.operator == "contains":
        text = _written(check.field, run)
        return text is not None and str(check.values[0]).casefold() in text.casefold()
    value = _written(check.field, run) if check.written else value_of(check.field, run)
    if value is None:
        return False
    if check.operator == "in":
        return any(_alike(value, each) and value == each for each in check.values)
    wanted = check.values[0]
    if not _alike(value, wanted):
        return check.operator == "!="
    return _COMPARE[check.operator](value, wanted)


def _alike(one: object, other: object) -> bool:
    return isinstance(one, str) == isinstance(other, str)


def _has(field: Field, run: RunRecord) -> bool:
    if field.kind == "flag":
        return field.name in run.flags
    if field.kind == "series":
        return field.name in run.series
    return value_of(field, run) not in (None, "", 0 if field.type == "truth" else None)


def value_of(field: Field, run: RunRecord) -> float | str | None:
    """Return the value a run has in a field, a number where it reads as one, or None."""
    if field.kind == "series":
        summary = run.series.get(field.name)
        value: float | None = getattr(summary, field.summary) if summary else None
        return value
    if field.kind == "flag":
        return _typed(run.flags.get(field.name))
    if field.type == "any":
        return _typed(run.attrs.get(field.name))
    if field.name == "started":
        return run.created if run.started is None else run.started
    found: float | str | None = getattr(run, field.name)
    return int(found) if field.type == "truth" and found is not None else found


def _written(field: Field, run: RunRecord) -> str | None:
    if field.kind == "flag":
        return run.flags.get(field.name)
    if field.kind == "attr" and field.type == "any":
        return run.attrs.get(field.name)
    value = value_of(field, run)
    return value if isinstance(value, str) else None


def _typed(text: str | None) -> float | str | None:
    if text is None:
        return None
    number = parse_number(text)
    return text if number is None else number
