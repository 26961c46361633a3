"""`gl runs`: the list of runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import (
    Cell,
    Column,
    for_terminal,
    status_colour,
    status_text,
    table,
    terminal_width,
)
from guildlite.cli.words import command
from guildlite.errors import UsageError
from guildlite.runs.compare import differing_flags
from guildlite.runs.run import Status
from guildlite.series import is_system_key
from guildlite.wording import (
    format_ago,
    format_count,
    format_duration,
    format_moment,
    format_number,
    iso_utc,
)

if TYPE_CHECKING:
    from guildlite.cli.picking import Picked
    from guildlite.index import RunRecord
    from guildlite.project import Metric
    from guildlite.query import FoundRun
    from guildlite.query.columns import Column as Asked

#: Columns of flags and metrics, together, beyond which a table is no longer read.
_MOST_FLAGS = 6
_MOST_METRICS = 3


@command("runs")
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--status", "statuses", multiple=True, help="Only this status",
              type=click.Choice([*(each.value for each in Status), "unreadable"]))  # fmt: skip
@click.option("--model", metavar="NAME", help="Only runs of this model")
@click.option("--since", metavar="WHEN", help="Only runs started since: 30m, 2h, 3d, 2026-11-20")
@click.option("--trash", is_flag=True, help="List what is in the trash")
@click.option("--columns", multiple=True, metavar="NAMES",
              help="Only these, as in `lr,loss,min(loss)`")  # fmt: skip
@click.option(
    "--sort", default="", metavar="NAME", help="By this, smallest first; `-NAME`: largest"
)
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N",
              help="At most N, 20 unless given")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="However many there are")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, of all runs unless -n")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, of all runs unless -n")
@click.option("-w", "--watch", is_flag=True, help="Keep the table up to date until `q` or Ctrl-C")
@click.pass_obj
def runs(
    context: Context,
    words: tuple[str, ...],
    statuses: tuple[str, ...],
    model: str | None,
    since: str | None,
    trash: bool,
    columns: tuple[str, ...],
    sort: str,
    limit: int | None,
    everything: bool,
    as_json: bool,
    as_csv: bool,
    watch: bool,
) -> None:
    """List runs, newest first.

    FILTER is a condition such as `status = completed and loss < 0.1`, in quotes; bare words are
    looked for in name, label and model. The table shows the flags in which the listed runs differ,
    and the metrics of the project file.

    \b
    Examples:
      gl runs expert --since 2d
      gl runs 'loss < 0.1 and lr >= 0.01' --sort loss
      gl runs --columns 'lr,min(loss),step(loss < 0.1)'
      gl runs --status failed --json
      gl runs --watch --sort -accuracy
    """
    if as_json and as_csv:
        raise UsageError("`--json` and `--csv` exclude each other")
    # Not above: `gl runs --help` and what imports this module need no index.
    from guildlite.cli.picking import Choice, pick_runs

    choice = Choice(" ".join(words), statuses, model, since, trash)
    if watch:
        if as_json or as_csv:
            raise UsageError(f"`--watch` and `--{'json' if as_json else 'csv'}` exclude each other")
        from guildlite.cli.watching import watch_runs

        watch_runs(
            context, choice, sort, limit,
            table=lambda picked, width: _lines(context, picked, columns, trash, width),
            comment=lambda picked: _comment(context, picked, trash),
        )  # fmt: skip
        return
    most = limit or (None if everything or as_json or as_csv else 20)
    picked = pick_runs(context, choice, sort=sort, limit=most)
    rows = picked.found.rows
    if as_json:
        asked = asked_columns(context, columns, picked)
        context.write_json([_object(row, asked) for row in rows])
    elif as_csv:
        for line in _csv(rows, asked_columns(context, columns, picked)):
            context.write(line)
    else:
        for line in _lines(context, picked, columns, trash, terminal_width()):
            context.write(line)
    if not as_json and (text := _comment(context, picked, trash)):
        context.say(text)


def _lines(
    context: Context, picked: Picked, columns: Sequence[str], trash: bool, width: int | None
) -> list[str]:
    """Return the lines of the table, none where there are no runs; `width` as for `table`."""
    rows = picked.found.rows
    asked = asked_columns(context, columns, picked)
    if not rows:
        return []
    if asked:
        return _asked_table(rows, asked, width)
    return _table(rows, metrics_of(context), trash, width)


def metrics_of(context: Context) -> list[Metric]:
    """Return the metrics of the project file, none where it cannot be read."""
    project = context.readable_project()
    return [*project.metrics.values()] if project else []


def _comment(context: Context, picked: Picked, trash: bool) -> str:
    """Return what is to be said below the table: runs left out, or why there are none."""
    found = picked.found
    listed = len(found.rows)
    chosen = listed if found.total is None else found.total
    if listed < chosen:
        return f"{listed} of {format_count(chosen, 'run')}; `gl runs --all` lists them all"
    if listed == 0 and found.of:
        return f"none of {format_count(found.of, 'run')} matches"
    if listed == 0:
        return "the trash is empty" if trash else f"no runs yet; {context.how_to_start()}"
    return ""


# The table ----------------------------------------------------------------------------------------


def _table(
    rows: Sequence[FoundRun], metrics: Sequence[Metric], trash: bool, width: int | None
) -> list[str]:
    records = [row.record for row in rows]
    flags = flags_that_differ(records)[:_MOST_FLAGS]
    keys = main_series(records, metrics)[:_MOST_METRICS]
    patterns = {metric.key: metric.format for metric in metrics}
    now = time.time()
    columns = [
        Column("#", ">"),
        # A name is what brings a run back after the numbers have changed.
        Column("run", rank=9),
        Column("status", least=11),
        Column("model", least=8),
        Column("operation", rank=8),
        Column("started", rank=5),
        Column("time", ">", rank=6),
        Column("label", least=8, rank=3),
        *(Column(for_terminal(name), ">", rank=20 + index) for index, name in enumerate(flags)),
        # The first of the metrics is what the list is looked at for.
        *(
            Column(for_terminal(key), ">", rank=10 + index if index else 2)
            for index, key in enumerate(keys)
        ),
    ]
    cells = []
    for row in rows:
        line = _fixed_cells(row, now, row.record.id if trash else "")
        line += [Cell(for_terminal(row.record.flags.get(name, ""))) for name in flags]
        line += [Cell(_last(row.record, key, patterns.get(key))) for key in keys]
        cells.append(line)
    return table(columns, cells, width)


def _fixed_cells(row: FoundRun, now: float, name: str) -> list[Cell]:
    record = row.record
    unreadable = record.status == "unreadable"
    note = f", {for_terminal(record.status_note)}" if record.status_note else ""
    words = record.error if unreadable else record.label
    return [
        Cell(str(row.position)),
        Cell(for_terminal(name)),
        Cell(status_text(record.status) + note, status_colour(record.status)),
        Cell(for_terminal(record.model or record.id)),
        Cell(for_terminal(record.operation if record.operation != "train" else "")),
        Cell(format_ago(record.started or record.created, now)),
        Cell(format_duration(record.duration)),
        Cell(("★ " if record.marked else "") + for_terminal(words)),
    ]


def flags_that_differ(records: Sequence[RunRecord]) -> list[str]:
    """Return the flags that have more than one value among the runs that can be read."""
    return differing_flags([each.flags for each in records if each.status != "unreadable"])


def main_series(records: Sequence[RunRecord], metrics: Sequence[Metric]) -> list[str]:
    """Return the series that matter: the project's primary metrics, else its metrics, else two."""
    named = [metric.key for metric in metrics if metric.primary] or [m.key for m in metrics]
    # The index gives series in an order of its own.
    found = dict.fromkeys(key for each in records for key in own_series(sorted(each.series)))
    return named or list(found)[:2]


