"""`gl prepare` from the viewer: a command in the project directory whose output is kept to look at.

There is no run for it, so what is known of it lives as long as the viewer; the command itself goes
on when the viewer ends.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from guildlite.errors import LaunchError, UsageError
from guildlite.execute.prepare import (
    Plan,
    Words,
    check_without_run,
    plan_operation,
)
from guildlite.http import RequestError
from guildlite.platform import signal_name
from guildlite.project import Operation, Project
from guildlite.web.actions.form import current_project, launch_environ
from guildlite.web.workspace import Workspace

#: Of its output, how much is shown: the end.
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Prepared:
    """How a preparation stands. Times are epoch seconds; `ending` as in `exit status 1`."""

    name: str
    command: str
    status: str
    ending: str
    started: float
    output: str
    cut: bool


class _Process:
    def __init__(self, plan: Plan, name: str, command: str) -> None:
        self.name, self.command, self.started = name, command, time.time()
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        environ = {n: v for n, v in launch_environ().items() if n != "RUNDIR"}
        environ.update(plan.environment(None))
        try:
            self.popen = subprocess.Popen(
                plan.argv(None),
                cwd=plan.directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=self.file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.file.close()
            program = plan.command.argv[0]
            raise LaunchError(f"`{program}` cannot be started: {error.strerror}") from error

    def look(self) -> Prepared:
        code = self.popen.poll()
        size = os.fstat(self.file.fileno()).st_size
        # The command writes at the file's position, which it shares with us: none is moved here.
        tail = os.pread(self.file.fileno(), _MOST_BYTES, max(0, size - _MOST_BYTES))
        status = "running" if code is None else "completed" if code == 0 else "failed"
        ending = ""
        if code is not None:
            ending = f"died of {signal_name(-code)}" if code < 0 else f"exit status {code}"
        text = tail.decode("utf-8", "replace")
        cut = size > _MOST_BYTES
        return Prepared(self.name, self.command, status, ending, self.started, text, cut)


class Preparations:
    """The preparations of one viewer, the last one of each model or resource."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._last: dict[str, _Process] = {}

    def start(
        self, name: str, profiles: tuple[str, ...] = (), flags: Mapping[str, str] | None = None
    ) -> Prepared:
        """Run the prepare command of a model or resource.

        flags: those it does not declare are left out; a form has those of another operation.
        Raises UsageError for an unknown name, RequestError while it is being prepared already.
        """
        from shlex import join

        project = current_project(self._workspace)
        if project is None:
            raise UsageError("preparing needs a project file", hint="`gl init` writes one")
        operation = _operation(project, name)
        said = [(n, text) for n, text in (flags or {}).items() if n in operation.flags]
        plan = plan_operation(project, operation, Words(profiles, said), launch_environ())
        check_without_run(plan)
        with self._lock:
            before = self._last.get(name)
            if before is not None and before.popen.poll() is None:
                raise RequestError(f"`{name}` is being prepared already", status=409)
            process = _Process(plan, name, join(plan.argv(None, hide_secrets=True)))
            if before is not None:
                before.file.close()
            self._last[name] = process
            return process.look()

    def close(self) -> None:
        """Let go of what was printed; what still runs goes on."""
        with self._lock:
            for process in self._last.values():
                process.file.close()
            self._last.clear()

    def look(self, name: str) -> Prepared | None:
        """Return how the last preparation of this name stands, None where there was none."""
        with self._lock:
            process = self._last.get(name)
            return process.look() if process else None


def _operation(project: Project, name: str) -> Operation:
    if name not in project.models and name in project.resources:
        return project.resource(name).prepare
    return project.operation(project.model(name), "prepare")
