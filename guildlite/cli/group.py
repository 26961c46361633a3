"""The click group: finds a command by name and imports its module only then."""

from __future__ import annotations

import os
from importlib import import_module

import click

from guildlite.cli.commands import COMMANDS, format_help
from guildlite.cli.context import Context
from guildlite.errors import UsageError, nearest


class LazyGroup(click.Group):
    """The commands of the table in `commands`; none is imported before it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"guildlite.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in COMMANDS and not ctx.resilient_parsing:
            raise UsageError(f"`{word}` is not a command of gl", hint=_suggest(word))
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        return format_help().rstrip("\n")


def _suggest(word: str) -> str:
    if word.endswith(".py") or os.path.isfile(word):
        return f"`gl run {word}` runs a script"
    if "=" in word and not word.startswith("-"):
        return f"flags come after the command: `gl train {word}`"
    match = nearest(word, COMMANDS)
    return f"did you mean `gl {match}`?" if match else "`gl --help` lists the commands"


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("-C", "directory", metavar="DIR", help="Run as if gl had been started in DIR")
@click.option("--debug", is_flag=True, help="Show the traceback of an error")
@click.option("--version", is_flag=True, help="Print the version")
@click.pass_context
def gl(ctx: click.Context, directory: str | None, debug: bool, version: bool) -> None:
    """Experiment tracking that leaves your training script alone."""
    context = ctx.ensure_object(Context)
    context.debug = debug
    if version:
        from guildlite import __version__

        click.echo(f"guildlite {__version__}")
        ctx.exit()
    if directory is not None:
        context.enter(directory)
    if ctx.invoked_subcommand is None:
        from guildlite.cli.home import print_home

        print_home(context)
