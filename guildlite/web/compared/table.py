"""A table of runs and what differs between them, for pages and for files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guildlite.index import RunRecord
from guildlite.web.compared.chosen import Chosen
from guildlite.web.compared.columns import SUMMARIES, Column, Columns, Name, order_of
from guildlite.web.numbers import format_value, unit_of
from guildlite.web.workspace import Workspace
from guildlite.wording import format_duration, format_moment, iso_utc

#: Rows of one page of a table with a row for each run.
ROWS_PER_PAGE = 100
_MARKDOWN = str.maketrans({"|": "\\|", "\n": " ", "\\": "\\\\"})
_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {sign: f"\\{sign}" for sign in "&%$#_{}"}
)


@dataclass(frozen=True, slots=True)
class Table:
    """Runs with their columns in sections; `places` are the runs of one page, in order.

    `same` counts the columns left out because all runs have them alike.
    """

    records: Sequence[RunRecord]
    sections: list[tuple[str, list[Column]]]
    same: int
    places: list[int]
    sort: str
    page: int
    pages: int

    @property
    def columns(self) -> list[Column]:
        return [column for _, columns in self.sections for column in columns]


def make_table(
    workspace: Workspace,
    chosen: Chosen,
    *,
    everything: bool = False,
    summary: str = "usual",
    sort: str = "",
    page: int = 1,
    per_page: int = ROWS_PER_PAGE,
) -> Table:
    """Return the table of runs: what differs, or with `everything` all there is."""
    columns = Columns(workspace, chosen.records)
    summary = summary if summary in SUMMARIES else "usual"
    sections, same = [], 0
    for title, names in _sections(columns, summary, everything):
        read = [columns.read(name) for name in names]
        shown = [column for column in read if everything or column.differs or _is_odd(column)]
        same += len(read) - len(shown)
        if shown:
            sections.append((title, shown))
    facts = [columns.read(columns.names[name]) for name in ("started", "duration", "status",
                                                           "model", "label")]  # fmt: skip
    order = order_of([*facts, *(c for _, each in sections for c in each)], sort)
    places = [*range(len(chosen.records))] if order is None else order
    pages = max(1, -(-len(places) // per_page))
    page = min(max(1, page), pages)
    return Table(
        chosen.records, sections, same, places[(page - 1) * per_page : page * per_page],
        sort if order is not None else "", page, pages,
    )  # fmt: skip


def _sections(
    columns: Columns, summary: str, everything: bool
) -> Iterator[tuple[str, Sequence[Name]]]:
    yield "Flags", columns.flags(differing=not everything)
    yield "Metrics", columns.metrics(summary, everything=everything)
    attributes = (
        [columns.names[f"attr.{name}"] for name in columns.attributes()]
        if everything
        else columns.differing_attributes()
    )
    yield "Attributes", attributes


def _is_odd(column: Column) -> bool:
    """Whether a metric is worth a line though its values are alike: only some runs have it."""
    return column.group == "metric" and any(value is None for value in column.values)


def text_of(workspace: Workspace, record: RunRecord, column: Column, place: int) -> str:
    """Return a value for people, "" where there is none: flags as they were written."""
    value = column.values[place]
    if column.group == "flag":
        return record.flags.get(column.key, "")
    if value is None:
        summary = record.series.get(column.key) if column.group == "metric" else None
        return "" if summary is None else "not finite"
    if column.type == "duration":
        return format_duration(float(value))
    if column.type == "time":
        return format_moment(float(value), "%Y-%m-%d %H:%M")
    if isinstance(value, str):
        return value
    if column.group == "metric":
        return format_value(value, unit_of(column.key), workspace.format_of(column.key))
    return record.attrs.get(column.key, "") if column.group == "attribute" else format_value(value)


# Files --------------------------------------------------------------------------------------------

_HEADS = ("run", "status", "model", "label", "started", "duration_s")


def _rows(table: Table) -> Iterator[list[object]]:
    for place in table.places:
        record = table.records[place]
        yield [
            record.id, record.status, record.model, record.label, iso_utc(record.started) or "",
            "" if record.duration is None else record.duration,
            *("" if column.values[place] is None else column.values[place]
              for column in table.columns),
        ]  # fmt: skip


def to_csv(table: Table) -> str:
    """Return the whole table as CSV with a head line, numbers at full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_HEADS, *(column.name for column in table.columns)])
    writer.writerows(_rows(table))
    return file.getvalue()


def to_json(table: Table) -> list[dict[str, object]]:
    """Return the table as one object a run; None where a run has no value."""
    names = [*_HEADS, *(column.name for column in table.columns)]
    return [
        {name: None if value == "" else value for name, value in zip(names, row, strict=True)}
        for row in _rows(table)
    ]


def to_markdown(workspace: Workspace, table: Table) -> str:
    """Return the table in Markdown, the best values bold."""
    lines = ["| " + " | ".join(each.translate(_MARKDOWN) for each in _people_heads(table)) + " |"]
    lines.append("| --- | --- |" + "".join(_right(each, " ---: |", " --- |")
                                           for each in table.columns))  # fmt: skip
    for place, texts in _people_rows(workspace, table):
        cells = [text.translate(_MARKDOWN) for text in texts]
        for at, column in enumerate(table.columns, 2):
            if column.best == place:
                cells[at] = f"**{cells[at]}**"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_latex(workspace: Workspace, table: Table) -> str:
    """Return the table as a LaTeX tabular, the best values bold."""
    form = "ll" + "".join(_right(column, "r", "l") for column in table.columns)
    heads = " & ".join(each.translate(_LATEX) for each in _people_heads(table))
    lines = [f"\\begin{{tabular}}{{{form}}}", "\\hline", f"{heads} \\\\", "\\hline"]
    for place, texts in _people_rows(workspace, table):
        cells = [text.translate(_LATEX) for text in texts]
        for at, column in enumerate(table.columns, 2):
            if column.best == place:
                cells[at] = f"\\textbf{{{cells[at]}}}"
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, "\\hline", "\\end{tabular}"]) + "\n"


def _right(column: Column, yes: str, no: str) -> str:
    return no if column.type == "text" else yes


def _people_heads(table: Table) -> list[str]:
    return ["run", "status", *(column.head for column in table.columns)]


def _people_rows(workspace: Workspace, table: Table) -> Iterator[tuple[int, list[str]]]:
    for place in table.places:
        record = table.records[place]
        texts = [text_of(workspace, record, column, place) for column in table.columns]
        plain = (re.sub(r"[\x00-\x1f\x7f]", " ", text)
                 for text in (record.label or record.id, record.status, *texts))  # fmt: skip
        yield place, [*plain]
