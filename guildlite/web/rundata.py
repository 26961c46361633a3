"""What the pages of one run show, as plain data that HTML and JSON both use."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Container, Sequence
from dataclasses import dataclass

from guildlite.errors import RunUnreadable
from guildlite.platform import signal_name
from guildlite.runs import LaterOperation, Run, RunReader, Status, StoredLine
from guildlite.runs.logs import read_notices
from guildlite.runs.reader import chart_rows
from guildlite.series import Point, Summary, is_system_key
from guildlite.web.cards import ROWS_PER_PAGE
from guildlite.web.numbers import format_value
from guildlite.web.progress import Progress, read_progress
from guildlite.web.workspace import Workspace
from guildlite.wording import format_duration

#: Lines of output at the end of the overview.
LAST_LINES = 20
#: Series in the overview's table; the metrics page has all.
MOST_SUMMARIES = 60
_SPARK_POINTS = 240
_MOST_NOTICES = 20
_MOST_TILES = 8

#: What a tile may show of a series, with the words below it.
REDUCES = {
    "last": "last value",
    "first": "first value",
    "min": "smallest",
    "max": "largest",
    "mean": "average",
    "average": "average",
    "last_5_average": "average of the last 5",
    "steps": "steps",
    "duration": "from the first value to the last",
    "count": "values",
}

# Attributes that repeat the manifest, which the page shows from there.
_SHOWN_ELSEWHERE = frozenset(
    {"id", "model", "operation", "command", "command_line", "argv"}
    | {"started", "stopped", "duration", "exit_code", "exit_signal"}
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A field of the project's view. `points` are of a metric's curve, none for other fields."""

    name: str
    value: str
    detail: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series in the overview's table, with some points of its curve."""

    summary: Summary
    points: list[Point]


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A later operation on the run. Times are epoch seconds."""

    name: str
    operation: str
    status: str
    status_note: str | None
    ending: str
    started: float | None
    duration: float | None
    command: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the overview page but the run's row. `trouble` says why run.db was not read."""

    directory: str
    ending: str
    exit_code: int | None
    exit_signal: str | None
    note: str
    command: str
    flags: dict[str, str]
    attributes: dict[str, dict[str, str]]
    tiles: list[Tile]
    series: list[SeriesRow]
    series_count: int
    operations: list[OperationRow]
    notices: list[str]
    lines: list[StoredLine]
    trouble: str | None
    progress: Progress | None


# Overview


def read_overview(workspace: Workspace, run: Run) -> Overview:
    """Return the overview; whatever cannot be read is left out and `trouble` says why."""
    attributes: dict[str, str] = {}
    tiles: list[Tile] = []
    series: list[SeriesRow] = []
    lines: list[StoredLine] = []
    count = 0
    trouble = None
    progress = None
    try:
        with run.read() as reader:
            attributes = reader.attrs()
            own = [s for s in reader.summaries() if s.kind == "scalar" and not is_system_key(s.key)]
            count = len(own)
            tiles = _tiles(workspace, run, reader, own, attributes)
            series = _series_rows(reader, own[:MOST_SUMMARIES])
            lines = reader.last_output(LAST_LINES)
            if run.status is Status.RUNNING:
                progress = read_progress(reader, run.flags, own)
    except RunUnreadable as error:
        trouble = f"{error.message}{f' ({error.hint})' if error.hint else ''}"
    signal = run.exit_signal
    return Overview(
        directory=str(run.path),
        ending=run.ending,
        exit_code=run.exit_code,
        exit_signal=signal_name(signal) if signal else None,
        note=run.note,
        command=shlex.join(run.command),
        flags=run.flags,
        attributes=grouped(attributes),
        tiles=tiles,
        series=series,
        series_count=count,
        operations=[_operation_row(operation) for operation in run.later_operations()],
        notices=read_notices(run.paths, _MOST_NOTICES),
        lines=lines,
        trouble=trouble,
        progress=progress,
    )