def own_series(keys: Iterable[str]) -> Iterator[str]:
    """Return the keys that come from the script rather than from watching the machine."""
    return (key for key in keys if not is_system_key(key))


def _last(record: RunRecord, key: str, pattern: str | None) -> str:
    found = record.series.get(key)
    return format_number(found.last, pattern) if found is not None else ""


# Columns that were asked for ----------------------------------------------------------------------


def asked_columns(context: Context, texts: Sequence[str], picked: Picked) -> list[Asked]:
    """Return what `--columns` asks for, nothing without it. Raises FilterError."""
    if not texts:
        return []
    from guildlite.query.columns import parse_column, split_columns

    metrics = metrics_of(context)
    vocabulary = picked.vocabulary.joined(type(picked.vocabulary)(series=[m.key for m in metrics]))
    goals = {metric.key: metric.goal for metric in metrics}
    return [parse_column(text, vocabulary, goals) for text in split_columns(texts)]


def _asked_table(rows: Sequence[FoundRun], asked: Sequence[Asked], width: int | None) -> list[str]:
    from guildlite.query.columns import value_in

    values = [[value_in(column, row.record, row.path) for column in asked] for row in rows]
    now = time.time()
    columns = [Column("#", ">")]
    for place, column in enumerate(asked):
        numeric = all(not isinstance(line[place], str) for line in values)
        columns.append(Column(heading(column), ">" if numeric else "<", least=8))
    cells = [
        [Cell(str(row.position)),
         *(cell_of(column, value, row.record, now)
           for column, value in zip(asked, line, strict=True))]
        for row, line in zip(rows, values, strict=True)
    ]  # fmt: skip
    return table(columns, cells, width)


