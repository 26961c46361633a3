"""Columns of the run table: what `cols=` may name, what stands there without it, what can be added.

A column is a field of the filter language (`status`, `flag.lr`, `loss`, `min(loss)`), time to
quality (`step(loss < 0.1)`, `time(acc > 0.9)`), `best(loss)` of a metric with a goal, or
`curve(loss)`, a small picture of the series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from guildlite.errors import FilterError
from guildlite.project import Metric
from guildlite.query import Field, Vocabulary
from guildlite.query.columns import Reach, parse_column, split_columns
from guildlite.query.fields import ATTRIBUTES
from guildlite.query.syntax import quote_name
from guildlite.series import is_system_key
from guildlite.web.numbers import unit_of

#: Columns of flags and metrics before the table is too wide to be read.
MOST_FLAGS, MOST_METRICS = 8, 4
#: Columns one address may ask for.
MOST_COLUMNS = 60
#: Names of a kind that the chooser lists; all others can be typed.
_MOST_OFFERED = 200

#: What every table has, by the names of the filter language. The run itself always comes first.
BASE = ("status", "model", "started", "duration", "label")
_KINDS = {"time": "moment", "duration": "duration", "truth": "truth", "number": "number"}
_TITLES = {"uid": "UID", "exit_code": "Exit status"}
_CURVE = re.compile(r"\s*curve\s*\((.*)\)\s*", re.DOTALL)
#: What the first column, or the row of a run that cannot be read, says.
_NOT_OFFERED = ("id", "error")


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column. `text` is how `cols=` names it, `sort` how `sort=` does, "" for not at all.

    `kind` says how a value is shown: status, model, label, text, moment, duration, truth, flag,
    number or curve. `key` is the series behind a number or a curve, `unit` and `pattern` how
    its numbers are set (`numbers.format_value`), `group` its place in the chooser.
    """

    text: str
    title: str
    kind: str
    sort: str
    key: str = ""
    group: str = "run"
    unit: str = ""
    pattern: str | None = None

    @property
    def numeric(self) -> bool:
        return self.kind in ("number", "duration")


class Parsed(NamedTuple):
    """A column and what finds its value: a field or `Reach` of a record, None for a curve."""

    column: TableColumn
    source: Field | Reach | None


class Offer(NamedTuple):
    """A column the chooser offers, and whether it is shown."""

    text: str
    title: str
    shown: bool


