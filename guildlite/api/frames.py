"""pandas frames of what the API answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guildlite.api.extras import require
from guildlite.api.reading import Columns
from guildlite.flags import Value, parse_scalar
from guildlite.index import RunRecord
from guildlite.index.record import Reduced
from guildlite.query import FoundRun
from guildlite.query.fields import ATTRIBUTES, PREFIXES
from guildlite.runs import StoredLine
from guildlite.series import STDERR, is_system_key

if TYPE_CHECKING:
    import pandas as pd

#: Attributes that have a column of a frame of runs, in this order.
_COLUMNS = (
    "id", "status", "model", "operation", "label", "started", "stopped", "duration", "exit_code",
    "marked", "note", "error",
)  # fmt: skip
_TIMES = ("started", "stopped")
#: The summary of a series that a run does not have.
_NOTHING = Reduced(0, *[None] * 9)
_REDUCED: tuple[tuple[str, str], ...] = (("", "last"), ("min", "min"), ("max", "max"))


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


def runs_frame(rows: Sequence[FoundRun], *, system: bool = False) -> pd.DataFrame:
    """Return a row for each run; a column's name is what a filter calls it.

    `number` as `gl runs` prints it, attributes, `flag.NAME`, then `KEY`, `min(KEY)` and `max(KEY)`
    of each series, then `attr.NAME`.
    """
    pandas = _pandas()
    import numpy as np

    columns: dict[str, Any] = {"number": [row.position for row in rows]}
    records = [row.record for row in rows]
    # By columns at once: a thousand runs have tens of thousands of values.
    held = RunRecord._make(zip(*records, strict=True)) if records else None
    for name in _COLUMNS:
        values = getattr(held, name, ())
        if name in _TIMES:
            columns[name] = pandas.to_datetime(np.array(values, np.float64), unit="s", utc=True)
        else:
            columns[name] = values
    flags = [record.flags for record in records]
    for name in _names(flags):
        columns[f"flag.{name}"] = read_values([each.get(name) for each in flags])
    series = [record.series for record in records]
    for key in _names(series):
        if system or not is_system_key(key):
            _add_series(columns, key, [each.get(key) for each in series])
    attrs = [record.attrs for record in records]
    for name in _names(attrs):
        columns[f"attr.{name}"] = [each.get(name) for each in attrs]
    return pandas.DataFrame(columns)


def _add_series(columns: dict[str, Any], key: str, held: Sequence[Reduced | None]) -> None:
    import numpy as np

    name = f"series.{key}" if _means_something_else(key) else key
    # All fields at once; NumPy makes NaN of None.
    found = Reduced._make(zip(*(_NOTHING if each is None else each for each in held), strict=True))
    for call, field in _REDUCED:
        shown = f"{call}({name})" if call else name
        columns[shown] = np.array(getattr(found, field), np.float64)


def _means_something_else(key: str) -> bool:
    prefix, dot, _ = key.partition(".")
    return key in ATTRIBUTES or key == "number" or (bool(dot) and prefix in PREFIXES)


def _names(held: Iterable[Mapping[str, object]]) -> list[str]:
    """Return every name once, in the order they come up."""
    names: dict[str, object] = {}
    for one in held:
        names.update(one)
    return list(names)


def read_values(texts: Sequence[str | None]) -> list[Value]:
    """Return the values of a flag's texts: a thousand runs have few different ones."""
    known: dict[str | None, Value] = {None: None}
    known |= {text: parse_scalar(text) for text in {*texts} if text is not None}
    return [known[text] for text in texts]


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a frame with these columns, None as a missing value."""
    return _pandas().DataFrame([dict(row) for row in rows], columns=list(columns))
