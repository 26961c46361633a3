"""The Python API: what `import guildlite as gl` offers.

    import guildlite as gl

    for run in gl.runs("status = completed and loss < 0.1", sort="loss"):
        print(run.id, run.flags["lr"], run.summary["loss"].last)

Nothing needs a server. A `Run` reads its directory each time it is asked, so it is right while
the run goes on; `Runs` and `Series` answer from what they read first, so that their parts fit
together. All may be read by several threads at once. NumPy, pandas, matplotlib and ipywidgets are
imported when an array, a frame, a plot or a form is asked for. Errors are `GuildliteError`s with
`message` and `hint`.
"""

from __future__ import annotations

from guildlite.api.handle import Run, Summaries, System, WaitTimeout
from guildlite.api.runset import Runs, compare, run, runs
from guildlite.api.series import Series, SeriesNotFound
from guildlite.api.starting import launch
from guildlite.api.widgets import form
from guildlite.errors import GuildliteError

__all__ = [
    "GuildliteError",
    "Run",
    "Runs",
    "Series",
    "SeriesNotFound",
    "Summaries",
    "System",
    "WaitTimeout",
    "compare",
    "form",
    "launch",
    "run",
    "runs",
]
