"""The viewer: where people look at their runs.

A request passes `http.Guard` and reaches `pages` (HTML, complete without a script) or `api` (the
same as JSON); both get plain data from `listing` (the run table), `cards` (charts of a run) and
`rundata` (everything else of a run), which look at runs through a `workspace`. The table is
answered from the index, opened by `lookup`; `tablecolumns` says what its columns may be,
`filtering` what is wrong with a filter, and `savedviews` keeps short names for addresses.
`rendering` makes HTML of data. `charts`, `numbers` and `ansi` are pure functions. `files` is the
only way to a file of a run. `media`, `compared`, `actions` and `tensorboard` are areas of their
own, with pages and API.

`predict` passes requests below `/runs/ID/predict/` on (`proxy`) to the prediction server of a run,
whose command it is given; that process and TensorBoard's are a `child`, which never outlives the
viewer.
"""

from guildlite.web.command import serve_viewer

__all__ = ["serve_viewer"]
