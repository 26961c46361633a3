"""The run table: which runs, in which order, with which columns.

Everything is decided by the words of the address (`Ask`) and answered from the index, so that ten
thousand runs cost what a page of them costs. Curves and time to quality are read from the run.db
of the rows shown.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import FilterError, RunUnreadable
from guildlite.index import Index, RunRecord
from guildlite.query import Field, FoundRun, find_runs, read_vocabulary
from guildlite.query.columns import split_columns, value_in
from guildlite.query.fields import parse_field, parse_filter
from guildlite.query.survey import RunGroup, Survey, group_filter, read_groups, read_survey
from guildlite.query.syntax import quote
from guildlite.query.views import Table, iter_csv
from guildlite.query.welch import Mean
from guildlite.runs import Run
from guildlite.series import Point
from guildlite.web.curves import Curves
from guildlite.web.lookup import Lookup, state_of
from guildlite.web.tablecolumns import (
    MOST_FLAGS,
    MOST_METRICS,
    Columns,
    Offer,
    Parsed,
    TableColumn,
)
from guildlite.web.workspace import Workspace, is_live
from guildlite.wording import iso_utc

#: A browser takes half as long to lay out 50 rows as 100, and a window shows 20.
PER_PAGE = 50
#: Runs shown of a group that is unfolded; the filter shows all.
MOST_UNFOLDED = 50
#: Flags and attributes that runs are grouped by at once.
MOST_GROUPED = 3
NEWEST_FIRST = "-started"
_KEPT_SURVEYS = 32
_GROUPABLE = ("model", "status", "operation", "label")

#: What stands in a cell: the raw value, and for a curve its points.
Cell = float | str | bool | None | list[Point]


class Ask(NamedTuple):
    """What an address asks for, as it stands there.

    `open` are keys of unfolded groups, `hide` ids of runs left out. Without `curves` only those
    stand in the table that are at hand, and `RunTable.late` says that others are missing.
    """

    query: str = ""
    sort: str = ""
    page: int = 1
    columns: Sequence[str] = ()
    group: str = ""
    open: Sequence[str] = ()
    hide: Sequence[str] = ()
    curves: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    """Last value of a series (None is NaN), and a few points of its curve where one is shown."""

    last: float | None
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the table. Times are epoch seconds, `error` says why it cannot be read.

    `number` is the one `gl runs` prints, 0 where it was not looked for. `cells` stand below the
    table's columns; `trouble` is why its run.db alone cannot be read.
    """

    id: str
    status: str
    status_note: str | None
    live: bool
    marked: bool
    label: str
    model: str
    operation: str
    started: float | None
    duration: float | None
    flags: Mapping[str, str]
    metrics: dict[str, Value]
    error: str | None
    number: int = 0
    cells: list[Cell] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of runs. `cells` has a `Mean` below each column of numbers, else None.

    `filter` is what exactly its runs pass together with the table's own; `rows` are some of them
    where it is unfolded.
    """

    key: str
    values: list[str | None]
    runs: int
    statuses: dict[str, int]
    started: float | None
    cells: list[Mean | None]
    filter: str
    unfolded: bool
    rows: list[RunRow]


@dataclass(frozen=True, slots=True)
class RunTable:
    """One page of the run table, and what the whole would be.

    `total` counts all runs, `matching` those that pass the filter and are not hidden. In a table
    of groups `groups` stands instead of `rows`, and `pages` are pages of groups.
    """

    rows: list[RunRow]
    columns: list[TableColumn]
    flags: list[str]
    metrics: list[str]
    more_flags: int
    total: int
    matching: int
    query: str
    sort: str
    page: int
    pages: int
    live: bool
    notices: list[str]
    group: list[str]
    groups: list[GroupRow]
    total_groups: int
    hidden: int
    own_columns: bool
    late: bool


class View(NamedTuple):
    """A table with what its page offers beside it."""

    table: RunTable
    offers: dict[str, list[Offer]]
    groupable: list[str]


class Listing:
    """Makes run tables; shared by all requests."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.lookup = Lookup(workspace)
        self.curves = Curves()
        self._surveys: OrderedDict[tuple[str, str], Survey] = OrderedDict()
        self._lock = threading.Lock()

    # Tables -------------------------------------------------------------------------------------

    def table(self, ask: Ask) -> RunTable:
        """Return one page of the table. Raises FilterError, whose `text` is the word it is about.

        An unknown `sort` is like none, by start.
        """
        return self.view(ask).table

    def view(self, ask: Ask) -> View:
        """Return one page of the table with the columns that could be shown."""
        with self.opened() as look:
            return look.view(ask)

    @contextmanager
    def opened(self) -> Iterator[Look]:
        """Give one look at the runs as they are now, for several questions of one request."""
        with self.lookup.opened() as index:
            yield Look(self, index)

    def matching(self, query: str, hide: Sequence[str] = ()) -> list[Run]:
        """Return all runs that pass a filter, newest first. Raises FilterError."""
        with self.opened() as look:
            question = _Question(look, Ask(query, hide=hide))
            found = find_runs(look.index, question.filter, columns=(), known=question.known)
        return [Run(Path(row.path)) for row in found.rows]

    def csv(self, ask: Ask) -> Iterator[str]:
        """Return the lines of the whole table as CSV, with the columns shown."""
        with self.opened() as look:
            return _Question(look, ask).csv()

    def survey(self, look: Look, filter: str) -> Survey:
        """Return what the runs that pass a filter have: known for each page of the same table."""
        state = look.state()
        place = (state or "", filter)
        with self._lock:
            if state is not None and place in self._surveys:
                self._surveys.move_to_end(place)
                return self._surveys[place]
        survey = read_survey(look.index, filter, known=self.lookup.known())
        if state is not None:
            with self._lock:
                self._surveys[place] = survey
                while len(self._surveys) > _KEPT_SURVEYS:
                    self._surveys.popitem(last=False)
        return survey

    # Rows ---------------------------------------------------------------------------------------

    def row(self, run: Run, metrics: Sequence[str] = ()) -> RunRow:
        """Return the table's row for one run, with these metrics as far as it has them."""
        values: dict[str, Value] = {}
        if run.error is None and metrics:
            values = _last_values(run, metrics)
        return RunRow(
            id=run.id,
            status=run.status.value,
            status_note=run.status_note,
            live=is_live(run),
            marked=run.marked,
            label=run.label,
            model=run.model,
            operation=run.operation,
            started=run.started_at or run.created_at,
            duration=run.duration_s,
            flags=run.flags,
            metrics=values,
            error=run.error,
        )


