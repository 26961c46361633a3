"""Bare `gl`: where one stands, and the next three commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from guildlite.cli.context import Context
from guildlite.cli.output import aligned, coloured, coloured_status, for_terminal, status_of
from guildlite.wording import format_ago, format_count

if TYPE_CHECKING:
    from guildlite.project import Project
    from guildlite.runs import Run


def print_home(context: Context) -> None:
    """Print the project, its runs and what to do next."""
    project = context.find_project()
    runs = context.store().list()
    for line in _where(context, project):
        context.write(line)
    if runs:
        for line in aligned(_about_runs(runs)):
            context.write(line)
    context.write("")
    for line in aligned(_next_steps(project, runs)):
        context.write(line)
    context.say("`gl --help` lists all commands")


def _where(context: Context, project: Project | None) -> Iterator[str]:
    if project is None:
        yield f"no project in {for_terminal(context.directory)}"
        return
    title = coloured(for_terminal(project.name), "bold")
    about = f": {for_terminal(project.description)}" if project.description else ""
    yield f"project {title}{about}"
    models = ", ".join(project.models)
    yield from aligned([("models", for_terminal(models))] if models else [])


def _about_runs(runs: list[Run]) -> Iterator[tuple[str, str]]:
    active = [run for run in runs if not run.error and run.status.value == "running"]
    yield "runs", format_count(len(runs), "run") + (f", {len(active)} running" if active else "")
    last = runs[0]
    status = status_of(last)
    shown = coloured_status(status)
    ago = format_ago(last.started_at or last.created_at, time.time())
    yield "latest", f"{for_terminal(last.id)}  {shown}  {ago}".rstrip()


def _next_steps(project: Project | None, runs: list[Run]) -> list[tuple[str, str]]:
    """Return three commands that make sense now, and what they do."""
    if runs:
        return _after_a_run(runs[0])
    if project is None:
        return [
            ("gl init", "write a project file for the scripts here"),
            ("gl init --example digits", "write an example project to try"),
            ("gl run SCRIPT", "run a script without a project file"),
        ]
    if not project.models:
        return [
            ("gl run SCRIPT", "run a script; its flags are read from its source"),
            ("gl check", "say what is installed and what is missing"),
            ("gl view", "open the viewer in the browser"),
        ]
    first = [("gl check", "say what is installed and what is missing")]
    if any("prepare" in model.operations for model in project.models.values()):
        first = [("gl prepare", "prepare what the model needs")]
    return [
        *first,
        ("gl train", "start a first run"),
        ("gl models", "list the models and their operations"),
    ]


def _after_a_run(last: Run) -> list[tuple[str, str]]:
    status = "" if last.error else last.status.value
    if status == "running":
        return [
            ("gl attach", "follow the run"),
            ("gl view", "watch it in the browser"),
            ("gl stop", "stop it"),
        ]
    if status in ("failed", "lost"):
        second = ("gl why", "say why the last run ended so")
    else:
        second = ("gl show", "show the last run")
    return [("gl runs", "list the runs"), second, ("gl view", "open the viewer in the browser")]
