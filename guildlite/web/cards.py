"""Which charts a run's series make: the project's own first, then one card a series, in groups.

A card is what a page draws as a chart, or as a plain number while its series has one point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, TypeVar

from guildlite.project import Chart
from guildlite.runs import RunReader
from guildlite.runs.reader import chart_rows
from guildlite.series import SYSTEM_KEY, Summary, group_scalars, is_system_key
from guildlite.web.charts import SLOTS, Line
from guildlite.web.numbers import unit_of
from guildlite.web.patterns import compile_pattern
from guildlite.web.workspace import natural

#: Charts on one page; beyond it a page is slow to make, to load and to look at.
CARDS_PER_PAGE = 60
#: Rows of run.db read for one page, at 2 to 3 microseconds each.
ROWS_PER_PAGE = 400_000
#: Lines on one card: more would look like others.
MOST_LINES = SLOTS
#: Up to this many points a line is read whole, with its gaps; beyond, run.db gives the extremes.
WHOLE_POINTS = 5000
MAX_REGEX = 200

# What is looked at together: group, title, pattern of the key without an operation's name.
_TOGETHER = (
    Chart("Cores", r"sys/cpu\d+/util"),
    Chart("Memory", r"sys/mem/(used|available)"),
    Chart("Disk", r"sys/disk/(read|write)"),
    Chart("Network", r"sys/net/(sent|received)"),
    Chart("Files", r"op/io/(read|write)"),
    Chart("GPU utilisation", r"gpu\d*/util"),
    Chart("GPU memory", r"gpu\d*/mem/util"),
)
# Words for the part of the data a number is about, as in `train/loss` or `val_loss`.
_PART = re.compile("train|training|val|valid|validation|test|testing|eval|evaluation|dev")
#: Group of series without a slash in their key; stands last.
_NO_GROUP = "other"
_FAMILIES = {"op": "Process tree", "sys": "This machine", "gpu": "GPU"}


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


_Series = TypeVar("_Series", bound=_Keyed)


@dataclass(frozen=True, slots=True)
class Plan:
    """A card before its points are read. `names` are its lines' where these are not their keys."""

    group: str
    title: str
    series: list[Summary]
    left_out: int = 0
    names: dict[str, str] = field(default_factory=dict)


class Source(NamedTuple):
    """Where a line's points come from, and its colour and dashes."""

    run: str
    tag: str
    slot: int


@dataclass(frozen=True, slots=True)
class Card:
    """One chart; `sources` are its lines' own, in the same order.

    `thinned` says that not every point was read, NaN points among the others.
    """

    title: str
    unit: str
    in_seconds: bool
    series: list[Summary]
    lines: list[Line]
    sources: list[Source]
    thinned: bool
    left_out: int

    @property
    def single(self) -> bool:
        """Whether every series has one point, which is a number rather than a curve."""
        return all(summary.count == 1 for summary in self.series)


@dataclass(frozen=True, slots=True)
class Cards:
    """One page of cards by group, and what the whole would be. `problem` says the regex is bad.

    `others` counts the series that hold no numbers. `keys` has `keys_version` of each run.
    `paired` says that some cards show the same measure of several parts of the data, or would if
    `together` were on.
    """

    groups: list[tuple[str, list[Card]]]
    tags: str
    problem: str | None
    series: int
    shown: int
    page: int
    pages: int
    others: int = 0
    paired: bool = False
    together: bool = True
    keys: dict[str, str] = field(default_factory=dict)


