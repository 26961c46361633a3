"""The routes of the prediction server.

`POST /run` reads its body as JSON whatever the content type says: `curl -d` calls everything a
form. Browsers are kept out by Host and Origin instead, in `http.Guard`. There is no route that
loads, unloads or stops anything, or takes a path.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, PackageLoader

import guildlite
from guildlite.errors import GuildliteError
from guildlite.http import (
    Application,
    Guard,
    Message,
    Receive,
    RequestError,
    Scope,
    Send,
    Tokens,
    constant_route,
    envelope,
    install_error_handlers,
    install_static,
)
from guildlite.http.behind import BASE_HEADER
from guildlite.http.errors import report
from guildlite.serve.engine import Engine
from guildlite.serve.instances import encode
from guildlite.serve.openapi import infer_operation, run_operation
from guildlite.serve.openinference import (
    HEADER_LENGTH,
    VERSION,
    InferRequest,
    model_metadata,
    server_metadata,
)
from guildlite.serve.page import page_settings
from guildlite.serve.signature import Signature
from guildlite.serve.stats import METRICS_TYPE

MAX_BODY_BYTES = 16 * 1024 * 1024
#: Answered without a token: they say nothing about the model, and probes have none.
HEALTH_PATHS = ("/health", "/v2/health/live", "/v2/health/ready")
#: The page's box stays usable up to here; `/example` is whole in any case.
MAX_BOX_BYTES = 32 * 1024
#: Values of one instance above which `/example` would be no example.
MAX_EXAMPLE_VALUES = 2_000_000

_JSON = "application/json"
_CLOSE = (b"connection", b"close")
_HTML = "text/html; charset=utf-8"


def create_app(
    engine: Engine,
    *,
    title: str,
    file: str,
    example: bytes | None = None,
    signature: Signature | None = None,
    bind_host: str = "127.0.0.1",
    tokens: Tokens | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    behind: bool = False,
    others: Sequence[str] = (),
) -> Guard:
    """Return the whole server for one loaded model.

    `title` and `file` say on the page which run and file is served. `example` is a request that
    works; without it one of zeros is made. `signature` says what the model file does not. `behind`
    another server of ours, the pages believe that one's header about their address, and lead to
    `others`, the models of the run.
    """
    app = FastAPI(
        title=f"guildlite: {title}",
        version=guildlite.__version__,
        # The stock pages load their scripts from another site.
        docs_url=None,
        redoc_url=None,
    )
    install_error_handlers(app)
    request = example or example_request(engine)
    signature = signature or Signature()
    _add_predictions(app, engine)
    _add_open_inference(app, engine)
    _add_descriptions(app, engine, request)
    _add_health(app, engine)
    settings = page_settings(
        engine.info, engine.shapes, signature, token=tokens is not None, behind=behind
    )
    _add_pages(
        app, engine, settings, title=title, file=file, example=request, behind=behind, others=others
    )
    return Guard(
        _Shortcut(app, engine),
        bind_host=bind_host,
        tokens=tokens,
        open_paths=HEALTH_PATHS,
        content_types=None,
        max_body_bytes=max_body_bytes,
    )


def example_request(engine: Engine) -> bytes | None:
    """Return a request of one instance of zeros, or None when that would be too large."""
    if engine.info.free:
        return None
    instance = engine.zeros()
    if sum(array.size for array in instance.values()) > MAX_EXAMPLE_VALUES:
        return None
    zeros = {
        name: array.astype("int64") if array.dtype.kind == "f" else array
        for name, array in instance.items()
    }
    return encode([zeros])


# Predictions


class _Shortcut:
    """Answers `POST /run` itself and leaves everything else to the framework.

    The framework's way to a route and back takes as long as reading the request, checking it and
    asking a small model together. What is answered is the same, errors included.
    """

    def __init__(self, app: Application, engine: Engine) -> None:
        self._app, self._engine = app, engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] != "/run" or scope["method"] != "POST":
            await self._app(scope, receive, self._last(send))
            return
        begin = time.perf_counter()
        # The guard has read the body whole.
        body = (await receive())["body"]
        status, headers = 200, [(b"content-type", b"application/json")]
        try:
            answer = await self._engine.run(body, receive)
        except GuildliteError as error:
            status = error.http_status
            request_id = report(scope, error) if status == 500 else None
            told = envelope(error, request_id=request_id)
            answer = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
            if isinstance(error, RequestError):
                headers += [(key.encode(), value.encode()) for key, value in error.headers.items()]
        self._engine.stats.finished("/run", status, time.perf_counter() - begin)
        headers.append((b"content-length", str(len(answer)).encode()))
        if self._engine.stopping:
            headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _last(self, send: Send) -> Send:
        """Return a send that ends the connection with the answer once the server is stopping."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._engine.stopping:
                message["headers"] = [*message.get("headers", ()), _CLOSE]
            await send(message)

        return send_last


async def _counted(engine: Engine, route: str, answer: Awaitable[Response]) -> Response:
    """Return the answer, and count it with its time and status under `route`."""
    begin = time.perf_counter()
    status = 500
    try:
        response = await answer
        status = response.status_code
        return response
    except GuildliteError as error:
        status = error.http_status
        raise
    finally:
        engine.stats.finished(route, status, time.perf_counter() - begin)


