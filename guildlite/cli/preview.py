"""What will be executed, shown before it is."""

from __future__ import annotations

from shlex import join, quote
from typing import TYPE_CHECKING

from guildlite.cli.context import Context
from guildlite.cli.output import relative

if TYPE_CHECKING:
    from guildlite.execute.prepare import Plan
    from guildlite.runs import Run


def print_preview(context: Context, plan: Plan, run_dir: str | None) -> int:
    """Print the command, a line for each option, and what it adds to the environment; return 0.

    `run_dir` is None for what runs in the project directory. Secret values are a mark.
    """
    argv = plan.argv(run_dir, hide_secrets=True)
    fixed = len(plan.command.argv)
    lines = [" ".join(_quote(word) for word in argv[:fixed])]
    rest = argv[fixed:]
    while rest:
        # An option and its value belong on one line.
        pair = 2 if len(rest) > 1 and rest[0].startswith("-") and not rest[1].startswith("-") else 1
        pair = 1 if "=" in rest[0] else pair
        lines.append("  " + " ".join(_quote(word) for word in rest[:pair]))
        rest = rest[pair:]
    context.write(" \\\n".join(lines))
    context.write("")
    for name, value in plan.environment(run_dir, hide_secrets=True).items():
        context.write(f"{name}={_quote(value) if value.startswith('$') else quote(value)}")
    return 0


def _quote(word: str) -> str:
    """Quote a word for a shell, but let `$RUNDIR` stand as what it is."""
    return word if word.startswith("$RUNDIR") and quote(word[1:]) == word[1:] else quote(word)


def shown_command(plan: Plan, run_dir: str | None) -> str:
    """Return the command as it can be pasted into a shell; secret values are a mark."""
    return join(plan.argv(run_dir, hide_secrets=True))


def print_start(context: Context, plan: Plan, run: Run, *, new: bool) -> None:
    """Say what is executed in a run; of a new one also where it is, and how to look at it."""
    if new:
        context.say(f"run      {relative(run.path)}")
    context.say(f"command  {shown_command(plan, str(run.path))}")
    if new:
        context.say("view     gl view")
