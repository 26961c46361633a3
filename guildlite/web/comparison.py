"""Runs side by side: what differs between them, their results, and their curves on one chart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from guildlite.errors import RunUnreadable
from guildlite.http import RequestError
from guildlite.runs import Run, RunReader
from guildlite.runs.compare import differing_flags
from guildlite.series import Summary, is_system_key
from guildlite.web import cards
from guildlite.web.cards import Card, Cards, Source
from guildlite.web.charts import SLOTS, Line
from guildlite.web.listing import Listing, RunRow
from guildlite.web.numbers import unit_of
from guildlite.web.workspace import Workspace, natural

#: Runs in one comparison: each has a colour and dashes of its own.
MOST_RUNS = SLOTS


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of every run, in the runs' order; None where a run has none."""

    name: str
    values: list[str | None]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """Last values of a series; `best` is the position of the best by the project's goal."""

    key: str
    values: list[float | None]
    best: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Some runs side by side. `same` are the flags that all have alike."""

    runs: list[RunRow]
    flags: list[Row]
    same: list[tuple[str, str]]
    metrics: list[MetricRow]
    cards: Cards
    live: bool


def read_comparison(
    workspace: Workspace, listing: Listing, ids: Sequence[str], *, tags: str = "", page: int = 1
) -> Comparison:
    """Return runs side by side, in the order named.

    Raises RunNotFound for an id that is none, RequestError for too many. A run that cannot be read
    takes part with what is known of it.
    """
    if len(ids) > MOST_RUNS:
        raise RequestError("too many runs to compare", expected=f"at most {MOST_RUNS}")
    everything = workspace.runs()
    runs = [workspace.get(run_id, everything) for run_id in dict.fromkeys(ids)]
    workspace.settle(runs)
    with ExitStack() as stack:
        readers = {run.id: _reader(stack, run) for run in runs}
        keys = {name: _version(reader) for name, reader in readers.items()}
        summaries = {name: _summaries(reader) for name, reader in readers.items()}
        found = _read_cards(runs, readers, summaries, tags, page)
    found = replace(found, keys=keys)
    differing = differing_flags([run.flags for run in runs])
    common = dict(item for run in runs for item in run.flags.items() if item[0] not in differing)
    return Comparison(
        runs=[listing.row(run) for run in runs],
        flags=[Row(name, [run.flags.get(name) for run in runs]) for name in differing],
        same=list(common.items()),
        metrics=_metrics(workspace, runs, summaries),
        cards=found,
        live=any(listing.row(run).live for run in runs),
    )


def _reader(stack: ExitStack, run: Run) -> RunReader | None:
    try:
        return stack.enter_context(run.read()) if run.error is None else None
    except RunUnreadable:
        return None


def _summaries(reader: RunReader | None) -> dict[str, Summary]:
    if reader is None:
        return {}
    try:
        everything = reader.summaries()
    except RunUnreadable:
        return {}
    return {
        summary.key: summary
        for summary in everything
        if summary.kind == "scalar" and not is_system_key(summary.key)
    }


def _version(reader: RunReader | None) -> str:
    try:
        return cards.keys_version(reader) if reader is not None else ""
    except RunUnreadable:
        return ""


def _metrics(
    workspace: Workspace, runs: Sequence[Run], summaries: dict[str, dict[str, Summary]]
) -> list[MetricRow]:
    """Return the project's metrics, then the other series most runs have."""
    counts: dict[str, int] = {}
    for each in summaries.values():
        for key in each:
            counts[key] = counts.get(key, 0) + 1
    first = [key for key in workspace.metrics if key in counts]
    rest = sorted(
        (key for key in counts if key not in first), key=lambda k: (-counts[k], natural(k))
    )
    rows = []
    for key in (first + rest)[:12]:
        found = [summaries[run.id].get(key) for run in runs]
        values = [summary.last if summary else None for summary in found]
        rows.append(MetricRow(key, values, _best(workspace.goal_of(key), values)))
    return rows


def _best(goal: str | None, values: Sequence[float | None]) -> int | None:
    """Return the position of the best value; without a goal nothing is called best."""
    finite = [(value, at) for at, value in enumerate(values) if value is not None]
    if goal is None or len(finite) < 2:
        return None
    return (min if goal == "min" else max)(finite)[1]


def _read_cards(
    runs: Sequence[Run],
    readers: dict[str, RunReader | None],
    summaries: dict[str, dict[str, Summary]],
    tags: str,
    page: int,
) -> Cards:
    keys = {key: summary for each in summaries.values() for key, summary in each.items()}
    wanted, problem = cards.filter_keys(list(keys.values()), tags)
    plans = []
    for plan in cards.plan_metrics(wanted, (), together=False):
        key = plan.series[0].key
        members = [summaries[run.id][key] for run in runs if key in summaries[run.id]]
        plans.append(cards.Plan(plan.group, plan.title, members))
    pages = cards.paged(plans)
    page = min(max(1, page), len(pages))
    groups: dict[str, list[Card]] = {}
    for plan in pages[page - 1]:
        card = _read_card(runs, readers, summaries, plan.title)
        groups.setdefault(plan.group, []).append(card)
    return Cards(
        groups=list(groups.items()),
        tags=tags,
        problem=problem,
        series=len(keys),
        shown=len(wanted),
        page=page,
        pages=len(pages),
    )


def _read_card(
    runs: Sequence[Run],
    readers: dict[str, RunReader | None],
    summaries: dict[str, dict[str, Summary]],
    key: str,
) -> Card:
    """Return a chart with a line for each run that has the series; a run keeps its colour."""
    lines, series, sources = [], [], []
    for slot, run in enumerate(runs):
        summary, reader = summaries[run.id].get(key), readers[run.id]
        if summary is None or reader is None:
            continue
        points = reader.chart(key, cards.WHOLE_POINTS)
        lines.append(Line(run.label or run.id, points, slot))
        series.append(summary)
        sources.append(Source(run.id, key, slot))
    return Card(
        title=key,
        unit=unit_of(key),
        in_seconds=False,
        series=series,
        lines=lines,
        sources=sources,
        thinned=any(summary.count > cards.WHOLE_POINTS for summary in series),
        left_out=0,
    )
