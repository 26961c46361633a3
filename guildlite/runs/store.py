"""The runs of a project: a directory of run directories, and a trash inside it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from guildlite.errors import GuildliteError, LaunchError, RunNotFound, UsageError, nearest
from guildlite.runs.changes import note_change
from guildlite.runs.paths import OWN_DIR, TRASH_DIR, RunPaths
from guildlite.runs.run import Run

#: Inside the class `list` is the method.
_Runs = list[Run]

_STAMP = re.compile(r"\d{8}T\d{6}Z")
MOST_NAME_BYTES = 100
_NUMBER = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{0,9})")


class RunStore:
    """Run directories under `root`. Nothing is cached: every call looks at the disk.

    `notices` collects what a lookup should tell the user on stderr.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notices: list[str] = []

    # Looking ------------------------------------------------------------------------------

    def list(self) -> _Runs:
        """Return all runs, newest first; those that cannot be read are among them.

        Raises GuildliteError when the directory of runs itself cannot be read.
        """
        return _newest_first(_runs_in(self.root))

    def trashed(self) -> _Runs:
        """Return the runs in the trash, newest first."""
        return _newest_first(_runs_in(self.root / TRASH_DIR))

    def find(self, ref: str) -> Run | None:
        """Return the run that `ref` names, or None. UsageError when several answer to it."""
        return self._find(ref, self.list())

    def get(self, ref: str) -> Run:
        """Return the run that `ref` names: a path, a number, part of a name, a label, `latest`."""
        runs = self.list()
        return self._find(ref, runs) or self._missing(ref, runs)

    def select(self, refs: Sequence[str], *, trashed: bool = False) -> _Runs:
        """Return the runs that `refs` name, each once; ranges `2-5` and `3-` are allowed."""
        runs = self.trashed() if trashed else self.list()
        chosen: dict[Path, Run] = {}
        for ref in refs:
            match = _RANGE.fullmatch(ref)
            if match:
                found = _in_range(runs, int(match[1]), int(match[2] or len(runs)), ref)
            else:
                found = [self._find(ref, runs) or self._missing(ref, runs, trashed=trashed)]
            chosen.update((run.path, run) for run in found)
        return [*chosen.values()]

    def _find(self, ref: str, runs: Sequence[Run]) -> Run | None:
        if not ref:
            return None
        if ref == "latest":
            return runs[0] if runs else None
        if _is_number(ref) and 1 <= int(ref) <= len(runs):
            return runs[int(ref) - 1]
        directory = _as_run_directory(ref)
        if directory is not None:
            return directory
        exact = [run for run in runs if run.id == ref]
        if exact:
            return exact[0]
        labelled = [run for run in runs if run.label == ref]
        if labelled:
            if len(labelled) > 1:
                self.notices.append(
                    f"{len(labelled)} runs are labelled `{ref}`; took the newest, {labelled[0].id}"
                )
            return labelled[0]
        if not ref.strip("0"):
            return None  # people who count from 0 mean no part of a name
        return _only([run for run in runs if ref in run.id], ref)

    def _missing(self, ref: str, runs: Sequence[Run], *, trashed: bool = False) -> Run:
        if trashed:
            raise self._not_in_trash(ref, runs)
        if not runs:
            raise RunNotFound(
                f"there are no runs in {self.root}",
                hint="`gl run SCRIPT` starts one, or `gl train` in a project",
            )
        if _is_number(ref):
            raise RunNotFound(f"there is no run {ref}: {_numbers(len(runs))}", hint="see `gl runs`")
        close = nearest(ref, [run.id for run in runs] + [run.label for run in runs if run.label])
        hint = f"did you mean `{close}`?" if close else "see `gl runs`"
        raise RunNotFound(f"no run is called `{ref}`", hint=hint)

    def _not_in_trash(self, ref: str, trashed: Sequence[Run]) -> RunNotFound:
        if not trashed:
            return RunNotFound("the trash is empty")
        return RunNotFound(f"`{ref}` is not in the trash", hint="see `gl runs --trash`")

    # Making -------------------------------------------------------------------------------

    def create(self, model: str, now: float | None = None) -> Run:
        """Make a new run directory named by UTC time and model; mkdir decides who gets a name.

        Raises LaunchError when the directory cannot be made.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() if now is None else now))
        name = "-".join(part for part in (stamp, safe_name(model)) if part)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            path = _make_directory(self.root, name)
            RunPaths(path).meta.mkdir(parents=True)
        except OSError as error:
            raise LaunchError(
                f"cannot make a run directory in {self.root}: {error.strerror}",
                hint="check its permissions and free space, or set `runs:` in project.yml",
            ) from error
        return Run(path)

    # Trash --------------------------------------------------------------------------------

    def trash(self, run: Run) -> Path:
        """Move a run to the trash beside it and return where it went. A running one is refused."""
        if run.path.parent.name == TRASH_DIR:
            raise GuildliteError(f"{run.id} is in the trash already", hint="see `gl runs --trash`")
        _refuse_busy(run)
        return _move(run.path, run.path.parent / TRASH_DIR)

    def restore(self, run: Run) -> Path:
        """Move a run back from the trash and return its directory."""
        _refuse_outside_trash(run)
        return _move(run.path, run.path.parent.parent)

    def purge(self, run: Run) -> None:
        """Delete a run of the trash for good; anything outside the trash is refused.

        Of a link only the link goes.
        """
        _refuse_outside_trash(run)
        _refuse_busy(run)
        try:
            if run.path.is_symlink():
                run.path.unlink()
            else:
                import shutil  # only here, since every command imports this module

                shutil.rmtree(run.path)
        except OSError as error:
            raise GuildliteError(f"{run.path} cannot be deleted: {error}") from error


def _refuse_outside_trash(run: Run) -> None:
    # The folder itself must be the trash, not a link to somewhere else.
    trash = run.path.parent
    if trash.name != TRASH_DIR or trash.is_symlink():
        raise GuildliteError(f"{run.path} is not in the trash", hint=f"gl rm {run.id}")


def safe_name(text: str) -> str:
    """Return `text` with everything that is awkward in a file name replaced by `_`, shortened."""
    name = re.sub(r"[^\w.+=@-]", "_", text).strip(".")
    # File systems count bytes, 255 at most, and a time and number come to it.
    return name.encode()[:MOST_NAME_BYTES].decode("utf-8", "ignore")


def _make_directory(root: Path, name: str) -> Path:
    number = 1
    while True:
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(mode=0o755)
            return path
        except FileExistsError:
            number += 1


def _numbers(count: int) -> str:
    """Return which numbers runs have, in words."""
    return "they are numbered from 1 to " + str(count) if count > 1 else "the only one is run 1"


def _is_number(ref: str) -> bool:
    return _NUMBER.fullmatch(ref) is not None


def _runs_in(root: Path) -> Iterable[Run]:
    return [Run(root / name) for name in list_names(root) if is_run(root, name)]


def list_names(root: Path | str) -> list[str]:
    """Return the names in a directory of runs that may be runs; none where it is not there.

    Raises GuildliteError when it cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise GuildliteError(
            f"the runs in {root} cannot be listed: {error.strerror}",
            hint="check its permissions, or set `runs:` in project.yml",
        ) from error


