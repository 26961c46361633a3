"""What a viewer can do: start, evaluate, prepare, stop, label, note, mark, trash, restore, save.

Each action is a form's POST, answered by a redirect to a page that shows what came of it, and the
same as JSON under /api/v1. The guard has let in only requests of our own pages and of scripts with
the secret. A viewer started with `--read-only` refuses them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from guildlite.errors import GuildliteError
from guildlite.flags import format_value
from guildlite.http import RequestError
from guildlite.runs import Run
from guildlite.web.actions.form import (
    Said,
    StartForm,
    default_op,
    read_choices,
    read_form,
    said_of,
)
from guildlite.web.actions.launching import evaluate_run, start_run, stop_run
from guildlite.web.actions.preparing import Preparations
from guildlite.web.actions.undo import Undo
from guildlite.web.api import JSON
from guildlite.web.listing import Listing
from guildlite.web.savedviews import SavedViews, view_url
from guildlite.web.urls import run_url
from guildlite.web.workspace import Workspace
from guildlite.wording import format_count

#: Paths whose POST takes what a form in a page sends.
FORM_PREFIXES = ("/new", "/runs/", "/prepare", "/s/")
#: Fields of one form: a page of the run table and the flags of the longest script are below it.
MOST_FIELDS = 1000
MOST_TEXT = 4000
#: Ids of chosen runs with commas between may be as long as the body of a request.
_ANY_LENGTH = ("note", "run")
#: Runs of which a page says why something was not possible with them.
_MOST_TROUBLES = 50
#: Characters of an address that holds what to undo or to fill in again.
_MOST_ADDRESS = 6000
_MOST_UNDO = 2000

Fields = list[tuple[str, str]]
#: Returns a page: `(request, template, status=..., **values)`.
RenderPage = Callable[..., Response]


class Trouble(NamedTuple):
    """A run with which something could not be done, and why."""

    id: str
    error: GuildliteError


class Actions:
    """The actions of one viewer. `page` renders a template of the viewer's."""

    def __init__(
        self,
        workspace: Workspace,
        page: RenderPage,
        listing: Listing,
        views: SavedViews,
        undo: Undo,
    ) -> None:
        self.workspace = workspace
        self.preparations = Preparations(workspace)
        self.listing = listing
        self.views = views
        self.undo = undo
        self._page = page

    def install(self, app: Starlette) -> None:
        """Add the routes of all forms."""
        app.add_route("/new", self.form, methods=["GET"])
        app.add_route("/prepare", self.preparation, methods=["GET"])
        posts: dict[str, Callable[[Request, Fields], Response]] = {
            "/new": self.start,
            "/prepare": self.prepare,
            "/runs/evaluate": self.evaluate,
            "/runs/stop": self.stop,
            "/runs/label": self.label,
            "/runs/mark": self.mark,
            "/runs/unmark": self.unmark,
            "/runs/trash": self.trash,
            "/runs/restore": self.restore,
            "/s/save": self.save_view,
            "/s/delete": self.delete_view,
        }
        for path, handle in posts.items():
            app.add_route(path, self._endpoint(handle), methods=["POST"])

    def refuse_read_only(self) -> None:
        """Raise RequestError where this viewer only shows."""
        if self.workspace.read_only:
            raise RequestError(
                "this viewer only shows: nothing can be started, stopped or changed from it",
                status=403,
                hint="start `gl view` in a project, and without `--read-only`",
            )

    def _endpoint(self, handle: Callable[[Request, Fields], Response]) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            self.refuse_read_only()
            fields = _read_fields(request, await request.body())
            return await run_in_threadpool(handle, request, fields)

        return endpoint

    # Starting

    def form(self, request: Request) -> Response:
        """Show the form for the words of the address."""
        self.refuse_read_only()
        query = request.query_params
        fields = [(name, text[:MOST_TEXT]) for name, text in query.multi_items()]
        run = self.workspace.get(query["from"]) if query.get("from") else None
        try:
            said = _said(fields)
            if run is not None:
                said = _over(said_of(self.workspace, run), said)
        except GuildliteError as error:
            empty = StartForm(Said(), problem=error)
            return self._show(request, empty, run=run, status=error.http_status)
        form = self._read(said)
        if secret := {c.name for c in form.controls if c.kind == "secret"} & {*said.flags}:
            # An address is seen and kept by others; the field for it stays empty, and so it is.
            flags = {name: text for name, text in said.flags.items() if name not in secret}
            form = self._read(said._replace(flags=flags))
        return self._show(request, form, run=run, asked=False)

    def start(self, request: Request, fields: Fields) -> Response:
        """Start what the form says, or show it again with what is wrong at its field."""
        form = self._read(_said(fields))
        words = dict(fields)
        run_id = words.get("from", "")
        run = self.workspace.get(run_id) if run_id else None
        if words.get("do") in ("preview", "live"):
            status = 422 if form.fault() else 200
            return self._show(request, form, run=run, status=status, kept=words["do"] == "live")
        if form.fault():
            return self._show(request, form, run=run, status=422)
        if words.get("seen") not in (None, form.seen):
            form.problem = RequestError(
                "the project file or the script has changed since this form was shown",
                hint="look at the command once more, then start",
            )
            return self._show(request, form, run=run, status=409)
        return _see(run_url(start_run(self.workspace, form).id))

    def _read(self, said: Said) -> StartForm:
        said = said if said.op else said._replace(op=default_op(self.workspace))
        return read_form(self.workspace, said)

    def _show(
        self,
        request: Request,
        form: StartForm,
        *,
        run: Run | None,
        status: int = 200,
        asked: bool = True,
        kept: bool = False,
    ) -> Response:
        """Show the form. `asked` is False before anyone has filled in anything.

        `kept` says that a script takes over what differs: typed secrets stay in their fields.
        """
        if not asked:
            for control in form.controls:
                # Nobody has done anything wrong yet: the field says that it is required.
                if control.required and not control.changed:
                    control.error = None
        return self._page(
            request,
            "new.html",
            status=status,
            form=form,
            groups=read_choices(self.workspace),
            from_run=run,
            kept=kept,
        )

    def evaluate(self, request: Request, fields: Fields) -> Response:
        runs = self._chosen(fields)
        back = _back(fields, run_url(runs[0].id))
        return self._each(request, runs, back, lambda run: evaluate_run(self.workspace, run))

    def prepare(self, request: Request, fields: Fields) -> Response:
        name = dict(fields).get("name", "")
        said = _said(fields)
        self.preparations.start(name, said.profiles, said.flags)
        # The page leads back to the form as it was filled in.
        words = [("name", name), *self._words(said)]
        return _see(f"/prepare?{urlencode(words)}")

    def _words(self, said: Said) -> Fields:
        """Return the words of an address that fill in the form again; secrets are left out."""
        if not said.op:
            return []
        secret = {c.name for c in self._read(said).controls if c.kind == "secret"}
        flags = [(f"flag.{n}", text) for n, text in said.flags.items() if n not in secret]
        others = (("free", said.free), ("label", said.label), ("note", said.note))
        words = [("op", said.op), *(("profile", name) for name in said.profiles), *flags]
        words += [(field, text) for field, text in others if text]
        return words if len(urlencode(words)) < _MOST_ADDRESS else words[:1]

    def preparation(self, request: Request) -> Response:
        """Show how a preparation goes."""
        self.refuse_read_only()
        name = request.query_params.get("name", "")
        found = self.preparations.look(name)
        if found is None:
            raise RequestError(
                f"`{name[:100]}` was not prepared from this viewer",
                status=404,
                hint=f"`gl prepare {name[:100]}` does it in a terminal" if name else None,
            )
        live = found.status == "running"
        words = [pair for pair in request.query_params.multi_items() if pair[0] != "name"]
        return self._page(
            request,
            "prepare.html",
            live=live,
            follow_s=1 if live else None,
            prepared=found,
            form_url=f"/new?{urlencode(words)}" if words else "/new",
        )

    # Runs

    def stop(self, request: Request, fields: Fields) -> Response:
        strength = dict(fields).get("strength", "")
        chosen = self._chosen(fields)
        # Of many only those that run are meant; of one it is said that it does not.
        runs = [run for run in chosen if run.busy()] or chosen[:1]
        back = _back(fields, run_url(runs[0].id))
        return self._each(request, runs, back, lambda run: stop_run(run, strength))

    def label(self, request: Request, fields: Fields) -> Response:
        """Set the label, the note, or both: whatever of them was sent."""
        words = dict(fields)
        runs = self._chosen(fields)

        def write(run: Run) -> None:
            if "label" in words:
                run.set_label(words["label"])
            if "note" in words:
                run.set_note(words["note"])

        return self._each(request, runs, _back(fields, run_url(runs[0].id)), write)

    def mark(self, request: Request, fields: Fields) -> Response:
        runs = self._chosen(fields)
        return self._each(request, runs, _back(fields), lambda run: run.set_mark(True))

    def unmark(self, request: Request, fields: Fields) -> Response:
        runs = self._chosen(fields)
        return self._each(request, runs, _back(fields), lambda run: run.set_mark(False))

    def trash(self, request: Request, fields: Fields) -> Response:
        """Move runs to the trash; the page says which, with a button that brings them back."""
        runs = self._chosen(fields)
        back = self._with_undo(_back(fields), [run.id for run in runs])
        return self._each(request, runs, back, self.workspace.store.trash)

    def restore(self, request: Request, fields: Fields) -> Response:
        ids = self.undo.expand(_ids(fields))
        if not ids:
            raise RequestError(
                "what was moved is no longer remembered",
                status=404,
                hint="the page of the trash lists the runs in it",
            )
        trashed = {run.id: run for run in self.workspace.store.trashed()}
        runs = [trashed[run_id] for run_id in ids if run_id in trashed]
        if not runs:
            self.workspace.get_trashed(ids[0])
        return self._each(request, runs, _back(fields), self.workspace.store.restore)

    def _chosen(self, fields: Fields) -> list[Run]:
        """Return the runs of the form, each once. Raises for none and for one that is gone.

        With `match` they are all that pass the filter `q`: as many as the page said, in `n`.
        """
        words = dict(fields)
        if words.get("match") == "1":
            return self.matching(words.get("q", ""), words.get("hide", ""), words.get("n", ""))
        return self.named(_ids(fields))

    def named(self, ids: Sequence[str]) -> list[Run]:
        """Return the runs with these ids. Raises RunNotFound."""
        found = {run.id: run for run in self.workspace.runs()}
        return [found.get(run_id) or self.workspace.get(run_id, ()) for run_id in ids]

    def matching(self, query: str, hide: str, count: str) -> list[Run]:
        """Return all runs that pass a filter. Raises RequestError when they are not `count`."""
        runs = self.listing.matching(query, [each for each in hide.split(",") if each])
        if str(len(runs)) != count:
            raise RequestError(
                f"{format_count(len(runs), 'run matches', 'runs match')} now, not {count[:20]}",
                status=409,
                hint="look at the table again, then repeat it",
            )
        return runs

    # Saved views

    def save_view(self, request: Request, fields: Fields) -> Response:
        words = dict(fields)
        return _see(self.views.save(words.get("name", ""), words.get("address", "")).address)

    def delete_view(self, request: Request, fields: Fields) -> Response:
        self.views.delete(dict(fields).get("name", ""))
        return _see(_back(fields))

    def _with_undo(self, path: str, ids: Sequence[str]) -> str:
        """Return an address whose page offers to bring runs back, however many they are."""
        word = ",".join(quote(each) for each in ids)
        if len(word) > _MOST_UNDO:
            word = self.undo.remember(ids)
        return f"{path}{'&' if '?' in path else '?'}trashed={word}"

    def _each(
        self, request: Request, runs: list[Run], back: str, do: Callable[[Run], object]
    ) -> Response:
        """Do something to each run, then go back, or say with which ones it was not possible."""
        troubles = try_each(runs, do)
        if not troubles:
            return _see(back)
        status = 409 if len(runs) > 1 else troubles[0].error.http_status
        done = len(runs) - len(troubles)
        return self._page(
            request, "outcome.html", status=status, troubles=troubles[:_MOST_TROUBLES],
            count=len(troubles), done=done, back=back,
        )  # fmt: skip