class Columns:
    """Makes the columns of one table, among runs with these names, for a project's metrics."""

    def __init__(self, vocabulary: Vocabulary, metrics: Mapping[str, Metric]) -> None:
        self.vocabulary, self.metrics = vocabulary, metrics
        self._goals = {key: metric.goal for key, metric in metrics.items()}

    # Columns that were asked for ----------------------------------------------------------------

    def parse(self, texts: Sequence[str]) -> list[Parsed]:
        """Return the columns of `cols=`, each once. Raises FilterError."""
        named = split_columns(texts)
        if len(named) > MOST_COLUMNS:
            raise FilterError(
                f"a table has at most {MOST_COLUMNS} columns", text=",".join(named), position=0
            )
        parsed = [self._parse(text) for text in named]
        return [*{each.column.text: each for each in parsed}.values()]

    def _parse(self, text: str) -> Parsed:
        curve = _CURVE.fullmatch(text)
        if curve is not None:
            field = parse_column(f"last({curve[1]})", self.vocabulary)
            assert isinstance(field, Field)
            return self.curve(field.name)
        source = parse_column(text, self.vocabulary, self._goals)
        if isinstance(source, Field):
            return self.of(source)
        title = str(source)
        kind = "number" if source.unit == "step" else "duration"
        return Parsed(TableColumn(title, title, kind, "", source.field.name, "metric"), source)

    # One column ---------------------------------------------------------------------------------

    def of(self, field: Field) -> Parsed:
        """Return the column that shows a field."""
        text = self.text_of(field)
        if field.kind == "series":
            return Parsed(self._number(field, text), field)
        if field.kind == "flag":
            return Parsed(TableColumn(text, field.name, "flag", text, group="flag"), field)
        own = field.name if field.name in ("status", "model", "label") else ""
        kind = own or _KINDS.get(field.type, "text")
        known = field.name in ATTRIBUTES
        title = _TITLES.get(field.name) or field.name.replace("_", " ").capitalize()
        title = title if known else field.name
        return Parsed(TableColumn(text, title, kind, text), field)

    def _number(self, field: Field, text: str) -> TableColumn:
        plain = field.summary in ("", "last")
        title = field.name if plain else f"{field.summary}({field.name})"
        counted = field.summary == "count"
        metric = self.metrics.get(field.name)
        return TableColumn(
            text, title, "number", text, field.name, "metric",
            unit="" if counted else unit_of(field.name),
            pattern=metric.format if metric and not counted else None,
        )  # fmt: skip

    def curve(self, key: str) -> Parsed:
        """Return the column with the curve of a series."""
        text = f"curve({quote_name(key)})"
        return Parsed(TableColumn(text, key, "curve", "", key, "metric"), None)

    def text_of(self, field: Field) -> str:
        """Return a field as `cols=` and `sort=` name it: a flag always as `flag.NAME`, others by
        their bare name where that means them.
        """
        found = self.vocabulary.find(field.name)
        bare = found is not None and (found.kind, found.name) == (field.kind, field.name)
        plain = bare and field.kind != "flag"
        name = quote_name(field.name if plain else f"{field.kind}.{field.name}")
        return f"{field.summary}({name})" if field.summary not in ("", "last") else name

    # Columns nobody chose -----------------------------------------------------------------------

    def default(
        self, metrics: Sequence[str], flags: Sequence[str], *, labels: bool = True
    ) -> list[Parsed]:
        """Return the columns of a table nobody chose them for; the first metric has a curve."""
        base = [name for name in BASE if labels or name != "label"]
        columns = [self.of(_field("attr", name)) for name in base]
        for place, key in enumerate(metrics[:MOST_METRICS]):
            columns.append(self.of(_field("series", key)))
            if not place:
                columns.append(self.curve(key))
        return columns + [self.of(_field("flag", name)) for name in flags[:MOST_FLAGS]]

    def offers(
        self, shown: Sequence[TableColumn], metrics: Sequence[str], flags: Sequence[str]
    ) -> dict[str, list[Offer]]:
        """Return what can be a column, by kind, and which of it is shown."""
        own = [key for key in self.vocabulary.series if not is_system_key(key)]
        fields = {
            "run": [_field("attr", name) for name in _first(BASE, ATTRIBUTES)]
            + [Field("attr", name, "any") for name in sorted(self.vocabulary.attrs)],
            "metric": [_field("series", key) for key in _first(metrics, own)],
            "flag": [_field("flag", name) for name in _first(flags, self.vocabulary.flags)],
        }
        offers = {}
        for group, all_of_kind in fields.items():
            listed = [each for each in all_of_kind if each.name not in _NOT_OFFERED]
            columns = [self.of(field).column for field in listed[:_MOST_OFFERED]]
            if group == "metric" and metrics:
                columns.insert(1, self.curve(metrics[0]).column)
            chosen = {column.text: column for column in shown if column.group == group}
            known = {column.text: column for column in columns}
            # What was typed comes first; the others stay where they are while they are ticked.
            listing = [*(each for each in chosen.values() if each.text not in known), *columns]
            offers[group] = [Offer(each.text, _name(each), each.text in chosen) for each in listing]
        return offers


def _name(column: TableColumn) -> str:
    return f"curve of {column.title}" if column.kind == "curve" else column.title


def _field(kind: str, name: str) -> Field:
    if kind == "attr":
        return Field("attr", name, ATTRIBUTES[name][0])
    return Field("series", name, "number", "last") if kind == "series" else Field(kind, name, "any")


def _first(some: Iterable[str], rest: Iterable[str]) -> list[str]:
    return [*dict.fromkeys((*some, *rest))]
