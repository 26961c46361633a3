"""Files that ship with the package and never change while a server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def install_static(app: Starlette, package: str) -> None:
    """Answer `/static/PATH` with the files in the folder `static` of `package`, read once.

    Those in `dist/` have a digest of their content in the name, so a browser may keep them.
    """
    _install(app, files(package).joinpath("static"), "/static/", "no-cache")


def _install(app: Starlette, folder: Traversable, path: str, caching: str) -> None:
    for file in folder.iterdir():
        if file.is_dir():
            kept = "max-age=31536000, immutable" if file.name == "dist" else caching
            _install(app, file, f"{path}{file.name}/", kept)
            continue
        media_type = _MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            route = constant_route(file.read_bytes(), media_type, caching)
            app.add_route(path + file.name, route, methods=["GET"])


def constant_route(
    body: bytes, media_type: str, caching: str = "no-cache"
) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that always gives the same answer; by default browsers ask each time."""
    from starlette.responses import Response

    async def route(request: Request) -> Response:
        return Response(body, media_type=media_type, headers={"cache-control": caching})

    return route
