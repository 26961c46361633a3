"""pandas frames of what the API answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from guildlite.api.extras import require
from guildlite.api.reading import Columns
from guildlite.flags import Value, parse_scalar
from guildlite.index.table import Metric, Raw, Table
from guildlite.query.fields import ATTRIBUTES, PREFIXES
from guildlite.runs import StoredLine
from guildlite.series import STDERR

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: Attributes that have a column of a frame of runs, in this order.
_COLUMNS = (
    "id", "status", "model", "operation", "label", "started", "stopped", "duration", "exit_code",
    "marked", "note", "error",
)  # fmt: skip
_TIMES = ("started", "stopped")


def _pandas() -> Any:
    return require("pandas", "a frame")


def series_frame(columns: Columns) -> pd.DataFrame:
    """Return a row for each point: `step`, `time` (UTC), `value`."""
    pandas = _pandas()
    return pandas.DataFrame(
        {
            "step": columns.steps.copy(),
            "time": pandas.DatetimeIndex(columns.times).tz_localize("UTC"),
            "value": columns.values.copy(),
        }
    )


def long_frame(series: Mapping[str, Columns]) -> pd.DataFrame:
    """Return the points of many series below one another, with the column `series` before."""
    pandas = _pandas()
    frames = [series_frame(columns).assign(series=key) for key, columns in series.items()]
    names = ["series", "step", "time", "value"]
    if not frames:
        return pandas.DataFrame(columns=names)
    return pandas.concat(frames, ignore_index=True)[names]


def wide_frame(series: Mapping[str, Columns], by: str) -> pd.DataFrame:
    """Return a column for each series, indexed by `step` or by `time`.

    Of a step that was written more than once the last value stays.
    """
    pandas = _pandas()
    columns = {}
    for key, found in series.items():
        index = pandas.DatetimeIndex(found.times).tz_localize("UTC") if by == "time" else (
            pandas.Index(found.steps)
        )  # fmt: skip
        column = pandas.Series(found.values, index=index)
        columns[key] = column[~index.duplicated(keep="last") & ~index.isna()]
    frame = pandas.DataFrame(columns) if columns else pandas.DataFrame(index=pandas.Index([]))
    return frame.sort_index().rename_axis(by)


def output_frame(lines: Sequence[StoredLine]) -> pd.DataFrame:
    """Return a row for each line: `time` (UTC), `stream`, `text`, `operation`."""
    pandas = _pandas()
    return pandas.DataFrame(
        {
            "time": pandas.to_datetime([line.time for line in lines], unit="ms", utc=True),
            "stream": ["stderr" if line.stream == STDERR else "stdout" for line in lines],
            "text": [line.text for line in lines],
            "operation": [line.op for line in lines],
        }
    )


def summaries_frame(summaries: Iterable[Any], fields: Sequence[str]) -> pd.DataFrame:
    """Return a row for each series, indexed by key, of everything a `Summary` says."""
    frame = _pandas().DataFrame([tuple(each) for each in summaries], columns=list(fields))
    return frame.set_index("key")


# Runs ---------------------------------------------------------------------------------------------


def runs_columns(positions: Sequence[int], table: Table) -> dict[str, Sequence[Any]]:
    """Return the columns of a frame of runs by name, one value a run; see `Runs.to_columns`.

    A column's name is what a filter calls it: `number` as `gl runs` prints it, attributes,
    `flag.NAME`, then `KEY`, `min(KEY)` and `max(KEY)` of each series, then `attr.NAME`.
    """
    columns: dict[str, Sequence[Any]] = {"number": positions}
    for name in _COLUMNS:
        columns[name] = table.runs[name]
    for name, texts in table.flags.items():
        columns[f"flag.{name}"] = read_values(texts)
    for key, values in _series_columns(table):
        name = f"series.{key}" if _means_something_else(key) else key
        for call, column in zip(("", "min", "max"), values, strict=True):
            columns[f"{call}({name})" if call else name] = column
    for name, texts in table.attrs.items():
        columns[f"attr.{name}"] = [None if text is None else str(text) for text in texts]
    return columns


def runs_frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return `runs_columns` as a frame, its times as moments in UTC."""
    pandas = _pandas()
    import numpy as np

    times = {
        name: pandas.to_datetime(np.array(columns[name], np.float64), unit="s", utc=True)
        for name in _TIMES
    }
    return pandas.DataFrame({**columns, **times})


def _series_columns(table: Table) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield each series that one of the runs has, with an array of (last, min, max) by run.

    They come in the order in which the runs bring them up. What a run lacks is NaN.
    """
    np = require("numpy", "a table of runs")
    if not table.metrics:
        return
    # At once and by arrays: a thousand runs have tens of thousands of values. None becomes NaN.
    cells = _cells(table.metrics).reshape(-1, 5)
    rows = np.array(table.place)[cells[:, 1].astype(np.intp)]
    cells, rows = cells[rows >= 0], rows[rows >= 0]
    # By key, within it by row.
    order = np.lexsort((rows, cells[:, 0]))
    cells, rows = cells[order], rows[order]
    keys, starts = np.unique(cells[:, 0], return_index=True)
    ends = np.append(starts[1:], len(cells))
    for place in np.lexsort((keys, rows[starts])):
        part = slice(starts[place], ends[place])
        values = np.full((3, len(table.numbers)), np.nan)
        values[:, rows[part]] = cells[part, 2:].T
        yield table.names[int(keys[place])], values


def _cells(metrics: Sequence[Metric]) -> NDArray[np.float64]:
    import numpy as np

    try:
        return np.fromiter(chain.from_iterable(metrics), np.float64)
    except TypeError:  # None: a series without a finite value, or whose last value is NaN
        return np.array(metrics, np.float64)


def _means_something_else(key: str) -> bool:
    prefix, dot, _ = key.partition(".")
    return key in ATTRIBUTES or key == "number" or (bool(dot) and prefix in PREFIXES)


def read_values(held: Sequence[Raw]) -> Sequence[Value]:
    """Return the values of a flag; a thousand runs have few different texts."""
    known = {text: parse_scalar(text) for text in {*held} if isinstance(text, str)}
    return [known[each] if isinstance(each, str) else each for each in held] if known else held


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a frame with these columns, None as a missing value."""
    return _pandas().DataFrame([dict(row) for row in rows], columns=list(columns))
