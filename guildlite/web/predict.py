"""`/runs/ID/predict/`: the page of `gl serve` for a run's model, behind our own address.

The prediction server is a process that is started when first asked for, and what lies below the
last slash is its own: its pages know relative addresses only. Nobody but this viewer can reach it.
A run that has several models has another server for each, at `/runs/ID/predict/~/FILE/`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from guildlite.http import Receive, RequestError, Scope, Send
from guildlite.http.behind import BASE_HEADER, READY, REFUSED
from guildlite.runs import Run
from guildlite.web.child import Child, Trouble
from guildlite.web.proxy import NoAnswer, Upstream
from guildlite.web.workspace import Workspace

#: Models that are loaded at the same time; the one asked longest ago makes room.
MOST_MODELS = 2
#: Seconds after the last request until a model is unloaded.
IDLE_S = 600.0
#: How long a request of the page waits for a server that is starting.
PATIENCE_S = 30.0
#: Seconds that a look for models is good for: it goes through the files of a run.
LOOK_S = 10.0
_MOST_LOOKS = 1000

#: Returns a page: `(request, template, status=..., **values)`.
RenderPage = Callable[..., Response]


class ModelServers(NamedTuple):
    """How models are served, of which the viewer knows nothing itself.

    files: returns the models in a run directory that can be served, likeliest first.
    command: executes the server; it is told the rest on standard input (`child.Child`).
    """

    files: Callable[[Path], list[str]]
    command: list[str]


class Predictions:
    """The prediction servers of one viewer. `page` renders a template of the viewer's."""

    def __init__(
        self, workspace: Workspace, page: RenderPage, servers: ModelServers | None
    ) -> None:
        self._workspace = workspace
        self._page = page
        self._servers = None if workspace.read_only else servers
        self._lock = threading.Lock()
        self._children: OrderedDict[tuple[str, str | None], _Server] = OrderedDict()
        self._looks: OrderedDict[Path, tuple[float, list[str]]] = OrderedDict()

    def offers(self, run: Run) -> bool:
        """Say whether the run has something to predict with, and this viewer may start it."""
        if self._servers is None or run.error is not None:
            return False
        return self._predictor(run) is not None or bool(self._files(run.path))

    def install(self, app: Starlette) -> None:
        """Add the routes; `lifespan` must be the application's, or processes outlive it."""
        app.add_route("/runs/{run_id}/predict", self._with_slash, methods=["GET"])
        app.mount("/runs/{run_id}/predict", self._answer)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Unload what nobody uses, and end all servers with the application."""
        task = asyncio.create_task(self._unload_idle())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await run_in_threadpool(self._keep, 0, 0.0)

    def _with_slash(self, request: Request) -> Response:
        return RedirectResponse(predict_url(request.path_params["run_id"]), 303)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope)
        if request.method not in ("GET", "HEAD", "POST"):
            raise RequestError(f"`{request.method[:16]}` is not possible here", status=405)
        run_id = request.path_params["run_id"]
        file, target = _split(scope["raw_path"].split(b"/", 4)[4])
        server = await run_in_threadpool(self._open, run_id, file)
        is_page = target == b"/" and request.method != "POST"
        if is_page and not server.ready:
            await self._wait_page(request, run_id, server)(scope, receive, send)
            return
        await _until_ready(server)
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        own = predict_url(run_id, file)[:-1]
        base = f"{request.url.scheme}://{request.headers['host']}{own}"
        try:
            await server.upstream(base).forward(scope, receive, send, target)
        except NoAnswer as error:
            # It is just dying; the next look starts another.
            if not is_page:
                raise RequestError("the prediction server gave no answer", status=502) from error
            await self._wait_page(request, run_id, server)(scope, receive, send)

    def _open(self, run_id: str, file: str | None) -> _Server:
        """Return the server of a run's model, or of one of several, starting or running."""
        if self._servers is None:
            raise RequestError(
                "this viewer only shows: no model can be served from it",
                status=403,
                hint="start `gl view` without `--read-only`",
            )
        run = self._workspace.get(run_id)
        if not self.offers(run):
            raise RequestError(
                f"run `{run_id}` has no model to serve",
                status=404,
                hint=f"`gl serve {run_id} --list` shows what is there",
            )
        if file is not None and file not in self._files(run.path):
            raise RequestError(
                f"run `{run_id}` has no model of that name",
                status=404,
                hint=f"`gl serve {run_id} --list` shows what is there",
            )
        key = run.uid, file
        with self._lock:
            server = self._children.get(key)
            if server is None:
                predictor = self._predictor(run) if file is None else None
                folder = self._workspace.directory
                server = _Server(self._servers.command, run, folder, predictor, file)
                self._children[key] = server
            self._children.move_to_end(key)
            server.used_at = time.monotonic()
        self._keep(MOST_MODELS, IDLE_S)
        server.ensure()
        return server

    def _wait_page(self, request: Request, run_id: str, server: _Server) -> Response:
        """Return the page that is shown where the server's own cannot be yet."""
        trouble = server.trouble
        retry_s = trouble.retry_s if trouble else 0.0
        files = self._files(self._workspace.get(run_id).path) if trouble else []
        choices = [(file, predict_url(run_id, file)) for file in files]
        page = self._page(
            request,
            "predict.html",
            status=503,
            run_id=run_id,
            trouble=trouble,
            choices=choices if len(choices) > 1 else [],
        )
        if retry_s is not None:
            # Works without a script.
            page.headers["refresh"] = page.headers["retry-after"] = str(max(1, ceil(retry_s)))
        return page

    def _keep(self, most: int, idle_s: float) -> None:
        """End the servers beyond the `most` used last, and those not used for `idle_s`."""
        oldest = time.monotonic() - idle_s
        with self._lock:
            keys = list(self._children)
            beyond = keys[: max(0, len(keys) - most)]
            idle = [key for key in keys if self._children[key].used_at < oldest]
            retired = [self._children.pop(key) for key in dict.fromkeys([*beyond, *idle])]
        for server in retired:
            server.close()

    async def _unload_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S / 10)
            await run_in_threadpool(self._keep, MOST_MODELS, IDLE_S)

    def _predictor(self, run: Run) -> str | None:
        """Return what `serve:` of the project file says of the run's model."""
        project = self._workspace.project
        if project is None or run.model not in project.models:
            return None
        return project.models[run.model].serve

    def _files(self, run_dir: Path) -> list[str]:
        """Return the models of a run that can be served, as of a few seconds ago."""
        assert self._servers is not None
        now = time.monotonic()
        with self._lock:
            at, found = self._looks.get(run_dir, (-LOOK_S, []))
        if now - at < LOOK_S:
            return found
        found = self._servers.files(run_dir)
        with self._lock:
            self._looks[run_dir] = now, found
            while len(self._looks) > _MOST_LOOKS:
                self._looks.popitem(last=False)
        return found