def grouped(attributes: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return attributes by the part of their name before the first dot; "" has the rest.

    What the page says already in another place is left out.
    """
    groups: dict[str, dict[str, str]] = {"": {}}
    for name, value in attributes.items():
        if name in _SHOWN_ELSEWHERE:
            continue
        head, dot, tail = name.partition(".")
        groups.setdefault(head if dot else "", {})[tail if dot else name] = value
    return {head: group for head, group in groups.items() if group}


def listed(value: str) -> list[str]:
    """Return the items of an attribute that holds a JSON list or mapping, else its one text."""
    if value[:1] in ("[", "{"):
        try:
            data = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        if isinstance(data, list):
            return [_plain(item) for item in data]
        if isinstance(data, dict):
            return [f"{name} {_plain(item)}".strip() for name, item in data.items()]
    return [value]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _series_rows(reader: RunReader, series: Sequence[Summary]) -> list[SeriesRow]:
    """Return rows with curves, as long as reading these does not keep the page waiting."""
    rows = []
    left = ROWS_PER_PAGE
    for summary in series:
        left -= chart_rows(summary)
        points = reader.chart(summary.key, _SPARK_POINTS) if left >= 0 else []
        rows.append(SeriesRow(summary, points))
    return rows


def _tiles(
    workspace: Workspace,
    run: Run,
    reader: RunReader,
    own: Sequence[Summary],
    attributes: dict[str, str],
) -> list[Tile]:
    """Return the tiles the project asks for, or those of its metrics, or of the first series."""
    by_key = {summary.key: summary for summary in own}
    tiles = []
    for name in workspace.view.fields or workspace.metrics or by_key:
        reduce, key = split_reduce(name, by_key)
        flag = name.removeprefix("flag.")
        if name.startswith("flag.") and flag in run.flags:
            tiles.append(Tile(flag, run.flags[flag], "flag", []))
        elif key in by_key:
            tiles.append(_metric_tile(workspace, reader, by_key[key], reduce))
        elif name in run.flags or name in attributes:
            value = run.flags.get(name) or attributes.get(name, "")
            tiles.append(Tile(name, value, "flag" if name in run.flags else "", []))
    return tiles[:_MOST_TILES]


def split_reduce(name: str, keys: Container[str]) -> tuple[str, str]:
    """Return what is asked of a series and its key: `mean(loss)`, or `loss` for its last value.

    A series may itself be called so, which then is meant.
    """
    match = None if name in keys else re.fullmatch(r"(\w+)\(\s*(.+?)\s*\)", name)
    return (match[1], match[2]) if match and match[1] in REDUCES else ("last", name)


def _metric_tile(
    workspace: Workspace, reader: RunReader, summary: Summary, reduce: str = "last"
) -> Tile:
    points = reader.chart(summary.key, _SPARK_POINTS)
    if reduce != "last":
        value = _reduced(workspace, reader, summary, reduce)
        return Tile(summary.key, value, REDUCES[reduce], points)
    metric = workspace.metrics.get(summary.key)
    pattern = workspace.format_of(summary.key)
    goal = metric.goal if metric else None
    best, step = (
        (summary.max, summary.max_step) if goal == "max" else (summary.min, summary.min_step)
    )
    detail = f"step {summary.last_step:,}" if summary.last_step is not None else ""
    if goal and best is not None and step is not None and summary.count > 1:
        detail = f"best {format_value(best, pattern=pattern)} at step {step:,}"
    return Tile(summary.key, format_value(summary.last, pattern=pattern), detail, points)


def _reduced(workspace: Workspace, reader: RunReader, summary: Summary, reduce: str) -> str:
    """Return one number of a series as text."""
    if reduce == "duration":
        first, last = summary.first_time, summary.last_time
        return format_duration(None if first is None or last is None else (last - first) / 1000)
    if reduce == "count":
        return f"{summary.count:,}"
    if reduce == "steps":
        first_step, last_step = summary.first_step, summary.last_step
        return "" if first_step is None or last_step is None else f"{last_step - first_step:,}"
    if reduce == "last_5_average":
        newest = reader.series_from(summary.key, max(0, summary.count - 5))
        finite = [p.value for p in newest if p.value is not None and math.isfinite(p.value)]
        value = sum(finite) / len(finite) if finite else None
    else:
        value = getattr(summary, "mean" if reduce == "average" else reduce)
    return format_value(value, pattern=workspace.format_of(summary.key))


def _operation_row(operation: LaterOperation) -> OperationRow:
    return OperationRow(
        name=operation.name,
        operation=operation.operation,
        status=operation.status.value,
        status_note=operation.status_note,
        ending=operation.ending,
        started=operation.started_at or operation.created_at,
        duration=operation.duration_s,
        command=shlex.join(operation.command),
    )
