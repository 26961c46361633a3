"""Comparisons under /api/v1/compare: columns for charts, tables as files, two runs in detail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from guildlite.http import RequestError
from guildlite.index import RunRecord
from guildlite.query.nodes import Field
from guildlite.query.syntax import quote_name
from guildlite.runs.difference import compare_two
from guildlite.web.api import JSON
from guildlite.web.compared import table as tables
from guildlite.web.compared.chosen import (
    MOST_POINTS,
    Chosen,
    choose_matching,
    choose_named,
    find_named,
)
from guildlite.web.compared.columns import Column, Columns, Name
from guildlite.web.numbers import unit_of
from guildlite.web.workspace import Workspace

#: Columns in one answer, and names of columns that can be asked for.
MOST_COLUMNS, MOST_NAMES = 60, 4000

Words = Annotated[list[str], Query(description="ids; several times or with commas between")]
Filter = Annotated[str | None, Query(max_length=4000, description="runs that pass, instead of ids")]

Names = Annotated[list[str], Query(description="columns; without them what differs")]


def ids_of(words: Sequence[str]) -> list[str]:
    """Return the ids of an address: a form sends the word several times, a link has commas."""
    return [each for word in words for each in word.split(",") if each]


def make_compare_router(workspace: Workspace) -> APIRouter:
    """Return the routes below /compare."""
    api = APIRouter(prefix="/api/v1/compare", default_response_class=JSON)

    def choose(run: Sequence[str], q: str | None) -> Chosen:
        ids = ids_of(run)
        if ids:
            return choose_named(workspace, ids)
        found = choose_matching(workspace, q or "")
        if found.problem is not None:
            raise found.problem
        return found

    @api.get("/columns", summary="What runs can be compared in: values by column, for charts")
    def columns(
        request: Request,
        run: Words = [],  # noqa: B006
        q: Filter = None,
        column: Names = [],  # noqa: B006
    ) -> Response:
        chosen = choose(run, q)
        found = Columns(workspace, chosen.records)
        wanted = _wanted(found, column)
        body = json.dumps(
            _told(workspace, chosen, found, wanted), allow_nan=False, separators=(",", ":")
        ).encode()
        version = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"etag": version, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @api.get("/table", summary="The table of a comparison, to take elsewhere")
    def table(
        run: Words = [],  # noqa: B006
        q: Filter = None,
        diff: int = 1,
        of: Annotated[str, Query(description="summary of metrics")] = "usual",
        sort: Annotated[str, Query(max_length=1000)] = "",
        form: Annotated[str, Query(pattern="csv|json|markdown|latex")] = "json",
    ) -> Response:
        chosen = choose(run, q)
        made = tables.make_table(
            workspace, chosen, everything=not diff, summary=of, sort=sort,
            per_page=max(1, len(chosen.records)),
        )  # fmt: skip
        if form == "json":
            return JSON(tables.to_json(made))
        if form == "csv":
            text, ending = tables.to_csv(made), "csv"
        elif form == "markdown":
            text, ending = tables.to_markdown(workspace, made), "md"
        else:
            text, ending = tables.to_latex(workspace, made), "tex"
        headers = {"content-disposition": f'attachment; filename="runs.{ending}"'}
        media_type = f"text/{'csv' if form == 'csv' else 'plain'}; charset=utf-8"
        return Response(text.encode("utf-8", "replace"), media_type=media_type, headers=headers)

    @api.get("/diff", summary="What differs between two runs")
    def diff(run: Words) -> JSON:
        runs = find_named(workspace, ids_of(run))
        if len(runs) != 2:
            raise RequestError("a difference is one of two runs", field="run", expected="two ids")
        workspace.settle(runs)
        one, other = runs
        found = compare_two(one, other, most_points=MOST_POINTS)
        return JSON({"one": one.id, "other": other.id, **found._asdict()})

    return api


def _wanted(found: Columns, asked: Sequence[str]) -> list[Name]:
    if not asked:
        return found.axes()
    if len(asked) > MOST_COLUMNS:
        raise RequestError(
            "too many columns in one request", field="column", expected=f"at most {MOST_COLUMNS}"
        )
    # A name of another selection of runs is no error: it has no value here.
    return [found.names[name] for name in dict.fromkeys(asked) if name in found.names]


def _told(
    workspace: Workspace, chosen: Chosen, found: Columns, wanted: Sequence[Name]
) -> dict[str, object]:
    names = [*found.names.values()]
    return {
        "matching": chosen.matching,
        "of": chosen.of,
        "live": chosen.live,
        "runs": [_run(record) for record in chosen.records],
        "columns": [_column(workspace, found.read(name), name) for name in wanted],
        "names": [
            {"name": name.name, "head": name.head, "group": name.group}
            for name in names[:MOST_NAMES]
        ],
    }


def _run(record: RunRecord) -> dict[str, str]:
    return {"id": record.id, "label": record.label, "status": record.status}


def _column(workspace: Workspace, column: Column, name: Name) -> dict[str, Any]:
    unit = unit_of(column.key) if column.group == "metric" else ""
    return {
        "name": column.name, "head": column.head, "group": column.group, "type": column.type,
        "goal": column.goal, "unit": unit, "filter": filter_name(name.field),
        "format": workspace.format_of(column.key) if column.group == "metric" else None,
        "values": column.values,
    }  # fmt: skip


def filter_name(field: Field) -> str:
    """Return a field as the filter language reads it back."""
    if field.kind == "series":
        name = quote_name(field.name)
        return name if field.summary == "last" else f"{field.summary}({name})"
    return quote_name(str(field) if field.kind == "flag" else field.name)
