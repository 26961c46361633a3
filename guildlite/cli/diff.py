"""`gl diff`: what differs between two runs."""

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
from guildlite.wording import format_duration, format_number, visible

if TYPE_CHECKING:
    from guildlite.runs import Run
    from guildlite.runs.difference import Change, Outcome, RunDifference, SourceChange

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
@click.argument("other", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object")
@click.pass_obj
def diff(context: Context, one: str, other: str, as_json: bool) -> None:
    """Say what differs between two runs.

    Flags, last values of metrics and the step at which each curve first parts, git, packages,
    environment, machine, and the source as a unified diff. What is alike is not shown.

    \b
    Examples:
      gl diff 2 1
      gl diff baseline latest --json
    """
    from guildlite.execute.catchup import settle
    from guildlite.runs.difference import compare_two

    runs = (context.get_run(one), context.get_run(other))
    settle(runs)
    found = compare_two(*(run.fresh() for run in runs))
    for trouble in found.trouble:
        context.say(trouble)
    if as_json:
        context.write_json(_as_object(runs, found))
        return
    for line in _page(runs, found):
        context.write(line)
    if not any(getattr(found, name) for name in _SECTIONS):
        context.say("nothing differs")


def _page(runs: Sequence[Run], found: RunDifference) -> Iterator[str]:
    for sign, run in zip("ab", runs, strict=True):
        took = format_duration(run.duration_s)
        status = coloured_status(status_of(run))
        yield f"{sign}  {coloured(for_terminal(run.id), 'bold')}  {status}  {took}".rstrip()
    for name, title in _SECTIONS.items():
        differing = getattr(found, name)
        if not differing:
            continue
        yield ""
        yield title
        if name == "outcomes":
            yield from _outcomes(differing, found.first)
        elif name == "sources":
            yield from _sources(differing)
        else:
            yield from _changes(differing)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    width = terminal_width()
    for line in table(columns, rows, width - 2 if width else None):
        yield f"  {line}"


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    rows = [[Cell(for_terminal(each.name)), _side(each.one), _side(each.other)] for each in changes]
    yield from _table([Column("", least=8), Column("a", least=12), Column("b", least=12)], rows)


def _side(text: str | None) -> Cell:
    return Cell("(none)", "dim") if text is None else Cell(for_terminal(text))


def _outcomes(outcomes: Sequence[Outcome], first: Outcome | None) -> Iterator[str]:
    rows = []
    for each in outcomes:
        step = f"{each.parting.step:,}" if each.parting else ""
        texts = (each.key, format_number(each.one), format_number(each.other), step)
        rows.append([Cell(for_terminal(text)) for text in texts])
    columns = [Column("", least=12), Column("a", ">"), Column("b", ">")]
    yield from _table([*columns, Column("part at step", ">", rank=1)], rows)
    if first is not None and first.parting is not None:
        values = f"{format_number(first.parting.one)} and {format_number(first.parting.other)}"
        where = f"`{for_terminal(first.key)}` at step {first.parting.step:,}"
        yield f"  the curves first part in {where}: {values}"


_DIFF_COLOURS = {"+": "green", "-": "red", "@": "blue"}


def _sources(sources: Sequence[SourceChange]) -> Iterator[str]:
    for each in sources:
        if not each.lines:
            yield f"  {for_terminal(each.path)}  {each.kind}"
        for line in each.lines:
            # A tab is part of the source and moves nothing but the line itself.
            yield coloured(visible(line, keep="\t"), _DIFF_COLOURS.get(line[:1]))


def _as_object(runs: Sequence[Run], found: RunDifference) -> dict[str, Any]:
    data: dict[str, Any] = {
        "runs": [{"id": run.id, "uid": run.uid, "status": status_of(run)} for run in runs]
    }
    names = {"facts": "run", "outcomes": "metrics"}
    for section in _SECTIONS:
        differing = getattr(found, section)
        data[names.get(section, section)] = (
            [_outcome_object(each) for each in differing]
            if section == "outcomes"
            else [{"path": s.path, "change": s.kind, "diff": "\n".join(s.lines)} for s in differing]
            if section == "sources"
            else [{"name": each.name, "a": each.one, "b": each.other} for each in differing]
        )
    data["first_parting"] = _outcome_object(found.first) if found.first else None
    return data


def _outcome_object(each: Outcome) -> dict[str, Any]:
    parting = each.parting
    at = {"step": parting.step, "a": parting.one, "b": parting.other} if parting else None
    return {"key": each.key, "a": each.one, "b": each.other, "parting": at}
