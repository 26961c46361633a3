"""The prediction server: a run's exported model behind `POST /run`.

A request passes `http.Guard`, `app` (routes), `engine` (turns, threads, limits), `instances`
(JSON to arrays and back, with every check) and reaches a `model.ModelRuntime`, of which
`runtimes/` has one per framework. `find` says which file of a run is the model.
"""

from guildlite.serve.command import serve_run

__all__ = ["serve_run"]
