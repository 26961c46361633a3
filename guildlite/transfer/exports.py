"""Runs out: what run.db holds, as files that other programs read.

An export appears when it is whole, and never replaces anything. The same run gives the same files,
byte for byte.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from guildlite.errors import GuildliteError, UsageError
from guildlite.runs import Run
from guildlite.runs.paths import OWN_DIR
from guildlite.transfer.stored import Exported, StoredRun

#: What a run can be exported as.
FORMS = ("tensorboard", "csv", "jsonl")


def export_runs(
    runs: Sequence[Run], to: Path, form: str, *, series: str | None = None
) -> list[Exported]:
    """Write runs below the directory `to`: one run into it, several each into one of its name.

    `series` is a regular expression; of the series only those are written whose key it is found
    in. Raises UsageError, before anything is written, when a directory is not free, RunUnreadable,
    and GuildliteError when the disk does not take it; what is whole by then stays.
    """
    wanted = _filter(series)
    targets = [to if len(runs) == 1 else to / run.id for run in runs]
    for target in targets:
        _require_free(target)
    return [_export(run, target, form, wanted) for run, target in zip(runs, targets, strict=True)]


def _filter(series: str | None) -> Callable[[str], bool]:
    if series is None:
        return lambda key: True
    try:
        pattern = re.compile(series)
    except re.error as error:
        raise UsageError(f"`{series}` is not a regular expression: {error}")
    return lambda key: pattern.search(key) is not None


def _require_free(target: Path) -> None:
    """Raise UsageError unless `target` is to be made, or is an empty directory outside of runs."""
    for above in (target.absolute(), *target.absolute().parents):
        if (above / OWN_DIR).is_dir():
            raise UsageError(
                f"`{target}` is inside the run `{above.name}`, which would read it as its own",
                hint="name a directory outside of the runs",
            )
    try:
        free = not any(target.iterdir())
    except FileNotFoundError:
        free = True
    except OSError as error:
        raise UsageError(f"`{target}` cannot be written to: {_reason(error)}")
    if not free:
        raise UsageError(f"`{target}` is not empty", hint="name a directory that is not there yet")


def _export(run: Run, target: Path, form: str, wanted: Callable[[str], bool]) -> Exported:
    try:
        with StoredRun(run) as stored, _appearing(target.absolute()) as directory:
            exported = Exported(run.id, target)
            if form == "tensorboard":
                from guildlite.transfer.eventfiles import write_event_files

                write_event_files(run, stored, directory, wanted, exported)
            else:
                from guildlite.transfer.tidy import write_tables

                write_tables(stored, directory, form, wanted, exported)
        return exported
    except OSError as error:
        raise GuildliteError(f"`{target}` could not be written: {_reason(error)}") from error


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Yield a new directory whose contents are moved to `target` when all went well.

    A `target` that is there, and empty, is kept: it may be a mount point or where a shell stands.
    """
    exists = target.exists()
    if not exists:
        target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".gl-export-", dir=target if exists else target.parent))
    try:
        made = scratch / "export"
        made.mkdir()
        yield made
        if exists:
            for each in sorted(made.iterdir()):
                each.rename(target / each.name)
        else:
            made.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
