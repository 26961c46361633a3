"""The viewer as one ASGI application: pages, API and static files behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

import guildlite
from guildlite.http import Guard, Tokens, install_error_handlers, install_static
from guildlite.project import Project
from guildlite.web.actions.routes import FORM_PREFIXES, Actions, make_actions_router
from guildlite.web.actions.undo import Undo
from guildlite.web.api import make_router
from guildlite.web.compared.api import make_compare_router
from guildlite.web.listing import Listing
from guildlite.web.media.api import make_media_router
from guildlite.web.media.cache import ContentCache
from guildlite.web.pages.compare import ComparePages
from guildlite.web.pages.run import RunPages
from guildlite.web.pages.runs import RunsPages
from guildlite.web.predict import ModelServers, Predictions
from guildlite.web.rendering import Renderer
from guildlite.web.savedviews import SavedViews
from guildlite.web.tensorboard.boards import PREFIX, TensorBoards
from guildlite.web.workspace import Settle, Workspace


def create_app(
    directory: Path,
    project: Project | None,
    *,
    name: str | None = None,
    bind_host: str = "127.0.0.1",
    tokens: Tokens | None = None,
    settle: Settle | None = None,
    read_only: bool = False,
    models: ModelServers | None = None,
) -> Guard:
    """Return the viewer of the runs of `project`, or of ./runs below `directory` without one.

    `name` is what pages call it, by default as the project or directory is called. With `read_only`
    nothing can be started, stopped or changed. `settle` is called with the runs a request is about,
    to finish those that ended unseen; without it no file is ever written. `models` says how
    models are served; without it there is no page to try them. Beyond loopback `tokens` are
    demanded.
    """
    workspace = Workspace(directory, project, name=name, settle=settle, read_only=read_only)
    listing = Listing(workspace)
    contents = ContentCache()
    renderer = Renderer(workspace)
    views, undo = SavedViews(workspace), Undo()
    actions = Actions(workspace, renderer.render, listing, views, undo)
    boards = TensorBoards(workspace, renderer.render)
    predictions = Predictions(workspace, renderer.render, models)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with boards.lifespan(app), predictions.lifespan(app):
            yield
        actions.preparations.close()
        listing.lookup.close()

    app = FastAPI(
        title="guildlite viewer",
        version=guildlite.__version__,
        # The stock pages load their scripts from another site.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=lifespan,
    )
    install_error_handlers(app, page=renderer.error)
    app.include_router(make_router(workspace, listing, tokens))
    app.include_router(make_media_router(workspace, contents))
    app.include_router(make_compare_router(workspace))
    app.include_router(make_actions_router(actions))
    RunsPages(workspace, listing, renderer, views, undo).install(app)
    ComparePages(workspace, listing, renderer, contents).install(app)
    RunPages(workspace, listing, renderer, contents, predictions.offers).install(app)
    actions.install(app)
    boards.install(app)
    predictions.install(app)
    install_static(app, "guildlite.web")
    return Guard(
        app,
        bind_host=bind_host,
        tokens=tokens,
        form_prefixes=(f"{PREFIX}/", *FORM_PREFIXES),
        sign_in="open the link that `gl view` printed; `gl view` prints a new one when asked again",
    )
