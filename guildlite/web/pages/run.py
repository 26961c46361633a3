"""The pages of one run, a section each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from guildlite.errors import RunUnreadable
from guildlite.runs import Run
from guildlite.web import cards, files, rundata, source
from guildlite.web.listing import Listing, RunRow
from guildlite.web.media import page as media
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.words import Words
from guildlite.web.output import first_error, line_at, page_of, read_output
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
#: The same for a search, which reads all lines each time: half a second for 300,000.
SEARCH_FOLLOW_S = 10
#: Runs in the list that leads from one run's page to another's.
_MOST_PICKED = 12
#: Runs to compare the source with.
_MOST_AGAINST = 50


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
            line = _asked_line(here.run, query)
            if line:
                page = f"{run_url(here.run.id)}/output?page={page_of(line)}#L{line}"
                return RedirectResponse(page, 303)
            output = read_output(
                here.run,
                stream=query.get("stream", ""),
                query=query.get("q", "")[:1000],
                regex=query.get("re") == "1",
                only=query.get("only") == "1",
                match=read_number(query.get("match")),
                operation=query.get("op") if query.get("op") != "all" else None,
                page=read_number(query.get("page")),
            )
        except RunUnreadable as error:
            return self._trouble(request, "output", here, error)
        searched = bool(output.query or output.stream or output.operation is not None)
        filtered = searched or output.page < output.pages
        return self._run_page(
            request,
            "output.html",
            "output",
            here,
            filtered=filtered,
            output=output,
            follow_s=SEARCH_FOLLOW_S if searched else FOLLOW_S,
            nothing=_nothing_there(query),
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
        file, against = (request.query_params.get(name, "") for name in ("file", "against"))
        diff = source.read_diff(self.workspace, here.run, against, file) if against else None
        page = source.read_source(here.run, "" if diff else file)
        others = [run for run in self.workspace.runs() if run.id != here.run.id][:_MOST_AGAINST]
        if against and against not in (source.WORKTREE, *(run.id for run in others)):
            others.append(self.workspace.get(against))
        # What was kept at the start does not change while the run goes on.
        return self._run_page(
            request, "source.html", "source", here,
            filtered=True, source=page, diff=diff, others=others,
        )  # fmt: skip

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
        follow_s: int = FOLLOW_S,
        status: int = 200,
        **values: object,
    ) -> Response:
        return self.render(
            request,
            template,
            status=status,
            live=here.row.live and not filtered,
            follow_s=follow_s if here.row.live else None,
            here=here,
            row=here.row,
            section=section,
            sections=SECTIONS,
            base=run_url(here.run.id),
            predicts=self.offers_predictions(here.run),
            **values,
        )


def _asked_line(run: Run, query: Mapping[str, str]) -> int | None:
    """Return the line that an address asks for by its time or as the first error, if there is."""
    at_ms = query.get("at", "")
    if query.get("go") == "error":
        return first_error(run)
    return line_at(run, int(at_ms)) if at_ms.isdecimal() and len(at_ms) < 16 else None


def _nothing_there(query: Mapping[str, str]) -> str:
    if query.get("go") == "error":
        return "No line looks like an error"
    return "No line has a time near that moment" if "at" in query else ""