def read_cards(
    run_id: str,
    reader: RunReader,
    charts: Iterable[Chart],
    *,
    system: bool,
    tags: str = "",
    page: int = 1,
    together: bool = True,
) -> Cards:
    """Return one page of a run's cards: the script's own series, or those we measured.

    `tags` is a regular expression searched for in the keys; a bad one filters nothing. With
    `together`, training and validation of one measure share a card.
    """
    # Before the series are read: what comes in between is then told by the next answer.
    keys = {run_id: keys_version(reader)}
    everything = reader.summaries()
    scalars = [s for s in everything if s.kind == "scalar" and is_system_key(s.key) == system]
    wanted, problem = filter_keys(scalars, tags)
    plans = plan_system(wanted) if system else plan_metrics(wanted, charts, parts=together)
    pages = paged(plans)
    page = min(max(1, page), len(pages))
    groups: dict[str, list[Card]] = {}
    for plan in pages[page - 1]:
        groups.setdefault(plan.group, []).append(_read_card(run_id, reader, plan, system))
    return Cards(
        groups=list(groups.items()),
        tags=tags,
        problem=problem,
        series=len(scalars),
        shown=len(wanted),
        page=page,
        pages=len(pages),
        others=0 if system else len(reader.media()),
        paired=not system and bool(_pairs(wanted)),
        together=together,
        keys=keys,
    )


def keys_version(reader: RunReader) -> str:
    """Return a word that changes when a series comes, or becomes a curve by its second point."""
    every, curves = reader.series_counts()
    return f"{every}.{curves}"


def paged(plans: Sequence[Plan]) -> list[list[Plan]]:
    """Return plans by page: as many as can be looked at, and read in about a second."""
    pages: list[list[Plan]] = [[]]
    rows = 0
    for plan in plans:
        cost = sum(chart_rows(summary) for summary in plan.series)
        if pages[-1] and (len(pages[-1]) >= CARDS_PER_PAGE or rows + cost > ROWS_PER_PAGE):
            pages.append([])
            rows = 0
        pages[-1].append(plan)
        rows += cost
    return pages


def filter_keys(series: list[_Series], tags: str) -> tuple[list[_Series], str | None]:
    """Return the series with a match of the regex in their key, and what is wrong with it."""
    if not tags:
        return series, None
    if len(tags) > MAX_REGEX:
        return series, f"longer than {MAX_REGEX} characters"
    pattern, problem = compile_pattern(tags)
    if pattern is None:
        return series, problem
    return [summary for summary in series if pattern.search(summary.key)], None


def plan_metrics(
    series: Sequence[Summary],
    charts: Iterable[Chart],
    *,
    together: bool = True,
    parts: bool = False,
) -> list[Plan]:
    """Return the project's charts, then one for each other series by first part of its key.

    With `together`, series that `add_scalars` wrote together share one; with `parts`, so do those
    of the same measure on several parts of the data, as `train/loss` and `validation/loss`.
    """
    plans = []
    taken: set[str] = set()
    for chart in charts:
        found = [summary for summary in series if re.fullmatch(chart.series, summary.key)]
        if found:
            plans.append(_plan("", chart.title, found))
            taken.update(summary.key for summary in found)
    groups: dict[str, list[Plan]] = {}
    rest = [summary for summary in series if summary.key not in taken]
    for plan in _own_charts(rest, together, parts):
        groups.setdefault(plan.group, []).append(plan)
    for group in sorted(groups, key=lambda name: (name == _NO_GROUP, natural(name))):
        plans += sorted(groups[group], key=lambda plan: natural(plan.title))
    return plans


def _own_charts(series: Sequence[Summary], together: bool, parts: bool) -> Iterator[Plan]:
    by_key = {summary.key: summary for summary in series}
    for tag, members in group_scalars(by_key if together else ()).items():
        found = [by_key.pop(key) for key in members.values()]
        names = {key: name for name, key in members.items()}
        yield replace(_plan(_group_of(tag), tag, found), names=names)
    for measure, members_of in (_pairs(by_key.values()) if parts else {}).items():
        for summary in members_of.values():
            del by_key[summary.key]
        named = [part for part in members_of if part]
        group = _group_of(measure)
        if group == _NO_GROUP and len(named) == len(members_of):
            group = " and ".join(named)
        yield _plan(group, measure, list(members_of.values()))
    for key, summary in by_key.items():
        yield _plan(_group_of(key), key, [summary])