def heading(column: Asked) -> str:
    """Return the head of a column for people: a flag is its bare name."""
    flag = getattr(column, "kind", "") == "flag"
    return for_terminal(column.name if flag else column)  # type: ignore[union-attr]


def cell_of(column: Asked, value: float | str | None, record: RunRecord, now: float) -> Cell:
    """Return a value for people: a flag as it was written, moments and durations in words."""
    kind, name = getattr(column, "kind", ""), getattr(column, "name", "")
    if kind == "flag":
        return Cell(for_terminal(record.flags.get(name, "")))
    if name == "status":
        return Cell(status_text(record.status), status_colour(record.status))
    if value is None:
        return Cell("")
    if isinstance(value, str):
        return Cell(for_terminal(value))
    form = getattr(column, "type", "") or getattr(column, "unit", "")
    if form == "time" and kind == "attr":
        text = format_ago(value, now) if name == "started" else format_moment(value)
    elif form in ("duration", "time"):
        text = format_duration(value)
    elif form == "truth":
        text = "yes" if value else ""
    else:
        text = format_number(value)
    return Cell(text)


# For programs -------------------------------------------------------------------------------------


def run_object(record: RunRecord, directory: str) -> dict[str, Any]:
    """Return a run as `--json` prints it.

    `started` and `stopped` are ISO 8601 in UTC, `duration` seconds, `metrics` the last values of
    the script's own series; `error` stands only where the run or its run.db cannot be read.
    """
    data: dict[str, Any] = {
        "id": record.id,
        "uid": record.uid,
        "status": record.status,
        "status_note": record.status_note,
        "model": record.model,
        "operation": record.operation,
        "started": iso_utc(record.started),
        "stopped": iso_utc(record.stopped),
        "duration": record.duration,
        "label": record.label,
        "note": record.note,
        "marked": record.marked,
        "flags": dict(record.flags),
        "metrics": {key: record.series[key].last for key in own_series(record.series)},
        "dir": directory,
    }
    if record.error:
        data["error"] = record.error
    return data


def _object(row: FoundRun, asked: Sequence[Asked]) -> dict[str, Any]:
    data = run_object(row.record, row.path)
    if asked:
        from guildlite.query.columns import value_in

        data["columns"] = {str(each): value_in(each, row.record, row.path) for each in asked}
    return data


_FACTS = ("id", "status", "model", "operation", "started", "stopped", "duration", "label")


def _csv(rows: Sequence[FoundRun], asked: Sequence[Asked]) -> Iterator[str]:
    """Yield CSV: the columns asked for, else the facts, all flags and all metrics' last values."""
    from guildlite.query.views import Table, iter_csv

    if asked:
        from guildlite.query.columns import value_in

        heads = ["number", *(str(column) for column in asked)]
        lines = [
            [row.position, *(value_in(column, row.record, row.path) for column in asked)]
            for row in rows
        ]
        return iter_csv(Table(heads, [tuple(line) for line in lines]))
    flags = [*dict.fromkeys(name for row in rows for name in row.record.flags)]
    keys = [*dict.fromkeys(key for row in rows for key in own_series(row.record.series))]
    lines = []
    for row in rows:
        data = run_object(row.record, row.path)
        line = [row.position, *(data[name] for name in _FACTS)]
        line += [data["flags"].get(name) for name in flags]
        lines.append(line + [data["metrics"].get(key) for key in keys])
    heads = ["number", *_FACTS, *(f"flag.{name}" for name in flags), *keys]
    return iter_csv(Table(heads, [tuple(line) for line in lines]))
