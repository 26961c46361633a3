"""Many runs: a question to the index, its answer when something needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from guildlite.query import Found, FoundRun, find_runs, read_vocabulary
from guildlite.runs import Run as Directory
from guildlite.runs import RunStore
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
        rows: Sequence[FoundRun] | None = None,
    ) -> None:
        self._place, self._filter, self._sort, self._limit = place, filter, sort, limit
        self._lock = threading.Lock()
        self._rows = rows
        self._notices: list[str] = []

    @property
    def notices(self) -> list[str]:
        """What a name in the filter was taken for where it could have been two things."""
        self._found()
        return list(self._notices)

    def refresh(self) -> Runs:
        """Return the answer to the same question now."""
        return Runs(self._place, self._filter, self._sort, self._limit)

    def __len__(self) -> int:
        return len(self._found())

    def __iter__(self) -> Iterator[Run]:
        return (Run(row.path) for row in self._found())

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> Runs: ...

    def __getitem__(self, place: int | slice) -> Run | Runs:
        if isinstance(place, slice):
            rows = self._found()[place]
            return Runs(self._place, self._filter, self._sort, self._limit, rows)
        return Run(self._found()[place].path)

    def __repr__(self) -> str:
        what = f" that pass {self._filter!r}" if self._filter else ""
        if self._rows is None:
            return f"<runs{what} in {self._place.root}, not read yet>"
        return f"<{format_count(len(self._rows), 'run')}{what} in {self._place.root}>"

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

        return runs_frame(self._found(), system=system)

    def plot(
        self, key: str, *, smooth: float = 0.0, x: str = "step", ax: Axes | None = None
    ) -> Axes:
        """Draw one series of every run that has it, with matplotlib; arguments as of `Run.plot`.

        A curve is named by its run's label, without one by its id.
        """
        from guildlite.api.plots import draw, plain

        curves = []
        for row in self._found():
            if find_key(row.record.series, key) is not None:
                (curve,) = Run(row.path)._curves([key])
                curves.append(curve._replace(name=row.record.label or row.record.id))
        axes = draw(curves, smooth=smooth, x=x, ax=ax)
        axes.set_ylabel(plain(key))
        return axes

    def _found(self) -> Sequence[FoundRun]:
        with self._lock:
            if self._rows is None:
                found = _ask(self._place, self._filter, self._sort, self._limit)
                self._rows, self._notices = found.rows, found.notices
            return self._rows


def _ask(place: Place, filter: str, sort: str, limit: int | None) -> Found:
    with Index(place.root) as index:
        index.refresh(settle)
        known = place.vocabulary()
        return find_runs(index, filter, sort=sort, limit=limit, known=known)


# For a notebook -----------------------------------------------------------------------------------


def _runs_table(rows: Sequence[FoundRun], place: Place) -> str:
    shown = rows[:_MOST_ROWS]
    flags, metrics = _differing(shown)[:_MOST_FLAGS], _metrics(shown, place)[:_MOST_METRICS]
    head = ["", "run", "status", "started", "took", "label", *flags]
    for key in metrics:
        head += [key, ""]
    body = [_row(row, flags, metrics) for row in shown]
    left = len(rows) - len(shown)
    end = f"<div>and {format_count(left, 'more run', 'more runs')}</div>" if left else ""
    return table(head, body) + end if rows else "<div>no runs</div>"


def _row(row: FoundRun, flags: Sequence[str], metrics: Sequence[str]) -> list[str]:
    record = row.record
    cells = [
        str(row.position),
        text(record.id),
        text(record.status) + (f" ({text(record.status_note)})" if record.status_note else ""),
        text(format_moment(record.started, "%Y-%m-%d %H:%M")),
        text(format_duration(record.duration)),
        text(record.label),
        *(text(record.flags.get(name, "")) for name in flags),
    ]
    keys = [key for key in metrics if key in record.series]
    sparks = dict(zip(keys, sparks_of(Directory(Path(row.path)), keys), strict=True))
    for key in metrics:
        cells += [number(record.series[key].last) if key in keys else "", sparks.get(key, "")]
    return cells


def _differing(rows: Sequence[FoundRun]) -> list[str]:
    """Return the flags that are not alike in all of the runs; of one run all."""
    names = dict.fromkeys(name for row in rows for name in row.record.flags)
    if len(rows) < 2:
        return list(names)
    return [name for name in names if len({row.record.flags.get(name) for row in rows}) > 1]


def _metrics(rows: Sequence[FoundRun], place: Place) -> list[str]:
    """Return the series that matter: those of the project, else the first the scripts wrote."""
    held = dict.fromkeys(key for row in rows for key in row.record.series if not is_system_key(key))
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
        wanted = wanted or _metrics(found.rows, place)[: 1 if groups else _MOST_METRICS]
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
    flags = [name for name in _differing(found.rows) if f"flag.{name}" not in names]
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
