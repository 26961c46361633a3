"""Series under /api/v1: for charts, of groups of runs, and every point as CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime, timezone
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from guildlite.errors import RunUnreadable
from guildlite.http import RequestError
from guildlite.runs import Run
from guildlite.series import is_system_key
from guildlite.web import cards
from guildlite.web.columns import MAX_SMOOTH, ColumnCache
from guildlite.web.groups import AXES, BANDS, read_groups
from guildlite.web.seriesdata import (
    ANSWERED_WHOLE,
    MOST_WHOLE,
    SeriesData,
    SeriesSource,
    Stretch,
    Wish,
)
from guildlite.web.workspace import Workspace, is_live

#: Widest chart that is answered; two points a pixel.
MOST_PIXELS = 20_000
#: Runs, and keys, in one request for series.
MOST_RUNS = 100
MOST_TAGS = 100
#: Asks for columns of numbers instead of text: see docs/reference/http.md.
BINARY = "application/octet-stream"
_AGAINST = "metric:"

Ids = Annotated[str, Query(description="ids of runs, with commas between", max_length=8000)]
Tags = Annotated[list[str], Query(description="keys; may be given several times")]
Pixels = Annotated[int, Query(ge=10, le=MOST_PIXELS)]
Weight = Annotated[float, Query(ge=0, le=MAX_SMOOTH, description="of a moving average")]
From = Annotated[float | None, Query(alias="from")]


def add_series(api: APIRouter, workspace: Workspace) -> None:
    """Add the routes."""
    columns = ColumnCache()
    _add_charts(api, workspace, SeriesSource(columns))
    _add_groups(api, workspace, columns)
    _add_csv(api, workspace)


def _add_charts(api: APIRouter, workspace: Workspace, source: SeriesSource) -> None:
    @api.get("/series", summary="Series for a chart `px` pixels wide, spikes kept")
    def series(
        request: Request,
        run: Ids,
        tag: Tags = [],  # noqa: B006
        px: Pixels = 800,
        after: Annotated[
            str, Query(description="a cursor for each series, run by run, -1 for none")
        ] = "",
        smooth: Weight = 0,
        from_: From = None,
        to: float | None = None,
        x: Annotated[str, Query(description="step, time or metric:KEY", max_length=1000)] = "step",
        segments: Annotated[str, Query(pattern="apart|joined")] = "apart",
        whole: Annotated[int, Query(ge=0, le=MOST_WHOLE)] = ANSWERED_WHOLE,
    ) -> Response:
        runs, live = _runs(workspace, run)
        _at_most(tag, MOST_TAGS)
        # What is accepted decides what is answered.
        binary = BINARY in request.headers.get("accept", "")
        version = run_version(runs, f"{live} {binary} {request.url.query}")
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304, headers={"etag": version})
        cursors = _cursors(after, len(runs) * len(tag))
        against = _against(x)
        stretch = _stretch(from_, to, x == "time")
        wish = Wish(px, whole, stretch, smooth, segments == "joined", against, binary)
        found, keys = [], {}
        for position, one in enumerate(runs):
            with one.read() as reader:
                keys[one.id] = cards.keys_version(reader)
                for number, key in enumerate(tag):
                    at = cursors[position * len(tag) + number]
                    found.append(source.read(one, reader, key, wish, at))
        each = [data for data in found if data is not None]
        facts = {"live": live, "keys": keys}
        headers = {"etag": version, "cache-control": "no-cache", "vary": "accept"}
        if binary:
            return Response(packed(each, facts), media_type=BINARY, headers=headers)
        return _json({"series": each, **facts}, headers)


def _add_groups(api: APIRouter, workspace: Workspace, columns: ColumnCache) -> None:
    @api.get("/groups", summary="Mean and band of runs that have a flag in common")
    def groups(
        request: Request,
        run: Ids,
        tag: Tags,
        by: Annotated[str, Query(description="flag.NAME, model, operation or label")],
        x: Annotated[str, Query(pattern="|".join(AXES))] = "step",
        band: Annotated[str, Query(pattern="|".join(BANDS))] = "std",
        px: Pixels = 800,
        smooth: Weight = 0,
        from_: From = None,
        to: float | None = None,
    ) -> Response:
        runs, live = _runs(workspace, run)
        _at_most(tag, MOST_TAGS)
        version = run_version(runs, f"groups {live} {request.url.query}")
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304, headers={"etag": version})
        stretch = _stretch(from_, to, False)
        found = [
            {
                "tag": key,
                "groups": read_groups(
                    runs, key, columns,
                    by=by, axis=x, band=band, px=px, smooth=smooth, stretch=stretch,
                ),
            }
            for key in tag
        ]  # fmt: skip
        headers = {"etag": version, "cache-control": "no-cache"}
        return _json({"by": by, "band": band, "tags": found, "live": live}, headers)


def _add_csv(api: APIRouter, workspace: Workspace) -> None:
    @api.get("/series.csv", summary="Every point of series, as CSV")
    def series_csv(
        run: Ids,
        tag: Annotated[list[str], Query(description="keys; without any, all that match")] = [],  # noqa: B006
        tags: Annotated[str, Query(description="regular expression", max_length=4000)] = "",
        system: bool = False,
    ) -> Response:
        runs, _ = _runs(workspace, run)
        _at_most(tag, MOST_TAGS)
        keys = {one.id: tag or _keys(one, tags, system) for one in runs}
        name = runs[0].id if len(runs) == 1 else "comparison"
        return StreamingResponse(
            _rows(runs, keys),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{_safe(name)}.csv"'},
        )


def _keys(run: Run, tags: str, system: bool) -> list[str]:
    with run.read() as reader:
        scalars = [s for s in reader.summaries() if is_system_key(s.key) == system]
    wanted, problem = cards.filter_keys(scalars, tags)
    if problem:
        raise RequestError(f"`tags` is no regular expression: {problem}", field="tags")
    return [summary.key for summary in wanted]


def _rows(runs: Sequence[Run], keys: dict[str, list[str]]) -> Iterator[bytes]:
    """Yield CSV, a series at a time: run, series, step, time (ISO 8601, UTC), value."""
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow

    def taken() -> bytes:
        text = file.getvalue()
        file.seek(0)
        file.truncate()
        return text.encode("utf-8", "replace")

    write(["run", "series", "step", "time", "value"])
    yield taken()
    for run in runs:
        for key in keys[run.id]:
            try:
                with run.read() as reader:
                    points = reader.columns_from(key, 0)
            except RunUnreadable:
                continue  # half an answer has gone out; the others are still wanted
            for step, at, value in zip(points.steps, points.times, points.values, strict=True):
                write([run.id, key, step, _iso(at), repr(value)])
            yield taken()


def _iso(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, timezone.utc)
    except (OverflowError, OSError, ValueError):
        return ""  # a clock far off
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)


def _runs(workspace: Workspace, text: str) -> tuple[list[Run], bool]:
    """Return the runs named, and whether more may come from one of them."""
    ids = list(dict.fromkeys(text.split(",")))
    if len(ids) > MOST_RUNS:
        raise RequestError("too many runs in one request", expected=f"at most {MOST_RUNS}")
    everything = workspace.runs() if len(ids) > 1 else None
    runs = [workspace.get(run_id, everything) for run_id in ids]
    return runs, any(is_live(one) for one in runs)


def _at_most(tags: Sequence[str], most: int) -> None:
    if len(tags) > most:
        raise RequestError("too many series in one request", expected=f"at most {most}")


def _against(x: str) -> str | None:
    """Return the key of the metric on the x axis, None for steps and times."""
    if x in ("step", "time"):
        return None
    if not x.startswith(_AGAINST) or x == _AGAINST:
        raise RequestError(
            "there is no such x axis", field="x", expected="step, time or metric:KEY", got=x[:100]
        )
    return x.removeprefix(_AGAINST)


def _stretch(low: float | None, high: float | None, by_time: bool) -> Stretch | None:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return Stretch(low, high, by_time)


def _json(answer: object, headers: dict[str, str]) -> Response:
    # Every number in it is finite or None, so there is nothing to look through.
    body = json.dumps(answer, default=_fields, allow_nan=False, separators=(",", ":"))
    return Response(body, media_type="application/json", headers=headers)


def _fields(value: object) -> dict[str, object]:
    assert is_dataclass(value)
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def packed(series: Sequence[SeriesData], facts: Mapping[str, object]) -> bytes:
    """Return the answer as columns of numbers, which a page takes a hundred times as fast.

    The length of the header (little-endian, 8 bytes), the header as JSON, padded with spaces to a
    multiple of 8, then the columns of each series, back to back, as float64: `x`, `y` and `time`,
    NaN where JSON has null. In the header the three say how many numbers they are.
    """
    import numpy as np

    header, columns = [], []
    for each in series:
        fields = _fields(each)
        for name in ("x", "y", "time"):
            values = fields[name]
            columns.append(np.array(values, "<f8"))
            fields[name] = len(columns[-1])
        header.append(fields)
    text = json.dumps(
        {"series": header, **facts}, default=_fields, allow_nan=False, separators=(",", ":")
    ).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(column.tobytes() for column in columns)


def _cursors(text: str, count: int) -> list[int]:
    """Return a cursor for each series; -1 where none was given."""
    if not text:
        return [-1] * count
    try:
        found = [int(each) for each in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise RequestError(
            "`after` must be whole numbers with commas between",
            field="after",
            expected=f"{count}, one for each series",
        )
    return found


def run_version(runs: Iterable[Run], words: str) -> str:
    """Return an ETag that changes with whatever these run.db files would answer.

    A running run writes its write-ahead log, a sealed one the file itself. An empty log says
    nothing: readers make and take away one, too.
    """
    seen: list[object] = [words]
    for run in runs:
        db = run.paths.db
        for path in (db, db.with_name("run.db-wal")):
            try:
                found = os.stat(path)
            except OSError:
                continue
            if found.st_size:
                seen.append((path.name, found.st_mtime_ns, found.st_size))
    return f'"{hashlib.sha256(repr(seen).encode()).hexdigest()[:32]}"'
