"""The prediction server: a run's exported model behind `POST /run`.

A request passes `http.Guard`, `app` (routes), `engine` with `turn` (places, deadlines) and
`batching`, `instances` or `openinference` (bytes to arrays and back, with every check), and reaches
a `model.ModelRuntime`, of which `runtimes/` has one per framework. `find` says which file of a run
is the model, `kinds` what kind of file it is, `trust` whether it may be loaded, `signature` what
was written beside it.

`ModelRefused` is for predictors: raised, it answers 400 with its text.
"""

from guildlite.serve.behind import command as behind_command
from guildlite.serve.command import (
    Source,
    check_run,
    describe_models,
    print_request,
    serve_run,
)
from guildlite.serve.find import model_files
from guildlite.serve.limits import Limits
from guildlite.serve.model import ModelRefused

__all__ = [
    "Limits",
    "ModelRefused",
    "Source",
    "behind_command",
    "check_run",
    "describe_models",
    "model_files",
    "print_request",
    "serve_run",
]
