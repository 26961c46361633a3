"""The viewer's scripts: what the bundler made, by page. Without them every page is complete too."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class Scripts:
    """Says which files a page asks for. `problem` is why there are none, in a sentence, or None."""

    def __init__(self, dist: Traversable | None = None) -> None:
        dist = dist or files("guildlite.web").joinpath("static", "dist")
        self._pages: dict[str, dict[str, str | None]] = {}
        self.problem: str | None = None
        try:
            self._pages = json.loads(dist.joinpath("manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.problem = _reason(dist.joinpath("build.json"))

    def has(self, page: str) -> bool:
        """Return whether a page has a script."""
        return page in self._pages

    def tags(self, page: str) -> Markup:
        """Return the elements for a page's head; nothing when it has no script."""
        if not self.has(page):
            return Markup()
        script, style = self._pages[page]["script"], self._pages[page]["style"]
        tags = f'<script type="module" src="/static/dist/{escape(script)}"></script>'
        if style:
            tags = f'<link rel="stylesheet" href="/static/dist/{escape(style)}">\n{tags}'
        return Markup(tags)


def _reason(stamp: Traversable) -> str:
    try:
        problem = json.loads(stamp.read_text(encoding="utf-8"))["problem"]
    except (OSError, ValueError, KeyError):
        problem = None
    return str(problem or "they were not built")
