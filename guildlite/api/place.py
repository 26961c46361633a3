"""Where the runs of a question are: the project of a directory, or a directory of runs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

from guildlite import defaults
from guildlite.errors import ProjectFileError, UsageError
from guildlite.project import PROJECT_FILE, Project, find_project, load_project
from guildlite.query import Vocabulary

#: What may name a file or directory.
AnyPath = str | os.PathLike[str]


class Place(NamedTuple):
    """A directory of runs, and the project whose runs they are, if one is known."""

    root: Path
    project: Project | None

    def vocabulary(self) -> Vocabulary:
        """Return the names that are no mistake in a filter although no run has them yet."""
        if self.project is None:
            return Vocabulary()
        return Vocabulary(flags=self.project.flag_names(), series=tuple(self.project.metrics))

    def goals(self) -> dict[str, str | None]:
        """Return `min` or `max` by series, None where the project has no goal for it."""
        metrics = self.project.metrics.values() if self.project is not None else ()
        return {metric.key: metric.goal for metric in metrics}


def find_place(root: AnyPath | None = None, project: AnyPath | None = None) -> Place:
    """Return the place that the arguments mean, else the one of the working directory.

    `root` is a directory of runs, `project` a project's directory or project file. As with gl,
    the working directory's project is the one there or in the nearest parent, and without any it
    is `./runs`. A project file that cannot be read keeps nobody from its runs: a warning says so.
    Raises UsageError for a `project` that is none.
    """
    if root is not None and project is not None:
        raise UsageError("give `root` or `project`, not both")
    if root is not None:
        return Place(Path(os.path.abspath(root)), None)
    try:
        found = find_project(working_directory()) if project is None else project_at(project)
    except ProjectFileError as error:
        directory = Path(error.path).parent if error.path else working_directory()
        runs_root = directory / defaults.RUNS_DIR
        warnings.warn(f"{error.message}; looking for runs in {runs_root}", stacklevel=3)
        return Place(runs_root, None)
    if found is None:
        return Place(working_directory() / defaults.RUNS_DIR, None)
    return Place(found.runs_root, found)


def project_at(path: AnyPath) -> Project:
    """Return the project of a directory or project file, exactly there.

    Raises UsageError where there is none, ProjectFileError for a bad file.
    """
    file = Path(os.path.abspath(path))
    if file.is_dir():
        file /= PROJECT_FILE
    if not file.is_file():
        raise UsageError(
            f"there is no project file `{file}`", hint="give a project's directory or its file"
        )
    return load_project(file)


def current_project(path: AnyPath | None) -> Project | None:
    """Return the project at `path`, without one the working directory's or None."""
    return find_project(working_directory()) if path is None else project_at(path)


def working_directory() -> Path:
    """Return the working directory; UsageError when it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        raise UsageError("the current directory does not exist any more")
