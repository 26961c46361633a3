"""The HTML pages: one URL each, complete without a script.

A page's whole state is in its address. While a shown run is running the page asks the browser to
load it again every few seconds (`live=0` pauses that), and stops when the run has ended.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from guildlite import wording
from guildlite.errors import RunUnreadable
from guildlite.runs import Run
from guildlite.web import ansi, cards, charts, files, media, numbers, rundata
from guildlite.web.comparison import MOST_RUNS, read_comparison
from guildlite.web.launching import can_evaluate, next_strength
from guildlite.web.listing import Listing, RunRow
from guildlite.web.mediacache import ContentCache
from guildlite.web.mediacompare import read_images
from guildlite.web.mediawords import KINDS, LOOKS, ZOOMS, Words
from guildlite.web.scripts import Scripts
from guildlite.web.tensorboard import board_url
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
#: Seconds between two looks of a page's script at a page of text.
FOLLOW_S = 1
#: The same for a table in which nothing is running, while looking costs next to nothing.
QUIET_FOLLOW_S = 3
FEW_RUNS = 500
#: Runs in the list that leads from one run's page to another's.
_MOST_PICKED = 12
#: Characters of one line of output; the log file has all of it.
_LONGEST_LINE = 5000


@dataclass(frozen=True)
class _Here:
    """The run a page is about, its row, and the newest runs to go to from here."""

    run: Run
    row: RunRow
    newest: list[Run]


class Pages:
    """Renders the pages of one workspace; handlers run in worker threads and share nothing else."""

    def __init__(self, workspace: Workspace, listing: Listing, contents: ContentCache) -> None:
        self.workspace = workspace
        self.listing = listing
        self.contents = contents
        self._templates = _environment()

    def install(self, app: Starlette) -> None:
        """Add the routes of all pages."""
        routes: dict[str, Callable[[Request], Response]] = {
            "/": self.home,
            "/runs": self.runs,
            "/runs/latest": self.latest,
            "/runs/latest/files/{path:path}": self.latest,
            "/runs/latest/{section}": self.latest,
            "/compare": self.compare,
            "/runs/{run_id}": self.overview,
            "/runs/{run_id}/scalars": self.scalars,
            "/runs/{run_id}/media": self.media,
            "/runs/{run_id}/system": self.system,
            "/runs/{run_id}/output": self.output,
            "/runs/{run_id}/files": self.files,
            "/runs/{run_id}/files/{path:path}": self.file,
            "/runs/{run_id}/source": self.source,
        }
        for path, endpoint in routes.items():
            app.add_route(path, endpoint, methods=["GET"])

    # Runs

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
            _number(query.get("page")) or 1,
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

    def compare(self, request: Request) -> Response:
        query = request.query_params
        # A form of check boxes sends `run` several times, a short link has commas.
        ids = [each for word in query.getlist("run") for each in word.split(",") if each]
        if not ids:
            return self.render(request, "compare.html", comparison=None)
        found = read_comparison(
            self.workspace,
            self.listing,
            ids,
            tags=query.get("tags", "").strip(),
            page=_number(query.get("page")) or 1,
        )
        words = Words.for_images(query)
        return self.render(
            request,
            "compare.html",
            live=found.live and not (found.cards.tags or words.step is not None),
            comparison=found,
            images=read_images(self.workspace, ids, words, self.contents),
        )

    # One run

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
                    page=_number(request.query_params.get("page")) or 1,
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
                page=_number(query.get("page")),
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

    # Around the pages

    def error(self, request: Request, status: int, body: Mapping[str, object]) -> Response | None:
        """Return the page of an error; None for who did not ask for HTML."""
        api = request.url.path.startswith("/api/")
        if api or "text/html" not in request.headers.get("accept", ""):
            return None
        return self.render(request, "error.html", status=status, problem=body)

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
            **values,
        )

    def render(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        live: bool = False,
        follow_s: int | None = None,
        **values: object,
    ) -> Response:
        """Render a page. `live` says that a browser is to load it again, `follow_s` how often a
        script is to look for what is new, which disturbs nobody.
        """
        paused = request.query_params.get("live") == "0"
        # A word may come several times, as `run` does.
        given = request.query_params.multi_items()

        def url(**changes: object) -> str:
            """Return this page's address with some of its words changed; None removes one."""
            kept = [(name, value) for name, value in given if name not in changes]
            made = [(name, value) for name, value in changes.items() if value is not None]
            query = urlencode([*kept, *made])
            path = quote(request.scope["path"])
            return f"{path}?{query}" if query else path

        html = self._templates.get_template(template).render(
            workspace=self.workspace,
            status=status,
            live=live,
            paused=paused,
            refresh_s=self.workspace.interval_s if live and not paused else None,
            follow_s=None if paused else follow_s,
            url=url,
            **values,
        )
        # A page shows what is true now; the back button may show it again without asking.
        # Forms of a page without a referrer would say that their origin is null.
        headers = {"cache-control": "no-cache", "referrer-policy": "same-origin"}
        return HTMLResponse(html, status_code=status, headers=headers)


