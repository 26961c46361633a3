"""Runs side by side, and groups of runs against the noise between seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from guildlite.index import Index, RunRecord
from guildlite.query.ask import Found, FoundRun, find_runs, read_vocabulary
from guildlite.query.columns import Column, Reach, parse_column, value_in
from guildlite.query.fields import Vocabulary
from guildlite.query.welch import CONFIDENCE, Difference, Mean, mean_of, welch

Value = float | str | None


class Comparison(NamedTuple):
    """Runs and their values in columns. `best` is, for each column, the row with the best value.

    It is None for columns whose metric has no goal, and where no run has a value.
    """

    columns: tuple[Column, ...]
    rows: list[FoundRun]
    values: list[tuple[Value, ...]]
    best: tuple[int | None, ...]
    notices: list[str]


def compare_runs(
    index: Index,
    filter: str = "",
    columns: Sequence[str] = (),
    *,
    goals: Mapping[str, str | None] | None = None,
    sort: str = "",
    limit: int | None = None,
    known: Vocabulary | None = None,
) -> Comparison:
    """Return the runs that pass a filter with their values. Raises FilterError.

    Time to quality is small where it is good; of other columns the project's `goals` decide.
    `known` are names that are no mistake although no run has them yet.
    """
    vocabulary = read_vocabulary(index)
    if known is not None:
        vocabulary = vocabulary.joined(known)
    parsed = tuple(parse_column(text, vocabulary, goals) for text in columns)
    found = find_runs(index, filter, sort=sort, limit=limit, known=known)
    return compare_found(found, parsed, goals or {})


def compare_found(
    found: Found, columns: Sequence[Column], goals: Mapping[str, str | None]
) -> Comparison:
    """Return the values that runs already found have in columns."""
    values = [
        tuple(value_in(column, row.record, row.path) for column in columns) for row in found.rows
    ]
    best = tuple(
        _best_row([row[place] for row in values], goal_of(column, goals))
        for place, column in enumerate(columns)
    )
    return Comparison(tuple(columns), found.rows, values, best, found.notices)


def goal_of(column: Column, goals: Mapping[str, str | None]) -> str | None:
    """Return `min` or `max` where a column has a better and a worse, else None."""
    if isinstance(column, Reach):
        return "min"
    return goals.get(column.name) if column.kind == "series" else None


def _best_row(values: Sequence[Value], goal: str | None) -> int | None:
    numbers = [(value, place) for place, value in enumerate(values) if _is_finite(value)]
    if goal is None or not numbers:
        return None
    key = (lambda pair: pair[0]) if goal == "min" else (lambda pair: -pair[0])
    return min(numbers, key=key)[1]


def _is_finite(value: Value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


# Groups -------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """Runs that are equal in the flags they are grouped by.

    `mean` is of the `runs` that have a finite value; `without` counts the others. `mixed` names
    flags that vary inside the group and were not meant to: then its spread is not noise alone.
    """

    flags: tuple[tuple[str, str | None], ...]
    mean: Mean | None
    runs: list[str]
    without: int
    mixed: tuple[str, ...]

    @property
    def name(self) -> str:
        """The group for people, as in `lr=0.1 optimizer=adam`."""
        return " ".join(f"{name}={'(none)' if text is None else text}" for name, text in self.flags)


class Grouping(NamedTuple):
    """Groups, the best mean first where there is a goal, and what can be said of the first two.

    `difference` is Welch's test of them, None where there is nothing to test. `sentence` says
    plainly whether the best is better than the second beyond noise.
    """

    column: Column
    groups: list[Group]
    difference: Difference | None
    sentence: str


def group_runs(
    rows: Sequence[FoundRun],
    column: Column,
    by: Sequence[str],
    *,
    over: Sequence[str] = ("seed",),
    goal: str | None = None,
) -> Grouping:
    """Group runs by flags and compare the two best groups.

    `by` and `over` are names of flags; `over` are those that only make noise, such as the seed.
    The test is Welch's t-test of the two best means, both tails, at 5 % (see `welch`). It asks
    about these two groups alone: the best of many groups is partly the luckiest, and the p of a
    pair chosen for being first and second is too small for the question "is it the best of all".
    """
    held: dict[tuple[str | None, ...], list[FoundRun]] = {}
    for row in rows:
        held.setdefault(tuple(row.record.flags.get(name) for name in by), []).append(row)
    groups = [_group(by, key, members, column, over) for key, members in held.items()]
    groups.sort(key=lambda group: _rank(group, goal))
    difference, sentence = _judge(groups, goal)
    return Grouping(column, groups, difference, sentence)


def _group(
    by: Sequence[str],
    key: tuple[str | None, ...],
    members: Sequence[FoundRun],
    column: Column,
    over: Sequence[str],
) -> Group:
    values = [value_in(column, row.record, row.path) for row in members]
    finite = [float(value) for value in values if _is_finite(value) and value is not None]
    counted = [row for row, value in zip(members, values, strict=True) if _is_finite(value)]
    return Group(
        tuple(zip(by, key, strict=True)),
        mean_of(finite) if finite else None,
        [row.record.id for row in counted],
        len(members) - len(finite),
        _mixed([row.record for row in counted], {*by, *over}),
    )


def _mixed(records: Sequence[RunRecord], expected: set[str]) -> tuple[str, ...]:
    names = dict.fromkeys(name for record in records for name in record.flags)
    return tuple(
        name
        for name in names
        if name not in expected and len({record.flags.get(name) for record in records}) > 1
    )


def _rank(group: Group, goal: str | None) -> tuple[object, ...]:
    """Sort by mean where there is a better, by the flags' values where there is not."""
    if group.mean is None:
        return (1,)
    if goal is not None:
        return (0, -group.mean.mean if goal == "max" else group.mean.mean)
    return (0, *((text is None, _natural(text or "")) for _, text in group.flags))


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return (False, float(text), "")
    except ValueError:
        return (True, 0.0, text)


