"""Short looks into the run.db of a run; each opens and closes its own connection.

So any number of threads may look at once, and nothing keeps a run from being sealed or moved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from guildlite.errors import RunUnreadable
from guildlite.runs import Run as Directory
from guildlite.runs import RunReader
from guildlite.runs.reader import open_run_db
from guildlite.series import Summary, is_system_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: What NumPy has for "no time": the smallest 64-bit integer.
_NOT_A_TIME = -(2**63)
_POINTS = (
    f"SELECT step, coalesce(time, {_NOT_A_TIME}), value FROM series"
    " WHERE key_id = (SELECT id FROM series_key WHERE key = ? AND kind = 'scalar') ORDER BY seq"
)


class Columns(NamedTuple):
    """The points of a series in the order written: three arrays of one length."""

    steps: NDArray[np.int64]
    times: NDArray[np.datetime64]
    values: NDArray[np.float64]


@contextmanager
def open_reader(run: Directory) -> Iterator[RunReader | None]:
    """Open run.db; None for a run that goes on and has none yet. Raises RunUnreadable."""
    try:
        reader = run.read()
    except RunUnreadable:
        if run.error is not None or run.status.ended:
            raise
        yield None
        return
    with reader:
        yield reader


def look(run: Directory, question: Callable[[RunReader], T], otherwise: T) -> T:
    """Return the answer of run.db, `otherwise` while there is none yet. Raises RunUnreadable."""
    with open_reader(run) as reader:
        return otherwise if reader is None else question(reader)


def read_summaries(run: Directory, *, system: bool | None = None) -> dict[str, Summary]:
    """Return the summaries of scalar series by key: all, or only (not) gl's own measurements."""
    found: list[Summary] = look(run, RunReader.summaries, [])
    return {
        each.key: each
        for each in found
        if each.kind == "scalar" and (system is None or is_system_key(each.key) == system)
    }


def find_key(known: Collection[str], name: str) -> str | None:
    """Return the key that a name means, None for none.

    As in a filter, the last part will do while it is the only one: `loss` for `train/loss`.
    """
    if name in known:
        return name
    endings = [key for key in known if key.endswith(f"/{name}") and not is_system_key(key)]
    return endings[0] if len(endings) == 1 else None


def read_columns(run: Directory, name: str) -> Columns | None:
    """Return the points of a scalar series, None when there is none. Raises RunUnreadable."""
    key = find_key(read_summaries(run), name)
    return None if key is None else _read_arrays(run, key)


def _read_arrays(run: Directory, key: str) -> Columns:
    import numpy as np

    # Straight into an array: a list of tuples would take half as long again.
    shape = np.dtype([("step", np.int64), ("time", np.int64), ("value", np.float64)])
    try:
        with closing(open_run_db(run.paths.db)) as connection:
            try:
                points = np.fromiter(connection.execute(_POINTS, (key,)), shape)
            except TypeError:  # a value is NULL, which is NaN
                points = np.fromiter(_without_null(connection.execute(_POINTS, (key,))), shape)
    except sqlite3.DatabaseError as error:
        raise RunUnreadable(f"{run.paths.db} cannot be read: {error}") from error
    steps, times, values = (
        np.ascontiguousarray(points[name]) for name in ("step", "time", "value")
    )
    columns = Columns(steps, times.view("datetime64[ms]"), values)
    for column in columns:
        column.setflags(write=False)
    return columns


def _without_null(rows: Iterable[Any]) -> Iterator[tuple[int, int, float]]:
    nan = float("nan")
    for step, time, value in rows:
        yield step, time, nan if value is None else value


def moment(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as a time in UTC; None for None and beyond the calendar."""
    if seconds is None:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None
