"""Templates to pages: one environment, in which no text of a run or a user is ever markup."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from guildlite import wording
from guildlite.web import ansi, cards, charts, files, numbers, rundata
from guildlite.web.actions.launching import can_evaluate, next_strength
from guildlite.web.comparison import MOST_RUNS
from guildlite.web.media import page as media
from guildlite.web.media.words import AXES, KINDS, LOOKS, ZOOMS
from guildlite.web.output import LONGEST_LINE, page_of
from guildlite.web.savedviews import view_url
from guildlite.web.scripts import Scripts
from guildlite.web.tensorboard.boards import board_url
from guildlite.web.urls import file_url, run_url, series_url
from guildlite.web.workspace import Workspace


class Renderer:
    """Renders the templates for one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._templates = _environment()

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
            # Names of files may be bytes that are no text.
            query = urlencode([*kept, *made], errors="surrogateescape")
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
            theme=_theme(request),
            **values,
        )
        # A page shows what is true now; the back button may show it again without asking.
        # Forms of a page without a referrer would say that their origin is null.
        headers = {"cache-control": "no-cache", "referrer-policy": "same-origin"}
        return HTMLResponse(html, status_code=status, headers=headers)

    def error(self, request: Request, status: int, body: Mapping[str, object]) -> Response | None:
        """Return the page of an error; None for who did not ask for HTML."""
        api = request.url.path.startswith("/api/")
        if api or "text/html" not in request.headers.get("accept", ""):
            return None
        return self.render(request, "error.html", status=status, problem=body)


def _theme(request: Request) -> str | None:
    """Return the theme the reader chose; a page comes in it at once. None is the system's."""
    chosen = request.cookies.get("gl_theme")
    return chosen if chosen in ("light", "dark") else None


def read_number(text: str | None) -> int | None:
    """Return a whole number of an address, None for anything else."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


def _lines_json(sources: list[cards.Source]) -> str:
    """Return a card's lines for its script; not Markup, so the template escapes it."""
    return json.dumps([source._asdict() for source in sources])


def _from_ms(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000


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
        ago=wording.format_ago,
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
        now=time.time,
        series_url=series_url,
        most_compared=MOST_RUNS,
        run_url=run_url,
        view_url=view_url,
        board_url=board_url,
        next_strength=next_strength,
        can_evaluate=can_evaluate,
        file_url=file_url,
        page_of_line=page_of,
        is_image=files.is_image,
        unit_of=numbers.unit_of,
        slot_class=charts.slot_class,
        media=media,
        media_kinds=KINDS,
        media_looks=LOOKS,
        media_axes=AXES,
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


def _line(text: str, spans: Sequence[tuple[int, int]] = ()) -> Markup:
    """Return a line of output as HTML, cut where nobody reads on: a page stays a page.

    The log file has all of it.
    """
    cut = len(text) - LONGEST_LINE
    html = ansi.to_html(text[:LONGEST_LINE], spans)
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
