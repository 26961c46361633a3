"""What one viewer looks at: a project (or none), its runs, and how they are found.

A `Workspace` is made once and shared by all requests; it holds no connection and no open file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from guildlite import defaults
from guildlite.errors import RunNotFound
from guildlite.project import Metric, Project, View
from guildlite.runs import Run, RunStore

Settle = Callable[[Sequence[Run]], object]


class Workspace:
    """The runs below one root, seen with the eyes of one project file.

    `settle` finishes runs that ended while nobody wrote for them; None leaves every file alone.
    `read_only` says that nothing may be started, stopped or changed from here.
    """

    def __init__(
        self,
        directory: Path,
        project: Project | None,
        *,
        name: str | None = None,
        settle: Settle | None = None,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self.directory = directory
        self.project = project
        self._name = name
        self.root = project.runs_root if project else directory / defaults.RUNS_DIR
        self.store = RunStore(self.root)
        self._settle = settle

    @property
    def name(self) -> str:
        return self._name or (self.project.name if self.project else self.directory.name) or "runs"

    @property
    def interval_s(self) -> int:
        """Seconds between looks at something that is running."""
        return max(2, round(self.project.interval)) if self.project else defaults.INTERVAL_S

    @property
    def view(self) -> View:
        return self.project.view if self.project else View((), (), ())

    @property
    def metrics(self) -> dict[str, Metric]:
        return self.project.metrics if self.project else {}

    def goal_of(self, key: str) -> str | None:
        """Return `min` or `max` for a metric of the project that has a goal, else None."""
        metric = self.metrics.get(key)
        return metric.goal if metric else None

    def format_of(self, key: str) -> str | None:
        """Return the project's number format of a series."""
        metric = self.metrics.get(key)
        return metric.format if metric else None

    def runs(self) -> list[Run]:
        """Return all runs, newest first, those that cannot be read among them."""
        return self.store.list()

    def settle(self, runs: Sequence[Run]) -> None:
        """Catch up with runs that ended unseen; at most once a request, in a worker thread."""
        if self._settle is not None:
            self._settle([run for run in runs if run.error is None])

    @property
    def settles(self) -> bool:
        """Whether runs that ended unseen are finished; else every file is left alone."""
        return self._settle is not None

    def get(self, run_id: str, runs: Iterable[Run] | None = None) -> Run:
        """Return the run with exactly this id; raises RunNotFound.

        The id is compared, never joined to a path: it comes from a URL.
        """
        for run in self.runs() if runs is None else runs:
            if run.id == run_id:
                return run
        raise RunNotFound(
            f"there is no run `{run_id[:100]}`", hint="it may have been removed since"
        )

    def get_trashed(self, run_id: str) -> Run:
        """Return the run in the trash with exactly this id; raises RunNotFound."""
        for run in self.store.trashed():
            if run.id == run_id:
                return run
        raise RunNotFound(f"`{run_id[:100]}` is not in the trash", hint="it may be back already")

    def latest(self) -> Run:
        """Return the newest run; raises RunNotFound when there is none."""
        for run in self.runs():
            return run
        raise RunNotFound("there are no runs yet", hint="start one with `gl train`")


def is_live(run: Run) -> bool:
    """Say whether more may come from this run, from its own or a later operation."""
    return run.error is None and run.busy()


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key by which `gpu2` comes before `gpu10`."""
    parts = re.split(r"(\d{1,15})", text.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