def try_each(runs: Iterable[Run], do: Callable[[Run], object]) -> list[Trouble]:
    """Do something to each run; return those with which it was not possible."""
    troubles = []
    for run in runs:
        try:
            do(run)
        except GuildliteError as error:
            troubles.append(Trouble(run.id, error))
        except OSError as error:
            why = f"{run.path} cannot be written: {error.strerror}"
            troubles.append(Trouble(run.id, GuildliteError(why)))
    return troubles


def _read_fields(request: Request, body: bytes) -> Fields:
    """Return the fields of a form. Raises RequestError for anything else, or for too much."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded" or "origin" not in request.headers:
        raise RequestError(
            "this address takes a form of the viewer's own pages",
            status=415,
            hint="scripts send JSON to `/api/v1/`",
        )
    try:
        fields = parse_qsl(
            body.decode("utf-8", "surrogateescape"),
            keep_blank_values=True,
            max_num_fields=MOST_FIELDS,
        )
    except ValueError as error:
        raise RequestError(
            "the form has too many fields", status=413, expected=f"at most {MOST_FIELDS}"
        ) from error
    fields = [(name, text.replace("\r\n", "\n")) for name, text in fields]
    for name, text in fields:
        if len(text) > MOST_TEXT and name not in _ANY_LENGTH:
            raise RequestError(
                "a field is too long", status=413, field=name[:100], expected=f"{MOST_TEXT}"
            )
        if "\0" in text or not _is_text(text):
            raise RequestError("a field holds what is no text", status=422, field=name[:100])
    return fields


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _said(fields: Iterable[tuple[str, str]]) -> Said:
    """Return what the fields of the form say.

    `was.NAME` is what a switch stood at when it was shown: one that still does says nothing.
    """
    words = dict(fields)
    given = {name[5:]: text for name, text in words.items() if name.startswith("flag.")}
    flags = {
        name: text for name, text in given.items() if text and words.get(f"was.{name}") != text
    }
    cleared = frozenset(name[6:] for name in words if name.startswith("clear."))
    profiles = tuple(dict.fromkeys(text for name, text in fields if name == "profile" and text))
    return Said(
        op=words.get("op", "").strip(),
        profiles=profiles,
        flags=flags,
        cleared=cleared,
        free=words.get("free", ""),
        label=words.get("label", "").strip(),
        note=words.get("note", "").strip(),
    )


def _over(base: Said, said: Said) -> Said:
    """Return what a run says, with what was said besides."""
    return base._replace(
        op=said.op or base.op,
        profiles=said.profiles or base.profiles,
        flags={**base.flags, **said.flags},
        free="\n".join(filter(None, (base.free, said.free))),
        label=said.label,
        note=said.note,
    )


def _ids(fields: Fields) -> list[str]:
    ids = [each for name, text in fields if name == "run" for each in text.split(",") if each]
    if not ids:
        raise RequestError("no run was chosen", status=422, hint="tick the boxes before the runs")
    return list(dict.fromkeys(ids))


def _back(fields: Fields, default: str = "/runs") -> str:
    """Return where a form wants to go back to, if that is a page of runs."""
    parts = urlsplit(dict(fields).get("back", ""))
    inside = parts.path == "/runs" or parts.path.startswith(("/runs/", "/compare"))
    if parts.scheme or parts.netloc or not inside or "\\" in parts.path:
        return default
    words = [pair for pair in parse_qsl(parts.query) if pair[0] != "trashed"]
    return f"{parts.path}?{urlencode(words)}" if words else parts.path


def _see(path: str) -> Response:
    return RedirectResponse(path, status_code=303)


# The same as JSON


class StartRequest(BaseModel):
    """A start: what the form has, by the same names."""

    op: str = Field("", description="`MODEL:OPERATION`, or a script without a project file")
    from_run: str = Field("", description="id of a run whose flags come first")
    profiles: list[str] = []
    flags: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, description="checked; null takes a default away"
    )
    free: list[str] = Field(default_factory=list, description="`name=value`, passed unchecked")
    label: Annotated[str, Field(max_length=MOST_TEXT)] = ""
    note: str = ""


class LabelRequest(BaseModel):
    """New words on a run; null leaves what is there, an empty text takes it off."""

    label: Annotated[str | None, Field(max_length=MOST_TEXT)] = None
    note: str | None = None
    marked: bool | None = None


class StopRequest(BaseModel):
    strength: str = Field("", description="`interrupt`, `terminate` or `kill`")


class BulkRequest(BaseModel):
    """Something done to many runs: to those named, or to all that pass a filter."""

    do: Literal["stop", "label", "mark", "unmark", "trash", "restore"]
    runs: list[str] = Field(default_factory=list, description="ids")
    q: str | None = Field(None, description="instead of `runs`: all that pass this filter")
    n: int | None = Field(None, description="how many they are; others are not touched")
    label: Annotated[str, Field(max_length=MOST_TEXT)] = ""


class ViewRequest(BaseModel):
    name: str
    address: str = Field(description="as in `/runs?q=loss+%3C+0.1`")


class PrepareRequest(BaseModel):
    name: str = Field(description="a model or a resource")
    profiles: list[str] = []
    flags: dict[str, bool | int | float | str] = {}


def make_actions_router(actions: Actions) -> APIRouter:
    """Return the routes under /api/v1 that change something."""
    api = APIRouter(prefix="/api/v1", default_response_class=JSON)
    _add_starting(api, actions)
    _add_changing(api, actions)
    _add_bulk(api, actions)
    _add_views(api, actions)
    return api


def _add_starting(api: APIRouter, actions: Actions) -> None:
    workspace = actions.workspace

    def read(asked: StartRequest) -> StartForm:
        said = Said(
            op=asked.op,
            profiles=tuple(asked.profiles),
            flags={
                name: format_value(value)
                for name, value in asked.flags.items()
                if value is not None
            },
            cleared=frozenset(name for name, value in asked.flags.items() if value is None),
            free="\n".join(asked.free),
            label=asked.label,
            note=asked.note,
        )
        if asked.from_run:
            said = _over(said_of(workspace, workspace.get(asked.from_run)), said)
        said = said if said.op else said._replace(op=default_op(workspace))
        return read_form(workspace, said)

    @api.post("/runs", summary="Start a run", status_code=201)
    def start(asked: StartRequest) -> JSON:
        actions.refuse_read_only()
        form = read(asked)
        run = start_run(workspace, form)
        body = {"id": run.id, "uid": run.uid, "dir": str(run.path), "command": form.executed}
        return JSON(body, status_code=201, headers={"location": f"/api/v1{run_url(run.id)}"})

    @api.post("/new", summary="What a start would execute, and what is wrong; starts nothing")
    def preview(asked: StartRequest) -> JSON:
        actions.refuse_read_only()
        form = read(asked)
        fault = form.fault()
        return JSON(
            {
                "command": form.command,
                "executed": form.executed,
                "environment": form.environment,
                "changes": form.changes,
                "error": fault[0].message if fault else None,
                "hint": fault[0].hint if fault else None,
                "field": fault[1] if fault else None,
                "flags": form.controls,
            }
        )

    @api.post("/runs/{run_id}/evaluate", summary="Evaluate a run", status_code=201)
    def evaluate(run_id: str) -> JSON:
        actions.refuse_read_only()
        record = evaluate_run(workspace, workspace.get(run_id))
        return JSON({"id": run_id, "operation": record.paths.name}, status_code=201)

    @api.post("/prepare", summary="Run a prepare command", status_code=202)
    def prepare(asked: PrepareRequest) -> JSON:
        actions.refuse_read_only()
        found = actions.preparations.start(
            asked.name,
            tuple(asked.profiles),
            {name: format_value(value) for name, value in asked.flags.items()},
        )
        return JSON(replace(found, output=""), status_code=202)

    @api.get("/prepare", summary="How a preparation started here goes")
    def preparation(name: str) -> JSON:
        actions.refuse_read_only()
        found = actions.preparations.look(name)
        if found is None:
            raise RequestError(f"`{name[:100]}` was not prepared from this viewer", status=404)
        return JSON(found)


def _add_changing(api: APIRouter, actions: Actions) -> None:
    workspace = actions.workspace

    @api.post("/runs/{run_id}/stop", summary="Ask a run to end; again, more strongly")
    def stop(run_id: str, asked: StopRequest | None = None) -> JSON:
        actions.refuse_read_only()
        run = workspace.get(run_id)
        stop_run(run, asked.strength if asked else "")
        return JSON({"id": run.id, "status": run.fresh().status.value})

    @api.post("/runs/{run_id}/label", summary="Label, note and mark of a run")
    def label(run_id: str, asked: LabelRequest) -> JSON:
        actions.refuse_read_only()
        run = workspace.get(run_id)
        try:
            if asked.label is not None:
                run.set_label(asked.label)
            if asked.note is not None:
                run.set_note(asked.note)
            if asked.marked is not None:
                run.set_mark(asked.marked)
        except OSError as error:
            raise GuildliteError(f"{run.path} cannot be written: {error.strerror}") from error
        return JSON({"id": run.id, "label": run.label, "note": run.note, "marked": run.marked})

    @api.post("/runs/{run_id}/trash", summary="Move a run to the trash")
    def trash(run_id: str) -> JSON:
        actions.refuse_read_only()
        run = workspace.get(run_id)
        return JSON({"id": run.id, "dir": str(workspace.store.trash(run))})

    @api.post("/runs/{run_id}/restore", summary="Bring a run back from the trash")
    def restore(run_id: str) -> JSON:
        actions.refuse_read_only()
        run = workspace.get_trashed(run_id)
        return JSON({"id": run.id, "dir": str(workspace.store.restore(run))})


def _add_bulk(api: APIRouter, actions: Actions) -> None:
    store = actions.workspace.store

    def runs_of(asked: BulkRequest) -> list[Run]:
        if asked.do == "restore":
            trashed = {run.id: run for run in store.trashed()}
            ids = actions.undo.expand(asked.runs)
            return [trashed.get(each) or actions.workspace.get_trashed(each) for each in ids]
        if asked.q is not None:
            return actions.matching(asked.q, "", str(asked.n))
        return actions.named(asked.runs)

    @api.post("/bulk", summary="Do something to many runs")
    def bulk(asked: BulkRequest) -> JSON:
        actions.refuse_read_only()
        does: dict[str, Callable[[Run], object]] = {
            "stop": stop_run,
            "label": lambda run: run.set_label(asked.label),
            "mark": lambda run: run.set_mark(True),
            "unmark": lambda run: run.set_mark(False),
            "trash": store.trash,
            "restore": store.restore,
        }
        runs = runs_of(asked)
        troubles = try_each(runs, does[asked.do])
        failed = {each.id for each in troubles}
        done = [run.id for run in runs if run.id not in failed]
        body = {
            "done": done,
            "troubles": [
                {"id": each.id, "error": each.error.message, "hint": each.error.hint}
                for each in troubles
            ],
        }
        if asked.do == "trash" and done:
            body["undo"] = [actions.undo.remember(done)]
        return JSON(body, status_code=409 if troubles and not done else 200)


def _add_views(api: APIRouter, actions: Actions) -> None:
    @api.get("/views", summary="The saved views")
    def views() -> JSON:
        return JSON({view.name: view.address for view in actions.views.list()})

    @api.post("/views", summary="Save a view under a name", status_code=201)
    def save(asked: ViewRequest) -> JSON:
        actions.refuse_read_only()
        view = actions.views.save(asked.name, asked.address)
        where = {"location": view_url(view.name)}
        return JSON(view, status_code=201, headers=where)

    @api.delete("/views/{name}", summary="Forget a saved view")
    def delete(name: str) -> JSON:
        actions.refuse_read_only()
        return JSON(actions.views.delete(name))
