"""The page of runs side by side."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from guildlite.web.comparison import read_comparison
from guildlite.web.listing import Listing
from guildlite.web.media.cache import ContentCache
from guildlite.web.media.compare import read_images
from guildlite.web.media.words import Words
from guildlite.web.rendering import Renderer, read_number
from guildlite.web.workspace import Workspace


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
        # A form of check boxes sends `run` several times, a short link has commas.
        ids = [each for word in query.getlist("run") for each in word.split(",") if each]
        if not ids:
            return self.render(request, "compare.html", comparison=None)
        found = read_comparison(
            self.workspace,
            self.listing,
            ids,
            tags=query.get("tags", "").strip(),
            page=read_number(query.get("page")) or 1,
        )
        words = Words.for_images(query)
        return self.render(
            request,
            "compare.html",
            live=found.live and not (found.cards.tags or words.step is not None),
            comparison=found,
            images=read_images(self.workspace, ids, words, self.contents),
        )
