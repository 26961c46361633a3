"""Which runs an address compares: those it names, or all that pass a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from guildlite.errors import FilterError, RunNotFound
from guildlite.index import Index, RunRecord, read_record
from guildlite.index.record import ENDED
from guildlite.query import Vocabulary, find_runs
from guildlite.runs import Run
from guildlite.web.workspace import Workspace

#: Runs of one comparison; of more that match a filter the newest are taken.
MOST_RUNS = 10_000
#: Points read to see where the curves of two runs part: about two seconds.
MOST_POINTS = 200_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs of a comparison. `filter` is None where they are named one by one.

    `matching` counts what the filter lets through, of `of` runs in all; `problem` says what is
    wrong with it, and then there are no runs. `notices` says how its names were understood.
    """

    records: list[RunRecord]
    filter: str | None = None
    matching: int = 0
    of: int = 0
    problem: FilterError | None = None
    notices: Sequence[str] = field(default_factory=tuple)

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]

    @property
    def live(self) -> bool:
        """Whether more may come from one of them."""
        return any(record.status not in ENDED and not record.error for record in self.records)


def choose_named(workspace: Workspace, ids: Sequence[str]) -> Chosen:
    """Return the runs with these ids, in that order; raises RunNotFound."""
    runs = find_named(workspace, ids)
    workspace.settle(runs)
    records = [read_record(run) for run in runs]
    return Chosen(records, None, len(records), len(records))


def find_named(workspace: Workspace, ids: Sequence[str]) -> list[Run]:
    """Return each run named once; raises RunNotFound."""
    known: Mapping[str, Run] = {run.id: run for run in workspace.runs()}
    missing = next((each for each in ids if each not in known), None)
    if missing is not None:
        raise RunNotFound(
            f"there is no run `{missing[:100]}`", hint="it may have been removed since"
        )
    return [known[each] for each in dict.fromkeys(ids)]


def choose_matching(workspace: Workspace, filter: str) -> Chosen:
    """Return the runs that pass a filter, newest first. A bad filter is a problem, no exception."""
    # Metrics of the project are no mistake although no run has them yet.
    known = Vocabulary(series=dict.fromkeys(workspace.metrics))
    with Index(workspace.root) as index:
        index.refresh(workspace.settle)
        try:
            found = find_runs(index, filter, limit=MOST_RUNS, count=True, known=known)
        except FilterError as error:
            return Chosen([], filter, problem=error)
    records = [row.record for row in found.rows]
    return Chosen(records, filter, found.total or 0, found.of, notices=found.notices)