class Look:
    """The runs as one request finds them."""

    def __init__(self, listing: Listing, index: Index) -> None:
        self.listing, self.index = listing, index
        self._state: list[str | None] = []

    def view(self, ask: Ask) -> View:
        """Return one page of the table with the columns that could be shown."""
        return _Question(self, ask).view()

    def state(self) -> str | None:
        """Return what changes whenever an answer may, None where that cannot be told."""
        if not self._state:
            self._state.append(state_of(self.index))
        return self._state[0]


class _Question:
    """One request, answered from one state of the index."""

    def __init__(self, look: Look, ask: Ask) -> None:
        self._look, self.index, self.ask = look, look.index, ask
        listing = look.listing
        self.workspace, self._curves = listing.workspace, listing.curves
        self._late = False
        self.known = listing.lookup.known()
        self.found = read_vocabulary(self.index)
        self.vocabulary = self.found.joined(self.known)
        self.notices: list[str] = []
        # What was typed is judged alone, so that an error speaks of nothing else.
        parse_filter(ask.query, self.vocabulary, notices=self.notices)
        self.filter = _with_hidden(ask.query, ask.hide)
        self.maker = Columns(self.vocabulary, self.workspace.metrics)

    @cached_property
    def survey(self) -> Survey:
        return self._look.listing.survey(self._look, self.filter)

    def view(self) -> View:
        columns, by = self.columns(), split_columns([self.ask.group])[:MOST_GROUPED]
        sort = self._sort(grouped=bool(by))
        table = self._grouped(by, sort, columns) if by else self._plain(sort, columns)
        offers = self.maker.offers(table.columns, self.metrics, self.flags)
        return View(table, offers, [*_GROUPABLE, *(f"flag.{name}" for name in self.flags)])

    # What is shown ------------------------------------------------------------------------------

    @cached_property
    def metrics(self) -> list[str]:
        """The series with a column, the primary ones first."""
        known = self.workspace.metrics
        if not known:
            return self.survey.series
        ranked = sorted(known, key=lambda key: not known[key].primary)
        # A metric that no run has yet would be an empty column.
        return [key for key in ranked if key in self.found.series]

    @cached_property
    def flags(self) -> list[str]:
        """The flags that tell these runs apart, the project's choice first."""
        chosen = [name.removeprefix("flag.") for name in self.workspace.view.compare]
        first = [name for name in chosen if name in self.survey.flags]
        return list(dict.fromkeys(first + self.survey.flags))

    def columns(self) -> list[Parsed]:
        if self.ask.columns:
            return self.maker.parse(self.ask.columns)
        return self.maker.default(self.metrics, self.flags, labels=self.survey.labels)

    def _sort(self, *, grouped: bool) -> str:
        sort = self.ask.sort
        if not sort:
            return "" if grouped else NEWEST_FIRST
        if grouped and sort.lstrip("-") == "runs":
            return sort
        try:
            parse_field(sort.lstrip("-"), self.vocabulary)
        except FilterError:
            return "" if grouped else NEWEST_FIRST
        return sort

    # Runs ---------------------------------------------------------------------------------------

    def _plain(self, sort: str, columns: list[Parsed]) -> RunTable:
        pages = max(1, -(-self.survey.total // PER_PAGE))
        page = min(max(1, self.ask.page), pages)
        found = find_runs(
            self.index,
            self.filter,
            # The order of all runs is the index's own; it needs no sorting.
            sort="" if sort == NEWEST_FIRST else sort,
            limit=PER_PAGE,
            offset=(page - 1) * PER_PAGE,
            known=self.known,
        )
        rows = [self._row(row, columns) for row in found.rows]
        return self._table(columns, sort, page, pages, of=found.of, rows=rows)

    def _row(self, found: FoundRun, columns: Sequence[Parsed]) -> RunRow:
        record = found.record
        unreadable = record.status == "unreadable"
        cells = [] if unreadable else [self._cell(each, found) for each in columns]
        return RunRow(
            id=record.id,
            status=record.status,
            status_note=record.status_note,
            live=record.status in ("pending", "running"),
            marked=record.marked,
            label=record.label,
            model=record.model,
            operation=record.operation,
            started=record.started or record.created,
            duration=record.duration,
            flags=record.flags,
            metrics=_metric_values(record, columns, cells),
            error=record.error if unreadable else None,
            number=found.position,
            cells=cells,
            trouble="" if unreadable else record.error,
        )

    def _cell(self, parsed: Parsed, found: FoundRun) -> Cell:
        column, record = parsed.column, found.record
        if parsed.source is None:
            return self._curve(column.key, found) if column.key in record.series else []
        if isinstance(parsed.source, Field) and column.kind == "flag":
            return record.flags.get(parsed.source.name)
        value = value_in(parsed.source, record, found.path)
        if value is None and isinstance(parsed.source, Field) and column.key in record.series:
            return float("nan")  # which is how run.db and the index say it
        return bool(value) if column.kind == "truth" and value is not None else value

    def _curve(self, key: str, found: FoundRun) -> list[Point]:
        run = Run(Path(found.path))
        if self.ask.curves:
            return self._curves.read(run, key)
        points = self._curves.peek(run, key)
        self._late = self._late or points is None
        return points or []

    def _table(
        self,
        columns: Sequence[Parsed],
        sort: str,
        page: int,
        pages: int,
        *,
        of: int,
        rows: list[RunRow] | None = None,
        groups: list[GroupRow] | None = None,
        group: Sequence[str] = (),
        total_groups: int = 0,
    ) -> RunTable:
        listed = [*(rows or ()), *(row for each in groups or () for row in each.rows)]
        running = any(each.statuses.keys() & {"pending", "running"} for each in groups or ())
        return RunTable(
            rows=rows or [],
            columns=[each.column for each in columns],
            flags=self.flags[:MOST_FLAGS],
            metrics=self.metrics[:MOST_METRICS],
            more_flags=0 if self.ask.columns else max(0, len(self.flags) - MOST_FLAGS),
            total=of,
            matching=self.survey.total,
            query=self.ask.query,
            sort=sort,
            page=page,
            pages=pages,
            live=running or any(row.live for row in listed),
            notices=self.notices,
            group=[*group],
            groups=groups or [],
            total_groups=total_groups,
            hidden=len(self.ask.hide),
            own_columns=bool(self.ask.columns),
            late=self._late,
        )

    # Groups -------------------------------------------------------------------------------------

    def _grouped(self, by: Sequence[str], sort: str, columns: list[Parsed]) -> RunTable:
        measured = [
            each.column.text
            for each in columns
            if each.column.numeric and isinstance(each.source, Field)
        ]
        found = read_groups(self.index, self.filter, by, measured, sort=sort, known=self.known)
        pages = max(1, -(-len(found.groups) // PER_PAGE))
        page = min(max(1, self.ask.page), pages)
        shown = found.groups[(page - 1) * PER_PAGE : page * PER_PAGE]
        groups = [self._group(found.by, each, sort, columns, measured) for each in shown]
        of = find_runs(self.index, limit=0, columns=()).of
        return self._table(
            columns, sort, page, pages, of=of, groups=groups,
            group=[str(each) for each in found.by], total_groups=len(found.groups),
        )  # fmt: skip

    def _group(
        self,
        by: Sequence[Field],
        group: RunGroup,
        sort: str,
        columns: list[Parsed],
        measured: Sequence[str],
    ) -> GroupRow:
        inside = group_filter(by, group.values)
        key = f"{zlib.crc32(inside.encode('utf-8', 'surrogatepass')):08x}"
        unfolded = key in self.ask.open
        means = dict(zip(measured, group.means, strict=True))
        return GroupRow(
            key=key,
            values=[format_group(value) for value in group.values],
            runs=group.runs,
            statuses=group.statuses,
            started=group.started,
            cells=[means.get(each.column.text) for each in columns],
            filter=_both(self.ask.query, inside),
            unfolded=unfolded,
            rows=self._members(inside, sort, columns) if unfolded else [],
        )

    def _members(self, inside: str, sort: str, columns: list[Parsed]) -> list[RunRow]:
        own = sort if sort and sort.lstrip("-") != "runs" and sort != NEWEST_FIRST else ""
        found = find_runs(
            self.index, _both(self.filter, inside), sort=own, limit=MOST_UNFOLDED, known=self.known
        )
        return [self._row(row, columns) for row in found.rows]

    # CSV ----------------------------------------------------------------------------------------

    def csv(self) -> Iterator[str]:
        columns = [each for each in self.columns() if each.source is not None]
        sort = self._sort(grouped=False)
        found = find_runs(
            self.index,
            self.filter,
            sort="" if sort == NEWEST_FIRST else sort,
            columns=[each.column.text for each in columns if isinstance(each.source, Field)],
            known=self.known,
        )
        rows: list[tuple[object, ...]] = [
            (row.record.id, *(_raw(each, row) for each in columns)) for row in found.rows
        ]
        return iter_csv(Table(["id", *(each.column.text for each in columns)], rows))


def _raw(parsed: Parsed, found: FoundRun) -> object:
    """Return a value for programs: moments as ISO 8601 in UTC, everything else raw."""
    assert parsed.source is not None
    if isinstance(parsed.source, Field) and parsed.column.kind == "flag":
        return found.record.flags.get(parsed.source.name)
    value = value_in(parsed.source, found.record, found.path)
    return iso_utc(float(value)) if parsed.column.kind == "moment" and value else value


def _with_hidden(query: str, hide: Sequence[str]) -> str:
    if not hide:
        return query
    listed = ", ".join(quote(each) for each in hide)
    return _both(query, f"attr.id not in ({listed})")


def _both(one: str, other: str) -> str:
    return f"({one}) and {other}" if one.strip() else other


def format_group(value: float | str | None) -> str | None:
    """Return the value a group shares as people write it, None where its runs have none."""
    if value is None or isinstance(value, str):
        return value or None
    return repr(value) if isinstance(value, int) or value != int(value) else f"{value:g}"


def _metric_values(
    record: RunRecord, columns: Iterable[Parsed], cells: Sequence[Cell]
) -> dict[str, Value]:
    """Return the last values of the series that have a column."""
    points: dict[str, list[Point]] = {}
    keys: dict[str, None] = {}
    for parsed, cell in zip(columns, cells, strict=False):
        if parsed.column.key:
            keys[parsed.column.key] = None
        if isinstance(cell, list):
            points[parsed.column.key] = cell
    found = record.series
    return {key: Value(found[key].last, points.get(key, [])) for key in keys if key in found}


def _last_values(run: Run, metrics: Iterable[str]) -> dict[str, Value]:
    values = {}
    try:
        with run.read() as reader:
            for key in metrics:
                summary = reader.summary(key)
                if summary is not None and summary.kind == "scalar" and summary.count:
                    values[key] = Value(summary.last)
    except RunUnreadable:
        pass
    return values
