"""`gl compare`: runs side by side, and groups of runs against the noise between seeds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import Cell, Column, for_terminal, table, terminal_width
from guildlite.cli.runs import (
    asked_columns,
    cell_of,
    flags_that_differ,
    heading,
    main_series,
    metrics_of,
)
from guildlite.cli.words import command
from guildlite.errors import UsageError, did_you_mean
from guildlite.wording import format_count, format_number, without_sequences

if TYPE_CHECKING:
    from guildlite.cli.picking import Picked
    from guildlite.index import RunRecord
    from guildlite.project import Metric
    from guildlite.query.columns import Column as Asked
    from guildlite.query.compare import Comparison, Group, Grouping

_MOST_METRICS = 3
_MOST_MIXED = 4
_BEST = "*"


@command("compare")
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--columns", multiple=True, metavar="NAMES",
              help="Only these, as in `lr,best(loss),step(loss < 0.1)`")  # fmt: skip
@click.option(
    "--sort", default="", metavar="NAME", help="By this, smallest first; `-NAME`: largest"
)
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most N")
@click.option("--group", multiple=True, metavar="FLAG", help="One row for all runs equal in it")
@click.option("--over", multiple=True, metavar="FLAG",
              help="With --group: what makes only noise, `seed` unless given")  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a head line")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a Markdown table")
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
@click.pass_obj
def compare(
    context: Context,
    words: tuple[str, ...],
    columns: tuple[str, ...],
    sort: str,
    limit: int | None,
    group: tuple[str, ...],
    over: tuple[str, ...],
    as_csv: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Put runs side by side, or groups of runs.

    Without --columns: the flags in which the runs differ, and of each metric the last value and
    the best, or the smallest and the largest where the project sets no goal. FILTER is that of
    `gl runs`, or numbers of runs such as `1 4-6`. With --group it says whether the best group is
    better beyond noise.

    \b
    Examples:
      gl compare 1 4-6
      gl compare 'model = expert and status = completed'
      gl compare --columns 'lr,best(loss),step(loss < 0.1),time(acc >= 0.9)' --sort loss
      gl compare --group lr --over seed
      gl compare --markdown > results.md
    """
    if as_csv + as_markdown + as_json > 1:
        raise UsageError("`--csv`, `--markdown` and `--json` exclude one another")
    if over and not group:
        raise UsageError("`--over` needs `--group`", hint="as in `--group lr --over seed`")
    from guildlite.cli.picking import Choice, pick_runs

    picked = pick_runs(context, Choice(_filter(context, words)), sort=sort, limit=limit)
    form = "csv" if as_csv else "markdown" if as_markdown else "json" if as_json else ""
    metrics = metrics_of(context)
    if group:
        asked = asked_columns(context, columns, picked)
        _print_groups(context, picked, asked, group, over or ("seed",), metrics, form)
    else:
        _print_runs(context, picked, asked_columns(context, columns, picked), metrics, form)


def _filter(context: Context, words: Sequence[str]) -> str:
    """Return the filter that the words are; numbers alone mean the runs `gl runs` gives them to."""
    if not words or not all(re.fullmatch(r"\d+(-\d*)?", word) for word in words):
        return " ".join(words)
    from guildlite.query.syntax import quote

    runs = context.select_runs(tuple(words))
    return f"attr.id in ({', '.join(quote(run.id) for run in runs)})"


# Runs ---------------------------------------------------------------------------------------------


def _print_runs(
    context: Context, picked: Picked, asked: list[Asked], metrics: Sequence[Metric], form: str
) -> None:
    from guildlite.query.compare import compare_found

    goals = {metric.key: metric.goal for metric in metrics}
    records = [row.record for row in picked.found.rows]
    done = compare_found(picked.found, asked or _usual_columns(records, metrics), goals)
    if form == "json":
        context.write_json(_runs_object(done))
        return
    if not done.rows:
        _say_none(context, picked.found.of)
    if form == "csv":
        lines = [(row.position, row.record.id, *line) for row, line in _lines(done)]
        _write_csv(context, ["number", "run", *map(str, done.columns)], lines)
    elif done.rows:
        patterns = {metric.key: metric.format for metric in metrics}
        heads, cells = _runs_table(done, patterns, not (asked or form))
        page = [*_markdown(heads, cells)] if form else table(heads, cells, terminal_width())
        for text in page:
            context.write(text)
        dropped = 0 if form else len(heads) - _count_columns(page[0])
        if dropped:
            columns = format_count(dropped, "column")
            context.say(f"{columns} left out for want of room; `--columns` says which to show")
        starred = any(place is not None for place in done.best) and len(done.rows) > 1
        if starred and not form:
            context.say(f"{_BEST} the best of its column")


def _say_none(context: Context, of: int) -> None:
    context.say(
        f"none of {format_count(of, 'run')} matches"
        if of
        else f"no runs yet; {context.how_to_start()}"
    )


