"""What can be compared of runs: facts, flags, metrics and attributes, as columns of values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from guildlite.index import RunRecord
from guildlite.index.record import Reduced
from guildlite.query.nodes import Field
from guildlite.query.plain import value_of
from guildlite.runs.compare import differing_flags
from guildlite.series import is_system_key
from guildlite.web.workspace import Workspace, natural

Value = float | str | None

#: Which summaries of a metric a comparison shows; `usual` is the last value and the best, or the
#: smallest and the largest where the project has no goal.
SUMMARIES = {
    "usual": "last and best", "last": "last", "best": "best", "min": "min", "max": "max",
    "mean": "mean", "first": "first",
}  # fmt: skip
_ONE_BY_ONE = ("last", "min", "max", "mean", "first")
#: Metrics shown without being asked for.
MOST_METRICS = 12
#: Facts of a run that tell runs apart.
_FACTS = {"status": "text", "model": "text", "operation": "text", "label": "text"}
_NUMBERS = {"started": "time", "duration": "duration"}
#: Attributes that say the same as another column, or are different in any two runs.
_NO_COLUMN = frozenset(["command", "command_line", "directory", "last_seen"])


class Name(NamedTuple):
    """A column that can be chosen. `name` is as the filter language has it, `head` for people.

    `group` is fact, flag, metric or attribute. `goal` is `min` or `max` where one value is better.
    """

    name: str
    head: str
    group: str
    field: Field
    goal: str | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column with the value of each run, None where a run has none, and the place of the best.

    Values that are not finite are None: nothing can be said of their order.
    """

    name: str
    head: str
    group: str
    key: str
    type: str
    goal: str | None
    values: list[Value]
    best: int | None
    differs: bool


