"""Commands about the project itself: start one, diagnose it, print it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import Cell, Column, coloured, for_terminal, table, terminal_width
from guildlite.cli.words import command
from guildlite.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from guildlite.diagnosis import Finding
    from guildlite.project import Model


@command("init")
@click.option("--name", metavar="TEXT", help="Name of the project, if not the directory's")
@click.option("--train-cmd", metavar="CMD", help="Command that trains, if its name does not tell")
@click.option("--example", metavar="NAME", help="Write an example project instead, such as digits")
@click.pass_obj
def init(context: Context, name: str | None, train_cmd: str | None, example: str | None) -> None:
    """Write a project file for the scripts in this directory.

    The file is commented and works as it is. Nothing that exists is overwritten.

    \b
    Examples:
      gl init
      gl init --train-cmd "train.py --fast"
      gl -C digits init --example digits
    """
    from guildlite.scaffold import init_example, init_project

    if example is None:
        written = init_project(context.directory, name=name, train_cmd=train_cmd)
    elif name is not None or train_cmd is not None:
        raise UsageError("`--example` takes neither `--name` nor `--train-cmd`")
    else:
        written = init_example(example, context.directory)
    for path in written:
        context.write(for_terminal(os.path.relpath(path)))
    context.say("next: `gl check` says what is missing" + _first_steps(context))


def _first_steps(context: Context) -> str:
    project = context.find_project()
    models = project.models.values() if project else ()
    prepare = any("prepare" in model.operations for model in models)
    return ", then `gl prepare` and `gl train`" if prepare else ", `gl train` starts a run"


#: State of a finding → how it is marked. The words say the same as the colours.
_MARKS = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "error": ("error", "red"),
    "absent": ("absent", "dim"),
}


@command("check")
@click.option("-v", "--verbose", is_flag=True, help="Also where things are, and what is unclear")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of findings")
@click.pass_obj
def check(context: Context, verbose: bool, as_json: bool) -> int:
    """Say what is installed, what is missing and what to do.

    Nothing is run and nothing is changed. The exit status is 2 for a bad project file, as
    everywhere, and 1 when anything else is in error.

    \b
    Examples:
      gl check
      gl check -v
    """
    from guildlite.diagnosis import check as diagnose

    report = diagnose(context.directory, verbose)
    if as_json:
        context.write_json([_finding_object(each) for each in report.findings])
    else:
        for line in _finding_lines(report.findings):
            context.write(line)
    if report.bad_project_file:
        return 2
    return 0 if report.ok else 1


def _finding_object(each: Finding) -> dict[str, str | None]:
    return {
        "section": each.section,
        "name": each.name,
        "state": each.state,
        "text": each.text,
        "hint": each.hint,
    }


def _finding_lines(findings: tuple[Finding, ...]) -> list[str]:
    lines: list[str] = []
    width = max((len(each.name) for each in findings), default=0)
    section = None
    for each in findings:
        if each.section != section:
            section = each.section
            lines += ["", section] if lines else [section]
        mark, colour = _MARKS[each.state]
        name = for_terminal(each.name).ljust(width)
        lines.append(f"  {coloured(mark.ljust(7), colour)}  {name}  {for_terminal(each.text)}")
        if each.hint:
            lines.append(f"  {'':7}  {'':{width}}  hint: {for_terminal(each.hint)}")
    return lines


@command("project")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--resolve", is_flag=True, help="Long forms, with `extends` filled in")
@click.option("--json", "as_json", is_flag=True, help="Print JSON rather than YAML")
@click.pass_obj
def project(context: Context, keys: tuple[str, ...], resolve: bool, as_json: bool) -> None:
    """Print the project file as gl reads it.

    KEY prints only these sections, such as `models` or `flags`.

    \b
    Examples:
      gl project --resolve
      gl project models --json
    """
    found = context.project()
    data = found.resolved() if resolve else found.data
    for key in keys:
        if key not in data:
            raise UsageError(f"{found.file.name} has no `{key}`", hint=did_you_mean(key, data))
    chosen = {key: data[key] for key in keys} if keys else data
    if as_json:
        context.write_json(chosen)
    else:
        context.write(_yaml(chosen))


def _yaml(data: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip("\n")


@command("models")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list")
@click.pass_obj
def models(context: Context, as_json: bool) -> None:
    """List the models of the project and their operations.

    \b
    Examples:
      gl models
      gl models --json
    """
    found = context.project()
    default = _default_name(list(found.models.values()))
    if as_json:
        context.write_json([_model_object(model, default) for model in found.models.values()])
        return
    columns = [Column("model"), Column("operations", least=12), Column("description", least=12)]
    rows = [
        [
            Cell(for_terminal(model.name + (" (default)" if model.name == default else ""))),
            Cell(for_terminal(" ".join(model.operations))),
            Cell(for_terminal(model.description or "")),
        ]
        for model in found.models.values()
    ]
    for line in table(columns, rows, terminal_width()) if rows else ():
        context.write(line)
    if not rows:
        context.say(f"{found.file.name} defines no models yet")


def _default_name(known: list[Model]) -> str | None:
    """Return the model that `gl train` alone trains, if there is one."""
    if len(known) == 1:
        return known[0].name
    return next((model.name for model in known if model.default), None)


def _model_object(model: Model, default: str | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "description": model.description,
        "default": model.name == default,
        "extends": model.extends,
        "operations": list(model.operations),
    }


@command("schema")
@click.pass_obj
def schema(context: Context) -> None:
    """Print the JSON Schema of project files for editors.

    \b
    Example:
      gl schema > project.schema.json
    """
    import json

    from guildlite.projectkeys import json_schema

    context.write(json.dumps(json_schema(), indent=2))
