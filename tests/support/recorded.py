"""Runs whose event files have been read into run.db, without starting a process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from guildlite.collect.events import EventFiles
from guildlite.runs import Run, RunStore
from guildlite.runs.db import RunDb
from support.run_dirs import make_run

GOLDEN = Path(__file__).parents[1] / "golden" / "events"
#: The directories of event files that other writers wrote.
WRITERS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def record(run: Run) -> None:
    """Read what is new in the event files of a run into its run.db."""
    with RunDb(run.paths.db) as db:
        for reading in EventFiles(run.path, db.cursors()).sample(final=True):
            db.write([reading])
        db.seal({})


def golden_run(store: RunStore, writer: str, flags: Mapping[str, str] | None = None) -> Run:
    """Make a run with the event files of one writer."""
    run = make_run(store, writer, flags=flags)
    ignored = shutil.ignore_patterns("expected.json", "media.json")
    shutil.copytree(GOLDEN / writer, run.path, dirs_exist_ok=True, ignore=ignored)
    record(run)
    return run