def run_url(run_id: str) -> str:
    """Return the address of a run's overview."""
    return f"/runs/{quote(os.fsencode(run_id), safe='')}"


def file_url(run_id: str, path: str) -> str:
    """Return the address of a run's file."""
    return f"{run_url(run_id)}/files/{quote(os.fsencode(path))}"


def series_url(source: cards.Source) -> str:
    """Return the address of every point of a series, as JSON."""
    query = urlencode({"run": source.run, "tag": source.tag, "px": 20_000})
    return f"/api/v1/series?{query}"


def _lines_json(sources: list[cards.Source]) -> str:
    """Return a card's lines for its script; not Markup, so the template escapes it."""
    return json.dumps([source._asdict() for source in sources])


def _from_ms(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("guildlite.web"),
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=numbers.format_value,
        clock=numbers.format_clock,
        count=wording.format_count,
        bytes=wording.format_size,
        duration=wording.format_duration,
        moment=wording.format_moment,
        iso=wording.iso_utc,
        listed=rundata.listed,
        ansi=_line,
        message=_message,
        ms=_from_ms,
        typed=_typed,
        lines_json=_lines_json,
    )
    environment.globals.update(
        scripts=Scripts(),
        series_url=series_url,
        most_compared=MOST_RUNS,
        run_url=run_url,
        board_url=board_url,
        next_strength=next_strength,
        can_evaluate=can_evaluate,
        file_url=file_url,
        lines_per_page=rundata.LINES_PER_PAGE,
        is_image=files.is_image,
        unit_of=numbers.unit_of,
        slot_class=charts.slot_class,
        media=media,
        media_kinds=KINDS,
        media_looks=LOOKS,
        media_zooms=ZOOMS,
        table_of=cards.table_of,
        line_chart=_markup(charts.line_chart),
        sparkline=_markup(charts.sparkline),
        swatch=_markup(charts.swatch),
    )
    return environment


def _finalize(value: object) -> object:
    """Make controls and invisible characters of every text visible, in one place for all pages."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return ansi.shown(value)
    return "" if value is None else value


def _line(text: str) -> Markup:
    """Return a line of output as HTML, cut where nobody reads on: a page stays a page."""
    cut = len(text) - _LONGEST_LINE
    html = ansi.to_html(text[:_LONGEST_LINE])
    more = f' <span class="soft">and {cut:,} more characters</span>' if cut > 0 else ""
    return Markup(html + more)


def _message(text: str) -> Markup:
    """Return a message for people as HTML: names between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escape(ansi.shown(text))))


def _typed(text: str) -> Markup:
    """Return a text for a field, which sends it back: exactly that, invisible parts by number."""
    text = text.encode("utf-8", "replace").decode()
    return Markup(
        "".join(c if c.isprintable() or c == "\n" else f"&#{ord(c)};" for c in escape(text))
    )


def _markup(function: Callable[..., str]) -> Callable[..., Markup]:
    """Return the function with its SVG marked as such; it escapes the texts inside itself."""

    def call(*args: Any, **kwargs: Any) -> Markup:
        return Markup(function(*args, **kwargs))

    return call
