"""What click says of wrong words, said in gl's own voice."""

from __future__ import annotations

import re

import click

from guildlite.cli.words import nearest_option
from guildlite.errors import UsageError


def explain(error: click.UsageError) -> UsageError:
    """Return the error with one sentence and the hint that leads on."""
    ctx = error.ctx
    path = ctx.command_path if ctx else "gl"
    if isinstance(error, click.NoSuchOption):
        return UsageError(
            f"`{error.option_name}` is not an option of `{path}`", hint=_option_hint(error, path)
        )
    if isinstance(error, click.MissingParameter):
        name = _parameter(error.param) if error.param else "another word"
        return UsageError(f"`{path}` needs {name}", hint=_see(path))
    if isinstance(error, click.BadParameter) and error.param is not None:
        return UsageError(f"{_parameter(error.param)}: {_in_voice(error.message)}", hint=_see(path))
    return UsageError(_in_voice(error.format_message()), hint=_see(path))


def _option_hint(error: click.NoSuchOption, path: str) -> str:
    match = nearest_option(error.option_name, error.ctx) if error.ctx else None
    if match:
        return f"did you mean `{match}`?"
    if path == "gl":
        return "flags of a script come after the command, without dashes: `gl train lr=0.1`"
    return _see(path)


def _parameter(param: click.Parameter) -> str:
    """Return what help calls a parameter: `--limit`, RUN."""
    if isinstance(param, click.Option):
        return f"`{max(param.opts, key=len)}`"
    return (param.metavar or param.human_readable_name).strip(".[]")


def _see(path: str) -> str:
    return f"`{path} --help` shows how it is used"


def _in_voice(message: str) -> str:
    """Return click's sentence without full stop and capital, names in backticks."""
    text = re.sub(r"'([^']*)'", r"`\1`", " ".join(message.split())).rstrip(".")
    return text[:1].lower() + text[1:]
