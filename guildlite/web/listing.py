"""The run table: which runs, in which order, with which columns.

Everything is decided by the words in the URL: `q` filters, `sort` orders, `page` cuts. Flags come
from manifests, so filtering and sorting by them opens no run.db; metrics are looked up for the
rows shown, and for all rows only when the table is sorted by one.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from guildlite.errors import RunUnreadable
from guildlite.runs import Run
from guildlite.runs.compare import differing_flags
from guildlite.runs.find import mentions
from guildlite.series import Point, is_system_key
from guildlite.web.workspace import Workspace, is_live, natural

PER_PAGE = 100
#: Columns of flags and metrics before the table is too wide to be read.
MOST_FLAGS, MOST_METRICS = 8, 4
_SPARK_POINTS = 80
_CACHED_RUNS = 4096

#: Columns every table has, by the word used in `sort=`.
COLUMNS = ("status", "id", "model", "started", "duration", "label")


@dataclass(frozen=True, slots=True)
class Value:
    """Last value of a series (None is NaN), and a few points of its curve for the primary one."""

    last: float | None
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the table. Times are epoch seconds, `error` says why it cannot be read."""

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
    flags: dict[str, str]
    metrics: dict[str, Value]
    error: str | None


@dataclass(frozen=True, slots=True)
class RunTable:
    """One page of the run table, and what the whole would be."""

    rows: list[RunRow]
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


class Listing:
    """Makes run tables; remembers metrics of run.db files that have not changed since."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._cache: OrderedDict[tuple[object, ...], Value | None] = OrderedDict()
        self._lock = threading.Lock()

    def table(self, query: str = "", sort: str = "", page: int = 1) -> RunTable:
        """Return one page of the table. Unknown columns sort like the default, by start."""
        everything = self.workspace.runs()
        self.workspace.settle(everything)
        words = query.split()
        runs = [run for run in everything if mentions(run, words)]
        flags = self._flags(runs)
        metrics = self._metrics(runs)
        sort = sort if self._sortable(sort, flags, metrics) else "-started"
        runs = self._sorted(runs, sort)
        pages = max(1, -(-len(runs) // PER_PAGE))
        page = min(max(1, page), pages)
        shown = runs[(page - 1) * PER_PAGE : page * PER_PAGE]
        rows = [self.row(run, metrics) for run in shown]
        # A metric that no run here has yet would be an empty column.
        metrics = [key for key in metrics if any(key in row.metrics for row in rows)]
        return RunTable(
            rows=rows,
            flags=flags[:MOST_FLAGS],
            metrics=metrics,
            more_flags=max(0, len(flags) - MOST_FLAGS),
            total=len(everything),
            matching=len(runs),
            query=query,
            sort=sort,
            page=page,
            pages=pages,
            live=any(row.live for row in rows),
        )

    def row(self, run: Run, metrics: Sequence[str] = ()) -> RunRow:
        """Return the table's row for one run, with these metrics as far as it has them."""
        values = {}
        if run.error is None:
            found = ((key, self._value(run, key, spark=not n)) for n, key in enumerate(metrics))
            values = {key: value for key, value in found if value is not None}
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

    def _flags(self, runs: Iterable[Run]) -> list[str]:
        """Return the flags that tell these runs apart: the project's choice first."""
        differing = differing_flags([run.flags for run in runs if run.error is None])
        chosen = [name.removeprefix("flag.") for name in self.workspace.view.compare]
        first = [name for name in chosen if name in differing]
        return list(dict.fromkeys(first + differing))

    def _metrics(self, runs: Sequence[Run]) -> list[str]:
        """Return the series with a column, the primary ones first."""
        known = self.workspace.metrics
        if known:
            ranked = sorted(known, key=lambda key: not known[key].primary)
            return ranked[:MOST_METRICS]
        return common_series(runs[:10])[:MOST_METRICS]

    @staticmethod
    def _sortable(sort: str, flags: list[str], metrics: list[str]) -> bool:
        name = sort.removeprefix("-")
        return name in COLUMNS or name in metrics or name.removeprefix("flag.") in flags

    def _sorted(self, runs: list[Run], sort: str) -> list[Run]:
        """Return runs in order; those without a value stand at the end either way."""
        name, downwards = sort.removeprefix("-"), sort.startswith("-")
        if name == "started":
            return runs if downwards else runs[::-1]  # the store's own order
        keyed = [(self._sort_key(run, name), run) for run in runs]
        with_value = [pair for pair in keyed if pair[0] is not None]
        without = [run for key, run in keyed if key is None]
        with_value.sort(key=lambda pair: pair[0], reverse=downwards)  # type: ignore[arg-type,return-value]
        return [run for _, run in with_value] + without

    def _sort_key(self, run: Run, name: str) -> object:
        plain: object
        if name == "duration":
            return run.duration_s
        if name in COLUMNS:
            plain = run.status.value if name == "status" else getattr(run, name)
            return natural(plain) if plain else None
        if name.startswith("flag."):
            return _flag_key(run.flags.get(name[5:])) if run.error is None else None
        value = self._value(run, name, spark=False) if run.error is None else None
        return value.last if value else None

    def _value(self, run: Run, key: str, *, spark: bool) -> Value | None:
        """Return a metric of a run, from memory while its run.db has not changed."""
        stamp = _stamp(run)
        place = (str(run.path), key, spark, stamp)
        if stamp:
            with self._lock:
                if place in self._cache:
                    self._cache.move_to_end(place)
                    return self._cache[place]
        value = _read_value(run, key, spark)
        with self._lock:
            self._cache[place] = value
            while len(self._cache) > _CACHED_RUNS * MOST_METRICS:
                self._cache.popitem(last=False)
        return value


def common_series(runs: Iterable[Run]) -> list[str]:
    """Return the scripts' own scalar series of these runs, those that most have first."""
    counts: Counter[str] = Counter()
    for run in runs:
        if run.error is not None:
            continue
        try:
            with run.read() as reader:
                counts.update(
                    summary.key
                    for summary in reader.summaries()
                    if summary.kind == "scalar" and not is_system_key(summary.key)
                )
        except RunUnreadable:
            continue
    return [key for key, _ in counts.most_common()]


def _read_value(run: Run, key: str, spark: bool) -> Value | None:
    try:
        with run.read() as reader:
            summary = reader.summary(key)
            if summary is None or summary.kind != "scalar" or not summary.count:
                return None
            return Value(summary.last, reader.chart(key, _SPARK_POINTS) if spark else [])
    except RunUnreadable:
        return None


def _stamp(run: Run) -> tuple[int, ...]:
    """Return what changes whenever something is committed to the run's run.db."""
    stamp: list[int] = []
    for path in (str(run.paths.db), f"{run.paths.db}-wal"):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        stamp += [facts.st_mtime_ns, facts.st_size, facts.st_ino]
    return tuple(stamp)


def _flag_key(text: str | None) -> object:
    """Return a sort key for a flag's text: numbers by value, before words."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return (1, 0.0, natural(text))
    return (0, number, []) if number == number else (1, 0.0, natural(text))