def _lines(done: Comparison) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    return zip(done.rows, done.values, strict=True)


def _usual_columns(records: Sequence[RunRecord], metrics: Sequence[Metric]) -> list[Asked]:
    """Return label, the flags that differ, and last and best of the metrics that matter."""
    from guildlite.query.nodes import Field

    goals = {metric.key: metric.goal for metric in metrics}
    columns: list[Asked] = [Field("attr", "status", "text")]
    columns += [
        Field("attr", name, "text")
        for name in ("model", "label")
        if len({getattr(record, name) for record in records}) > 1
    ]
    columns += [Field("flag", name, "any") for name in flags_that_differ(records)]
    for key in _usual_series(records, metrics):
        goal = goals.get(key)
        columns += [
            Field("series", key, "number", summary)
            for summary in ("last", *((goal,) if goal else ("min", "max")))
        ]
    return columns


def _usual_series(records: Sequence[RunRecord], metrics: Sequence[Metric]) -> list[str]:
    """Return the project's metrics that the runs have, the primary one first; else two series."""
    ranked = sorted(metrics, key=lambda metric: not metric.primary)
    held = [m.key for m in ranked if any(m.key in record.series for record in records)]
    return (held or main_series(records, ()))[:_MOST_METRICS]


def _runs_table(
    done: Comparison, patterns: Mapping[str, str | None], droppable: bool
) -> tuple[list[Column], list[list[Cell]]]:
    now = time.time()
    heads = [Column("#", ">")]
    for place, column in enumerate(done.columns):
        texts = any(isinstance(line[place], str) for line in done.values)
        rank = _rank(column, place) if droppable else 0
        # Less of a metric's name says nothing; of a flag eight letters often do.
        least = 12 if getattr(column, "kind", "series") == "series" else 8
        heads.append(Column(heading(column), "<" if texts else ">", least=least, rank=rank))
    rows = []
    for number, (row, values) in enumerate(_lines(done)):
        cells = [Cell(str(row.position))]
        for column, value, best in zip(done.columns, values, done.best, strict=True):
            cell = _value_cell(column, value, row.record, now, patterns)
            # A blank below the star keeps the numbers of a column in line.
            mark = _BEST if best == number else " "
            starred = best is not None and len(done.rows) > 1
            cells.append(Cell(cell.text + mark, "bold" if mark == _BEST else cell.colour)
                         if starred else cell)  # fmt: skip
        rows.append(cells)
    return heads, rows


def _rank(column: Asked, place: int) -> int:
    """Return which columns go first where a terminal is narrow: flags from the last one on."""
    kind = getattr(column, "kind", "")
    if kind == "flag":
        return 10 + place
    if kind == "series":
        return 0 if getattr(column, "summary", "") == "last" else 2
    return 3 if str(column) != "status" else 1


def _count_columns(head: str) -> int:
    """Return how many columns a line of a table has."""
    return len(re.split(r" {2,}", without_sequences(head).strip()))


def _value_cell(
    column: Asked, value: Any, record: RunRecord, now: float, patterns: Mapping[str, str | None]
) -> Cell:
    pattern = patterns.get(getattr(column, "name", ""))
    if pattern and getattr(column, "kind", "") == "series" and isinstance(value, (int, float)):
        return Cell(format_number(value, pattern))
    return cell_of(column, value, record, now)


def _runs_object(done: Comparison) -> dict[str, Any]:
    names = [str(column) for column in done.columns]
    return {
        "columns": names,
        "runs": [
            {
                "number": row.position,
                "id": row.record.id,
                "uid": row.record.uid,
                "values": dict(zip(names, line, strict=True)),
            }
            for row, line in _lines(done)
        ],
        "best": {
            name: done.rows[place].record.id
            for name, place in zip(names, done.best, strict=True)
            if place is not None
        },
    }


# Groups -------------------------------------------------------------------------------------------


def _print_groups(
    context: Context,
    picked: Picked,
    asked: list[Asked],
    by: Sequence[str],
    over: Sequence[str],
    metrics: Sequence[Metric],
    form: str,
) -> None:
    from guildlite.query.compare import goal_of, group_runs

    if not picked.found.rows and not form:
        _say_none(context, picked.found.of)
        return
    by = [_flag(name, picked) for name in by]
    goals = {metric.key: metric.goal for metric in metrics}
    columns = asked or _usual_values([row.record for row in picked.found.rows], metrics)
    if not columns:
        raise UsageError("these runs have no series to compare", hint="name it with `--columns`")
    done = [
        group_runs(picked.found.rows, each, by, over=[*map(_bare, over)], goal=goal_of(each, goals))
        for each in columns
    ]
    if form == "json":
        context.write_json([_grouping_object(each) for each in done])
    elif form == "csv":
        heads = ["column", *(f"flag.{name}" for name in by), "n", "mean", "std", "low", "high"]
        lines = [(str(each.column), *_group_values(group))
                 for each in done for group in each.groups]  # fmt: skip
        _write_csv(context, heads, lines)
    else:
        for line in _group_pages(done, bool(form)):
            context.write(line)


