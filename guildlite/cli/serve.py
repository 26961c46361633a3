"""`gl serve`: the prediction server of one run's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError

if TYPE_CHECKING:
    from guildlite.runs import Run


@command("serve")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--latest-run", is_flag=True, help="The latest run with a model, as without RUN")
@click.option("--port", type=int, default=6444, show_default=True, help="Port; 0 takes a free one")
@click.option("--host", default="127.0.0.1", metavar="H", show_default=True, help="Address")
@click.option("--file", metavar="PATH", help="The model's file in the run, where it has several")
@click.option("--trust", is_flag=True, help="Load models that may run code of their own")
@click.option("--check", is_flag=True, help="Load it, predict once, say what it takes, and end")
@click.option(
    "--token", envvar="GL_TOKEN", metavar="TEXT", help="Demand this token (16+ characters)"
)
@click.pass_obj
def serve(
    context: Context,
    run: str | None,
    latest_run: bool,
    port: int,
    host: str,
    file: str | None,
    trust: bool,
    check: bool,
    token: str | None,
) -> int:
    """Serve the model of a run over HTTP.

    Without RUN the latest that holds a model. `POST /run` takes a JSON list of objects and
    answers one object each; the page at `/` is for trying it.

    \b
    Examples:
      gl serve
      gl serve 3 --file export/model.onnx --port 8000
    """
    if run and latest_run:
        raise UsageError("RUN and `--latest-run` are two answers to one question")
    from guildlite.serve import serve_run

    found = context.get_run(run) if run else _latest_with_model(context, file)
    return serve_run(
        found.path,
        name=found.id,
        host=host,
        port=port,
        file=file,
        trust=trust,
        check=check,
        token=token,
        out=context.write if check else context.say,
    )


def _latest_with_model(context: Context, file: str | None) -> Run:
    """Return the newest run with something to serve, and say which on stderr."""
    from guildlite.serve.find import NoModel, find_model

    runs = context.store().list()
    for run in runs:
        try:
            find_model(run.path, name=run.id, file=file)
        except NoModel:
            continue
        except UsageError:
            # Without `file` the run has several models: a question to the user, and no reason to
            # take an older run.
            if file is not None:
                continue
        context.say(f"serving the latest run with a model, {run.id}")
        return run
    if runs:
        raise GuildliteError(
            "no run holds a model to serve", hint="a script exports one into its $RUNDIR"
        )
    raise GuildliteError("there are no runs to serve", hint="`gl train` starts one")
