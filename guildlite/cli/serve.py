"""`gl serve`: the prediction server of one run's model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError
from guildlite.serve.limits import Limits

if TYPE_CHECKING:
    from guildlite.runs import Run

Command = TypeVar("Command", bound=Callable[..., Any])

_AT_MOST = Limits()
_MIB = 1024 * 1024
_MODEL_NAME = re.compile(r"[\w-][\w.-]{0,99}")


def limit(
    option: str, default: float | None, metavar: str, words: str
) -> Callable[[Command], Command]:
    """Declare an option that takes a number above zero; seconds may have a fraction."""
    whole = metavar != "SECONDS"
    return click.option(
        option,
        type=click.IntRange(min=1) if whole else click.FloatRange(min=0, min_open=True),
        default=None if default is None else int(default),
        metavar=metavar,
        show_default=default is not None,
        help=words,
    )


@command("serve")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--latest-run", is_flag=True, help="The latest run with a model, as without RUN")
@click.option("--port", type=int, default=6444, show_default=True, help="Port; 0 takes a free one")
@click.option("--host", default="127.0.0.1", metavar="H", show_default=True, help="Address")
@click.option("--file", metavar="PATH", help="The model's file in the run, where it has several")
@click.option("--predictor", metavar="MODULE:NAME", help="Serve a function or class of your own")
@click.option("--name", metavar="NAME", help="What clients call the model, else as the run")
@click.option("--trust", is_flag=True, help="Load models that may run code of their own")
@click.option("--list", "list_", is_flag=True, help="Print the models of the run, and end")
@click.option("--json", "as_json", is_flag=True, help="With --list: as JSON")
@click.option("--check", is_flag=True, help="Load it, predict once, say what it takes, and end")
@click.option("--print-request", is_flag=True, help="Print a request that it answers, and end")
@click.option(
    "--token", envvar="GL_TOKEN", metavar="TEXT", help="Demand this token (16+ characters)"
)
@limit("--timeout", _AT_MOST.timeout_s, "SECONDS", "After which a request gets 504")
@limit("--max-batch", _AT_MOST.max_batch, "N", "Rows the model gets at a time")
@limit("--max-inflight", _AT_MOST.max_inflight, "N", "Requests at a time; more get 503")
@limit("--max-body", _AT_MOST.max_body_bytes // _MIB, "MIB", "Size of a request; more gets 413")
@limit("--threads", None, "N", "Threads for one prediction, else as the framework likes")
@click.pass_obj
def serve(
    context: Context,
    run: str | None,
    latest_run: bool,
    port: int,
    host: str,
    file: str | None,
    predictor: str | None,
    name: str | None,
    trust: bool,
    list_: bool,
    as_json: bool,
    check: bool,
    print_request: bool,
    token: str | None,
    timeout: float,
    max_batch: int,
    max_inflight: int,
    max_body: int,
    threads: int | None,
) -> int:
    """Serve the model of a run over HTTP.

    Without RUN the latest that holds a model. `POST /run` takes a JSON list of objects and
    answers one object each; `/v2` is the Open Inference Protocol; the page at `/` is for trying it.

    \b
    Examples:
      gl serve
      gl serve 3 --file export/model.onnx --port 8000
      gl serve --predictor expert:predictor
    """
    if run and latest_run:
        raise UsageError("RUN and `--latest-run` are two answers to one question")
    if file and predictor:
        raise UsageError("`--file` and `--predictor` are two answers to one question")
    if as_json and not list_:
        raise UsageError("`--json` goes with `--list`")
    if name is not None and not _MODEL_NAME.fullmatch(name):
        raise UsageError(
            "the name of a model is a part of addresses", hint="letters, digits and `-._` will do"
        )
    from guildlite import serve as serving

    if run or predictor:
        found = context.get_run(run)
    else:
        found = _latest_with_model(context, file)
    if list_:
        return _list(context, found, as_json=as_json)
    project = context.readable_project()
    if predictor is None and file is None and project and found.model in project.models:
        predictor = project.models[found.model].serve
    source = serving.Source(
        run_dir=found.path,
        name=found.id,
        uid=found.uid,
        file=file,
        predictor=predictor,
        folder=project.dir if project and predictor else Path.cwd(),
        trust=trust,
        served_as=name,
    )
    limits = Limits(
        timeout_s=timeout,
        max_batch=max_batch,
        max_inflight=max_inflight,
        max_body_bytes=max_body * _MIB,
        threads=threads,
    )
    if check:
        return serving.check_run(source, limits=limits, out=context.write)
    if print_request:
        context.write(serving.print_request(source, limits=limits))
        return 0
    return serving.serve_run(
        source, host=host, port=port, token=token, limits=limits, out=context.say
    )


def _list(context: Context, run: Run, *, as_json: bool) -> int:
    """Print the models of a run; status 1 when there are none."""
    from guildlite.cli.output import for_terminal
    from guildlite.serve import describe_models

    models = describe_models(run.path)
    if as_json:
        context.write_json(models)
        return 0
    if not models:
        raise GuildliteError(f"run `{run.id}` does not contain an exported model")
    width = max(len(str(model["file"])) for model in models)
    for model in models:
        notes = [f"{model['words']}, class {model['trust']}"]
        if not model["served"]:
            notes.append("not served by itself")
        elif model["missing"]:
            notes.append(f'needs `pip install "guildlite[{model["missing"]}]"`')
        elif model["trust"] in ("C", "D"):
            notes.append("needs trust where the run was not made here")
        if model["signature"]:
            notes.append("with a signature file")
        context.write(for_terminal(f"{model['file']!s:<{width}}  {', '.join(notes)}"))
    return 0


def _latest_with_model(context: Context, file: str | None) -> Run:
    """Return the newest run with something to serve, and say which on stderr."""
    from guildlite.serve.find import NoModel, find_model

    project = context.readable_project()
    runs = context.store().list()
    for run in runs:
        predicted = project and run.model in project.models and project.models[run.model].serve
        try:
            if file is not None or not predicted:
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
    raise GuildliteError("there are no runs to serve", hint=context.how_to_start())
