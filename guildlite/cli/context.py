"""What every command needs to know: where it was started, the project there, its runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite import defaults
from guildlite.errors import ProjectFileError, UsageError

if TYPE_CHECKING:
    from guildlite.project import Project
    from guildlite.runs import Run, RunStore


class Context:
    """The `obj` of click's context; made once per command, project and store read when asked for.

    Lines for people go to stderr through `say`; data goes to stdout through `write`.
    """

    def __init__(self) -> None:
        self.debug = False
        self._project: Project | None = None
        self._looked = False
        self._store: RunStore | None = None

    def enter(self, directory: str) -> None:
        """Change to the directory of `-C`; the command's other paths are relative to it."""
        try:
            os.chdir(directory)
        except OSError as error:
            raise UsageError(f"`-C {directory}`: {(error.strerror or 'not usable').lower()}")

    @property
    def directory(self) -> Path:
        """The directory gl works in."""
        try:
            return Path.cwd()
        except OSError:
            raise UsageError("the current directory does not exist any more")

    def find_project(self) -> Project | None:
        """Return the project of the directory, or None; raises ProjectFileError for a bad file."""
        if not self._looked:
            from guildlite.project import find_project

            self._project = find_project(self.directory)
            self._looked = True
        return self._project

    def project(self) -> Project:
        """Return the project of the directory; raises UsageError where there is none."""
        project = self.find_project()
        if project is None:
            raise UsageError(
                f"there is no project.yml in `{self.directory}` or above it",
                hint="`gl init` writes one, `gl run SCRIPT` does without",
            )
        return project

    def readable_project(self) -> Project | None:
        """Return the project, or None where there is none or its file is bad."""
        try:
            return self.find_project()
        except ProjectFileError:
            return None

    def how_to_start(self) -> str:
        """Return the sentence that says which command starts a run here."""
        project = self.readable_project()
        command = "gl train" if project and project.models else "gl run SCRIPT"
        return f"`{command}` starts one"

    def store(self) -> RunStore:
        """Return the runs of the project; without a project file those in `./runs`.

        A typo in the project file keeps nobody from reading or stopping a run: then it is the
        `runs` beside the file.
        """
        if self._store is None:
            from guildlite.runs import RunStore

            self._store = RunStore(self._runs_root())
        return self._store

    def _runs_root(self) -> Path:
        try:
            project = self.find_project()
        except ProjectFileError as error:
            root = (Path(error.path).parent if error.path else self.directory) / defaults.RUNS_DIR
            self.say(f"{error.message}; looking for runs in {root}")
            return root
        return project.runs_root if project else self.directory / defaults.RUNS_DIR

    def get_run(self, ref: str | None) -> Run:
        """Return the run a RUN word means, the latest for None; raises RunNotFound."""
        run = self.store().get(ref or "latest")
        self._say_notices()
        return run

    def select_runs(self, refs: tuple[str, ...], *, trashed: bool = False) -> list[Run]:
        """Return the runs that RUN words and ranges mean, each once; raises RunNotFound."""
        runs = self.store().select(refs, trashed=trashed)
        self._say_notices()
        return runs

    def _say_notices(self) -> None:
        notices = self.store().notices
        for notice in notices:
            self.say(notice)
        notices.clear()

    def say(self, text: str = "") -> None:
        """Print a line for people on stderr; only line ends get through of what is not text."""
        from guildlite.cli.output import for_terminal

        lines = (for_terminal(line) for line in text.split("\n"))
        print("\n".join(lines), file=sys.stderr, flush=True)

    def write(self, text: str) -> None:
        """Print a line of data on stdout; what comes from a run must be safe for a terminal."""
        print(text)

    def write_json(self, value: Any) -> None:
        """Print one JSON document on stdout."""
        from guildlite.cli.output import format_json

        print(format_json(value))
