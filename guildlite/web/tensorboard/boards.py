"""`/tensorboard/`: TensorBoard over the project's runs, or some of them, behind our own address.

    /tensorboard/              all runs that have sound event files
    /tensorboard/?run=a,b      leads to the next
    /tensorboard/runs/a,b/     these runs alone, by a TensorBoard of their own

Everything below the last slash is TensorBoard's. Its pages come from this origin, so they get a
policy that lets them load nothing from elsewhere; the looser parts of it (styles within the page,
`eval`) are what TensorBoard's own policy asks for.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from math import ceil
from urllib.parse import quote, unquote_to_bytes

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from guildlite.http import Receive, RequestError, Scope, Send
from guildlite.runs import Run
from guildlite.web.child import Trouble
from guildlite.web.proxy import NoAnswer, Upstream
from guildlite.web.tensorboard.board import Board
from guildlite.web.tensorboard.boardprocess import HEADER
from guildlite.web.tensorboard.eventlinks import EventLinks
from guildlite.web.workspace import Workspace, is_live

PREFIX = "/tensorboard"
FONTS = "/font-roboto"
#: Choices of runs with a TensorBoard at the same time; each takes some 90 MB.
MOST_BOARDS = 3
#: Seconds between two looks for new runs and files while someone uses a TensorBoard.
REFRESH_S = 5.0
#: Nobody is looking any more; a page of TensorBoard's asks every 30 s.
IDLE_S = 90.0
#: How long a request of TensorBoard's page waits for one that is starting.
PATIENCE_S = 30.0

_FONT = re.compile(FONTS.encode() + rb"/[\w.-]{1,100}", re.ASCII)
_SCRIPT_HASH = re.compile(rb"'sha256-[A-Za-z0-9+/=]{40,50}'")

#: Returns a page: `(request, template, status=..., **values)`.
RenderPage = Callable[..., Response]


class TensorBoards:
    """The TensorBoards of one viewer. `page` renders a template of the viewer's."""

    def __init__(self, workspace: Workspace, page: RenderPage) -> None:
        self._workspace = workspace
        self._page = page
        self._lock = threading.Lock()
        self._choices: OrderedDict[tuple[str, ...], _Choice] = OrderedDict()
        self._followers: set[asyncio.Task[None]] = set()

    def install(self, app: Starlette) -> None:
        """Add the routes; `lifespan` must be the application's, or processes outlive it."""
        app.mount(PREFIX, self._answer)
        # TensorBoard's style sheets ask for these at the root of the site, whatever its prefix.
        app.mount(FONTS, self._font)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """End all TensorBoards with the application."""
        try:
            yield
        finally:
            for task in self._followers:
                task.cancel()
            await asyncio.gather(*self._followers, return_exceptions=True)
            with self._lock:
                choices = list(self._choices.values())
                self._choices.clear()
            for choice in choices:
                await run_in_threadpool(choice.close)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope)
        if request.method not in ("GET", "HEAD", "POST"):
            raise RequestError(f"`{request.method[:16]}` is not possible here", status=405)
        ids, target = _parse(scope["raw_path"])
        named = _named(request) if target in (b"/", b"") and not ids else ()
        if named or not target:
            await RedirectResponse(board_url(named or ids), 303)(scope, receive, send)
            return
        choice = await run_in_threadpool(self._choose, ids)
        self._follow(choice)
        is_page = target == b"/" and request.method != "POST"
        page = await run_in_threadpool(self._instead, request, choice) if is_page else None
        if page is not None:
            await page(scope, receive, send)
            return
        await _until_ready(choice)
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        try:
            await choice.upstream().forward(scope, receive, send, target)
        except NoAnswer as error:
            # It is just dying; the next look starts another.
            if not is_page:
                raise RequestError("TensorBoard gave no answer", status=502) from error
            await self._wait_page(request, choice, 0)(scope, receive, send)

    def _choose(self, ids: tuple[str, ...]) -> _Choice:
        """Return what shows these runs, with its TensorBoard starting or running."""
        if ids not in self._choices:
            runs = self._workspace.runs()
            for run_id in ids:
                self._workspace.get(run_id, runs)
        retired: list[_Choice] = []
        with self._lock:
            choice = self._choices.get(ids)
            if choice is None:
                choice = self._choices[ids] = _Choice(self._workspace, ids)
            self._choices.move_to_end(ids)
            while len(self._choices) > MOST_BOARDS:
                retired.append(self._choices.popitem(last=False)[1])
        for each in retired:
            each.close()
        choice.open()
        return choice

    def _instead(self, request: Request, choice: _Choice) -> Response | None:
        """Return the page that is shown where TensorBoard cannot be yet."""
        if choice.closed:
            return self._wait_page(request, choice, 1)
        if choice.empty:
            live = choice.live()
            return self._wait_page(request, choice, REFRESH_S if live else None, empty=True)
        trouble = choice.board.trouble
        if trouble is not None:
            return self._wait_page(request, choice, trouble.retry_s, trouble=trouble)
        if not choice.board.ready:
            return self._wait_page(request, choice, 0)
        return None

    def _wait_page(
        self,
        request: Request,
        choice: _Choice,
        retry_s: float | None,
        *,
        trouble: Trouble | None = None,
        empty: bool = False,
    ) -> Response:
        page = self._page(
            request,
            "tensorboard.html",
            status=404 if empty else 503,
            runs=choice.ids,
            trouble=trouble,
            empty=empty,
            retry_s=retry_s if retry_s is None else ceil(retry_s),
        )
        if retry_s is not None:
            # Works without a script, and in a page whose policy allows none.
            page.headers["refresh"] = page.headers["retry-after"] = str(max(1, ceil(retry_s)))
        return page

    def _follow(self, choice: _Choice) -> None:
        """Look for new runs and files from time to time while requests come."""
        choice.used_at = time.monotonic()
        if choice.followed:
            return
        choice.followed = True
        task = asyncio.create_task(_keep_fresh(choice))
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)

    async def _font(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._lock:
            ready = [each for each in self._choices.values() if each.board_ready]
        asks = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        try:
            if asks and ready and _FONT.fullmatch(scope["raw_path"]):
                await ready[-1].upstream().forward(scope, receive, send, scope["raw_path"])
                return
        except NoAnswer:
            pass  # a page without it is readable
        await Response(status_code=404)(scope, receive, send)


class _Choice:
    """One choice of runs: the links to their event files and the TensorBoard over these."""

    def __init__(self, workspace: Workspace, ids: tuple[str, ...]) -> None:
        self.ids = ids
        self.used_at = 0.0
        self.followed = False
        self.closed = False
        self._workspace = workspace
        self._lock = threading.Lock()
        self._links: EventLinks | None = None
        self._board: Board | None = None

    @property
    def board(self) -> Board:
        assert self._board is not None
        return self._board

    @property
    def board_ready(self) -> bool:
        return self._board is not None and self._board.ready

    @property
    def empty(self) -> bool:
        """Whether no run has a sound event file, so that there is nothing to start."""
        return self._links is None or self._links.empty

    def live(self) -> bool:
        """Whether more may come from one of the runs."""
        return any(is_live(run) for run in self._runs())

    def upstream(self) -> Upstream:
        return _Upstream(self.board.port, [(HEADER.lower().encode(), self.board.secret.encode())])

    def open(self) -> None:
        """Link the runs if that was not done yet, and see to it that a TensorBoard runs."""
        with self._lock:
            if self.closed:
                return
            if self._links is None or self._board is None:
                self._links = _make_links(self._runs)
                self._board = Board(self._links.folder)
                self._settle()
                self._links.refresh()
            elif self._links.empty:
                self._links.refresh()
        if not self.empty:
            self.board.ensure()

    def refresh(self) -> None:
        """Bring the links up to date."""
        with self._lock:
            if self._links is not None and not self.closed:
                self._links.refresh()

    def close(self) -> None:
        """End the TensorBoard and remove the links."""
        with self._lock:
            self.closed = True
            if self._board is not None:
                self._board.stop()
            if self._links is not None:
                self._links.close()

    def _runs(self) -> list[Run]:
        runs = self._workspace.runs()
        return [run for run in runs if run.id in self.ids] if self.ids else runs

    def _settle(self) -> None:
        # All runs of a project may be thousands; whoever looks at one has it finished.
        if self.ids:
            self._workspace.settle(self._runs())


class _Upstream(Upstream):
    """TensorBoard, whose answers get our policy."""

    def answer_headers(self, received: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        asked = b" ".join(v for name, v in received if name == b"content-security-policy")
        return [(b"content-security-policy", _policy(_SCRIPT_HASH.findall(asked)))]


def _policy(script_hashes: Iterable[bytes] = ()) -> bytes:
    """Return the policy of TensorBoard's answers: its own, less every other host.

    script_hashes: of scripts within a page, which TensorBoard itself made.
    """
    scripts = b" ".join([b"script-src 'self' 'unsafe-eval'", *script_hashes])
    return b"; ".join(
        [
            b"default-src 'self'",
            scripts,
            b"style-src 'self' 'unsafe-inline'",
            b"img-src 'self' data: blob:",
            b"font-src 'self' data:",
            b"worker-src 'self' blob:",
            b"frame-ancestors 'self'",
            b"base-uri 'self'",
            b"form-action 'self'",
            b"object-src 'none'",
        ]
    )


def _make_links(runs: Callable[[], Iterable[Run]]) -> EventLinks:
    try:
        return EventLinks(runs)
    except OSError as error:
        raise RequestError(
            f"the log directory for TensorBoard cannot be made: {error.strerror or error}",
            status=503,
            hint="`GUILDLITE_CACHE` names another cache directory",
        ) from error


def _parse(raw_path: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the run ids that an address names and what it asks of TensorBoard, b"" without slash.

    Not decoded first: an id with a comma or a slash has it as `%2C` or `%2F`.
    """
    rest = raw_path[len(PREFIX) :]
    if not rest.startswith(b"/runs/"):
        return (), rest
    words, slash, target = rest[len(b"/runs/") :].partition(b"/")
    ids = sorted({os.fsdecode(unquote_to_bytes(word)) for word in words.split(b",") if word})
    if not ids:
        raise RequestError("this address names no run", status=404)
    return tuple(ids), slash + target


def _named(request: Request) -> tuple[str, ...]:
    """Return the runs of `?run=a,b&run=c`."""
    words = (word for value in request.query_params.getlist("run") for word in value.split(","))
    return tuple(sorted({word for word in words if word}))


def board_url(ids: Iterable[str] = ()) -> str:
    """Return the address of TensorBoard with these runs, or with all."""
    words = ",".join(quote(os.fsencode(run_id), safe="") for run_id in ids)
    return f"{PREFIX}/runs/{words}/" if words else f"{PREFIX}/"


async def _until_ready(choice: _Choice) -> None:
    """Wait for a TensorBoard that is starting; raises RequestError when there will be none."""
    deadline = time.monotonic() + PATIENCE_S
    while not choice.board_ready:
        if choice.closed:
            raise RequestError("this TensorBoard made room for another", status=503)
        if choice.empty:
            raise RequestError("no event file of these runs can be read", status=404)
        trouble = choice.board.trouble
        if trouble is not None:
            raise RequestError(trouble.message, status=503, hint=trouble.hint)
        if time.monotonic() > deadline:
            raise RequestError("TensorBoard has not started in time", status=503)
        await asyncio.sleep(0.05)


async def _keep_fresh(choice: _Choice) -> None:
    try:
        while not choice.closed and time.monotonic() - choice.used_at < IDLE_S:
            await asyncio.sleep(REFRESH_S)
            await run_in_threadpool(choice.refresh)
    finally:
        choice.followed = False
