"""Files that ship with the package and never change while a server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def install_static(app: Starlette, package: str) -> None:
    """Answer `/static/NAME` with the files in the folder `static` of `package`, read once."""
    for file in files(package).joinpath("static").iterdir():
        media_type = _MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            route = constant_route(file.read_bytes(), media_type)
            app.add_route(f"/static/{file.name}", route, methods=["GET"])


def constant_route(body: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that always gives the same answer; the browser asks again each time."""
    from starlette.responses import Response

    async def route(request: Request) -> Response:
        return Response(body, media_type=media_type, headers={"cache-control": "no-cache"})

    return route
