"""The run table, the trash, and the way to the newest run."""

from __future__ import annotations

from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from guildlite.web.listing import Listing
from guildlite.web.pages.run import SECTIONS
from guildlite.web.rendering import Renderer, read_number
from guildlite.web.urls import run_url
from guildlite.web.workspace import Workspace

#: Seconds between two looks of a page's script at a table in which something, and nothing, runs.
FOLLOW_S, QUIET_FOLLOW_S = 1, 3
FEW_RUNS = 500


class RunsPages:
    """The pages of many runs."""

    def __init__(self, workspace: Workspace, listing: Listing, renderer: Renderer) -> None:
        self.workspace = workspace
        self.listing = listing
        self.render = renderer.render

    def install(self, app: Starlette) -> None:
        """Add the routes."""
        app.add_route("/", self.home)
        app.add_route("/runs", self.runs)
        app.add_route("/runs/latest", self.latest)
        app.add_route("/runs/latest/files/{path:path}", self.latest)
        app.add_route("/runs/latest/{section}", self.latest)

    def home(self, request: Request) -> Response:
        return RedirectResponse("/runs", status_code=303)

    def latest(self, request: Request) -> Response:
        section = request.path_params.get("section", "")
        if section not in (name for name, _ in SECTIONS):
            raise HTTPException(404)
        rest = quote(request.scope["path"].removeprefix("/runs/latest"))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(run_url(self.workspace.latest().id) + rest + query, 303)

    def runs(self, request: Request) -> Response:
        query = request.query_params
        if query.get("trash") == "1":
            return self.trash(request)
        table = self.listing.table(
            query.get("q", "").strip()[:1000],
            query.get("sort", ""),
            read_number(query.get("page")) or 1,
        )
        # Someone who filters may be typing: without a script their page stays as it is.
        live = table.live and not table.query
        few = QUIET_FOLLOW_S if table.total <= FEW_RUNS else None
        follow_s = FOLLOW_S if table.live else few
        # Only what lies there is spoken of, whatever the address says.
        moved = set(query.get("trashed", "").split(",")) - {""}
        trashed = (
            [run for run in self.workspace.store.trashed() if run.id in moved] if moved else []
        )
        return self.render(
            request, "runs.html", live=live, follow_s=follow_s, table=table, trashed=trashed
        )

    def trash(self, request: Request) -> Response:
        rows = [self.listing.row(run) for run in self.workspace.store.trashed()]
        return self.render(request, "trash.html", rows=rows)
