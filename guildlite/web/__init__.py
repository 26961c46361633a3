"""The viewer: where people look at their runs.

A request passes `http.Guard` and reaches `pages` (HTML, complete without a script) or `api` (the
same as JSON); both get plain data from `listing` (the run table), `cards` (charts of a run) and
`rundata` (everything else of a run), which look at runs through a `workspace`. `charts`, `numbers`
and `ansi` are pure functions. `files` is the only way to a file of a run.

`tensorboard` answers below `/tensorboard/`: `eventlinks` is the log directory it is given, `board`
its process (`boardprocess` what runs there), `proxy` passes requests on.
"""

from guildlite.web.command import serve_viewer

__all__ = ["serve_viewer"]
