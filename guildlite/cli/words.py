"""How a command of gl is declared, and those that take the script's flags as `name=value` words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from guildlite.cli.commands import summary
from guildlite.errors import UsageError, nearest


class Command(click.Command):
    """A command of gl."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Print this text"
        return option


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """Declare the function as the command `name` of the table in `commands`."""
    return click.command(name, cls=Command, short_help=summary(name))


class FlagWordsCommand(Command):
    """A command among whose arguments are flags of the script.

    A flag written the script's way, `--lr 0.1`, is answered with `lr=0.1`. `when_bare` is the
    error for the command without any words: a sentence and its hint.
    """

    def __init__(
        self, *args: Any, when_bare: tuple[str, str] | None = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.when_bare = when_bare

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and self.when_bare is not None:
            raise UsageError(self.when_bare[0], hint=self.when_bare[1])
        given = list(args)  # click empties the list while it reads
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise self._explain(error.option_name, given, ctx)

    def _explain(self, option: str, args: Sequence[str], ctx: click.Context) -> UsageError:
        word, assignment = _as_assignment(option, args)
        match = nearest_option(option, ctx)
        meant = f"did you mean `{match}`? " if match else ""
        return UsageError(
            f"`{word}` is not an option of `{ctx.command_path}`",
            hint=f"{meant}flags of the script are words without dashes: `{assignment}`",
        )


def nearest_option(option: str, ctx: click.Context) -> str | None:
    """Return the long option of the command that is most like `option`, or None."""
    opts = [name for param in ctx.command.get_params(ctx) for name in param.opts]
    # Without the dashes, which all of them have in common.
    known = {name.lstrip("-"): name for name in opts if name.startswith("--")}
    match = nearest(option.lstrip("-"), known)
    return known[match] if match else None


def _as_assignment(option: str, args: Sequence[str]) -> tuple[str, str]:
    """Return the option as it was typed, and the `name=value` word that says the same."""
    for index, arg in enumerate(args):
        typed, equals, value = arg.partition("=")
        # click names `-lr` by its first letter.
        if typed == option or (not option.startswith("--") and typed.startswith(option)):
            name = typed.lstrip("-")
            if equals:
                return typed, f"{name}={value}"
            following = args[index + 1] if index + 1 < len(args) else "-"
            bare = following.startswith("-") and not following[1:2].isdigit()
            return typed, f"{name}={'True' if bare or '=' in following else following}"
    return option, f"{option.lstrip('-')}=VALUE"
