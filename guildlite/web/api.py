"""What the pages show, as JSON under /api/v1 with the same names and the same words in the query.

A value that is not finite is null, since JSON has no such numbers; `nan` and `infinite` of a
summary and `non_finite` of a series say what is behind a null. Times of points, lines and
summaries are ms since the epoch, all others seconds. Errors are `{"error": message, "hint": ...}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

import guildlite
from guildlite.errors import FilterError
from guildlite.http import RequestError, Tokens
from guildlite.runs import Run
from guildlite.web import cards, files, rundata, source
from guildlite.web.comparison import read_comparison
from guildlite.web.filtering import read_completion
from guildlite.web.listing import Ask, Listing, RunRow, RunTable
from guildlite.web.output import read_output
from guildlite.web.seriesapi import add_series
from guildlite.web.workspace import Workspace

Text = Annotated[str, Query(max_length=4000)]
Page = Annotated[int, Query(ge=1, le=10**9)]


class JSON(Response):
    """Any of our plain data as JSON; see the module for how numbers are told."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(plain(content), allow_nan=False, separators=(",", ":")).encode()


def plain(value: Any) -> Any:
    """Return data as what JSON can say: dataclasses and named tuples as objects, NaN as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def make_router(workspace: Workspace, listing: Listing, tokens: Tokens | None) -> APIRouter:
    """Return the routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", default_response_class=JSON)
    _add_server(api, workspace, tokens)
    _add_runs(api, workspace, listing)
    _add_sections(api, workspace)
    add_series(api, workspace)
    return api


def _add_server(api: APIRouter, workspace: Workspace, tokens: Tokens | None) -> None:
    @api.get("/health", summary="Whether this is a viewer, and of what")
    def health() -> JSON:
        return JSON(
            {
                "status": "ok",
                "server": "guildlite viewer",
                "version": guildlite.__version__,
                "project": workspace.name,
                "directory": str(workspace.directory),
            }
        )

    @api.post("/code", summary="A one-time code for the address `/?token=CODE`")
    def code() -> JSON:
        return JSON({"code": tokens.issue_code() if tokens else None})

    @api.get("/project", summary="The project file, with everything filled in")
    def project() -> JSON:
        found = workspace.project
        if found is None:
            raise RequestError("there is no project file", status=404, hint="`gl init` writes one")
        return JSON({"name": found.name, "description": found.description, **found.resolved()})


def _add_runs(api: APIRouter, workspace: Workspace, listing: Listing) -> None:
    @api.get("/runs", summary="The run table", response_model=RunTable)
    def runs(
        q: Annotated[Text, Query(description="a filter, as for `gl runs`")] = "",
        sort: Annotated[Text, Query(description="a field; `-` before it from the largest")] = "",
        page: Page = 1,
        cols: Annotated[
            list[str], Query(description="columns, several times or with commas between")
        ] = [],  # noqa: B006  # FastAPI copies it
        group: Annotated[Text, Query(description="flags and attributes with commas")] = "",
        open: Annotated[Text, Query(description="keys of groups whose runs are wanted")] = "",
        hide: Annotated[Text, Query(description="ids of runs to leave out")] = "",
    ) -> JSON:
        asked = Ask(q.strip(), sort, page, cols, group.strip(), _words(open), _words(hide))
        try:
            return JSON(listing.table(asked))
        except FilterError as error:
            raise RequestError(
                error.message, hint=error.hint, position=error.position, expected=error.expected
            ) from error

    @api.get("/complete", summary="What can stand at the cursor of a filter, and what is wrong")
    def completion(q: Text = "", at: Annotated[int | None, Query(ge=0)] = None) -> JSON:
        return JSON(read_completion(listing.lookup, q, len(q) if at is None else at))

    @api.get("/compare", summary="Runs side by side")
    def compare(
        run: Annotated[list[str], Query(description="ids; several times or with commas between")],
        tags: Text = "",
        page: Page = 1,
    ) -> JSON:
        ids = [each for word in run for each in word.split(",") if each]
        return JSON(read_comparison(workspace, listing, ids, tags=tags.strip(), page=page))

    @api.get("/runs/latest", summary="The newest run", response_model=RunRow)
    def latest() -> JSON:
        return JSON(listing.row(workspace.latest()))

    @api.get("/runs/{run_id}", summary="A run's overview")
    def run(run_id: str) -> JSON:
        found = _settled(workspace, run_id)
        overview = rundata.read_overview(workspace, found)
        row = plain(listing.row(found, list(workspace.metrics)))
        return JSON({**row, **plain(overview), "uid": found.uid, "project": found.project})


def _add_sections(api: APIRouter, workspace: Workspace) -> None:
    def page_of_cards(
        run_id: str, tags: str, page: int, system: bool, together: bool = True
    ) -> JSON:
        with _settled(workspace, run_id).read() as reader:
            charts_of_view = workspace.view.charts
            found = cards.read_cards(
                run_id,
                reader,
                charts_of_view,
                system=system,
                tags=tags,
                page=page,
                together=together,
            )
        if found.problem:
            raise RequestError(f"`tags` is no regular expression: {found.problem}", field="tags")
        return JSON(found)

    @api.get("/runs/{run_id}/scalars", summary="A page of the script's own series, as charts")
    def scalars(
        run_id: str,
        tags: Text = "",
        page: Page = 1,
        cards: Annotated[str, Query(pattern="together|each")] = "together",
    ) -> JSON:
        together = cards == "together"
        return page_of_cards(run_id, tags.strip(), page, system=False, together=together)

    @api.get("/runs/{run_id}/system", summary="A page of the series measured from outside")
    def system(run_id: str, tags: Text = "", page: Page = 1) -> JSON:
        return page_of_cards(run_id, tags.strip(), page, system=True)

    @api.get("/runs/{run_id}/output", summary="A page of output; the last without `page`")
    def output(
        run_id: str,
        stream: Text = "",
        q: Text = "",
        op: Text | None = None,
        page: Annotated[int | None, Query(ge=1)] = None,
        re: Annotated[bool, Query(description="`q` is a regular expression")] = False,
    ) -> JSON:
        found = _settled(workspace, run_id)
        answer = read_output(
            found, stream=stream, query=q, regex=re, only=True, operation=op, page=page
        )
        if answer.problem:
            raise RequestError(answer.problem, field="q", status=422)
        return JSON(answer)

    @api.get("/runs/{run_id}/files", summary="One folder of the run directory")
    def folder(run_id: str, dir: Text = "") -> JSON:
        return JSON(files.list_folder(workspace.get(run_id).path, dir.strip("/")))

    @api.get(
        "/runs/{run_id}/source",
        summary="The source files kept at the start, one of them open; or how they differ from"
        " those of the run `against`, or of the folder now (`worktree`)",
    )
    def kept_source(run_id: str, file: Text = "", against: Text = "") -> JSON:
        run = workspace.get(run_id)
        if against:
            return JSON(source.read_diff(workspace, run, against, file))
        return JSON(source.read_source(run, file))


def _words(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _settled(workspace: Workspace, run_id: str) -> Run:
    run = workspace.get(run_id)
    workspace.settle([run])
    return run
