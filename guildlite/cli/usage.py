"""What click says of wrong words, said in gl's own voice."""

from __future__ import annotations

import re

import click

from guildlite.errors import UsageError, nearest


def explain(error: click.UsageError) -> UsageError:
    """Return the error with one sentence and the hint that leads on."""
    ctx = error.ctx
    path = ctx.command_path if ctx else "gl"
    if isinstance(error, click.NoSuchOption):
        return UsageError(
            f"`{error.option_name}` is not an option of `{path}`", hint=_option_hint(error, path)
        )
    if isinstance(error, click.MissingParameter):
        name = error.param.make_metavar(ctx) if error.param and ctx else "an argument"
        name = name.split("[")[0].strip(".").split()[0] if not name.startswith("[") else name
        return UsageError(f"`{path}` needs {name}", hint=_see(path))
    if isinstance(error, click.BadParameter) and error.param is not None:
        return UsageError(f"{_parameter(error.param)}: {_in_voice(error.message)}", hint=_see(path))
    return UsageError(_in_voice(error.format_message()), hint=_see(path))


def _option_hint(error: click.NoSuchOption, path: str) -> str:
    options: list[str] = []
    if error.ctx is not None:
        for param in error.ctx.command.get_params(error.ctx):
            options += param.opts
    match = nearest(error.option_name, options)
    return f"did you mean `{match}`?" if match else _see(path)


def _parameter(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return f"`{max(param.opts, key=len)}`"
    return (param.name or "argument").upper()


def _see(path: str) -> str:
    return f"`{path} --help` shows how it is used"


def _in_voice(message: str) -> str:
    """Return click's sentence without full stop and capital, names in backticks."""
    text = re.sub(r"'([^']*)'", r"`\1`", " ".join(message.split())).rstrip(".")
    return text[:1].lower() + text[1:]
