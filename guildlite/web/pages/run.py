"""The pages of one run, a section each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from guildlite.errors import RunUnreadable
from guildlite.runs import Run
from guildlite.web import cards, files, rundata
from guildlite.web.listing import Listing, RunRow
from guildlite.web.media import page as media
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.words import Words
from guildlite.web.rendering import Renderer, read_number
from guildlite.web.urls import run_url
from guildlite.web.workspace import Workspace, is_live

SECTIONS = (
    ("", "Overview"),
    ("scalars", "Metrics"),
    ("media", "Media"),
    ("system", "System"),
    ("output", "Output"),
    ("files", "Files"),
    ("source", "Source"),
)
#: Seconds between two looks of a page's script at a run that is running.
FOLLOW_S = 1
#: Runs in the list that leads from one run's page to another's.
_MOST_PICKED = 12


@dataclass(frozen=True)
class _Here:
    """The run a page is about, its row, and the newest runs to go to from here."""

    run: Run
    row: RunRow
    newest: list[Run]


class RunPages:
    """The pages of one run. `offers_predictions` says whether a run has a model to try."""

    def __init__(
        self,
        workspace: Workspace,
        listing: Listing,
        renderer: Renderer,
        contents: ContentCache,
        offers_predictions: Callable[[Run], bool],
    ) -> None:
        self.workspace = workspace
        self.listing = listing
        self.contents = contents
        self.offers_predictions = offers_predictions
        self.render = renderer.render

    def install(self, app: Starlette) -> None:
        """Add the routes."""
        routes: dict[str, Callable[[Request], Response]] = {
            "": self.overview,
            "/scalars": self.scalars,
            "/media": self.media,
            "/system": self.system,
            "/output": self.output,
            "/files": self.files,
            "/files/{path:path}": self.file,
            "/source": self.source,
        }
        for path, endpoint in routes.items():
            app.add_route("/runs/{run_id}" + path, endpoint)

    def overview(self, request: Request) -> Response:
        here = self._here(request)
        overview = rundata.read_overview(self.workspace, here.run)
        return self._run_page(request, "overview.html", "", here, overview=overview)

    def scalars(self, request: Request) -> Response:
        return self._cards(request, "scalars")

    def system(self, request: Request) -> Response:
        return self._cards(request, "system")

    def _cards(self, request: Request, section: str) -> Response:
        here = self._here(request)
        try:
            with here.run.read() as reader:
                page = cards.read_cards(
                    here.run.id,
                    reader,
                    self.workspace.view.charts,
                    system=section == "system",
                    tags=request.query_params.get("tags", "").strip(),
                    page=read_number(request.query_params.get("page")) or 1,
                    together=request.query_params.get("cards") != "each",
                )
        except RunUnreadable as error:
            return self._trouble(request, section, here, error)
        return self._run_page(
            request, "scalars.html", section, here, filtered=bool(page.tags), cards=page
        )

    def media(self, request: Request) -> Response:
        here = self._here(request)
        query = request.query_params
        try:
            with here.run.read() as reader:
                if "go" in query:
                    return RedirectResponse(media.picked_url(reader, request.url.path, query), 303)
                words = Words.parse(query)
                page = media.read_media(here.run, reader, words, self.contents)
        except RunUnreadable as error:
            return self._trouble(request, "media", here, error)
        return self._run_page(
            request, "media.html", "media", here, filtered=page.chosen, found=page
        )

    def output(self, request: Request) -> Response:
        here = self._here(request)
        query = request.query_params
        try:
            page = rundata.read_output(
                here.run,
                stream=query.get("stream", ""),
                query=query.get("q", "")[:1000],
                operation=query.get("op") if query.get("op") != "all" else None,
                page=read_number(query.get("page")),
            )
        except RunUnreadable as error:
            return self._trouble(request, "output", here, error)
        filtered = bool(page.query) or page.page < page.pages
        return self._run_page(
            request, "output.html", "output", here, filtered=filtered, output=page
        )

    def files(self, request: Request) -> Response:
        here = self._here(request)
        folder = files.list_folder(here.run.path, request.query_params.get("dir", "").strip("/"))
        return self._run_page(request, "files.html", "files", here, folder=folder)

    def file(self, request: Request) -> Response:
        run = self.workspace.get(request.path_params["run_id"])
        path = request.path_params["path"]
        opened = files.open_inside(run.path, path)
        return files.FileResponse(opened, path.rpartition("/")[2], request.headers)

    def source(self, request: Request) -> Response:
        here = self._here(request)
        page = rundata.read_source(here.run, request.query_params.get("file", ""))
        # What was kept at the start does not change while the run goes on.
        return self._run_page(request, "source.html", "source", here, filtered=True, source=page)

    def _here(self, request: Request) -> _Here:
        runs = self.workspace.runs()
        run = self.workspace.get(request.path_params["run_id"], runs)
        self.workspace.settle([run])
        return _Here(run, self.listing.row(run), runs[:_MOST_PICKED])

    def _trouble(
        self, request: Request, section: str, here: _Here, error: RunUnreadable
    ) -> Response:
        live = is_live(here.run)
        return self._run_page(
            request, "trouble.html", section, here, status=200 if live else 422, problem=error
        )

    def _run_page(
        self,
        request: Request,
        template: str,
        section: str,
        here: _Here,
        *,
        filtered: bool = False,
        status: int = 200,
        **values: object,
    ) -> Response:
        return self.render(
            request,
            template,
            status=status,
            live=here.row.live and not filtered,
            follow_s=FOLLOW_S if here.row.live else None,
            here=here,
            row=here.row,
            section=section,
            sections=SECTIONS,
            base=run_url(here.run.id),
            predicts=self.offers_predictions(here.run),
            **values,
        )
