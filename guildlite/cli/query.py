"""`gl query`: SQL over all runs, or over the run.db of one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.output import Cell, Column, for_terminal, format_json, table, terminal_width
from guildlite.cli.words import command
from guildlite.errors import UsageError
from guildlite.wording import format_number

if TYPE_CHECKING:
    from guildlite.query.views import Row


@command("query")
@click.argument("sql", metavar="SQL")
@click.option("--run", "ref", metavar="RUN", help="Ask the run.db of one run")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a head line")
@click.option(
    "--timeout", type=click.FloatRange(min=0.001), default=30.0, show_default=True,
    metavar="SECONDS", help="Give up after this long",
)  # fmt: skip
@click.pass_obj
def query(
    context: Context, sql: str, ref: str | None, as_json: bool, as_csv: bool, timeout: float
) -> None:
    """Ask all runs in SQL.

    Nothing can be changed by it. The views are `runs`, `flags`, `metrics` and `attributes`. With
    --run the tables are those of that run's run.db.

    \b
    Examples:
      gl query "select model, count(*) from runs group by model"
      gl query "select step, value from series limit 5" --run latest
    """
    if as_json and as_csv:
        raise UsageError("`--json` and `--csv` exclude each other")
    from guildlite.query.views import stream_all, stream_one

    def show(columns: list[str], rows: Iterator[Row]) -> None:
        if as_json:
            _write_json(columns, rows)
        elif as_csv:
            _write_csv(context, columns, rows)
        else:
            _write_table(context, columns, [*rows])

    if ref is not None:
        stream_one(context.get_run(ref).paths.db, sql, show, timeout)
        return
    from guildlite.execute.catchup import settle
    from guildlite.index import Index

    with Index(context.store().root) as index:
        index.refresh(settle)
        stream_all(index, sql, show, timeout)


def _write_json(columns: list[str], rows: Iterator[Row]) -> None:
    """Write a list of objects on one line, each as it is found."""
    before = "["
    for row in rows:
        line = format_json(dict(zip(columns, map(_plain, row), strict=True)))
        sys.stdout.write(before + line)
        before = ","
    sys.stdout.write("[]\n" if before == "[" else "]\n")


def _write_csv(context: Context, columns: list[str], rows: Iterator[Row]) -> None:
    from guildlite.query.views import csv_lines

    for line in csv_lines(columns, rows):
        context.write(line)


def _write_table(context: Context, names: list[str], rows: list[Row]) -> None:
    numeric = [
        all(isinstance(row[place], (int, float, type(None))) for row in rows)
        for place in range(len(names))
    ]
    columns = [
        Column(for_terminal(name), ">" if right else "<", least=8)
        for name, right in zip(names, numeric, strict=True)
    ]
    cells = [[Cell(_shown(value)) for value in row] for row in rows]
    for line in table(columns, cells, terminal_width()):
        context.write(line)


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format_number(value)
    return for_terminal(str(_plain(value)))