def _judge(groups: Sequence[Group], goal: str | None) -> tuple[Difference | None, str]:
    measured = [group for group in groups if group.mean is not None]
    if goal is None:
        return None, "without a goal none is better; set one under `metrics:` in project.yml"
    if len(measured) < 2:
        return None, "there is nothing to compare: only one group has values" if measured else (
            "no run has a value"
        )
    best, second = measured[:2]
    assert best.mean is not None and second.mean is not None
    difference = welch(best.mean, second.mean)
    figures = f"{best.mean.mean:.4g} against {second.mean.mean:.4g}"
    if difference is None:
        single = best if best.mean.n < 2 else second
        return None, (
            f"`{best.name}` has the best mean, {figures}, but `{single.name}` is a single run,"
            " so nothing can be said about noise"
        )
    test = f"Welch's t-test, p = {_format_p(difference.p)}, n = {best.mean.n} and {second.mean.n}"
    if difference.p < 1 - CONFIDENCE:
        return difference, (
            f"`{best.name}` is better than `{second.name}` beyond noise: {figures} ({test})"
        )
    return difference, (
        f"`{best.name}` is not better than `{second.name}` beyond noise: {figures} ({test})"
        f"{_needed(best.mean, second.mean)}"
    )


def _format_p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.0001 else f"{p:.0e}"


def _needed(one: Mean, other: Mean) -> str:
    """Return about how many runs a group would show a difference of this size.

    The normal approximation n = 2 ((1.96 + 0.84) s / d)^2 for 5 % and a power of 80 %, with s the
    root mean square of both spreads; it is a first guess, since s and d are themselves guesses.
    """
    gap = abs(one.mean - other.mean)
    spread = math.sqrt(((one.std or 0) ** 2 + (other.std or 0) ** 2) / 2)
    if gap == 0 or spread == 0:
        return ""
    needed = math.ceil(2 * ((1.96 + 0.84) * spread / gap) ** 2)
    return f"; about {needed} runs each would tell" if needed <= 10_000 else ""
