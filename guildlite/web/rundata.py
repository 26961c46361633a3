"""What the pages of one run show, as plain data that HTML and JSON both use."""

from __future__ import annotations

import json
import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guildlite.errors import RunUnreadable
from guildlite.platform import signal_name
from guildlite.runs import LaterOperation, Run, RunReader, StoredLine
from guildlite.runs.logs import read_notices
from guildlite.runs.reader import chart_rows
from guildlite.series import STDERR, STDOUT, Point, Summary, is_system_key
from guildlite.web.ansi import strip_ansi
from guildlite.web.cards import ROWS_PER_PAGE
from guildlite.web.numbers import format_value
from guildlite.web.workspace import Workspace

#: Lines on one page of output, and at the end of the overview.
LINES_PER_PAGE, LAST_LINES = 500, 20
#: Lines found by a search that are kept; the newest.
MOST_FOUND = 20_000
#: Series in the overview's table; the metrics page has all.
MOST_SUMMARIES = 60
_SCAN_LINES = 10_000
_SPARK_POINTS = 240
_MOST_NOTICES = 20
_MOST_TILES = 8

# Attributes that repeat the manifest, which the page shows from there.
_SHOWN_ELSEWHERE = frozenset(
    {"id", "model", "operation", "command", "command_line", "argv"}
    | {"started", "stopped", "duration", "exit_code", "exit_signal"}
)
_STREAMS = {"stdout": STDOUT, "stderr": STDERR}


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


@dataclass(frozen=True, slots=True)
class OutputPage:
    """One page of output. `total` counts lines after filtering; `capped`: there are more."""

    lines: list[StoredLine]
    page: int
    pages: int
    total: int
    capped: bool
    query: str
    stream: str
    operation: str | None
    operations: list[str]


# Overview


def read_overview(workspace: Workspace, run: Run) -> Overview:
    """Return the overview; whatever cannot be read is left out and `trouble` says why."""
    attributes: dict[str, str] = {}
    tiles: list[Tile] = []
    series: list[SeriesRow] = []
    lines: list[StoredLine] = []
    count = 0
    trouble = None
    try:
        with run.read() as reader:
            attributes = reader.attrs()
            own = [s for s in reader.summaries() if s.kind == "scalar" and not is_system_key(s.key)]
            count = len(own)
            tiles = _tiles(workspace, run, reader, own, attributes)
            series = _series_rows(reader, own[:MOST_SUMMARIES])
            lines = reader.last_output(LAST_LINES)
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
    chosen = list(workspace.view.fields or workspace.metrics or by_key)
    tiles = []
    for name in chosen:
        flag = name.removeprefix("flag.")
        if name.startswith("flag.") and flag in run.flags:
            tiles.append(Tile(flag, run.flags[flag], "flag", []))
        elif name in by_key:
            tiles.append(_metric_tile(workspace, reader, by_key[name]))
        elif name in run.flags or name in attributes:
            value = run.flags.get(name) or attributes.get(name, "")
            tiles.append(Tile(name, value, "flag" if name in run.flags else "", []))
    return tiles[:_MOST_TILES]


def _metric_tile(workspace: Workspace, reader: RunReader, summary: Summary) -> Tile:
    metric = workspace.metrics.get(summary.key)
    pattern = workspace.format_of(summary.key)
    goal = metric.goal if metric else None
    best, step = (
        (summary.max, summary.max_step) if goal == "max" else (summary.min, summary.min_step)
    )
    detail = f"step {summary.last_step:,}" if summary.last_step is not None else ""
    if goal and best is not None and step is not None and summary.count > 1:
        detail = f"best {format_value(best, pattern=pattern)} at step {step:,}"
    points = reader.chart(summary.key, _SPARK_POINTS)
    return Tile(summary.key, format_value(summary.last, pattern=pattern), detail, points)


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


# Output


def read_output(
    run: Run,
    *,
    stream: str = "",
    query: str = "",
    operation: str | None = None,
    page: int | None = None,
) -> OutputPage:
    """Return one page of a run's output, the last when `page` is None. Raises RunUnreadable.

    `query` is text to be found in a line in whatever case, colours aside. `operation` None is all,
    "" the run's own, else a later one's name.
    """
    stream = stream if stream in _STREAMS else ""
    with run.read() as reader:
        total = reader.output_count(operation)
        last = reader.last_output(1)
        # Ids count from 1 without a gap in what we write; anything else is read from the start.
        plain = not (stream or query or operation is not None) and (not last or last[0].id == total)
        found: Sequence[StoredLine] = ()
        if not plain:
            kept = deque(_scan(reader, stream, query, operation), maxlen=MOST_FOUND + 1)
            found = list(kept)[-MOST_FOUND:]
            total = len(found)
        capped = not plain and len(kept) > MOST_FOUND
        pages = max(1, -(-total // LINES_PER_PAGE))
        page = pages if page is None else min(max(1, page), pages)
        begin = (page - 1) * LINES_PER_PAGE
        lines = (
            reader.output(after=begin, limit=LINES_PER_PAGE)
            if plain
            else list(found[begin : begin + LINES_PER_PAGE])
        )
    return OutputPage(
        lines=lines,
        page=page,
        pages=pages,
        total=total,
        capped=capped,
        query=query,
        stream=stream,
        operation=operation,
        operations=[each.name for each in run.later_operations()],
    )


def _scan(
    reader: RunReader, stream: str, query: str, operation: str | None
) -> Iterator[StoredLine]:
    number, wanted = _STREAMS.get(stream), query.casefold()
    after = 0
    while lines := reader.output(after=after, limit=_SCAN_LINES, op=operation):
        for line in lines:
            if number is not None and line.stream != number:
                continue
            if wanted and wanted not in strip_ansi(line.text).casefold():
                continue
            yield line
        after = lines[-1].id