class _Server(Child):
    """The prediction server of one run's model."""

    def __init__(
        self, command: list[str], run: Run, folder: Path, predictor: str | None, file: str | None
    ) -> None:
        # Not started in the run directory: what lies there could be imported.
        super().__init__("The prediction server", folder, ready_line=READY)
        self.used_at = 0.0
        self.closed = False
        self._command = command
        self._words: dict[str, object] = {
            "run_dir": str(run.path),
            "name": run.id,
            "uid": run.uid,
            "file": file,
            "predictor": predictor,
            "folder": str(folder),
        }

    def command(self) -> list[str]:
        return self._command

    def words(self) -> dict[str, object]:
        return self._words

    def missing(self) -> Trouble | None:
        return Trouble("another model took this one's place") if self.closed else None

    def explain(self, status: int, lines: tuple[str, ...]) -> Trouble:
        if status != REFUSED:
            return super().explain(status, lines)
        told = dict(line.split(": ", 1) for line in lines if line.startswith(("error: ", "hint: ")))
        others = tuple(line for line in lines if not line.startswith(("error: ", "hint: ")))
        return Trouble(told.get("error", "the model cannot be served"), told.get("hint"), others)

    def close(self) -> None:
        """End it for good."""
        self.closed = True
        self.stop()

    def upstream(self, base: str) -> Upstream:
        """Return the way to it for a client that knows it at the address `base`."""
        return _Upstream(
            self.port,
            [
                (b"authorization", f"Bearer {self.secret}".encode()),
                (BASE_HEADER.lower().encode(), base.encode("latin-1", "replace")),
            ],
        )


class _Upstream(Upstream):
    """A server of ours, whose policy is as strict as our own and is kept."""

    def answer_headers(self, received: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [header for header in received if header[0] == b"content-security-policy"]


def predict_url(run_id: str, file: str | None = None) -> str:
    """Return the address of the page to try a run's model, or one of its several models."""
    page = f"/runs/{quote(run_id, safe='', errors='surrogateescape')}/predict/"
    if file is None:
        return page
    return f"{page}~/{quote(file, safe='', errors='surrogateescape')}/"


def _split(below: bytes) -> tuple[str | None, bytes]:
    """Return which of several models is meant, and the address at its server."""
    mark, _, rest = below.partition(b"/")
    if mark != b"~":
        return None, b"/" + below
    name, slash, rest = rest.partition(b"/")
    if not slash:
        raise RequestError("the address of a model ends with a slash", status=404)
    return os.fsdecode(unquote_to_bytes(name)), b"/" + rest


async def _until_ready(server: _Server) -> None:
    """Wait for a server that is starting; raises RequestError when there will be none."""
    deadline = time.monotonic() + PATIENCE_S
    while not server.ready:
        trouble = server.trouble
        if trouble is not None:
            raise RequestError(trouble.message, status=503, hint=trouble.hint)
        if time.monotonic() > deadline:
            raise RequestError("the prediction server has not started in time", status=503)
        await asyncio.sleep(0.05)
        await run_in_threadpool(server.ensure)
