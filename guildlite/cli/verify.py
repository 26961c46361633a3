"""`gl verify`: what was recorded against the event files, by an independent reader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import (
    Cell,
    Column,
    coloured,
    fit,
    for_terminal,
    table,
    terminal_width,
)
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, RunUnreadable
from guildlite.wording import format_count

if TYPE_CHECKING:
    from guildlite.transfer.verify import Difference, Report

#: Differences of one run that are printed; `--json` has all.
_MOST_DIFFERENCES = 50


@command("verify")
@click.argument("refs", nargs=-1, metavar="[RUN]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list, a run each")
@click.pass_obj
def verify(context: Context, refs: tuple[str, ...], as_json: bool) -> int:
    """Compare runs with their event files.

    Without RUN the latest. The event files are read again with TensorBoard's own Python reader, on
    which tbparse is built, and compared with run.db point by point: step, time and value. What
    differs is listed, and the exit status is 1. Points that TensorBoard leaves out after a restart
    and damage in files are named, and are no differences.

    \b
    Examples:
      gl verify
      gl verify 1-5 --json
    """
    from guildlite.execute.catchup import settle

    runs = context.select_runs(refs) if refs else [context.get_run(None)]
    settle(runs)
    failed, reports = False, []
    for run in runs:
        try:
            report = _verify(run)
        except RunUnreadable as error:
            if len(runs) == 1:
                raise
            context.say(f"error: {error.message}")
            failed = True
            continue
        failed |= bool(report.differences)
        reports.append(report)
        if not as_json:
            for line in _lines(report):
                context.write(line)
    if as_json:
        context.write_json([_as_json(report) for report in reports])
    return 1 if failed else 0


def _verify(run: Any) -> Report:
    from guildlite.transfer.verify import verify_run

    shown = sys.stderr.isatty()

    def progress(path: str) -> None:
        if shown:
            text = fit(f"reading {for_terminal(path)}", 72)
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    try:
        return verify_run(run, progress)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GuildliteError(f"`{run.id}` cannot be verified: {reason}") from error
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _lines(report: Report) -> Iterator[str]:
    name = coloured(for_terminal(report.run), "bold")
    found = report.differences
    media = f" and {format_count(report.media, 'other value')}" if report.media else ""
    counted = f"{format_count(report.points, 'point')}{media} of {report.series} series"
    where = f"{counted} in {format_count(report.files, 'event file')}"
    if found:
        word = coloured(format_count(len(found), "difference"), "red")
        yield f"{name}  {word}; compared {where}"
        yield from _table(found)
    elif report.files:
        yield f"{name}  {coloured('agrees', 'green')}: {where}"
    else:
        yield f"{name}  nothing to compare"
    for note in report.notes:
        yield f"  note: {for_terminal(note)}"
    if report.dropped:
        dropped = format_count(sum(report.dropped.values()), "point")
        yield f"  note: TensorBoard leaves out {dropped} from before a restart: {_some(report)}"
    for path, reasons in report.damage.items():
        for reason in reasons:
            yield f"  damaged: {for_terminal(path)}: {for_terminal(reason)}"
    if report.unknown:
        count = format_count(sum(report.unknown.values()), "point")
        names = ", ".join(map(for_terminal, sorted(report.unknown)[:3]))
        yield f"  note: the independent reader does not know the type of {count}: {names}"


def _some(report: Report) -> str:
    names = [f"{for_terminal(key)} {count}" for key, count in sorted(report.dropped.items())]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more series" if len(names) > 3 else "")


def _table(differences: list[Difference]) -> Iterator[str]:
    columns = [
        Column("series", least=12),
        Column("what"),
        Column("step", ">"),
        Column("run.db", ">"),
        Column("event file", ">"),
        Column("", rank=2),
        Column("file", least=16, rank=1),
    ]
    rows = [[Cell(text) for text in _cells(each)] for each in differences[:_MOST_DIFFERENCES]]
    width = terminal_width()
    for line in table(columns, rows, width - 2 if width else None):
        yield f"  {line}"
    if len(differences) > _MOST_DIFFERENCES:
        yield f"  and {len(differences) - _MOST_DIFFERENCES} more; `--json` has all"


def _cells(each: Difference) -> list[str]:
    more = f"and {each.more} more" if each.more else ""
    step = "" if each.step is None else str(each.step)
    stored, read = _shown(each.stored), _shown(each.read)
    return [for_terminal(each.key), each.what, step, stored, read, more, for_terminal(each.path)]


def _shown(value: float | int | str | None) -> str:
    """Return a value with all its digits, by which alone two may differ."""
    return "unknown" if value is None else for_terminal(value)


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "run": report.run,
        "agrees": not report.differences,
        "files": report.files,
        "series": report.series,
        "points": report.points,
        "media": report.media,
        "differences": [each._asdict() for each in report.differences],
        "dropped": report.dropped,
        "damage": report.damage,
        "unknown": report.unknown,
        "notes": report.notes,
    }