def _pairs(series: Iterable[Summary]) -> dict[str, dict[str, Summary]]:
    """Return measures that several parts of the data have: measure to part to series.

    `loss` beside `val_loss`, as Keras writes it, is of the part "". A series of one value is left
    out: it is shown as a number.
    """
    found: dict[str, dict[str, list[Summary]]] = {}
    several = (summary for summary in series if summary.count > 1)
    for summary in sorted(several, key=lambda each: natural(each.key)):
        measure, part = _part_of(summary.key)
        found.setdefault(measure, {}).setdefault(part, []).append(summary)
    return {
        measure: {part: each[0] for part, each in parts.items()}
        for measure, parts in found.items()
        if len(parts) > 1 and all(len(each) == 1 for each in parts.values())
    }


def _part_of(key: str) -> tuple[str, str]:
    """Return what a series measures and the part of the data in its key, "" for none."""
    pieces = key.split("/")
    for at, piece in enumerate(pieces):
        rest = [*pieces[:at], *pieces[at + 1 :]]
        if _PART.fullmatch(piece) and rest:
            return "/".join(rest), piece
    head, underscore, tail = pieces[-1].partition("_")
    if underscore and tail and _PART.fullmatch(head):
        return "/".join([*pieces[:-1], tail]), head
    head, underscore, tail = pieces[-1].rpartition("_")
    if underscore and head and _PART.fullmatch(tail):
        return "/".join([*pieces[:-1], head]), tail
    return key, ""


def _group_of(key: str) -> str:
    head, slash, _ = key.partition("/")
    return head if slash else _NO_GROUP


def plan_system(series: Sequence[Summary]) -> list[Plan]:
    """Return the charts of system series: by operation, then process tree, machine, each GPU."""
    groups: dict[tuple[str, str], dict[str, list[Summary]]] = {}
    for summary in series:
        match = SYSTEM_KEY.fullmatch(summary.key)
        if match is None:
            continue
        operation, name, family = match[1] or "", match[2], match[3]
        chart = next((c for c in _TOGETHER if re.fullmatch(c.series, name)), None)
        title = chart.title if chart else summary.key
        groups.setdefault((operation, family), {}).setdefault(title, []).append(summary)
    order = list(_FAMILIES)
    plans = []
    for operation, family in sorted(groups, key=lambda at: (natural(at[0]), order.index(at[1]))):
        title = _FAMILIES[family]
        name = f"{operation}: {title[0].lower() + title[1:]}" if operation else title
        cards = groups[operation, family].items()
        plans += [_plan(name, title, sorted(found, key=lambda s: natural(s.key)))
                  for title, found in cards]  # fmt: skip
    return plans


def _plan(group: str, title: str, series: list[Summary]) -> Plan:
    return Plan(group, title, series[:MOST_LINES], max(0, len(series) - MOST_LINES))


def _read_card(run_id: str, reader: RunReader, plan: Plan, system: bool) -> Card:
    lines = [
        Line(
            plan.names.get(summary.key, summary.key), reader.chart(summary.key, WHOLE_POINTS), slot
        )
        for slot, summary in enumerate(plan.series)
    ]
    return Card(
        title=plan.title,
        unit=unit_of(plan.series[0].key),
        in_seconds=system,
        series=plan.series,
        lines=lines,
        sources=[Source(run_id, s.key, slot) for slot, s in enumerate(plan.series)],
        thinned=any(summary.count > WHOLE_POINTS for summary in plan.series),
        left_out=plan.left_out,
    )


def table_of(lines: Sequence[Line], rows: int = 12) -> list[tuple[int, list[float | None]]]:
    """Return (step, value of each line) for evenly chosen steps, first and last among them.

    A step that comes twice, as after a resumed training, shows its last value; None is no value.
    """
    by_step = [{point.step: point.value for point in line.points} for line in lines]
    steps = sorted({step for values in by_step for step in values})
    if len(steps) > rows:
        steps = [steps[index * (len(steps) - 1) // (rows - 1)] for index in range(rows)]
    return [(step, [values.get(step) for values in by_step]) for step in steps]
