"""A project with runs, and a real viewer of it with a client that is let in."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from guildlite.http import Tokens
from guildlite.project import Project, load_project
from guildlite.runs import RunStore
from guildlite.web.app import create_app
from guildlite.web.workspace import Settle
from support.servers import running

SECRET = "the-secret-of-the-tests"

PROJECT = """
name: digits
models: {expert: expert.py, intro: intro.py}
metrics:
  validation/accuracy: {goal: max, primary: true, format: "0.0%"}
  train/loss: {goal: min}
view:
  fields: [validation/accuracy, train/loss, flag.lr]
  charts: [{title: Loss, series: "(train|validation)/loss"}]
  compare: [flag.lr]
"""


class Place(NamedTuple):
    project: Project
    store: RunStore


def make_project(directory: Path) -> Place:
    """Write a project file and return the project with its store."""
    (directory / "project.yml").write_text(PROJECT)
    project = load_project(directory / "project.yml")
    return Place(project, RunStore(project.runs_root))


@contextmanager
def viewing(
    directory: Path,
    *,
    project: bool = True,
    settle: Settle | None = None,
    read_only: bool = False,
) -> Iterator[httpx.Client]:
    """Serve the viewer of `directory`; gives a client that asks for HTML and has the token."""
    found = load_project(directory / "project.yml") if project else None
    app = create_app(directory, found, tokens=Tokens(SECRET), settle=settle, read_only=read_only)
    with running(app) as port:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {SECRET}", "accept": "text/html"},
            timeout=30,
        )
        with client:
            yield client


def get_raw(client: httpx.Client, target: str) -> int:
    """Return the status of a GET whose target goes out exactly as written; httpx tidies it."""
    connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port or 0, timeout=30)
    try:
        connection.putrequest("GET", target, skip_host=False)
        connection.putheader("Authorization", f"Bearer {SECRET}")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()