def _bare(name: str) -> str:
    return name.removeprefix("flag.")


def _flag(name: str, picked: Picked) -> str:
    """Return the name of a flag that there is. Raises UsageError."""
    flags = picked.vocabulary.flags
    found = name if name in flags else _bare(name)
    if found not in flags and picked.found.of:
        raise UsageError(f"no run has a flag `{found}`", hint=did_you_mean(found, flags))
    return found


def _usual_values(records: Sequence[RunRecord], metrics: Sequence[Metric]) -> list[Asked]:
    from guildlite.query.nodes import Field

    return [Field("series", key, "number", "last") for key in _usual_series(records, metrics)]


def _group_pages(done: Sequence[Grouping], markdown: bool) -> Iterator[str]:
    for place, grouping in enumerate(done):
        if place:
            yield ""
        yield f"### {_escaped(str(grouping.column))}" if markdown else heading(grouping.column)
        heads, rows = _group_table(grouping)
        if markdown:
            yield ""
            yield from _markdown(heads, rows)
            yield ""
        else:
            width = terminal_width()
            yield from (f"  {line}" for line in table(heads, rows, width - 2 if width else None))
        yield for_terminal(grouping.sentence)
        yield from (for_terminal(each) for each in _warnings(grouping))


def _warnings(grouping: Grouping) -> Iterator[str]:
    """Yield why the spread may be more than noise, and which runs do not count."""
    mixed = dict.fromkeys(name for group in grouping.groups for name in group.mixed)
    if mixed:
        names = ", ".join(f"`{name}`" for name in [*mixed][:_MOST_MIXED])
        more = f" and {len(mixed) - _MOST_MIXED} more flags" if len(mixed) > _MOST_MIXED else ""
        yield f"within groups {names}{more} differ too, so their spread is not noise alone"
    without = sum(group.without for group in grouping.groups)
    if without:
        yield f"{format_count(without, 'run')} without a value not counted"


def _group_table(grouping: Grouping) -> tuple[list[Column], list[list[Cell]]]:
    names = [name for name, _ in grouping.groups[0].flags] if grouping.groups else []
    heads = [Column(for_terminal(name), ">", least=8) for name in names]
    heads += [Column(name, ">") for name in ("n", "mean", "std", "95 % interval")]
    rows = []
    for group in grouping.groups:
        mean = group.mean
        cells = [for_terminal("(none)" if text is None else text) for _, text in group.flags]
        cells.append(str(mean.n) if mean else "0")
        cells.append(format_number(mean.mean) if mean else "")
        cells.append(format_number(mean.std) if mean and mean.std is not None else "")
        cells.append(
            f"{format_number(mean.low)} to {format_number(mean.high)}"
            if mean and mean.low is not None else ""
        )  # fmt: skip
        rows.append([Cell(text) for text in cells])
    return heads, rows


def _group_values(group: Group) -> tuple[Any, ...]:
    mean = group.mean
    numbers = (mean.n, mean.mean, mean.std, mean.low, mean.high) if mean else (0, *(None,) * 4)
    return (*(text for _, text in group.flags), *numbers)


def _grouping_object(grouping: Grouping) -> dict[str, Any]:
    return {
        "column": str(grouping.column),
        "groups": [
            {
                "flags": dict(group.flags),
                **dict(zip(("n", "mean", "std", "low", "high"),
                           _group_values(group)[len(group.flags):], strict=True)),
                "runs": group.runs,
                "without": group.without,
                "mixed": list(group.mixed),
            }
            for group in grouping.groups
        ],
        "difference": grouping.difference._asdict() if grouping.difference else None,
        "sentence": grouping.sentence,
    }  # fmt: skip


# Forms --------------------------------------------------------------------------------------------


def _write_csv(context: Context, heads: list[str], lines: list[tuple[Any, ...]]) -> None:
    from guildlite.query.views import Table, iter_csv

    for line in iter_csv(Table(heads, lines)):
        context.write(line)


def _markdown(heads: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Yield a table as GitHub and its like read it."""
    yield _markdown_row([head.head if head.head == "#" else _escaped(head.head) for head in heads])
    yield _markdown_row(["---:" if head.align == ">" else "---" for head in heads])
    for row in rows:
        yield _markdown_row([_markdown_cell(cell) for cell in row])


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown_cell(cell: Cell) -> str:
    """Return a cell; the best of a column stands out in bold rather than by its star."""
    text = cell.text.strip()
    return f"**{_escaped(text.removesuffix(_BEST))}**" if cell.colour == "bold" else _escaped(text)


def _escaped(text: str) -> str:
    """Return text in which nothing is markup."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)
