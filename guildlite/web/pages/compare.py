"""The page of runs side by side: a table of what differs, curves, charts, images, two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from guildlite.index import RunRecord
from guildlite.runs.difference import compare_two
from guildlite.web.compared.api import ids_of
from guildlite.web.compared.chosen import (
    MOST_POINTS,
    Chosen,
    choose_matching,
    choose_named,
    find_named,
)
from guildlite.web.compared.columns import SUMMARIES
from guildlite.web.compared.table import make_table, text_of
from guildlite.web.comparison import MOST_RUNS, read_comparison
from guildlite.web.listing import Listing
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.compare import read_images
from guildlite.web.media.words import Words
from guildlite.web.rendering import Renderer, read_number
from guildlite.web.workspace import Workspace

#: View → its tab. The first has something of everything, for a few runs.
VIEWS = {
    "": "Overview", "table": "Table", "curves": "Curves", "parallel": "Parallel coordinates",
    "scatter": "Scatter", "images": "Images", "diff": "Two runs",
}  # fmt: skip
#: Words that stay when another view is opened.
_KEPT = ("run", "q", "tags", "group", "diff", "of")
#: Seconds between two looks of a page's script while a run is running; two runs in detail are
#: read from end to end at each.
FOLLOW_S, DETAIL_FOLLOW_S = 2, 10
#: Runs that can be picked on the page of two.
_MOST_PICKED = 200
#: Lines of all source files together that a page of two runs shows.
MOST_LINES = 400


class ComparePages:
    """Runs side by side, whichever the address names."""

    def __init__(
        self, workspace: Workspace, listing: Listing, renderer: Renderer, contents: ContentCache
    ) -> None:
        self.workspace = workspace
        self.listing = listing
        self.contents = contents
        self.render = renderer.render

    def install(self, app: Starlette) -> None:
        """Add the routes."""
        app.add_route("/compare", self.compare)

    def compare(self, request: Request) -> Response:
        query = request.query_params
        ids = ids_of(query.getlist("run"))
        if not ids and "q" not in query:
            return self.render(request, "compare.html", chosen=None, view="", views={})
        if ids:
            chosen = choose_named(self.workspace, ids)
        else:
            chosen = choose_matching(self.workspace, query.get("q", "").strip()[:4000])
        asked = query.get("view", "")
        many = len(chosen.records) > MOST_RUNS
        # An overview of very many runs is their table.
        view = asked if asked in VIEWS and (asked or not many) else "table" if many else ""
        views = {name: title for name, title in VIEWS.items() if name or not many}
        return self.render(
            request,
            "compare.html",
            live=chosen.live and _undisturbed(query),
            follow_s=(DETAIL_FOLLOW_S if view == "diff" else FOLLOW_S) if chosen.live else None,
            chosen=chosen,
            view=view,
            views=views,
            kept=[(name, value) for name, value in query.multi_items() if name in _KEPT],
            **self._parts(chosen, view, query),
        )

    def _parts(self, chosen: Chosen, view: str, query: QueryParams) -> dict[str, Any]:
        """Return what one view shows; runs beyond those that can have a colour are left out."""
        few = chosen.ids[:MOST_RUNS]
        parts: dict[str, Any] = {"shown": chosen.records[:MOST_RUNS]}
        if not chosen.records:
            return parts
        if view in ("", "table", "parallel", "scatter"):
            parts["table"] = make_table(
                self.workspace,
                chosen,
                everything=query.get("diff") == "0",
                summary=query.get("of", "usual"),
                sort=query.get("sort", ""),
                page=read_number(query.get("page")) or 1,
            )
            parts.update(
                summaries=SUMMARIES,
                summary=query.get("of") if query.get("of") in SUMMARIES else "usual",
                shows_all=query.get("diff") == "0",
                text_of=partial(text_of, self.workspace),
                table_url=partial(_table_url, query),
            )
        if view in ("", "curves"):
            parts["comparison"] = read_comparison(
                self.workspace,
                self.listing,
                few,
                tags=query.get("tags", "").strip(),
                page=read_number(query.get("page")) or 1,
            )
        if view in ("", "images"):
            words = Words.for_images(query)
            parts["images"] = read_images(self.workspace, few, words, self.contents)
        if view == "diff":
            parts.update(self._two(chosen, query))
        return parts

    def _two(self, chosen: Chosen, query: QueryParams) -> Mapping[str, object]:
        """Return the difference of two of the runs: those picked, else the first two."""
        records = chosen.records[:_MOST_PICKED]
        picked = _picked(records, query)
        if picked is None:
            return {"difference": None}
        one, other = find_named(self.workspace, [each.id for each in picked])
        return {
            "difference": compare_two(one, other, most_points=MOST_POINTS),
            "pair": picked,
            "pickable": records,
            "most_lines": MOST_LINES,
        }


def _table_url(query: QueryParams, form: str) -> str:
    """Return the address of the table as a file."""
    words = ("run", "q", "diff", "of", "sort")
    kept = [(name, value) for name, value in query.multi_items() if name in words]
    return f"/api/v1/compare/table?{urlencode([*kept, ('form', form)])}"


def _picked(records: Sequence[RunRecord], query: QueryParams) -> tuple[RunRecord, RunRecord] | None:
    """Return the runs of `a` and `b`; where one is not among the runs, the first that is free."""
    by_id = {record.id: record for record in records}
    one = by_id.get(query.get("a", "")) or next(
        (each for each in records if each.id != query.get("b")), None
    )
    if one is None:
        return None
    other = by_id.get(query.get("b", ""))
    if other is None or other.id == one.id:
        other = next((each for each in records if each.id != one.id), None)
    return (one, other) if other is not None else None


def _undisturbed(query: QueryParams) -> bool:
    """Whether a page without a script may load itself again: not while something is chosen."""
    return not any(query.get(word) for word in ("tags", "step", "q"))
