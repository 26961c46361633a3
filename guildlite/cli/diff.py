"""`gl diff`: what differs between two runs, or between a run's source and the folder now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import (
    Cell,
    Column,
    coloured,
    coloured_status,
    for_terminal,
    status_of,
    table,
    terminal_width,
)
from guildlite.cli.words import command
from guildlite.errors import GuildliteError
from guildlite.runs.difference import TOLERANCE
from guildlite.wording import format_duration, format_number, visible

if TYPE_CHECKING:
    from pathlib import Path

    from guildlite.runs import Run
    from guildlite.runs.difference import Change, Outcome, Parting, RunDifference
    from guildlite.runs.sourcediff import FileDiff

#: Section of `RunDifference` → its title, in the order of the page.
_SECTIONS = {
    "facts": "Run",
    "flags": "Flags",
    "outcomes": "Metrics",
    "git": "Git",
    "packages": "Packages",
    "environment": "Environment",
    "machine": "Machine",
    "sources": "Source",
}


@command("diff")
@click.argument("one", metavar="RUN")
@click.argument("other", required=False, metavar="[RUN]")
@click.option("--stat", is_flag=True, help="Of the source only which files differ, and how much")
@click.option("--tolerance", type=click.FloatRange(min=0), default=TOLERANCE, metavar="SHARE",
              show_default=True,
              help="How far curves may differ, as a share of their values")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object")
@click.pass_obj
def diff(
    context: Context, one: str, other: str | None, stat: bool, tolerance: float, as_json: bool
) -> None:
    """Say what differs between two runs.

    Flags, last values of metrics and the step at which each curve first parts, git, packages,
    environment, machine, and the source as a unified diff. What is alike is not shown.

    With one RUN its source is compared with that in the project now.

    \b
    Examples:
      gl diff 2 1
      gl diff 3
      gl diff baseline latest --stat
    """
    from guildlite.execute.catchup import settle
    from guildlite.runs.difference import compare_two

    if other is None:
        _diff_folder(context, context.get_run(one), stat, as_json)
        return
    runs = (context.get_run(one), context.get_run(other))
    settle(runs)
    found = compare_two(*(run.fresh() for run in runs), tolerance=tolerance)
    for trouble in found.trouble:
        context.say(trouble)
    if as_json:
        context.write_json(_as_object(runs, found, stat))
        return
    for line in _page(runs, found, tolerance, stat):
        context.write(line)
    if not any(getattr(found, name) for name in _SECTIONS):
        context.say("nothing differs" + (", but no source was kept" * bool(found.without_source)))


def _diff_folder(context: Context, run: Run, stat: bool, as_json: bool) -> None:
    """Compare the source a run kept with what a new run would keep."""
    from guildlite.execute.sources import working_tree
    from guildlite.runs.sourcediff import diff_sources, kept_sources

    kept = kept_sources(run)
    project = context.find_project()
    now = working_tree(project, context.directory, run, kept)
    if not kept.files or now is None:
        raise GuildliteError(
            f"run `{run.id}` is of another folder"
            if kept.files
            else f"run `{run.id}` kept no source",
            hint=f"`gl diff {run.id} RUN` compares it with another run",
        )
    differing = [*diff_sources(kept, now)]
    if as_json:
        sources = [_source_object(each, stat) for each in differing]
        context.write_json({"run": run.id, "folder": str(_folder(context)), "sources": sources})
        return
    context.write(f"a  {coloured(for_terminal(run.id), 'bold')}  {coloured_status(status_of(run))}")
    context.write(f"b  {for_terminal(str(_folder(context)))}, as it is now")
    if not differing:
        context.say("nothing differs")
        return
    context.write("")
    for line in _sources(differing, stat):
        context.write(line)


def _folder(context: Context) -> Path:
    project = context.find_project()
    return project.dir if project else context.directory


def _page(runs: Sequence[Run], found: RunDifference, tolerance: float, stat: bool) -> Iterator[str]:
    for sign, run in zip("ab", runs, strict=True):
        took = format_duration(run.duration_s)
        status = coloured_status(status_of(run))
        yield f"{sign}  {coloured(for_terminal(run.id), 'bold')}  {status}  {took}".rstrip()
    for name, title in _SECTIONS.items():
        differing = getattr(found, name)
        if differing:
            yield ""
            yield coloured(title, "bold")
        if not differing:
            continue
        if name == "outcomes":
            yield from _outcomes(differing, found, tolerance)
        elif name == "sources":
            yield from _sources(differing, stat)
        else:
            yield from _changes(differing)
    if len(found.without_source) == 1 and runs[0].id != runs[1].id:
        yield ""
        yield coloured(_SECTIONS["sources"], "bold")
        yield f"  not compared: {for_terminal(found.without_source[0])} kept none"


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    width = terminal_width()
    for line in table(columns, rows, width - 2 if width else None):
        yield f"  {line}"


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    rows = [[Cell(for_terminal(each.name)), _side(each.one), _side(each.other)] for each in changes]
    yield from _table([Column("", least=8), Column("a", least=12), Column("b", least=12)], rows)


def _side(text: str | None) -> Cell:
    return Cell("(none)", "dim") if text is None else Cell(for_terminal(text))


def _outcomes(outcomes: Sequence[Outcome], found: RunDifference, tolerance: float) -> Iterator[str]:
    rows = []
    for each in outcomes:
        cells = [Cell(for_terminal(each.key)), _value(each.one), _value(each.other)]
        rows.append([*cells, Cell(_parts_at(each)), Cell(_step(each.beyond))])
    columns = [Column("", least=12), Column("a", ">"), Column("b", ">")]
    columns.append(Column("part at step", ">", rank=1))
    columns.append(Column(f"beyond {tolerance:.4g}" if tolerance < 0.001 else
                          f"beyond {tolerance * 100:.4g} %", ">", rank=2))  # fmt: skip
    yield from _table(columns, rows)
    first = found.first
    if first is not None and first.parting is not None:
        values = " and ".join(_apart(first.parting.one, first.parting.other))
        where = f"`{for_terminal(first.key)}` at step {first.parting.step:,}"
        yield f"  the curves first part in {where}: {values}"


def _value(value: float | None) -> Cell:
    return Cell("(none)", "dim") if value is None else Cell(format_number(value))


def _parts_at(each: Outcome) -> str:
    """Return the step at which two curves part; where they do not, that one is longer."""
    if each.parting is not None:
        return f"{each.parting.step:,}"
    if each.one is None or each.other is None or each.one_step is None or each.other_step is None:
        return ""
    return f"alike to {min(each.one_step, each.other_step):,}"


def _step(parting: Parting | None) -> str:
    return f"{parting.step:,}" if parting else ""


def _apart(one: float, other: float) -> tuple[str, str]:
    """Return two numbers as in tables, or with all their digits where those look alike."""
    short = format_number(one), format_number(other)
    return short if short[0] != short[1] else (repr(one), repr(other))


# Source -------------------------------------------------------------------------------------------

_DIFF_COLOURS = {"+": "green", "-": "red", "@": "blue"}
_WHY = {
    "binary": "no text",
    "large": "too large to compare by lines",
    "empty": "an empty file",
}


def _sources(sources: Sequence[FileDiff], stat: bool) -> Iterator[str]:
    rows = [
        [Cell(for_terminal(each.path)), Cell(each.kind if each.kind != "changed" else ""),
         *_counts(each)]
        for each in sources
    ]  # fmt: skip
    if stat or len(rows) > 1 or not sources[0].hunks:
        heads = [Column("", least=12), Column(""), Column("", ">"), Column("", ">"), Column("")]
        yield from [*_table(heads, rows)][1:]
        if not stat and any(each.hunks for each in sources):
            yield ""
    for each in () if stat else sources:
        for line in each.unified():
            # A tab is part of the source and moves nothing but the line itself.
            colour = "bold" if line[:4] in ("--- ", "+++ ") else _DIFF_COLOURS.get(line[:1])
            yield coloured(visible(line, keep="\t"), colour)
        if each.cut:
            yield coloured("the rest of this file's changes is too long to show", "dim")


def _counts(each: FileDiff) -> list[Cell]:
    if each.why:
        return [Cell(""), Cell(""), Cell(_WHY[each.why], "dim")]
    return [
        Cell(f"+{each.added:,}", "green" if each.added else "dim"),
        Cell(f"-{each.removed:,}", "red" if each.removed else "dim"),
        Cell(""),
    ]


# JSON ---------------------------------------------------------------------------------------------


def _as_object(runs: Sequence[Run], found: RunDifference, stat: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "runs": [{"id": run.id, "uid": run.uid, "status": status_of(run)} for run in runs]
    }
    names = {"facts": "run", "outcomes": "metrics"}
    for section in _SECTIONS:
        differing = getattr(found, section)
        data[names.get(section, section)] = (
            [_outcome_object(each) for each in differing]
            if section == "outcomes"
            else [_source_object(each, stat) for each in differing]
            if section == "sources"
            else [{"name": each.name, "a": each.one, "b": each.other} for each in differing]
        )
    data["without_source"] = list(found.without_source)
    data["first_parting"] = _outcome_object(found.first) if found.first else None
    return data


def _source_object(each: FileDiff, stat: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"path": each.path, "change": each.kind}
    found |= {"added": each.added, "removed": each.removed, "why": each.why or None}
    return found if stat else {**found, "diff": "\n".join(each.unified()), "cut": each.cut}


def _outcome_object(each: Outcome) -> dict[str, Any]:
    return {
        "key": each.key,
        "a": each.one,
        "b": each.other,
        "a_step": each.one_step,
        "b_step": each.other_step,
        "parting": _parting_object(each.parting),
        "beyond_tolerance": _parting_object(each.beyond),
    }


def _parting_object(parting: Parting | None) -> dict[str, Any] | None:
    return {"step": parting.step, "a": parting.one, "b": parting.other} if parting else None