def _add_predictions(app: FastAPI, engine: Engine) -> None:
    async def predict(request: Request) -> Response:
        answer = await engine.run(await request.body(), request.receive)
        return Response(answer, media_type=_JSON)

    @app.post("/run", summary="Predict", openapi_extra=run_operation(engine.info, engine.shapes))
    async def run(request: Request) -> Response:
        return await _counted(engine, "/run", predict(request))


def _add_open_inference(app: FastAPI, engine: Engine) -> None:
    info = engine.info
    server = json.dumps(server_metadata("guildlite", guildlite.__version__)).encode()
    metadata = json.dumps(model_metadata(info), ensure_ascii=False).encode()

    def check(name: str, version: str = VERSION) -> None:
        if name != info.name:
            raise RequestError(
                "there is no such model here", status=404, hint="`/v2` has one model"
            )
        if version != VERSION:
            raise RequestError("there is no such version of the model", status=404)

    async def predict(request: Request) -> Response:
        question = InferRequest(info, await request.body(), request.headers.get(HEADER_LENGTH))
        body = await engine.infer(question, request.receive)
        if question.header_length is None:
            return Response(body, media_type=_JSON)
        headers = {HEADER_LENGTH: str(question.header_length)}
        return Response(body, media_type="application/octet-stream", headers=headers)

    app.add_route("/v2", constant_route(server, _JSON), methods=["GET"])

    for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        hidden = "version" in base

        @app.get(base, summary="The model's signature", include_in_schema=not hidden)
        async def get_model(name: str, version: str = VERSION) -> Response:
            check(name, version)
            return Response(metadata, media_type=_JSON)

        @app.get(f"{base}/ready", summary="Whether it can predict", include_in_schema=not hidden)
        async def get_ready(name: str, version: str = VERSION) -> Response:
            check(name, version)
            body = {"name": info.name, "ready": not engine.stopping}
            status = 503 if engine.stopping else 200
            return Response(json.dumps(body, ensure_ascii=False), status, media_type=_JSON)

        @app.post(
            f"{base}/infer",
            summary="Predict, by the Open Inference Protocol",
            include_in_schema=not hidden,
            openapi_extra=infer_operation(info),
        )
        async def infer(request: Request, name: str, version: str = VERSION) -> Response:
            check(name, version)
            return await _counted(engine, "/v2/models/NAME/infer", predict(request))


# Descriptions


def _add_descriptions(app: FastAPI, engine: Engine, example: bytes | None) -> None:
    info = json.dumps(engine.info.to_json(), ensure_ascii=False).encode()

    @app.get("/info", summary="The model's signature")
    async def get_info() -> Response:
        return Response(info, media_type=_JSON)

    @app.get("/stats", summary="Counts and times")
    async def get_stats() -> Response:
        return Response(json.dumps(engine.stats.to_json()), media_type=_JSON)

    @app.get("/metrics", summary="Counts and times, for Prometheus")
    async def get_metrics() -> Response:
        text = engine.stats.to_prometheus(model=engine.info.name, inflight=engine.inflight)
        return Response(text, media_type=METRICS_TYPE)

    @app.get("/example", summary="A request that `/run` answers")
    async def get_example() -> Response:
        if example is None:
            raise RequestError("there is no example for the inputs of this model", status=404)
        return Response(example, media_type=_JSON)


def _add_health(app: FastAPI, engine: Engine) -> None:
    # The server listens once the model is loaded and warm: being reached is being ready, until it
    # stops.
    live = json.dumps({"live": True}).encode()
    app.add_route("/v2/health/live", constant_route(live, _JSON), methods=["GET"])

    def ready(yes: dict[str, object], no: dict[str, object]) -> Callable[..., Awaitable[Response]]:
        async def route(request: Request) -> Response:
            if engine.stopping:
                return Response(json.dumps(no), 503, media_type=_JSON)
            return Response(json.dumps(yes), media_type=_JSON)

        return route

    health = ready({"status": "ok"}, {"status": "stopping"})
    app.add_route("/health", health, methods=["GET"])
    # The protocol's own text says `live` here, and its clients look at the status.
    both = ready({"live": True, "ready": True}, {"live": True, "ready": False})
    app.add_route("/v2/health/ready", both, methods=["GET"])


# Pages


def _add_pages(
    app: FastAPI,
    engine: Engine,
    settings: dict[str, Any],
    *,
    title: str,
    file: str,
    example: bytes | None,
    behind: bool,
    others: Sequence[str],
) -> None:
    pages = Environment(loader=PackageLoader("guildlite.serve"), autoescape=True)
    small = example.decode() if example and len(example) <= MAX_BOX_BYTES else ""

    def base_of(request: Request) -> str:
        own = f"{request.url.scheme}://{request.headers['host']}"
        return request.headers.get(BASE_HEADER, own) if behind else own

    def html_route(template: str, **values: Callable[[], object]) -> Any:
        page = pages.get_template(template)

        async def route(request: Request) -> Response:
            html = page.render(
                title=title,
                file=file,
                info=engine.info,
                shapes=engine.shapes,
                base=base_of(request),
                home=base_of(request).partition("/~/")[0],
                behind=behind,
                others=others,
                token=settings["token"],
                **{name: value() for name, value in values.items()},
            )
            return Response(html, media_type=_HTML)

        return route

    index = html_route("index.html", example=lambda: small, settings=lambda: settings)
    app.add_route("/", index, methods=["GET"])
    app.add_route("/docs", html_route("docs.html", document=app.openapi), methods=["GET"])
    install_static(app, "guildlite.serve")
