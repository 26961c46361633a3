"""Many runs: a question to the index, its answer when something needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from guildlite.api.handle import Run
from guildlite.api.markup import number, sparks_of, table, text
from guildlite.api.place import AnyPath, Place, find_place
from guildlite.api.reading import find_key
from guildlite.errors import UsageError
from guildlite.execute.catchup import settle
from guildlite.flags import parse_scalar
from guildlite.index import Index
from guildlite.index.table import with_system
from guildlite.query import FoundRun, find_runs, read_vocabulary
from guildlite.query.table import FoundTable, find_table
from guildlite.runs import Run as Directory
from guildlite.runs import RunStore
from guildlite.runs.compare import differing_flags
from guildlite.series import is_system_key
from guildlite.wording import format_count, format_duration, format_moment

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MOST_ROWS = 20
_MOST_FLAGS, _MOST_METRICS = 6, 3


def runs(
    filter: str = "",
    *,
    sort: str = "",
    limit: int | None = None,
    root: AnyPath | None = None,
    project: AnyPath | None = None,
) -> Runs:
    """Return the runs that pass a filter, the newest first; nothing is read yet.

    `filter` is the language of docs/reference/filters.md, as in `status = completed and loss <
    0.1`. `sort` is a field of it, with `-` before it from the largest down; runs that lack it stand
    at the end. `root` is a directory of runs, `project` a project's directory or file; without
    both, what gl finds from the working directory. The first use of the answer raises FilterError
    when the filter cannot be understood.
    """
    if limit is not None and limit < 0:
        raise UsageError(f"`limit` is {limit}, expected at least 0")
    return Runs(find_place(root, project), filter, sort, limit)


def run(
    ref: str | int | os.PathLike[str] = "latest",
    *,
    root: AnyPath | None = None,
    project: AnyPath | None = None,
) -> Run:
    """Return one run: `latest`, its number in `gl runs`, part of its name, its label or its path.

    Raises RunNotFound, and UsageError when several runs answer to it.
    """
    store = RunStore(find_place(root, project).root)
    found = store.get(str(ref) if isinstance(ref, int) else os.fspath(ref))
    settle([found])
    return Run(found.path)


class Runs(Sequence[Run]):
    """The answer to one question: a sequence of runs, found when it is first looked at.

    It then stays as it is, whatever happens to the runs; `refresh()` asks again. `runs[0]` is a
    Run, `runs[:5]` are Runs.
    """

    def __init__(
        self,
        place: Place,
        filter: str = "",
        sort: str = "",
        limit: int | None = None,
        found: FoundTable | None = None,
    ) -> None:
        self._place, self._filter, self._sort, self._limit = place, filter, sort, limit
        self._lock = threading.Lock()
        self._answer = found

    @property
    def notices(self) -> list[str]:
        """What a name in the filter was taken for where it could have been two things."""
        return list(self._found().notices)

    def refresh(self) -> Runs:
        """Return the answer to the same question now."""
        return Runs(self._place, self._filter, self._sort, self._limit)

    def __len__(self) -> int:
        return len(self._found().positions)

    def __iter__(self) -> Iterator[Run]:
        return (Run(self._place.root / name) for name in self._found().table.runs["id"])

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> Runs: ...

    def __getitem__(self, place: int | slice) -> Run | Runs:
        found = self._found()
        if isinstance(place, slice):
            return Runs(self._place, self._filter, self._sort, self._limit, found.part(place))
        return Run(self._place.root / found.table.runs["id"][place])

    def __repr__(self) -> str:
        what = f" that pass {self._filter!r}" if self._filter else ""
        if self._answer is None:
            return f"<runs{what} in {self._place.root}, not read yet>"
        return f"<{format_count(len(self), 'run')}{what} in {self._place.root}>"

    def _repr_html_(self) -> str:
        return _runs_table(self._found(), self._place)

    def to_frame(self, *, system: bool = False) -> pd.DataFrame:
        """Return a row for each run. A column's name is what a filter calls it.

        `number`, `id`, `status`, `model`, `operation`, `label`, `started` and `stopped` (UTC),
        `duration` (seconds), `exit_code`, `marked`, `note`, `error`; flags typed, as in `flag.lr`;
        each series as last, smallest and largest value, as in `loss`, `min(loss)`, `max(loss)`;
        gl's own measurements only with `system`; facts, as in `attr.host`. A series with the name
        of an attribute is `series.NAME`. What a run lacks is missing (NaN, None).
        """
        from guildlite.api.frames import runs_frame

        return runs_frame(self._columns(system))

    def to_columns(self, *, system: bool = False) -> dict[str, Sequence[Any]]:
        """Return what `to_frame` does without pandas: the values of each column by its name.

        Times are seconds since the epoch; numbers of series are NumPy arrays (float64, NaN where a
        run has none), everything else sequences with None. With `system`, gl's own measurements
        are those of now.
        """
        return self._columns(system)

    def _columns(self, system: bool) -> dict[str, Sequence[Any]]:
        from guildlite.api.frames import runs_columns

        found = self._found()
        if system and found.table.numbers:
            # Most of an index and seldom wanted: read only now.
            with Index(self._place.root) as index:
                index.refresh(settle)
                table = index.ask(lambda connection: with_system(connection, found.table))
            found = found._replace(table=table)
        return runs_columns(found.positions, found.table)

    def plot(
        self, key: str, *, smooth: float = 0.0, x: str = "step", ax: Axes | None = None
    ) -> Axes:
        """Draw one series of every run that has it, with matplotlib; arguments as of `Run.plot`.

        A curve is named by its run's label, without one by its id.
        """
        from guildlite.api.plots import draw, plain

        curves = []
        table = self._found().table
        labelled = zip(table.runs["id"], table.runs["label"], table.series(), strict=True)
        for name, label, series in labelled:
            if find_key(series, key) is not None:
                (curve,) = Run(self._place.root / name)._curves([key])
                curves.append(curve._replace(name=label or name))
        axes = draw(curves, smooth=smooth, x=x, ax=ax)
        axes.set_ylabel(plain(key))
        return axes

    def _found(self) -> FoundTable:
        with self._lock:
            if self._answer is None:
                self._answer = _ask(self._place, self._filter, self._sort, self._limit)
            return self._answer


def _ask(place: Place, filter: str, sort: str, limit: int | None) -> FoundTable:
    with Index(place.root) as index:
        index.refresh(settle)
        return find_table(index, filter, sort=sort, limit=limit, known=place.vocabulary())


# For a notebook -----------------------------------------------------------------------------------


def _runs_table(found: FoundTable, place: Place) -> str:
    shown = found.part(slice(_MOST_ROWS))
    runs, series = shown.table.runs, shown.table.series()
    given = [shown.table.flags_of(row) for row in range(len(shown.positions))]
    flags = _differing(given, runs["status"])[:_MOST_FLAGS]
    keys = _metrics(series, place)[:_MOST_METRICS]
    head = ["", "run", "status", "started", "took", "label", *flags]
    for key in keys:
        head += [key, ""]
    body = []
    for row, position in enumerate(shown.positions):
        of = {name: column[row] for name, column in runs.items()}
        cells = [str(position), *_attributes(of)]
        cells += [text(given[row].get(name, "")) for name in flags]
        body.append(cells + _curves(place.root / of["id"], series[row], keys))
    left = len(found.positions) - len(shown.positions)
    end = f"<div>and {format_count(left, 'more run', 'more runs')}</div>" if left else ""
    return table(head, body) + end if body else "<div>no runs</div>"


def _attributes(of: Mapping[str, Any]) -> list[str]:
    note = f" ({text(of['status_note'])})" if of["status_note"] else ""
    return [
        text(of["id"]),
        text(of["status"]) + note,
        text(format_moment(of["started"], "%Y-%m-%d %H:%M")),
        text(format_duration(of["duration"])),
        text(of["label"]),
    ]


def _curves(path: Path, last: Mapping[str, float | None], keys: Sequence[str]) -> list[str]:
    """Return the last value and the sparkline of each key, "" for those the run lacks."""
    held = [key for key in keys if key in last]
    sparks = dict(zip(held, sparks_of(Directory(path), held), strict=True))
    cells = []
    for key in keys:
        cells += [number(last.get(key)), sparks.get(key, "")]
    return cells


def _differing(given: Sequence[Mapping[str, str]], statuses: Sequence[str]) -> list[str]:
    """Return the flags of which the runs that can be read have more than one value."""
    readable = zip(given, statuses, strict=True)
    return differing_flags([flags for flags, status in readable if status != "unreadable"])


def _metrics(series: Iterable[Iterable[str]], place: Place) -> list[str]:
    """Return the series that matter: those of the project, else the first the scripts wrote."""
    held = dict.fromkeys(key for keys in series for key in keys if not is_system_key(key))
    wanted = []
    if place.project is not None:
        metrics = sorted(place.project.metrics.values(), key=lambda metric: not metric.primary)
        wanted = [metric.key for metric in metrics if metric.key in held]
    return wanted or list(held)


# Comparison ---------------------------------------------------------------------------------------


def compare(
    filter: str = "",
    columns: str | Sequence[str] = (),
    *,
    by: str | Sequence[str] = (),
    over: str | Sequence[str] = ("seed",),
    goal: str | None = None,
    sort: str = "",
    limit: int | None = None,
    root: AnyPath | None = None,
    project: AnyPath | None = None,
) -> pd.DataFrame:
    """Return runs side by side, or groups of them against the noise between seeds.

    Columns are `loss` (the last value), `min(loss)`, `best(loss)` by the metric's goal, `flag.lr`,
    an attribute, `step(loss < 0.1)` and `time(loss < 0.1)` (seconds since the start); without any
    they are the metrics that matter. The frame is indexed by run id and has `number`, `status`,
    `label` and the flags that differ before them; `frame.attrs["best"]` has the id of the best run
    of each column that has a goal.

    With `by`, names of flags, the rows are groups of runs that are equal in them: the flags, `n`,
    `mean`, `std`, `low` and `high` (95 % interval) of the first column, `without` (runs that have
    no value) and `mixed` (flags that vary inside and are not in `over`). `frame.attrs` has the
    `sentence` that says whether the best is better beyond noise, and the `p` of Welch's test.
    `goal` is `min` or `max`; without one it is the metric's. Raises FilterError, UsageError.
    """
    place = find_place(root, project)
    wanted, groups = _words(columns), _words(by)
    if goal not in (None, "min", "max"):
        raise UsageError(f"`goal` is `{goal}`, expected one of `min`, `max`")
    if groups and len(wanted) > 1:
        raise UsageError("with `by`, one column is compared", hint="ask once for each")
    with Index(place.root) as index:
        index.refresh(settle)
        found = find_runs(index, filter, sort=sort, limit=limit, known=place.vocabulary())
        held = [row.record.series for row in found.rows]
        wanted = wanted or _metrics(held, place)[: 1 if groups else _MOST_METRICS]
        if groups:
            return _grouped(found.rows, wanted, groups, _words(over), goal, index, place)
        return _side_by_side(index, filter, wanted, sort, limit, goal, place)


def _words(words: str | Sequence[str]) -> list[str]:
    return [words] if isinstance(words, str) else list(words)


def _side_by_side(
    index: Index, filter: str, columns: Sequence[str], sort: str, limit: int | None,
    goal: str | None, place: Place,
) -> pd.DataFrame:  # fmt: skip
    from guildlite.api.frames import frame_of
    from guildlite.query.compare import compare_runs

    goals = place.goals()
    if goal is not None:
        goals |= dict.fromkeys(read_vocabulary(index).series, goal)
    found = compare_runs(
        index, filter, columns, goals=goals, sort=sort, limit=limit, known=place.vocabulary()
    )
    names = [str(column) for column in found.columns]
    records = [row.record for row in found.rows]
    differing = _differing([each.flags for each in records], [each.status for each in records])
    flags = [name for name in differing if f"flag.{name}" not in names]
    rows: list[Mapping[str, Any]] = []
    for row, values in zip(found.rows, found.values, strict=True):
        record = row.record
        cells: dict[str, Any] = {"id": record.id, "number": row.position}
        cells |= {"status": record.status, "label": record.label}
        cells |= {
            f"flag.{name}": parse_scalar(record.flags[name])
            for name in flags
            if name in record.flags
        }
        rows.append(cells | dict(zip(names, values, strict=True)))
    head = ["id", "number", "status", "label", *(f"flag.{name}" for name in flags), *names]
    frame = frame_of(rows, list(dict.fromkeys(head))).set_index("id")
    frame.attrs["best"] = {
        name: found.rows[best].record.id
        for name, best in zip(names, found.best, strict=True)
        if best is not None
    }
    return frame


def _grouped(
    rows: Sequence[FoundRun], columns: Sequence[str], by: Sequence[str], over: Sequence[str],
    goal: str | None, index: Index, place: Place,
) -> pd.DataFrame:  # fmt: skip
    from guildlite.api.frames import frame_of
    from guildlite.query.columns import parse_column
    from guildlite.query.compare import goal_of, group_runs

    if not columns:
        raise UsageError("no run has a series to compare", hint="name a column")
    column = parse_column(columns[0], read_vocabulary(index), place.goals())
    names = [name.removeprefix("flag.") for name in by]
    meant = goal or goal_of(column, place.goals())
    grouping = group_runs(
        rows, column, names, over=[name.removeprefix("flag.") for name in over], goal=meant
    )
    figures = ("n", "mean", "std", "low", "high")
    cells = [
        {
            **{
                f"flag.{name}": None if said is None else parse_scalar(said)
                for name, said in group.flags
            },
            **(group.mean._asdict() if group.mean is not None else {"n": 0}),
            "without": group.without,
            "mixed": ", ".join(group.mixed),
        }
        for group in grouping.groups
    ]
    head = [*(f"flag.{name}" for name in names), *figures, "without", "mixed"]
    frame = frame_of(cells, head)
    frame.attrs["column"] = str(grouping.column)
    frame.attrs["sentence"] = grouping.sentence
    frame.attrs["p"] = None if grouping.difference is None else grouping.difference.p
    return frame
