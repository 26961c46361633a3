"""What holds where no project file says otherwise."""

from __future__ import annotations

#: Where run directories go, relative to the project.
RUNS_DIR = "runs"

#: Seconds between two system samples, and between two looks of a page at a run that goes on.
INTERVAL_S = 5
