"""The run table, the trash, saved views, and the way to the newest run."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from guildlite.errors import FilterError, GuildliteError
from guildlite.runs import Run
from guildlite.web.actions.undo import Undo
from guildlite.web.filtering import MOST_CHARACTERS, problem_of
from guildlite.web.listing import Ask, Listing, RunRow, RunTable, View
from guildlite.web.pages.run import SECTIONS
from guildlite.web.rendering import Renderer, read_number
from guildlite.web.savedviews import SavedView, SavedViews
from guildlite.web.urls import run_url
from guildlite.web.workspace import Workspace

#: Seconds between two looks of a page's script at a table in which something, and nothing, runs.
FOLLOW_S, QUIET_FOLLOW_S = 1, 3
#: Seconds the first page waits for the index before it says how far that is.
_PATIENCE_S = 1.0
#: Ids that one address may name.
_MOST_IDS = 500
#: Header by which the page's script asks for a table at once, and curves that take time later.
CURVES_LATER = "x-gl-curves"


class RunsPages:
    """The pages of many runs."""

    def __init__(
        self,
        workspace: Workspace,
        listing: Listing,
        renderer: Renderer,
        views: SavedViews,
        undo: Undo,
    ) -> None:
        self.workspace = workspace
        self.listing = listing
        self.views = views
        self.undo = undo
        self.render = renderer.render
        # Another viewer, with other templates, is another version of every page.
        self._salt = secrets.token_hex(8)

    def install(self, app: Starlette) -> None:
        """Add the routes."""
        app.add_route("/", self.home)
        app.add_route("/runs", self.runs)
        app.add_route("/runs.csv", self.csv)
        app.add_route("/runs/latest", self.latest)
        app.add_route("/runs/latest/files/{path:path}", self.latest)
        app.add_route("/runs/latest/{section}", self.latest)
        app.add_route("/s/{name}", self.saved)

    def home(self, request: Request) -> Response:
        return RedirectResponse("/runs", status_code=303)

    def latest(self, request: Request) -> Response:
        section = request.path_params.get("section", "")
        if section not in (name for name, _ in SECTIONS):
            raise HTTPException(404)
        rest = quote(request.scope["path"].removeprefix("/runs/latest"))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(run_url(self.workspace.latest().id) + rest + query, 303)

    def saved(self, request: Request) -> Response:
        """Lead from a view's short address to its own."""
        return RedirectResponse(self.views.get(request.path_params["name"]).address, 303)

    def runs(self, request: Request) -> Response:
        query = request.query_params
        if query.get("trash") == "1":
            return self.trash(request)
        reading = self.listing.lookup.reading(_PATIENCE_S)
        if reading is not None:
            return self._reading(request, reading)
        ask = read_ask(request)
        with self.listing.opened() as look:
            version = self._version(request, look.state())
            if version is not None and request.headers.get("if-none-match") == version:
                return Response(status_code=304, headers={"etag": version})
            try:
                view = look.view(ask)
            except FilterError as error:
                return self._wrong(request, ask, error)
        response = self._table(request, view)
        if version is not None:
            response.headers["etag"] = version
        return response

    def _version(self, request: Request, state: str | None) -> str | None:
        """Return the ETag of the page as it would be now, None where that cannot be told.

        Times are said to the minute, so a minute is a version of its own.
        """
        if state is None:
            return None
        later = request.headers.get(CURVES_LATER, "")
        words = (self._salt, request.url.query, later, self.views.stamp(), time.time() // 60, state)
        return f'"{hashlib.sha256(repr(words).encode()).hexdigest()[:32]}"'

    def _table(self, request: Request, view: View) -> Response:
        query, table = request.query_params, view.table
        response = self.render(
            request,
            "runs.html",
            # Someone who filters may be typing: without a script their page stays as it is.
            live=table.live and not table.query,
            follow_s=FOLLOW_S if table.live else QUIET_FOLLOW_S,
            problem=None,
            offers=view.offers,
            groupable=view.groupable,
            trashed=self._moved(query.get("trashed", "")),
            undo_words=query.get("trashed", ""),
            shown_ids=[row.id for row in _rows(table)],
            table=table,
            **self._common(request),
        )
        if table.late:
            response.headers[CURVES_LATER] = "1"
        return response

    def _wrong(self, request: Request, ask: Ask, error: FilterError) -> Response:
        """Show what is wrong with a word of the address, at its field."""
        field = "q" if error.text == ask.query else "group" if error.text == ask.group else "cols"
        return self.render(
            request,
            "runs.html",
            status=error.http_status,
            problem=problem_of(error),
            problem_field=field,
            problem_text=error.text,
            asked=ask,
            table=None,
            **self._common(request),
        )

    def _common(self, request: Request) -> dict[str, Any]:
        views: list[SavedView] = []
        trouble = None
        try:
            views = self.views.list()
        except GuildliteError as error:
            trouble = error
        return {
            "views": views,
            "views_trouble": trouble,
            "chosen": _ids(request.query_params.get("sel", "")),
            "kept": partial(_kept, request),
            "url_list": lambda name: _ids(request.query_params.get(name, "")),
            "csv_url": _csv_url(request),
            "clock": request.query_params.get("times") == "clock",
            "now": time.time(),
        }

    def _moved(self, words: str) -> list[Run]:
        """Return what lies in the trash of the runs that an address says were moved there."""
        ids = set(self.undo.expand(words.split(",")))
        return [run for run in self.workspace.store.trashed() if run.id in ids] if ids else []

    def _reading(self, request: Request, reading: tuple[int, int]) -> Response:
        done, of = reading
        return self.render(
            request, "reading.html", status=200, live=True, follow_s=FOLLOW_S, done=done, of=of
        )

    def csv(self, request: Request) -> Response:
        """Answer all runs of the table, with the columns shown, as CSV."""
        lines = self.listing.csv(read_ask(request))
        return StreamingResponse(
            (f"{line}\r\n".encode("utf-8", "surrogateescape") for line in lines),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="runs.csv"'},
        )

    def trash(self, request: Request) -> Response:
        rows = [self.listing.row(run) for run in self.workspace.store.trashed()]
        return self.render(request, "trash.html", rows=rows)


def read_ask(request: Request) -> Ask:
    """Return what the words of an address ask for."""
    query = request.query_params
    return Ask(
        query=query.get("q", "").strip()[:MOST_CHARACTERS],
        sort=query.get("sort", "").strip(),
        page=read_number(query.get("page")) or 1,
        # A form of check boxes sends `cols` several times, a link has commas.
        columns=[text for text in query.getlist("cols") if text.strip()],
        group=query.get("group", "").strip(),
        open=_ids(query.get("open", "")),
        hide=_ids(query.get("hide", "")),
        curves=request.headers.get(CURVES_LATER) != "later",
    )


def _ids(words: str) -> list[str]:
    return [*dict.fromkeys(each for each in words.split(",") if each)][:_MOST_IDS]


def _rows(table: RunTable) -> list[RunRow]:
    return [*table.rows, *(row for group in table.groups for row in group.rows)]


def _kept(request: Request, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the words of an address that a form is to send along."""
    return [pair for pair in request.query_params.multi_items() if pair[0] in names and pair[1]]


def _csv_url(request: Request) -> str:
    words = urlencode(_kept(request, ("q", "sort", "cols", "hide")))
    return f"/runs.csv?{words}" if words else "/runs.csv"