def is_run(root: Path | str, name: str) -> bool:
    """Return whether a directory is a run; one that lost its `gl.d` is known by its name."""
    if os.path.isdir(os.path.join(root, name, OWN_DIR)):
        return True
    return _STAMP.match(name) is not None and os.path.isdir(os.path.join(root, name))


def _newest_first(runs: Iterable[Run]) -> list[Run]:
    """Sort by the time in the name; the manifest is only read where that leaves a tie."""
    by_stamp: dict[str, list[Run]] = {}
    for run in runs:
        by_stamp.setdefault(_stamp(run), []).append(run)
    return [run for stamp in sorted(by_stamp, reverse=True) for run in _untie(by_stamp[stamp])]


def _stamp(run: Run) -> str:
    match = _STAMP.match(run.id)
    if match:
        return match[0]
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(run.created_at or 0))


def _untie(runs: Sequence[Run]) -> Sequence[Run]:
    if len(runs) == 1:
        return runs
    return sorted(runs, key=lambda run: (run.created_at or 0, run.id), reverse=True)


def _only(found: Sequence[Run], ref: str) -> Run | None:
    if len(found) > 1:
        shown = ", ".join(run.id for run in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UsageError(
            f"`{ref}` fits {len(found)} runs: {shown}{more}", hint="give more of the name"
        )
    return found[0] if found else None


def _as_run_directory(ref: str) -> Run | None:
    if os.sep not in ref and not os.path.isdir(os.path.join(ref, OWN_DIR)):
        return None
    path = Path(os.path.abspath(ref))
    return Run(path) if (path / OWN_DIR).is_dir() else None


def _in_range(runs: Sequence[Run], first: int, last: int, ref: str) -> Sequence[Run]:
    if not 1 <= first <= last or first > len(runs):
        raise UsageError(f"no runs in the range `{ref}`", hint="see `gl runs`")
    return runs[first - 1 : last]


def _refuse_busy(run: Run) -> None:
    if not run.busy():
        return
    elsewhere = run.status_note if run.status_note and not run.status.ended else None
    if elsewhere:
        raise GuildliteError(
            f"{run.id} may still be running: {elsewhere}",
            hint=f"if it is dead, delete {run.path} yourself",
        )
    raise GuildliteError(f"{run.id} is still running", hint=f"gl stop {run.id}")


def _move(path: Path, target: Path, rename: Callable[[Path, Path], object] = os.rename) -> Path:
    try:
        target.mkdir(exist_ok=True)
        destination = target / path.name
        if destination.exists():
            raise GuildliteError(f"{destination} is already there", hint="move or rename it first")
        rename(path, destination)
    except OSError as error:
        raise GuildliteError(f"{path} cannot be moved: {error.strerror}") from error
    note_change(path)
    return destination