class Columns:
    """What some runs can be compared in."""

    def __init__(self, workspace: Workspace, records: Sequence[RunRecord]) -> None:
        self.records = records
        self._goals = {key: metric.goal for key, metric in workspace.metrics.items()}
        self._first = [*workspace.metrics]
        self._compare = workspace.view.compare
        self.names: dict[str, Name] = {}
        for name in self._all():
            self.names.setdefault(name.name, name)

    # Names --------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Name]:
        for name, type in {**_FACTS, **_NUMBERS}.items():
            yield Name(name, name, "fact", Field("attr", name, type), None)
        for name in _union(record.flags for record in self.records):
            yield Name(f"flag.{name}", name, "flag", Field("flag", name, "any"), None)
        for name in self.attributes():
            yield Name(f"attr.{name}", name, "attribute", Field("attr", name, "any"), None)
        for key in self.series():
            for summary in _ONE_BY_ONE:
                yield self._metric(key, summary)

    def _metric(self, key: str, summary: str) -> Name:
        field = Field("series", key, "number", summary)
        name = str(field)
        if name in self.names:  # a series called like a fact
            name = f"series.{name}"
        head = key if summary == "last" else f"{summary} {key}"
        return Name(name, head, "metric", field, self._goals.get(key))

    def attributes(self) -> list[str]:
        """Return the attributes that some run has."""
        found = _union(record.attrs for record in self.records)
        return sorted((name for name in found if name not in _NO_COLUMN), key=natural)

    def series(self) -> list[str]:
        """Return the scalar series: the project's metrics, then those most runs have."""
        counts: dict[str, int] = {}
        for record in self.records:
            for key in record.series:
                counts[key] = counts.get(key, 0) + 1
        first = [key for key in self._first if key in counts]
        taken = set(first)
        rest = sorted(
            (key for key in counts if key not in taken),
            key=lambda key: (is_system_key(key), -counts[key], natural(key)),
        )
        return first + rest

    # Choices ------------------------------------------------------------------------------------

    def flags(self, *, differing: bool) -> list[Name]:
        """Return the flags: the project's choice first, those that differ or all."""
        given = [record.flags for record in self.records if not record.error]
        found = differing_flags(given) if differing else _union(given)
        chosen = [each.removeprefix("flag.") for each in self._compare]
        ordered = dict.fromkeys([*(name for name in chosen if name in found), *found])
        return [self.names[f"flag.{name}"] for name in ordered]

    def metrics(self, summary: str = "usual", *, everything: bool = False) -> list[Name]:
        """Return columns of the scripts' own series; `everything` has the measured ones, too."""
        keys = [key for key in self.series() if everything or not is_system_key(key)]
        if not everything:
            keys = keys[:MOST_METRICS]
        return [
            self._metric_named(key, each) for key in keys for each in self._summaries(key, summary)
        ]

    def _metric_named(self, key: str, summary: str) -> Name:
        name = str(Field("series", key, "number", summary))
        found = self.names.get(name)
        if found is not None and found.field.kind == "series" and found.field.name == key:
            return found
        return self.names[f"series.{name}"]

    def _summaries(self, key: str, asked: str) -> tuple[str, ...]:
        goal = self._goals.get(key)
        if asked == "usual":
            return ("last", goal) if goal else ("last", "min", "max")
        if asked == "best":
            return (goal,) if goal else ()
        return (asked,)

    def differing_attributes(self) -> list[Name]:
        """Return the attributes that not all runs that have them have alike."""
        differing = differing_flags([record.attrs for record in self.records])
        return [
            self.names[f"attr.{name}"]
            for name in sorted(differing, key=natural)
            if name not in _NO_COLUMN
        ]

    def axes(self) -> list[Name]:
        """Return what a chart of these runs begins with: flags that differ, then last values."""
        return self.flags(differing=True)[:6] + self.metrics("last")[:3]

    # Values -------------------------------------------------------------------------------------

    def read(self, name: Name) -> Column:
        """Return the values of a column."""
        values = self._values(name.field)
        type = name.field.type
        if type == "any":
            # Numbers beside words are words: they share one axis and one order.
            mixed = any(isinstance(value, str) for value in values)
            type = "text" if mixed else "number"
            if mixed:
                values = [_written(name.field, record) for record in self.records]
        return Column(
            name.name, name.head, name.group, name.field.name, type, name.goal, values,
            best_of(values, name.goal), len(set(values) - {None}) > 1,
        )  # fmt: skip

    def _values(self, field: Field) -> list[Value]:
        """Return the finite values of a field: as `value_of`, for ten thousand runs at once."""
        if field.kind == "series":
            at, key = Reduced._fields.index(field.summary), field.name
            summaries = (record.series.get(key) for record in self.records)
            found = [None if summary is None else summary[at] for summary in summaries]
            return [value if value is not None and isfinite(value) else None for value in found]
        if field.kind == "attr" and field.type != "any":
            return [_finite(value_of(field, record)) for record in self.records]
        read: dict[str | None, Value] = {None: None}
        values = []
        for record in self.records:
            text = _written(field, record)
            if text not in read:
                read[text] = _finite(value_of(field, record))
            values.append(read[text])
        return values


def best_of(values: Sequence[Value], goal: str | None) -> int | None:
    """Return the place of the best value; without a goal, or with one value, nothing is best."""
    numbers = [(value, at) for at, value in enumerate(values) if isinstance(value, (int, float))]
    if goal is None or len(numbers) < 2:
        return None
    return min(numbers, key=lambda pair: (pair[0] if goal == "min" else -pair[0], pair[1]))[1]


def order_of(columns: Sequence[Column], sort: str) -> list[int] | None:
    """Return the places of the runs by a column, `-` before its name from the top; None for none.

    Runs without a value stand at the end either way.
    """
    name, down = sort.removeprefix("-"), sort.startswith("-")
    column = next((each for each in columns if each.name == name), None)
    if column is None:
        return None
    held = [at for at, value in enumerate(column.values) if value is not None]
    # The values of a column are all numbers or all texts.
    ranks: list[Any] = [
        natural(value) if isinstance(value, str) else value for value in column.values
    ]
    held.sort(key=lambda at: ranks[at], reverse=down)
    return held + [at for at, value in enumerate(column.values) if value is None]


def _written(field: Field, record: RunRecord) -> str | None:
    held: Mapping[str, str] = record.flags if field.kind == "flag" else record.attrs
    return held.get(field.name)


def _finite(value: Value) -> Value:
    if isinstance(value, str):
        return value or None
    return value if value is not None and isfinite(value) else None


def _union(mappings: Iterable[Mapping[str, str]]) -> list[str]:
    return [*dict.fromkeys(name for each in mappings for name in each)]
