"""`gl view`: one viewer for each project, started or found."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from guildlite.platform import ProcessIdentity
from guildlite.web.state import (
    TOKEN_VARIABLE,
    Running,
    find_running,
    forget_running,
    write_running,
)

if TYPE_CHECKING:
    from guildlite.web.workspace import Settle


class RunSource(Protocol):
    """Brings runs into `directory`/runs while it is entered; `name` is for people."""

    @property
    def directory(self) -> Path: ...

    @property
    def name(self) -> str: ...

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> None: ...


def serve_viewer(
    project_dir: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 6333,
    read_only: bool = False,
    open_browser: bool = True,
    source: RunSource | None = None,
    out: Callable[[str], None],
) -> int:
    """Show the runs of the project around `project_dir` until a signal; return the exit status.

    Where a viewer of the same project is running already, its address is printed, opened, and 0
    returned at once. Without a project file the runs in `./runs` are shown.

    host: where to listen; every address, loopback too, demands the token.
    port: 0 takes any free one.
    read_only: nothing is started, stopped or changed, not even a run finished that ended unseen.
    open_browser: done only where there is a screen.
    source: where the runs come from, instead of a project; entered while the viewer runs.
    out: gets each line for people.

    The printed address holds a code that works once and becomes a cookie. A script sends
    `Authorization: Bearer SECRET`: the secret is the one in the environment variable GL_TOKEN (16
    characters at least) or a new one at each start.

    Returns 0 after SIGTERM, 130 after Ctrl-C. Raises GuildliteError with a message for people for a
    bad project file, address or port.
    """
    project = None
    directory = Path(os.path.abspath(project_dir))
    if source is not None:
        directory, name = source.directory, source.name
    else:
        from guildlite.project import find_project

        project = find_project(project_dir)
        directory = project.dir if project else directory
        name = project.name if project else directory.name
    running = find_running(directory)
    code = running.request_code() if running else None
    if running is not None and code is not None:
        out(f"{name if source else directory} is being viewed at {running.url}/?token={code}")
        if open_browser:
            _open_browser(f"{running.url}/?token={running.request_code() or ''}")
        return 0

    from guildlite.http import HttpServer, Tokens, base_url, exit_status, listen
    from guildlite.web.app import create_app

    with listen(host, port) as sock:
        tokens = Tokens(os.environ.get(TOKEN_VARIABLE))
        settle = None if read_only else _settle()
        app = create_app(
            directory,
            project,
            name=name,
            bind_host=host,
            tokens=tokens,
            settle=settle,
            # Log directories are looked at: there is no project to start anything of.
            read_only=read_only or source is not None,
        )
        server = HttpServer(app, sock, grace_s=2)
        url = base_url(host, server.port)

        def announce() -> None:
            process = ProcessIdentity.of(os.getpid())
            reach = _reachable(host)
            write_running(Running(str(directory), url, reach, server.port, tokens.secret, process))
            out(f"viewing {name} at {url}/?token={tokens.issue_code()}")
            out("Ctrl-C stops")
            if open_browser:
                _open_browser(f"{url}/?token={tokens.issue_code()}")

        try:
            with source or nullcontext():
                ended_by = server.run(announce)
        finally:
            forget_running(directory)
    return exit_status(ended_by)


def _settle() -> Settle:
    from guildlite.execute.catchup import settle

    return settle


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches a server bound to `host`."""
    from guildlite.http import WILDCARD

    if host not in WILDCARD:
        return host
    return "::1" if host == "::" else "127.0.0.1"


def _open_browser(url: str) -> None:
    """Open a browser where there is a screen, without waiting for it; over SSH there is none."""
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if os.environ.get("SSH_CONNECTION") or not (screen or sys.platform in ("darwin", "win32")):
        return
    import webbrowser

    # Some browsers return only when they are closed.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
