"""Errors over HTTP: one JSON shape everywhere, `{"error": message, "hint": ..., ...}`.

An unexpected error is logged with a request id, and only the id is answered.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from guildlite.errors import GuildliteError
from guildlite.http.asgi import Scope

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


_REQUEST_ID = "guildlite.request_id"

log = logging.getLogger("guildlite.http")


class RequestError(GuildliteError):
    """A request that is not answered.

    `details` stand beside the message in the envelope (`field`, `index`, `expected`, `got`); they
    say what kind of thing came, never the caller's data. `headers` go out with the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        **details: object,
    ) -> None:
        super().__init__(message, hint=hint)
        self.http_status = status
        self.headers = dict(headers or {})
        self.details = details


def envelope(error: GuildliteError, *, request_id: str | None = None) -> dict[str, object]:
    """Return the JSON object that tells a client of `error`."""
    body: dict[str, object] = {"error": error.message}
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, RequestError):
        body.update(error.details)
    if request_id:
        body["request_id"] = request_id
    return body


def internal_error() -> RequestError:
    """Return what a client is told of a fault of ours; the cause is in the log only."""
    return RequestError("the server failed to answer this request", status=500)


ErrorPage = Callable[["Request", int, dict[str, object]], "Response | None"]


def install_error_handlers(app: Starlette, *, page: ErrorPage | None = None) -> None:
    """Make every error of `app` answer with the envelope.

    `page` may answer a request that wants HTML instead; it returns None to decline. Unexpected
    exceptions answer 500 with a request id, under which the log has the traceback.
    """
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def known(request: Request, error: GuildliteError) -> Response:
        request_id = None
        if error.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
            request_id = report(request.scope, error)
        return answer(request, error, request_id)

    async def by_framework(request: Request, error: HTTPException) -> Response:
        return answer(request, _of_framework(request, error))

    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, _of_validation(error))

    async def unexpected(request: Request, error: Exception) -> Response:
        return answer(request, internal_error(), report(request.scope, error))

    def answer(request: Request, error: GuildliteError, request_id: str | None = None) -> Response:
        from starlette.responses import JSONResponse

        body = envelope(error, request_id=request_id)
        headers = error.headers if isinstance(error, RequestError) else {}
        response = page(request, error.http_status, body) if page else None
        if response is None:
            response = JSONResponse(body, status_code=error.http_status)
        response.headers.update(headers)
        return response

    app.add_exception_handler(GuildliteError, known)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, by_framework)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unexpected)


def _of_framework(request: Request, error: Any) -> RequestError:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return RequestError("there is nothing at this address", status=404, headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = headers.get("allow") or headers.get("Allow")
        return RequestError(
            f"`{request.method[:16]}` is not possible here",
            status=405,
            hint=f"this address takes {allowed}" if allowed else None,
            headers=headers,
        )
    return RequestError(str(error.detail), status=error.status_code, headers=headers)


def _of_validation(error: Any) -> RequestError:
    """Put the first fault FastAPI found in our words, without the caller's data."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first.get("loc", ()))[:200]
    expected = str(first.get("msg", "a valid value"))[:200]
    got = json_kind(first.get("input"))
    if first.get("type") == "missing":
        got = "nothing"
    message = f"`{field}` is not valid" if field else "the request is not valid"
    return RequestError(message, status=422, field=field, expected=expected, got=got)


def json_kind(value: object) -> str:
    """Say what kind of JSON value this is, without saying the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return type(value).__name__


_KINDS: tuple[tuple[type, str], ...] = (
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
)


def report(scope: Scope, error: Exception) -> str:
    """Log a fault of ours, once a request; return the id under which it stands in the log."""
    request_id: str | None = scope.get(_REQUEST_ID)
    if request_id is None:
        request_id = scope[_REQUEST_ID] = secrets.token_hex(8)
        log.error("request %s failed", request_id, exc_info=error)
    return request_id
