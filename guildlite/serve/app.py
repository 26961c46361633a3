"""The routes of the prediction server.

`POST /run` reads its body as JSON whatever the content type says: `curl -d` calls everything a
form. Browsers are kept out by Host and Origin instead, in `http.Guard`.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, PackageLoader

import guildlite
from guildlite.http import (
    Guard,
    RequestError,
    Tokens,
    constant_route,
    install_error_handlers,
    install_static,
)
from guildlite.serve.engine import Engine
from guildlite.serve.instances import encode
from guildlite.serve.model import ModelInfo, TensorSpec

MAX_BODY_BYTES = 16 * 1024 * 1024
#: Answered without a token: they say nothing about the model, and probes have none.
HEALTH_PATHS = ("/health", "/v2/health/live", "/v2/health/ready")
#: The page's box stays usable up to here; `/example` is whole in any case.
MAX_BOX_BYTES = 32 * 1024
#: Values of one instance above which `/example` would be no example.
MAX_EXAMPLE_VALUES = 2_000_000

_JSON = "application/json"


def create_app(
    engine: Engine,
    *,
    title: str,
    file: str,
    example: bytes | None = None,
    bind_host: str = "127.0.0.1",
    tokens: Tokens | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Guard:
    """Return the whole server for one loaded model.

    `title` and `file` say on the page which run and file is served. `example` is a request that
    works; without it one of zeros is made.
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
    _add_predictions(app, engine, request)
    _add_health(app)
    _add_page(app, engine, title=title, file=file, example=request, token=tokens is not None)
    return Guard(
        app,
        bind_host=bind_host,
        tokens=tokens,
        open_paths=HEALTH_PATHS,
        content_types=None,
        max_body_bytes=max_body_bytes,
    )


def example_request(engine: Engine) -> bytes | None:
    """Return a request of one instance of zeros, or None when that would be too large."""
    instance = engine.zeros()
    if sum(array.size for array in instance.values()) > MAX_EXAMPLE_VALUES:
        return None
    zeros = {
        name: array.astype("int64") if array.dtype.kind == "f" else array
        for name, array in instance.items()
    }
    return encode([zeros])


def _add_predictions(app: FastAPI, engine: Engine, example: bytes | None) -> None:
    info = json.dumps(engine.info.to_json(), ensure_ascii=False).encode()

    @app.post("/run", summary="Predict", openapi_extra=_openapi(engine))
    async def run(request: Request) -> Response:
        return Response(await engine.run(await request.body()), media_type=_JSON)

    @app.get("/info", summary="The model's signature")
    async def get_info() -> Response:
        return Response(info, media_type=_JSON)

    @app.get("/stats", summary="Counts and times")
    async def get_stats() -> Response:
        return Response(json.dumps(engine.stats.to_json()), media_type=_JSON)

    @app.get("/example", summary="A request that `/run` answers")
    async def get_example() -> Response:
        if example is None:
            raise RequestError("the inputs of this model are too large for an example", status=404)
        return Response(example, media_type=_JSON)


def _add_health(app: FastAPI) -> None:
    # The server listens once the model is loaded and warm, so being reached is being ready.
    for path in HEALTH_PATHS:
        word = "ready" if path.endswith("ready") else "live"
        body = json.dumps({"status": "ok"} if path == "/health" else {word: True}).encode()
        app.add_route(path, constant_route(body, _JSON), methods=["GET"])


def _add_page(
    app: FastAPI, engine: Engine, *, title: str, file: str, example: bytes | None, token: bool
) -> None:
    pages = Environment(loader=PackageLoader("guildlite.serve"), autoescape=True)
    page = pages.get_template("index.html")
    small = example is not None and len(example) <= MAX_BOX_BYTES

    async def index(request: Request) -> Response:
        html = page.render(
            title=title,
            file=file,
            info=engine.info,
            shapes=engine.shapes,
            base=f"{request.url.scheme}://{request.headers['host']}",
            example=example.decode() if example and small else "",
            token=token,
        )
        return Response(html, media_type="text/html; charset=utf-8")

    app.add_route("/", index, methods=["GET"])
    install_static(app, "guildlite.serve")


# OpenAPI


def _openapi(engine: Engine) -> dict[str, Any]:
    """Return what the framework cannot know of `/run`: its body, made from the signature."""
    info: ModelInfo = engine.info
    instance = _object({spec.name: _schema(spec, engine.shapes[spec.name]) for spec in info.inputs})
    answer = _object({spec.name: {} for spec in info.outputs})
    return {
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": {"type": "array", "items": instance, "minItems": 1}}},
        },
        "responses": {
            "200": {
                "description": "One object per instance, keyed by output name",
                "content": {_JSON: {"schema": {"type": "array", "items": answer}}},
            },
            "4XX": {
                "description": "The request is not right; `field`, `index`, `expected` and `got` "
                "say where",
                "content": {_JSON: {"schema": _object({"error": {"type": "string"}})}},
            },
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schema(spec: TensorSpec, shape: tuple[int, ...]) -> dict[str, Any]:
    if spec.datatype == "BOOL":
        schema: dict[str, Any] = {"type": "boolean"}
    elif spec.datatype == "BYTES":
        schema = {"type": "string"}
    else:
        schema = {"type": "number" if spec.datatype.startswith("FP") else "integer"}
    for size in reversed(shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema.update(minItems=size, maxItems=size)
    return schema
