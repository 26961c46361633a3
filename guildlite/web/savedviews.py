"""Saved views: short names for addresses of the viewer's own pages.

They lie in one small JSON file beside the project file, `views.json`, so that they can be committed
and read: `{"views": {"good": "/runs?q=loss+%3C+0.1"}}`. Without a project file it lies beside the
runs. The file belongs to its users: one that is damaged is named and never written over.
"""

from __future__ import annotations

import json
import re
import threading
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from guildlite.errors import GuildliteError, nearest
from guildlite.http import RequestError
from guildlite.platform import open_regular
from guildlite.runs.facts import write_text
from guildlite.web.workspace import Workspace

FILE = "views.json"
MOST_VIEWS, MOST_BYTES = 200, 1024 * 1024
#: Characters of an address; longer ones are refused by the server when they are opened.
MOST_ADDRESS = 7000

_NAME = re.compile(r"[^\W_][\w.-]{0,39}")
#: Pages that a name may lead to; nothing that starts, stops or answers anything else.
_PAGES = re.compile(r"/(?:runs|compare)(?:/[^/\\]+)*")
#: Words of an address that are of the moment.
_MOMENTARY = frozenset(["trashed", "sel", "live", "page", "trash"])


class SavedView(NamedTuple):
    """A view: the address its name leads to."""

    name: str
    address: str


class SavedViews:
    """The saved views of a workspace; shared by all requests."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = (workspace.directory if workspace.project else workspace.root) / FILE
        self._lock = threading.Lock()

    def list(self) -> list[SavedView]:
        """Return all views by name; none where the file is missing. Raises GuildliteError."""
        return [SavedView(name, address) for name, address in sorted(self._read().items())]

    def get(self, name: str) -> SavedView:
        """Return the view of that name. Raises RequestError with the nearest name."""
        views = self._read()
        if name in views:
            return SavedView(name, views[name])
        close = nearest(name, views)
        raise RequestError(
            f"there is no saved view `{name[:100]}`",
            status=404,
            hint=f"did you mean `{close}`?" if close else "the page of runs lists them",
        )

    def save(self, name: str, address: str) -> SavedView:
        """Keep an address under a name, also instead of another. Raises RequestError."""
        view = SavedView(_checked_name(name), checked_address(address))
        with self._lock:
            views = self._read()
            if len(views) >= MOST_VIEWS and view.name not in views:
                raise RequestError(
                    f"there are {MOST_VIEWS} saved views already", status=409, hint="delete one"
                )
            self._write({**views, view.name: view.address})
        return view

    def delete(self, name: str) -> SavedView:
        """Forget a view and return it. Raises RequestError."""
        with self._lock:
            view = self.get(name)
            views = self._read()
            del views[view.name]
            self._write(views)
        return view

    def stamp(self) -> tuple[int, int] | None:
        """Return what changes when the file does."""
        try:
            facts = self.path.stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_size

    def _read(self) -> dict[str, str]:
        try:
            with open_regular(self.path) as file:
                text = file.read(MOST_BYTES + 1) or b""
            found = json.loads(text) if len(text) <= MOST_BYTES else None
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(getattr(error, "msg", None) or str(error)) from error
        views = found.get("views") if isinstance(found, dict) else None
        if not isinstance(views, dict):
            raise self._damaged('it must be `{"views": {"NAME": "ADDRESS"}}`')
        # Somebody may have written it by hand: what leads elsewhere is not there.
        return {
            name: address
            for name, address in views.items()
            if isinstance(address, str) and _NAME.fullmatch(name) and _is_page(address)
        }

    def _write(self, views: dict[str, str]) -> None:
        text = json.dumps({"views": dict(sorted(views.items()))}, indent=2, ensure_ascii=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, text + "\n")
        except OSError as error:
            raise GuildliteError(f"{self.path} cannot be written: {error.strerror}") from error

    def _damaged(self, why: str) -> GuildliteError:
        return GuildliteError(
            f"the saved views in {self.path} cannot be read: {why}",
            hint="mend the file, or delete it",
        )


def _checked_name(name: str) -> str:
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise RequestError(
            "a view's name has up to 40 letters, digits, `.`, `_` or `-`, and begins with a letter"
            " or digit",
            status=422,
            field="name",
        )
    return name


def checked_address(address: str) -> str:
    """Return an address of this viewer as it is kept. Raises RequestError for any other."""
    if not _is_page(address):
        raise RequestError(
            "a view is an address of this viewer's runs or comparisons", status=422, field="address"
        )
    parts = urlsplit(address)
    words = [pair for pair in parse_qsl(parts.query) if pair[0] not in _MOMENTARY and pair[1]]
    kept = f"{parts.path}?{urlencode(words)}" if words else parts.path
    if len(kept) > MOST_ADDRESS:
        raise RequestError(
            "the address of this view is too long to be kept", status=422, field="address",
            expected=f"at most {MOST_ADDRESS} characters",
        )  # fmt: skip
    return kept


def _is_page(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    plain = not parts.scheme and not parts.netloc and not parts.fragment and address.isprintable()
    dotted = {".", ".."} & {*parts.path.split("/")}
    return plain and not dotted and bool(_PAGES.fullmatch(parts.path))


def view_url(name: str) -> str:
    """Return the short address of a view."""
    return f"/s/{quote(name, safe='')}"
